"""Runbook sections held in memory: exact alert first, then words and meaning fused. A new one for each new corpus."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cag.meanings import Meanings, best
from cag.scope import may_see_any
from schemas.context import Evidence, Plan, Scope
from schemas.runbooks import Corpus, Runbook, Section, section_id

# Okapi BM25 with the usual constants: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009.
K1, B = 1.2, 0.75
RANKED: Final = 50  # sections by words, and as many by meaning, that are fused
RANK_CONSTANT: Final = 60  # of reciprocal rank fusion: Cormack, Clarke and Buettcher, SIGIR 2009
SECTION_CHARS: Final = 1_800
URLS_REMEMBERED: Final = 1_000
_WORD: Final = re.compile(r"[a-z0-9]+")
_HUMPS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./]")
# Sections that say what to do come before those that explain, when an alert names a whole runbook.
_HELPFUL: Final = re.compile(r"diagnos|mitigat|resol|remed|fix|action|recover|check", re.IGNORECASE)
_STOP: Final = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "by", "do", "does", "for", "from", "has", "have", "how", "i", "in",
    "is", "it", "my", "of", "on", "or", "our", "right", "now", "so", "that", "the", "this", "to", "was", "we",
    "what", "when", "where", "which", "why", "with",
})  # fmt: skip


def words(text: str) -> tuple[str, ...]:
    """Lower-case words without stop words; `KubePodCrashLooping` gives `kube pod crash looping`."""
    return tuple(_stem(word) for word in _WORD.findall(_HUMPS.sub(" ", text).lower()) if word not in _STOP)


@lru_cache(maxsize=50_000)
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
    length: int  # in words


Rows = NDArray[np.intp]
Weights = NDArray[np.float64]
Postings = dict[str, list[tuple[Entry, int]]]  # word -> how often in which entry


@dataclass(slots=True)
class Library:
    """One corpus, ready to be searched. `meanings` follow when the embedder is ready; words work at once."""

    corpus: Corpus
    entries: list[Entry] = field(default_factory=list)
    meanings: Meanings = field(default_factory=Meanings)
    _by_id: dict[str, Entry] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)  # id -> place among the entries
    _weights: dict[str, tuple[Rows, Weights]] = field(default_factory=dict)  # of words that were asked for
    _postings: Postings = field(default_factory=dict)
    _sections: dict[str, list[Entry]] = field(default_factory=dict)  # by path
    _by_alert: Mapping[str, Sequence[str]] = field(default_factory=dict)  # evidence ids, runbooks about it first
    _at_url: dict[str, Runbook | None] = field(default_factory=dict)
    _mean_length: float = 1.0

    @classmethod
    def of(cls, corpus: Corpus, before: "Library | None" = None) -> "Library":
        """`before`: the library of an earlier corpus. Runbooks that are the same objects there are not read again."""
        before = before or cls(Corpus(version="", runbooks=()))
        known = {runbook.path: runbook for runbook in before.corpus.runbooks}
        made = cls(corpus, _by_alert=corpus.by_alert(), _postings=dict(before._postings))
        added: Postings = {}
        for runbook in corpus.runbooks:
            old = known.get(runbook.path)
            if old is runbook:
                del known[runbook.path]
                sections = before._sections.get(runbook.path, [])
            else:
                sections = _read(runbook, added)
            made._sections[runbook.path] = sections
            made.entries += sections
        gone = {entry.id: entry for path in known for entry in before._sections.get(path, [])}
        made._index(gone, added)
        made._by_id = {entry.id: entry for entry in made.entries}
        made._rows = {entry.id: row for row, entry in enumerate(made.entries)}
        made.meanings = before.meanings.without(gone)
        made._mean_length = sum(e.length for e in made.entries) / max(len(made.entries), 1) or 1.0
        return made

    def _index(self, gone: Mapping[str, Entry], added: Postings) -> None:
        """Lists are replaced, never changed: the library before this one is still being searched."""
        left = {word for entry in gone.values() for word in words(entry.section.plain)}
        for word in left | added.keys():
            kept = [pair for pair in self._postings.get(word, ()) if pair[0].id not in gone]
            if holding := kept + added.get(word, []):
                self._postings[word] = holding
            else:
                del self._postings[word]

    def without_vector(self, limit: int) -> list[Entry]:
        """Entries that are found by words only so far."""
        return list(islice((entry for entry in self.entries if entry.id not in self.meanings), limit))

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
        hidden = self._hidden(scope)
        query = " ".join([plan.search_text, *(e.text for e in telling[:4])])
        seen = self._similar(query, vector, hidden)
        for sections, weight in self._named(plan, telling, scope):
            # Several alerts fire in one incident: the one whose runbook is most like the evidence comes first.
            alike = max(seen.get(e.id, 0.0) for e in sections)
            helpful = [e for e in sections if _HELPFUL.search(e.section.heading)]
            for place, entry in enumerate(helpful[:2] or sections[:1]):
                seen[entry.id] = max(seen.get(entry.id, 0.0), weight + alike - 0.01 * place)
        best = sorted(seen, key=lambda identity: (-seen[identity], identity))[:limit]
        return [_evidence(self._by_id[identity], seen[identity]) for identity in best]

    def get(self, identity: str, scope: Scope) -> Evidence | None:
        found = self._by_id.get(identity)
        return _evidence(found, 1.0) if found and visible(found.runbook, scope) else None

    def _hidden(self, scope: Scope) -> set[str]:
        """Ids of the sections that this scope may not see: few, most runbooks are for all."""
        closed = (runbook for runbook in self.corpus.runbooks if not visible(runbook, scope))
        return {entry.id for runbook in closed for entry in self._sections[runbook.path]}

    def _named(self, plan: Plan, telling: Sequence[Evidence], scope: Scope) -> list[tuple[list[Entry], float]]:
        """Sections that an alert names, by the address of a runbook or by its own name; best evidence first."""
        named = [(self._about(name, scope), 2.0) for name in plan.alerts]
        for place, piece in enumerate(e for e in telling if e.kind == "alert"):
            runbook = self._addressed(piece.url)
            reachable = runbook is not None and visible(runbook, scope)
            sections = self._sections.get(runbook.path, []) if runbook and reachable else []
            named.append((sections or self._about(piece.title, scope), 1.0 - 0.02 * place))
        return [(sections, weight) for sections, weight in named if sections]

    def _about(self, alert: str, scope: Scope) -> list[Entry]:
        """All sections of the first runbook about an alert, else the sections that mention it."""
        ids = set(self._by_alert.get(alert, ()))
        found = [e for e in self.entries if e.id in ids and visible(e.runbook, scope)] if ids else []
        about = next((e.runbook for e in found if alert in e.runbook.alerts), None)
        return self._sections[about.path] if about else found

    def _addressed(self, url: str) -> Runbook | None:
        if not url:
            return None
        if url not in self._at_url:
            if len(self._at_url) >= URLS_REMEMBERED:
                self._at_url.clear()
            self._at_url[url] = self.corpus.at_url(url)
        return self._at_url[url]

    def _similar(self, query: str, vector: Sequence[float] | None, hidden: Collection[str]) -> dict[str, float]:
        """Reciprocal rank fusion of BM25 and cosine, scaled so that first in both is 0.8."""
        rankings = [best(self._bm25(words(query)), self._rows, hidden, RANKED)]
        if vector is not None:
            rankings.append(self.meanings.closest(vector, hidden, RANKED))
        fused: dict[str, float] = {}
        for ranking in rankings:
            for rank, identity in enumerate(ranking):
                fused[identity] = fused.get(identity, 0.0) + 0.4 * (RANK_CONSTANT + 1) / (RANK_CONSTANT + 1 + rank)
        return dict(sorted(fused.items(), key=lambda item: (-item[1], item[0]))[:20])

    def _bm25(self, query: Sequence[str]) -> Weights:
        """Of each entry; minus infinity for those without any of these words."""
        scores: Weights = np.zeros(len(self.entries))
        for word in dict.fromkeys(query):
            rows, weights = self._weighed(word)
            scores[rows] += weights
        scores[scores == 0] = -np.inf
        return scores

    def _weighed(self, word: str) -> tuple[Rows, Weights]:
        """Which entries hold a word, and how much it counts in each; kept, since common words are in thousands."""
        if word not in self._weights:
            holding = self._postings.get(word, ())
            rarity = math.log(1 + (len(self.entries) - len(holding) + 0.5) / (len(holding) + 0.5))
            counts = np.array([count for _, count in holding], dtype=np.float64)
            lengths = np.array([entry.length for entry, _ in holding], dtype=np.float64)
            norm = K1 * (1 - B + B * lengths / self._mean_length)
            rows = np.array([self._rows[entry.id] for entry, _ in holding], dtype=np.intp)
            self._weights[word] = rows, rarity * counts * (K1 + 1) / (counts + norm)
        return self._weights[word]


def _read(runbook: Runbook, postings: Postings) -> list[Entry]:
    """Each section that says anything; its words go into `postings`."""
    entries = []
    for section in runbook.sections:
        if section.text.strip():
            counts = Counter(words(section.plain))
            identity = section_id(runbook.path, section.anchor)
            entry = Entry(id=identity, runbook=runbook, section=section, length=counts.total())
            entries.append(entry)
            for word, count in counts.items():
                postings.setdefault(word, []).append((entry, count))
    return entries


def visible(runbook: Runbook, scope: Scope) -> bool:
    """Runbooks are for all, unless their front matter restricts them to namespaces."""
    return not runbook.namespaces or may_see_any(scope, runbook.namespaces)


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
