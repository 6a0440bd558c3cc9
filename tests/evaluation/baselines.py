"""What plain search finds: BM25 alone and vectors alone, over the documents that the answer was made from.

Both get the question as it was typed, the asker's scope and the time range that the plan understood; nothing else of
the plan. Documents without a vector (events, alerts, series) are in the second list by BM25, every other place.
A baseline never abstains: it has no notion of nothing being wrong.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from opensearchpy import OpenSearch as Client

from cag.runbooks import compile_runbook
from cag.scope import in_scope
from processors.embed import Embedder
from schemas.context import Evidence, Plan, Scope, Span
from schemas.documents import DAY_MS, MINUTE_MS
from schemas.runbooks import section_id

DEPTH: Final = 50
PATTERNS: Final = 20_000  # active ones that are looked among
K1, B = 1.2, 0.75  # Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009
HOUR_MS: Final = 60 * MINUTE_MS
NAMES: Final = ("bm25", "vectors")
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")  # `KubePodCrashLooping` holds four
Json = dict[str, Any]


def words(text: str) -> list[str]:
    """As an English analyser would cut and stem them, plainly."""
    return [re.sub(r"(?<=\w{3})(?:ing|ed|es|s)$", "", word.lower()) for word in _WORD.findall(text)]


class Sections:
    """All sections of a set's runbooks, by words and by meaning."""

    def __init__(self, folder: Path | None, embedder: Embedder) -> None:
        self._embedder = embedder
        pages = sorted(folder.rglob("*.md")) if folder else []
        books = [compile_runbook(str(page.relative_to(folder or page)), page.read_text()) for page in pages]
        kept = [(book, section) for book in books for section in book.sections if section.text.strip()]
        self._pieces = [
            Evidence(
                id=section_id(book.path, section.anchor),
                kind="runbook",
                text=section.text,
                title=f"{book.title}: {section.heading}",
                entity=f"runbook/{book.path}",
            )
            for book, section in kept
        ]
        self._counts = [Counter(words(section.plain)) for _, section in kept]
        self._lengths = np.array([counts.total() for counts in self._counts] or [1], dtype=float)
        self._vectors = np.array(embedder.embed([section.plain for _, section in kept])) if kept else np.zeros((0, 1))

    def by_words(self, question: str) -> list[Evidence]:
        scores = np.zeros(len(self._pieces))
        norm = K1 * (1 - B + B * self._lengths / self._lengths.mean())
        for word in set(words(question)):
            found = np.array([counts[word] for counts in self._counts], dtype=float)
            holding = np.count_nonzero(found)
            rarity = math.log(1 + (len(found) - holding + 0.5) / (holding + 0.5))
            scores += rarity * found * (K1 + 1) / (found + norm) if holding else 0
        return self._best(scores)

    def by_meaning(self, vector: Sequence[float]) -> list[Evidence]:
        return self._best(self._vectors @ np.array(vector)) if self._pieces else []

    def _best(self, scores: Any) -> list[Evidence]:
        order = np.argsort(-scores, kind="stable")[:DEPTH]
        return [self._pieces[row] for row in order if scores[row] > 0]


class Baselines:
    """The indices of one installation, searched from outside."""

    def __init__(self, client: Client, prefix: str, sections: Sections, embedder: Embedder) -> None:
        self._client, self._prefix, self._sections, self._embedder = client, prefix, sections, embedder

    def ask(self, question: str, plan: Plan, scope: Scope) -> dict[str, tuple[list[Evidence], float]]:
        """By the name of the baseline: what it found, runbook sections last, and in how many milliseconds."""
        start = time.perf_counter()
        worded = [(score, piece) for hits in self._worded(question, plan, scope) for score, piece in hits]
        flat = [piece for _, piece in sorted(worded, key=lambda each: (-each[0], each[1].id))]
        found = {"bm25": [*flat[:DEPTH], *self._sections.by_words(question)]}
        halfway = time.perf_counter()
        vector = self._embedder.embed([question])[0]
        others = [piece for piece in flat if piece.kind != "log"]
        pairs = zip_longest(self._near(vector, plan, scope), others)
        mixed = [piece for piece in chain.from_iterable(pairs) if piece is not None]
        found["vectors"] = [*mixed[:DEPTH], *self._sections.by_meaning(vector)]
        end = time.perf_counter()
        spent = {"bm25": halfway - start, "vectors": end - halfway}
        return {name: (found[name], spent[name] * 1000) for name in NAMES}

    def _worded(self, question: str, plan: Plan, scope: Scope) -> Iterable[list[tuple[float, Evidence]]]:
        """BM25 in each index; all keep their text in the field of one name."""
        start, end = _millis(plan.span)
        said: Json = {"match": {"search_text": question}}
        active = self._active(plan, scope)
        hits = self._search("patterns", said, [{"terms": {"pattern_id": active}}])
        scores = {hit["_source"]["pattern_id"]: hit["_score"] for hit in hits}
        yield [(scores[piece.id], piece) for piece in self._lines(list(scores), plan)]
        seen = [{"range": {"first_ms": {"lte": end}}}, {"range": {"last_ms": {"gte": start}}}, *in_scope(scope)]
        yield [(hit["_score"], _event(hit)) for hit in self._search("events", said, seen)]
        fired = [{"range": {"first_ms": {"lte": end}}}, {"range": {"last_ms": {"gte": start - DAY_MS}}}]
        alerts = self._search("alerts", said, [*fired, *in_scope(scope)])
        yield [(hit["_score"], _alert(hit)) for hit in alerts]
        hours = {"range": {"hour_ms": {"gte": start - HOUR_MS, "lte": end}}}
        yield _series(self._search("series", said, [hours, *in_scope(scope)], size=4 * DEPTH), plan.span)

    def _near(self, vector: Sequence[float], plan: Plan, scope: Scope) -> list[Evidence]:
        active = {"terms": {"pattern_id": self._active(plan, scope)}}
        query: Json = {"knn": {"vector": {"vector": list(vector), "k": 2 * DEPTH, "filter": active}}}
        hits = self._search("patterns", query, [], size=2 * DEPTH)
        return self._lines(list(dict.fromkeys(hit["_source"]["pattern_id"] for hit in hits)), plan)

    def _active(self, plan: Plan, scope: Scope) -> list[str]:
        """Every pattern that was said in the range and may be seen."""
        query = {"bool": {"filter": [_minutes(plan.span), *in_scope(scope)]}}
        aggs = {"patterns": {"terms": {"field": "pattern_id", "size": PATTERNS}}}
        answer = self._ask("occurrences", {"size": 0, "query": query, "aggs": aggs})
        return [bucket["key"] for bucket in answer.get("aggregations", {}).get("patterns", {}).get("buckets", [])]

    def _lines(self, patterns: Sequence[str], plan: Plan) -> list[Evidence]:
        """The last line of each of these patterns in the range, in the order that was given."""
        if not patterns:
            return []
        query = {"bool": {"filter": [_minutes(plan.span), {"terms": {"pattern_id": list(patterns)}}]}}
        latest: Json = {"size": len(patterns), "collapse": {"field": "pattern_id"}, "sort": [{"last_ms": "desc"}]}
        answer = self._ask("occurrences", {"query": query, **latest})
        _, end = _millis(plan.span)
        made = {}
        for hit in answer["hits"]["hits"]:
            said = [each["text"] for each in hit["_source"].get("exemplars") or [] if each["t"] <= end]
            made[hit["_source"]["pattern_id"]] = _piece(
                "log", hit, said[-1] if said else "", hit["_source"]["pattern_id"]
            )
        return [made[pattern] for pattern in patterns if pattern in made]

    def _ask(self, kind: str, body: Json) -> Json:
        """A kind that nothing was ever written of has no index."""
        index = f"{self._prefix}-{kind}"
        answer: Json = self._client.search(index=index, body=body, params={"ignore_unavailable": "true"})
        return answer

    def _search(self, kind: str, said: Json, filters: Sequence[Json], *, size: int = DEPTH) -> list[Json]:
        query = {"bool": {"must": said, "filter": list(filters)}}
        body = {"size": size, "query": query, "_source": {"excludes": ["vector"]}}
        answer = self._ask(kind, body)
        return list(answer["hits"]["hits"])


def _piece(kind: Literal["log", "event", "alert", "metric"], hit: Json, text: str, identity: str) -> Evidence:
    place = {key: hit["_source"].get(key) or "" for key in ("cluster", "namespace", "workload", "entity")}
    return Evidence(id=identity, kind=kind, text=text, **place)


def _event(hit: Json) -> Evidence:
    told = hit["_source"]
    text = f"{told['reason']} {told['object_kind']}/{told['object_name']}: {told['message']}"
    return _piece("event", hit, text, hit["_id"])


def _alert(hit: Json) -> Evidence:
    notes = " ".join(str(note) for note in hit["_source"]["annotations"].values())
    return _piece("alert", hit, f"Alert {hit['_source']['name']}: {notes}", hit["_id"])


def _series(hits: Sequence[Json], span: Span) -> list[tuple[float, Evidence]]:
    """One piece for each series, of the hours that were found."""
    _, end = _millis(span)
    hours: dict[str, list[Json]] = {}
    for hit in hits:
        hours.setdefault(hit["_source"]["series_id"], []).append(hit)
    made = []
    for identity, group in hours.items():
        values = [p["v"] for hit in group for minute, p in hit["_source"]["points"].items() if int(minute) <= end]
        if values:
            shown = group[0]["_source"]
            text = f"{shown['name']} of {shown['entity']}: range {min(values):.4g} to {max(values):.4g}"
            made.append((max(hit["_score"] for hit in group), _piece("metric", group[0], text, identity)))
    return made


def _millis(span: Span) -> tuple[int, int]:
    return int(span.start.timestamp() * 1000), int(span.end.timestamp() * 1000)


def _minutes(span: Span) -> Json:
    start, end = _millis(span)
    return {"range": {"minute_ms": {"gte": start - start % MINUTE_MS, "lte": end}}}
