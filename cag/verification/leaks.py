"""What a prompt says to the model must not come out of it: long stretches of it are taken out of the stream. Pure.

Compared are letters alone, so that blanks, signs and numbers between them hide nothing; instructions also backwards, in
ROT13, in base64 and in hex. Whoever makes a model rewrite its instructions in other words gets them: they are no
secret worth more, as they stand in this repository. What matters more never is in the prompt.
"""

import base64
import codecs
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

REMOVED: Final = "(left out)"
LEAST: Final = 40  # letters, some eight words: shorter overlaps happen by chance
GRAM, SHORT = 14, 6  # any stretch of LEAST letters holds a gram at a multiple of GRAM, since LEAST >= 2 * GRAM - 1
WORTH_A_LOOK: Final = 32  # characters: some words at once cost little more than one
_ASCII: Final = frozenset(string.ascii_letters)
_LETTERS: Final = {code: chr(code).lower() if chr(code).isalpha() else None for code in range(128)}
MOST_HELD: Final = 2_000  # characters; what is longer is judged in pieces


@dataclass(frozen=True, slots=True)
class Hidden:
    """Letters of a text that must not come out, and where each of their grams stands."""

    letters: str
    grams: dict[str, list[int]]
    short: frozenset[str]

    @classmethod
    def of(cls, *texts: str) -> "Hidden":
        letters = "\0".join(_folded(text) for text in texts)
        grams: dict[str, list[int]] = {}
        for at in range(len(letters) - GRAM + 1):
            grams.setdefault(letters[at : at + GRAM], []).append(at)
        return cls(letters, grams, frozenset(letters[at : at + SHORT] for at in range(len(letters) - SHORT + 1)))

    def around(self, said: str, at: int) -> tuple[int, int]:
        """The longest stretch of `said` that holds the gram at `at` and stands here; empty when there is none."""
        found = [self._grown(said, at, here) for here in self.grams.get(said[at : at + GRAM], ())]
        return max(found, key=lambda stretch: stretch[1] - stretch[0], default=(at, at))

    def tail(self, said: str) -> int:
        """Where the end of `said` begins that may become part of a stretch."""
        if said[-SHORT:] not in self.short:
            return max(len(said) - SHORT + 1, 0)
        if said[-GRAM:] not in self.grams:
            return max(len(said) - GRAM + 1, 0)
        return self.around(said, len(said) - GRAM)[0]

    def _grown(self, said: str, at: int, here: int) -> tuple[int, int]:
        start, end, shift = at, at + GRAM, here - at
        while start > 0 and start + shift > 0 and said[start - 1] == self.letters[start + shift - 1]:
            start -= 1
        while end < len(said) and end + shift < len(self.letters) and said[end] == self.letters[end + shift]:
            end += 1
        return start, end


@lru_cache(maxsize=4)
def instructions(text: str) -> Hidden:
    """`text` as it stands and in the disguises that models know."""
    encoded = (base64.b64encode(text[skipped:].encode()).decode() for skipped in range(3))
    return Hidden.of(text, text[::-1], codecs.encode(text, "rot13"), text.encode().hex(), *encoded)


class LeakFilter:
    """Feed it deltas; it gives back text without long stretches of what is hidden, however the stream is cut."""

    def __init__(self, hidden: Sequence[Hidden]) -> None:
        self._hidden = hidden
        self._held = ""
        self._seen = 0  # characters of it that were looked at
        self.removed = 0

    def feed(self, delta: str) -> str:
        self._held += delta
        if len(self._held) - self._seen < WORTH_A_LOOK:
            return ""
        return self._scan(last=len(self._held) > MOST_HELD)

    def finish(self) -> str:
        return self._scan(last=True)

    def _scan(self, *, last: bool) -> str:
        text, out, at = self._held, list[str](), 0  # `at`: letters looked at
        letters = _folded(text)
        while at + GRAM <= len(letters):
            start, end = self._stretch(letters, at)
            if end == len(letters) and start < end and not last:
                break  # it may go on
            at = max(end, at + GRAM)
            if end - start >= LEAST:
                places = [place for place, character in enumerate(text) if _folded(character)]
                out += [text[: places[start]], REMOVED]
                text, letters, at = text[places[end - 1] + 1 :], letters[end:], 0
                self.removed += 1
        tail = len(letters) if last else min(hidden.tail(letters) for hidden in self._hidden)
        cut = _before(text, len(letters) - tail)
        self._held = text[cut:]
        self._seen = len(self._held)
        return "".join([*out, text[:cut]])

    def _stretch(self, letters: str, at: int) -> tuple[int, int]:
        stretches = [hidden.around(letters, at) for hidden in self._hidden]
        return max(stretches, key=lambda stretch: stretch[1] - stretch[0])


def _folded(text: str) -> str:
    """Its letters as a to z."""
    if not text.isascii():
        text = "".join(character if character.isascii() else _plain(character) for character in text)
    return text.translate(_LETTERS)


def _before(text: str, letters: int) -> int:
    """The place in `text` in front of its last so many letters."""
    place = len(text)
    while letters > 0:
        place -= 1
        character = text[place]
        letters -= character in _ASCII if character < "\x80" else bool(_plain(character))
    return place


@lru_cache(maxsize=1_000)
def _plain(character: str) -> str:
    """Fullwidth, mathematical and accented letters as what they look like; at most one letter each."""
    first = unicodedata.normalize("NFKD", character)[:1]
    return first if first.isascii() else ""
