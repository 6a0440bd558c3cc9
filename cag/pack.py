"""The runbook pack: which runbooks exist, and the sections that are always shown. A part of every prompt's prefix."""

from collections.abc import Sequence
from typing import Final

from cag.control_tokens import strip_control_tokens
from cag.inert import one_line
from cag.library import visible
from cag.tokens import TokenCounter
from schemas.context import Scope
from schemas.runbooks import Corpus, Runbook

NAME_CHARS: Final = 160
PINNED_SHARE: Final = 0.75  # of the pack, at most; the rest is for headings


class RunbookPack:
    """The same bytes for the same corpus and the same runbooks in sight, so that the model server caches them."""

    def __init__(self, counter: TokenCounter, budget_tokens: int) -> None:
        self._counter, self._budget = counter, budget_tokens
        self._version = ""
        self._restricted: tuple[Runbook, ...] = ()
        self._made: dict[frozenset[str], str] = {}  # by the paths of restricted runbooks that may be seen

    def text(self, corpus: Corpus, scope: Scope) -> str:
        if not self._made or corpus.version != self._version:
            self._version, self._made = corpus.version, {}
            self._restricted = tuple(runbook for runbook in corpus.runbooks if runbook.namespaces)
        seen = frozenset(runbook.path for runbook in self._restricted if visible(runbook, scope))
        if seen not in self._made:
            self._made[seen] = self._make([r for r in corpus.runbooks if not r.namespaces or r.path in seen])
        return self._made[seen]

    def _make(self, runbooks: Sequence[Runbook]) -> str:
        pinned = self._pinned(runbooks, int(self._budget * PINNED_SHARE))
        headings = self._headings(runbooks, self._budget - self._counter.count(pinned))
        return f"Runbooks that exist:\n{headings}" + (f"\n\nAlways to be kept in mind:\n{pinned}" if pinned else "")

    def _headings(self, runbooks: Sequence[Runbook], left: int) -> str:
        """As many as fit; how many do not depends on the runbooks alone."""
        lines: list[str] = []
        for runbook in runbooks:
            line = f"- {_shown(runbook.title)} ({_shown(runbook.path)})"
            left -= self._counter.count(line) + 1
            if left < 0:
                return "\n".join([*lines, f"- and {len(runbooks) - len(lines)} more"])
            lines.append(line)
        return "\n".join(lines) or "- none"

    def _pinned(self, runbooks: Sequence[Runbook], left: int) -> str:
        """Whole sections while they fit; those that do not are found like any other."""
        texts: list[str] = []
        for runbook in runbooks:
            for section in runbook.sections if runbook.pinned else ():
                # Set in, so that no line of it can pass for a heading or for numbered evidence.
                body = "\n    ".join(_shown(line, None) for line in section.text.strip().splitlines())
                text = f"- {_shown(runbook.title)}, {_shown(section.heading)}:\n    {body}"
                cost = self._counter.count(text) + 1
                if body and cost <= left:
                    texts.append(text)
                    left -= cost
        return "\n".join(texts)


def _shown(text: str, chars: int | None = NAME_CHARS) -> str:
    return strip_control_tokens(one_line(text))[:chars]
