"""Runbooks held in memory: exact alert first, then words and meaning together. A new library for each new corpus.

Runbooks are ranked, not their sections: a runbook by its names, by all its words, by its nearest section and by its
meaning as a whole. Of each found so, its best section is shown; of one that an alert names, those that say what to do.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cag.meanings import Floats, Meanings, Near
from cag.scope import may_see_any
from cag.word_index import WordIndex, spaced, words
from schemas.context import Evidence, Plan, Scope
from schemas.runbooks import Corpus, Runbook, Section, section_id

# Shares of a runbook's score. Chosen over the alerts of two runbook collections so that neither, nor an alert's own
# name in the question, was worse off: `make bench NAME=runbooks` compares them with BM25, vectors and rank fusion.
TEXT, NAMES, CLOSEST, WHOLE = 1.0, 0.3, 1.5, 1.5
NAME_COUNTS: Final = 6.0  # times a word of title or alert counts among the words of a text
SECTION_CHARS: Final = 1_800
EMBEDDED_CHARS: Final = 1_500  # of a section: the model reads no further
URLS_REMEMBERED: Final = 1_000
_TOKEN: Final = re.compile(r"[A-Za-z0-9_]+")
# Sections that say what to do come before those that explain, when an alert names a whole runbook.
_HELPFUL: Final = re.compile(r"diagnos|mitigat|resol|remed|fix|action|recover|check", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    id: str
    row: int  # of its runbook
    runbook: Runbook
    section: Section
    words: tuple[str, ...]  # each once


@dataclass(slots=True)
class Library:
    """One corpus, ready to be searched. Meanings follow when the embedder is ready; words work at once.

    A runbook keeps its row as long as it is the same, through all libraries made one from the other.
    """

    corpus: Corpus
    meanings: Meanings = field(default_factory=Meanings)
    _texts: WordIndex = field(default_factory=lambda: WordIndex(k1=2.0, b=0.75))
    _names: WordIndex = field(default_factory=lambda: WordIndex(k1=1.2, b=0.5))
    _shelf: list[list[Entry]] = field(default_factory=list)  # by row; empty: free
    _rows: dict[str, int] = field(default_factory=dict)  # by path
    _by_id: dict[str, Entry] = field(default_factory=dict)
    _by_alert: Mapping[str, Sequence[str]] = field(default_factory=dict)  # evidence ids, runbooks about it first
    _alerts: frozenset[str] = frozenset()  # that whole runbooks are about
    _restricted: tuple[Runbook, ...] = ()
    _at_url: dict[str, Runbook | None] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: Corpus, before: "Library | None" = None) -> "Library":
        """`before`: the library of an earlier corpus. Runbooks that are the same objects there are not read again."""
        before = before or cls(Corpus(version="", runbooks=()))
        current = {runbook.path: runbook for runbook in corpus.runbooks}
        gone = {row: before._shelf[row] for path, row in before._rows.items()
                if before._shelf[row][0].runbook is not current.get(path)}  # fmt: skip
        made = cls(
            corpus,
            meanings=before.meanings.without(gone),
            _shelf=[[] if row in gone else entries for row, entries in enumerate(before._shelf)],
            _rows={path: row for path, row in before._rows.items() if row not in gone},
            _by_alert=corpus.by_alert(),
            _alerts=frozenset(alert for runbook in corpus.runbooks for alert in runbook.alerts),
            _restricted=tuple(runbook for runbook in corpus.runbooks if runbook.namespaces),
        )
        free = [row for row, entries in enumerate(made._shelf) if not entries]
        texts: dict[int, Mapping[str, float]] = {}
        names: dict[int, Mapping[str, float]] = {}
        for runbook in corpus.runbooks:
            said = [section for section in runbook.sections if section.text.strip()]
            if said and runbook.path not in made._rows:
                row = free.pop() if free else len(made._shelf)
                names[row] = dict.fromkeys(words(" ".join([runbook.title, *runbook.alerts])), 1.0)
                entries, texts[row] = _read(runbook, said, row, names[row])
                made._shelf[row : row + 1] = [entries]
                made._rows[runbook.path] = row
        left = {row: {word for entry in entries for word in entry.words} for row, entries in gone.items()}
        named = {row: words(" ".join([e[0].runbook.title, *e[0].runbook.alerts])) for row, e in gone.items()}
        made._texts = before._texts.replaced(
            {row: left[row].union(named[row]) for row in left}, texts, len(made._shelf)
        )
        made._names = before._names.replaced(named, names, len(made._shelf))
        made._by_id = {entry.id: entry for entries in made._shelf for entry in entries}
        return made

    @property
    def entries(self) -> list[Entry]:
        """All sections, in the order of paths and of the text."""
        return [entry for path in sorted(self._rows) for entry in self._shelf[self._rows[path]]]

    def without_vector(self, sections: int) -> list[list[Entry]]:
        """Runbooks that are found by words only so far, whole ones: at least one, until they have so many sections."""
        found: list[list[Entry]] = []
        for row, entries in enumerate(self._shelf):
            if entries and row not in self.meanings:
                found.append(entries)
                sections -= len(entries)
                if sections <= 0:
                    break
        return found

    def learn(self, entries: Sequence[Sequence[Entry]], vectors: Sequence[Sequence[float]]) -> None:
        """The vectors of the sections of some runbooks, as `without_vector` gave them, one after another."""
        left = iter(vectors)
        self.meanings = self.meanings.joined({each[0].row: [next(left) for _ in each] for each in entries})

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
        """Sections for a plan and for the evidence that was found: those of its alerts first, then one a runbook."""
        query = words(" ".join([plan.search_text, *(e.text for e in telling[:4])]))
        near = self.meanings.near(vector) if vector is not None and len(self.meanings.owners) else None
        scores = self._scores(query, near, scope)
        seen: dict[str, float] = {}
        for sections, weight in self._named(plan, telling, scope):
            # Several alerts fire in one incident: the one whose runbook is most like the evidence comes first.
            alike = max(float(scores[e.row]) for e in sections)
            helpful = [e for e in sections if _HELPFUL.search(e.section.heading)]
            for place, entry in enumerate(helpful[:2] or sections[:1]):
                seen[entry.id] = max(seen.get(entry.id, 0.0), weight + max(alike, 0.0) - 0.01 * place)
        asked, further = self._texts.rarities(query), list[Entry]()
        for row in self._best(scores, limit):
            first, *others = self._sections(row, asked, near)
            seen.setdefault(first.id, float(scores[row]))
            further += others
        best = sorted(seen, key=lambda identity: (-seen[identity], identity))[:limit]
        found = [_evidence(self._by_id[identity], seen[identity]) for identity in best]
        more = [entry for entry in further if entry.id not in seen][: limit - len(found)]
        return found + [_evidence(entry, 0.0) for entry in more]

    def get(self, identity: str, scope: Scope) -> Evidence | None:
        found = self._by_id.get(identity)
        return _evidence(found, 1.0) if found and visible(found.runbook, scope) else None

    # -- by words and meaning ------------------------------------------------------------------------------------------

    def _scores(self, query: Sequence[str], near: Near | None, scope: Scope) -> Floats:
        """Of each row, at most 1; minus infinity for what this scope may not see."""
        hidden = [self._rows[r.path] for r in self._restricted if r.path in self._rows and not visible(r, scope)]
        scores = np.zeros(len(self._shelf))
        for index, share in ((self._texts, TEXT), (self._names, NAMES)):
            by_words = index.scores(query)
            by_words[hidden] = 0
            scores += share * by_words / max(float(by_words.max(initial=0.0)), 1e-9)
        if near is not None:
            scores[near.meanings.owners] += CLOSEST * near.closest + WHOLE * near.whole
        scores[hidden] = -np.inf
        return np.round(scores / (TEXT + NAMES + CLOSEST + WHOLE), 9)

    def _best(self, scores: Floats, count: int) -> list[int]:
        """Rows by score, equal ones by id: their numbers depend on what was here before."""
        worst = np.partition(scores, -count)[-count] if count < len(scores) else -np.inf
        good = [(-scores[row], self._shelf[row][0].id, row) for row in np.flatnonzero((scores >= worst) & (scores > 0))]
        return [int(row) for _, _, row in sorted(good)[:count]]

    def _sections(self, row: int, asked: Mapping[str, float], near: Near | None) -> list[Entry]:
        """Of one runbook, the most fitting first."""
        entries = self._shelf[row]
        fits = [sum(asked[word] for word in entry.words if word in asked) for entry in entries]
        most = max(fits) or 1.0
        close = near.of(row).tolist() if near is not None and row in near.meanings else [0.0] * len(fits)
        order = sorted(range(len(entries)), key=lambda n: (-fits[n] / most - 2 * close[n], n))
        return [entries[n] for n in order]

    # -- by name -------------------------------------------------------------------------------------------------------

    def _named(self, plan: Plan, telling: Sequence[Evidence], scope: Scope) -> list[tuple[list[Entry], float]]:
        """Sections that an alert names, by the address of a runbook or by its own name; best evidence first."""
        asked = [*plan.alerts, *(token for token in _TOKEN.findall(plan.search_text) if token in self._alerts)]
        named = [(self._about(name, scope), 2.0) for name in dict.fromkeys(asked)]
        for place, piece in enumerate(e for e in telling if e.kind == "alert"):
            runbook = self._addressed(piece.url)
            reachable = runbook is not None and visible(runbook, scope) and runbook.path in self._rows
            sections = self._shelf[self._rows[runbook.path]] if runbook and reachable else []
            named.append((sections or self._about(piece.title, scope), 1.0 - 0.02 * place))
        return [(sections, weight) for sections, weight in named if sections]

    def _about(self, alert: str, scope: Scope) -> list[Entry]:
        """All sections of the first runbook about an alert, else the sections that mention it."""
        known = (self._by_id[i] for i in self._by_alert.get(alert, ()) if i in self._by_id)
        found = [entry for entry in known if visible(entry.runbook, scope)]
        about = next((e for e in found if alert in e.runbook.alerts), None)
        return self._shelf[about.row] if about else found

    def _addressed(self, url: str) -> Runbook | None:
        if not url:
            return None
        if url not in self._at_url:
            if len(self._at_url) >= URLS_REMEMBERED:
                self._at_url.clear()
            self._at_url[url] = self.corpus.at_url(url)
        return self._at_url[url]


def _read(
    runbook: Runbook, said: Sequence[Section], row: int, names: Mapping[str, float]
) -> tuple[list[Entry], Mapping[str, float]]:
    """Its sections, and how much each word counts in all of them; the title stands in each and is left to the names."""
    entries, counts = [], Counter[str]()
    for section in said:
        found = Counter(words(section.plain.removeprefix(runbook.title)))
        counts.update(found)
        identity = section_id(runbook.path, section.anchor)
        entries.append(Entry(id=identity, row=row, runbook=runbook, section=section, words=tuple(found)))
    return entries, {word: counts[word] + NAME_COUNTS * names.get(word, 0.0) for word in {**counts, **names}}


def to_embed(entry: Entry) -> str:
    """What a section's vector is made of: names in words, as the model knows them."""
    return spaced(entry.section.plain[:EMBEDDED_CHARS])


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
