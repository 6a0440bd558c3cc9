"""A model's text cut into sentences while it streams. Pure.

A unit is a sentence with the white space behind it, a heading, a row of a table or a line of a fenced block. Where one
ends depends on the text alone, never on how it arrived: an end is decided once nothing that follows can change it, or
once `limit` characters are there; a longer sentence comes in pieces.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Form = Literal["sentence", "heading", "row", "fence", "code"]

CITATION: Final = re.compile(r"\[(\d{1,3}(?:, \d{1,3})*)\]")
MARKER: Final = re.compile(r"[ \t]*(?:(?:[-*+>•]|\d{1,3}[.)])[ \t]+)*(?:\[[ xX]\][ \t]+)?")
_STOP: Final = re.compile(r"`+|[\"“]|[.!?]+[\"'”’)*_]*|\n")
_CLOSING: Final = {"`": re.compile(r"[`\n]"), '"': re.compile(r"[\"\n]"), "“": re.compile(r"[”\n]")}
_CITED: Final = re.compile(r"\[[\d, ]*(\]?)")
# Never the end of a sentence; the second kind not in front of a small letter or a digit.
_SHORT: Final = re.compile(r"(?:^|[\s(\"*_])(?:e\.g|i\.e|vs|approx|ca|cf|resp|incl|excl|aka|mr|ms|dr)$", re.IGNORECASE)
_MAYBE_SHORT: Final = re.compile(r"(?:^|[\s(])(?:etc|no|min|max|avg|al|sec|st|a\.m|p\.m|fig|ver)$", re.IGNORECASE)
_ORDINAL: Final = re.compile(r"[ \t>*-]*\d{1,3}")
_FENCE: Final = re.compile(r"[ \t]*(?:```|~~~)")
_SPACE: Final = re.compile(r"\s(?![^\[\]]{0,20}\])")  # not one inside a citation


@dataclass(frozen=True, slots=True)
class Unit:
    text: str
    form: Form
    whole: bool  # False: a piece of a sentence that is longer than the limit, more of it follows


class Sentences:
    """Feed it text; it gives back what is complete."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = ""
        self._settled = 0  # in front of this place of what is held, no sentence ends
        self._fresh = True  # whether what is held begins a line
        self._wakes: re.Pattern[str] | None = None  # without a match of this in what follows, no sentence ends
        self._inside = ""  # the marks that opened the fenced block that we are in

    @property
    def held(self) -> int:
        return len(self._held)

    def feed(self, text: str) -> Iterable[Unit]:
        wakes = self._wakes
        if wakes and not wakes.search(text) and len(self._held) + len(text) < self._limit:
            self._held += text
            return ()
        return self._cut(text, last=False)

    def finish(self) -> Iterable[Unit]:
        return self._cut("", last=True)

    def _cut(self, more: str, *, last: bool) -> Iterator[Unit]:
        text, at = self._held + more, 0
        self._wakes = None
        while at < len(text):
            window = text[at : at + self._limit]
            over = len(text) - at > self._limit
            unit = self._unit(window, last=last and not over)
            if unit is None and len(window) < self._limit:
                break
            unit = unit or Unit(window[: _room(window)], "code" if self._inside else "sentence", whole=False)
            at += len(unit.text)
            self._settled, self._fresh = 0, unit.text.endswith("\n")
            yield unit
        self._held = text[at:]

    def _unit(self, window: str, *, last: bool) -> Unit | None:
        if self._fresh or self._inside:
            line = window.lstrip(" \t")
            if not last and (not line or (len(line) < 3 and line in ("`", "``", "~", "~~"))):
                return None
            if self._fresh and _FENCE.match(window):
                return self._fence(window, line, last=last)
            if self._inside:
                return _line(window, "code", last=last)
            if line[:1] == "|":
                return _line(window, "row", last=last)
            if line[:1] == "#":
                return _line(window, "heading", last=last)
        end = self._end(window, last=last)
        return None if end is None else Unit(window[:end], "sentence", whole=True)

    def _fence(self, window: str, line: str, *, last: bool) -> Unit | None:
        unit = _line(window, "fence", last=last)
        if unit is not None:
            marks = line[:3]
            if self._inside == marks:
                self._inside = ""
            elif not self._inside:
                self._inside = marks
            else:
                unit = Unit(unit.text, "code", whole=True)
        return unit

    def _end(self, window: str, *, last: bool) -> int | None:
        """Where the first sentence ends, its white space included; None: that depends on what follows."""
        while stop := _STOP.search(window, self._settled):
            mark = stop.group()
            if mark == "\n":
                return stop.end()
            if mark[0] in '`"“':
                behind = _behind_quote(window, stop, last=last)
            else:
                ended, behind = _behind_stop(window, stop, last=last)
                if ended:
                    return behind
            if behind is None:
                self._settled = stop.start()
                if mark[0] in _CLOSING and stop.end() < len(window):
                    self._wakes = _CLOSING[mark[0]]
                return None
            self._settled = behind
        self._wakes = _STOP if len(window) > self._settled else None
        return len(window) if last else None


def _line(window: str, form: Form, *, last: bool) -> Unit | None:
    end = window.find("\n") + 1 or (len(window) if last else 0)
    return Unit(window[:end], form, whole=True) if end else None


def _room(window: str) -> int:
    """How much of a window without an end is cut off: at the last space, or in front of what must not be torn."""
    spaces = [found.end() for found in _SPACE.finditer(window, len(window) // 2)]
    return spaces[-1] if spaces else max(window.rfind("<"), window.rfind("["), window.rfind("&")) or len(window) or 1


def _behind_quote(window: str, opened: re.Match[str], *, last: bool) -> int | None:
    """Behind code or quoted words on this line; behind the mark itself when nothing closes it."""
    mark, at = opened.group(), opened.end()
    if at == len(window) and not last:
        return None
    if mark == '"' and opened.start() and window[opened.start() - 1].isalnum():
        return at
    closed = window.find({"“": "”"}.get(mark, mark), at)
    ends = window.find("\n", at)
    if closed < 0 and ends < 0 and not last:
        return None
    if closed < 0 or 0 <= ends < closed:
        return at
    if mark in ('"', "“") and closed > at and window[closed - 1] in ".!?":
        return closed - 1  # a full stop counts only in front of the closing mark, which _STOP reads with it
    return closed + len(mark)


def _behind_stop(window: str, stop: re.Match[str], *, last: bool) -> tuple[bool, int | None]:
    """Whether the sentence ends here, and where; or from where to look on. A citation behind it belongs to it."""
    end, size = stop.end(), len(window)
    cited = False
    while True:
        after = end
        while after < size and window[after] in " \t":
            after += 1
        if after == size:
            return last, size if last else None
        found = _CITED.match(window, after)
        if found is None or not (found[1] or found.end() == size):
            break
        if not found[1]:
            return last, size if last else None
        follows = window[found.end() : found.end() + 2]
        if len(follows) < 2 and not last and "\n" not in follows:
            return False, None
        if follows[1:2].islower() and CITATION.search(window, 0, stop.start()):
            break  # "... [1]. [2] says that ..."
        end, cited = found.end(), True
        if window[end : end + 1] in tuple(".,;"):
            end += 1
    if window[after] == "\n":
        return True, after + 1
    if after == end and not cited:
        return False, stop.end()  # 3.14, file.py, 10.0.0.1
    if not cited and _abbreviated(window, stop, window[after]):
        return False, stop.end()
    return True, after


def _abbreviated(window: str, stop: re.Match[str], following: str) -> bool:
    start = stop.start()
    before = window[max(0, start - 12) : start]
    if stop.group()[0] != ".":
        return False
    if _ORDINAL.fullmatch(window[:start]) or _SHORT.search(before):
        return True
    small = following.islower() or following.isdigit()
    if stop.group().startswith(".."):
        return small or not before or before[-1].isspace()
    return small and _MAYBE_SHORT.search(before) is not None
