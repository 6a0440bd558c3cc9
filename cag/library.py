"""Runbook sections held in memory: exact alert first, then words and meaning fused. Rebuilt on each new corpus."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from schemas.context import Evidence, Plan, Scope
from schemas.runbooks import Corpus, Runbook, Section

# Okapi BM25 with the usual constants: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009.
K1, B = 1.2, 0.75
RANK_CONSTANT: Final = 60  # of reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009
SECTION_CHARS: Final = 1_800
_WORD: Final = re.compile(r"[a-z0-9]+")
_HUMPS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./]")
# Sections that say what to do come before those that explain, when an alert names a whole runbook.
_HELPFUL: Final = re.compile(r"diagnos|mitigat|resol|remed|fix|action|recover|check", re.IGNORECASE)
_STOP: Final = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "by", "do", "does", "for", "from", "has", "have", "how", "i", "in",
    "is", "it", "my", "of", "on", "or", "our", "right", "now", "so", "that", "the", "this", "to", "was", "we",
    "what", "when", "where", "which", "why", "with",
})  # fmt: skip


@lru_cache(maxsize=20_000)
def words(text: str) -> tuple[str, ...]:
    """Lower-case words without stop words; `KubePodCrashLooping` gives `kube pod crash looping`."""
    return tuple(_stem(word) for word in _WORD.findall(_HUMPS.sub(" ", text).lower()) if word not in _STOP)


def _stem(word: str) -> str:
    """Enough of a stem to let plurals and -ing forms meet."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    id: str
    runbook: Runbook
    section: Section
    counts: Mapping[str, int]
    length: int


@dataclass(slots=True)
class Library:
    """One corpus, ready to be searched. `vectors` follow when the embedder is ready; words work at once."""

    corpus: Corpus
    entries: list[Entry] = field(default_factory=list)
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    _frequency: Counter[str] = field(default_factory=Counter)
    _mean_length: float = 1.0

    @classmethod
    def of(cls, corpus: Corpus) -> "Library":
        entries = []
        for identity, runbook, section in corpus.sections():
            if section.text.strip():
                counts = Counter(words(section.plain))
                entries.append(
                    Entry(id=identity, runbook=runbook, section=section, counts=counts, length=sum(counts.values()))
                )
        made = cls(corpus, entries)
        for entry in entries:
            made._frequency.update(entry.counts.keys())
        made._mean_length = sum(e.length for e in entries) / max(len(entries), 1) or 1.0
        return made

    def headings(self) -> list[str]:
        """All titles in a fixed order: part of the stable prefix of every prompt."""
        return [f"{r.title} ({r.path})" for r in self.corpus.runbooks if not r.namespaces]

    def find(
        self,
        plan: Plan,
        telling: Sequence[Evidence],
        scope: Scope,
        vector: Sequence[float] | None,
        limit: int,
    ) -> list[Evidence]:
        """Sections for a plan and for the evidence that was found: those of its alerts first."""
        query = " ".join([plan.search_text, *(e.text for e in telling[:4])])
        seen = {entry.id: score for entry, score in self._similar(query, vector)}
        for runbook, weight in self._named(plan, telling):
            # Several alerts fire in one incident: the one whose runbook is most like the evidence comes first.
            mine = [e for e in self.entries if e.runbook is runbook]
            alike = max((seen.get(e.id, 0.0) for e in mine), default=0.0)
            helpful = [e for e in mine if _HELPFUL.search(e.section.heading)]
            for place, entry in enumerate(helpful[:2] or mine[:1]):
                seen[entry.id] = max(seen.get(entry.id, 0.0), weight + alike - 0.01 * place)
        allowed = [e for e in self.entries if e.id in seen and visible(e.runbook, scope)]
        ordered = sorted(allowed, key=lambda e: (-seen[e.id], e.id))
        return [_evidence(entry, seen[entry.id]) for entry in ordered[:limit]]

    def get(self, identity: str, scope: Scope) -> Evidence | None:
        found = next((e for e in self.entries if e.id == identity), None)
        return _evidence(found, 1.0) if found and visible(found.runbook, scope) else None

    def _named(self, plan: Plan, telling: Sequence[Evidence]) -> list[tuple[Runbook, float]]:
        """Runbooks that an alert names, by its address or by its name; best evidence first."""
        found: list[tuple[Runbook, float]] = []
        by_alert = {name: r for r in reversed(self.corpus.runbooks) for name in r.alerts}
        for place, piece in enumerate(e for e in telling if e.kind == "alert"):
            runbook = (self.corpus.at_url(piece.url) if piece.url else None) or by_alert.get(piece.title)
            if runbook is not None:
                found.append((runbook, 1.0 - 0.02 * place))
        return [(by_alert[name], 2.0) for name in plan.alerts if name in by_alert] + found

    def _similar(self, query: str, vector: Sequence[float] | None) -> list[tuple[Entry, float]]:
        """Reciprocal rank fusion of BM25 and cosine, scaled so that first in both is 0.8."""
        by_words = sorted(self.entries, key=lambda e: -self._bm25(words(query), e))[:50]
        rankings = [[e for e in by_words if self._bm25(words(query), e) > 0]]
        if vector is not None and self.vectors:
            close: Callable[[Entry], float] = lambda e: -_dot(self.vectors.get(e.id, ()), vector)  # noqa: E731
            rankings.append(sorted(self.entries, key=close)[:50])
        fused: dict[str, float] = {}
        for ranking in rankings:
            for rank, entry in enumerate(ranking):
                fused[entry.id] = fused.get(entry.id, 0.0) + 0.4 * (RANK_CONSTANT + 1) / (RANK_CONSTANT + 1 + rank)
        best = sorted(fused.items(), key=lambda item: (-item[1], item[0]))[:20]
        by_id = {entry.id: entry for entry in self.entries}
        return [(by_id[identity], score) for identity, score in best]

    def _bm25(self, query: Sequence[str], entry: Entry) -> float:
        total = 0.0
        norm = K1 * (1 - B + B * entry.length / self._mean_length)
        for word in set(query):
            count = entry.counts.get(word, 0)
            if count:
                rarity = math.log(1 + (len(self.entries) - self._frequency[word] + 0.5) / (self._frequency[word] + 0.5))
                total += rarity * count * (K1 + 1) / (count + norm)
        return total


def visible(runbook: Runbook, scope: Scope) -> bool:
    """Runbooks are for all, unless their front matter restricts them to namespaces."""
    return not runbook.namespaces or not scope.namespaces or bool(set(runbook.namespaces) & set(scope.namespaces))


def _dot(one: Sequence[float], two: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=False))


def _evidence(entry: Entry, score: float) -> Evidence:
    return Evidence(
        id=entry.id,
        kind="runbook",
        text=entry.section.text.strip()[:SECTION_CHARS],
        title=f"{entry.runbook.title}: {entry.section.heading}"
        if entry.section.heading != entry.runbook.title
        else entry.runbook.title,
        entity=f"runbook/{entry.runbook.path}",
        url=entry.runbook.source_url,
        score=round(score, 4),
    )
