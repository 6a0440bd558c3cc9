"""Checking a model's text while it streams: a citation must exist. Pure.

Thin for now: numbers of citations are checked and bad ones removed; checking the claims themselves comes with a later
issue.
"""

import re
from typing import Final

_CITATION: Final = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|<https?://[^>]*>|https?://\S+")
HELD_BACK: Final = 400  # characters: a link or a citation is never cut in two, and nothing is held for long


class Verifier:
    """Feed it deltas; it gives back text in which every [n] exists and no link leads out."""

    def __init__(self, evidence: int) -> None:
        self._evidence = evidence
        self._held = ""
        self.removed = 0

    def feed(self, delta: str) -> str:
        self._held += delta
        cut = self._safe_cut()
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._checked(ready)

    def finish(self) -> str:
        ready, self._held = self._held, ""
        return self._checked(ready)

    def _safe_cut(self) -> int:
        """Up to the last white space before anything that may still grow into a link or a citation."""
        if len(self._held) > HELD_BACK:
            return len(self._held)
        opened = max(self._held.rfind("["), self._held.rfind("<"))
        end = len(self._held)
        if opened >= 0 and not re.match(r"(?:\[[^\]]*\](?!\()[^(]|<[^>]*>)", self._held[opened:]):
            end = opened - 1 if opened > 0 and self._held[opened - 1] == "!" else opened
        space = max(self._held.rfind(" ", 0, end), self._held.rfind("\n", 0, end))
        return min(end, space + 1)

    def _checked(self, text: str) -> str:
        return _CITATION.sub(self._known, _LINK.sub(self._unlinked, text))

    def _known(self, found: re.Match[str]) -> str:
        numbers = [int(n) for n in found.group(1).split(",")]
        kept = [n for n in numbers if 1 <= n <= self._evidence]
        self.removed += len(numbers) - len(kept)
        return f"[{', '.join(map(str, kept))}]" if kept else ""

    def _unlinked(self, found: re.Match[str]) -> str:
        self.removed += 1
        return found.group(1) or "(link removed)"
