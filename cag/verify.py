"""Checking a model's text while it streams: each citation exists, nothing is a link, an image or a tag. Pure.

Thin for now: numbers of citations are checked and bad ones removed; checking the claims themselves comes with a later
issue. What comes out does not depend on how the stream was cut, and what is removed always leaves something behind, so
that the text around it cannot close up to a new link.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

from cag.inert import UNSEEN
from schemas.context import Evidence, Plan, Verification

REMOVED: Final = "(link removed)"
_ADDRESSES: Final = ("http://", "https://", "ftp://", "www.")  # what renderers turn into links by themselves
_SPECIAL: Final = re.compile(r"[\[\]<]|https?://|ftp://|www\.", re.IGNORECASE)
_ADDRESS_END: Final = re.compile(r"[\s<>()\[\]\"'`]")
# Bounded, so that little is held back: a bracket that stays open for longer is a bracket.
_BRACKET: Final = re.compile(r"\[([^\[\]\n]{0,200})(\]?)")
_TARGET: Final = re.compile(r"\(([^()\n]{0,400})(\)?)")
_TAG: Final = re.compile(r"<([^<>]{0,300})(>?)")
_NUMBERS: Final = re.compile(r"\d{1,3}(?:\s*,\s*\d{1,3})*", re.ASCII)
_WORDS: Final = re.compile(r"[\w ,'-]+")
_PLACEHOLDER: Final = re.compile(
    r"/?(?!(?:script|style|svg|math|template|noscript|iframe)\b)[a-z][a-z0-9_-]*", re.IGNORECASE
)


class Verifier:
    """Feed it deltas; it gives back text in which every [n] exists and no link leads out."""

    def __init__(
        self,
        evidence: Sequence[Evidence],
        *,
        plan: Plan,
        action: Literal["mark", "remove", "off"] = "mark",
        hold_chars: int = 600,
        link_hosts: Sequence[str] = (),
    ) -> None:
        self._evidence = len(evidence)
        self._held = ""
        self._before = " "  # the last character of the model's text in front of what is held
        self._in_address = False
        self.removed = 0

    def feed(self, delta: str) -> str:
        self._held += UNSEEN.sub("", delta)
        return self._scan(last=False)

    def finish(self) -> str:
        return self._scan(last=True)

    @property
    def report(self) -> Verification:
        return Verification(links_removed=self.removed)

    def _scan(self, *, last: bool) -> str:
        text, at, out = self._held, 0, []
        while at < len(text):
            if self._in_address:
                end = _ADDRESS_END.search(text, at)
                at = end.start() if end else len(text)
                self._in_address = end is None
                continue
            found = _SPECIAL.search(text, at)
            plain = found.start() if found else len(text) if last else _before_address(text)
            out.append(text[at:plain])
            at = plain
            if found is None:
                break
            decided = self._decide(text, at, found.group(), last=last)
            if decided is None:
                break
            out.append(decided[0])
            at = decided[1]
        self._before = text[at - 1] if at else self._before
        self._held = text[at:]
        return "".join(out)

    def _decide(self, text: str, at: int, special: str, *, last: bool) -> tuple[str, int] | None:
        """What stands in place of the text from `at` to where; None: that depends on what follows."""
        if special == "[":
            return self._bracket(text, at, last=last)
        if special == "<":
            return self._tag(text, at, last=last)
        if special == "]":  # without `](` there is no link, without `]:` no definition of one
            following = text[at + 1 : at + 2]
            if not following and not last:
                return None
            return ("] " if following in ("(", ":") and following else "]"), at + 1
        self.removed += 1
        self._in_address = True
        return REMOVED, at + len(special)

    def _bracket(self, text: str, at: int, *, last: bool) -> tuple[str, int] | None:
        inner = _BRACKET.match(text, at)
        end = inner.end() if inner else at
        if end == len(text) and not last:
            return None
        if inner is None or not inner[2]:
            return "[", at + 1
        if target := _TARGET.match(text, end):
            if target.end() == len(text) and not target[2] and not last:
                return None
            if target[2]:
                self.removed += 1
                return (f"{inner[1]} {REMOVED}" if _WORDS.fullmatch(inner[1]) else REMOVED), target.end()
        if not _NUMBERS.fullmatch(inner[1]):
            return "[", at + 1
        numbers = [int(n) for n in inner[1].split(",")]
        kept = [n for n in numbers if 1 <= n <= self._evidence]
        self.removed += len(numbers) - len(kept)
        before = text[at - 1] if at else self._before
        if not kept:
            return "" if before.isspace() else " ", end
        return f"[{', '.join(map(str, kept))}]{' ' * text.startswith(('(', ':'), end)}", end

    def _tag(self, text: str, at: int, *, last: bool) -> tuple[str, int] | None:
        inner = _TAG.match(text, at)
        if inner and inner.end() == len(text) and not inner[2] and not last:
            return None
        if inner is None or not (inner[1][:1].isalpha() or inner[1][:1] in tuple("/!?")):
            return "<", at + 1
        if not inner[2]:
            return "&lt;", at + 1
        if _PLACEHOLDER.fullmatch(inner[1]):  # <pod-name>, as commands are written down
            return inner.group(), inner.end()
        self.removed += 1
        return REMOVED, inner.end()


def _before_address(text: str) -> int:
    """Where the end of the text may be the beginning of an address."""
    for length in range(min(max(map(len, _ADDRESSES)) - 1, len(text)), 0, -1):
        tail = text[-length:].lower()
        if any(address.startswith(tail) for address in _ADDRESSES):
            return len(text) - length
    return len(text)
