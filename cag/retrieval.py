"""Retrieval in three rounds of parallel searches: what is active, what it is, what the numbers say. Then ranking.

What a search costs is what counts: they share two cores with the index that is being written. So none reads documents
that are not shown, none counts hits, and each looks at the days in question only.
"""

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from cag import changes, queries
from cag.evidence import (
    SHOWN_COORDINATES,
    Candidate,
    alert_candidate,
    event_candidate,
    log_candidates,
    told,
)
from cag.incidents import incident_candidates
from cag.lookup import Lookup
from cag.question.plan import Catalog
from cag.rank import Focus, focus_of, fused, select
from cag.reads import IndexReader, Partial
from cag.scope import visible_incident
from cag.series import metric_candidate, within
from schemas.answer_settings import Ranking
from schemas.context import Evidence, Plan, Scope, Span
from schemas.documents import DAY_MS, MINUTE_MS, Names
from schemas.evidence_id import EvidenceId

Json = Mapping[str, Any]
DETAILED: Final = 250  # patterns looked at closely
SERIES: Final = 300
EVENTS, CHANGES, ALERTS, INCIDENTS = 60, 20, 100, 100


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds per stage, in order."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    @contextmanager
    def beside(self, stage: str) -> Iterator[None]:
        """What takes its time beside other stages: it is in their times too."""
        began = time.perf_counter()
        yield
        self.timings_ms[stage] = round((time.perf_counter() - began) * 1000, 2)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings_ms[stage] = round((now - self._last) * 1000, 2)
        self._last = now


class Retrieval:
    def __init__(self, reader: IndexReader, names: Names, ranking: Ranking = Ranking()) -> None:  # noqa: B008 - frozen
        self._reader, self._names, self._ranking = reader, names, ranking
        self._lookup = Lookup(reader, names)

    def noting(self, partial: Partial) -> "Retrieval":
        """The same, for one question: what was not whole is noted there."""
        return Retrieval(self._reader.noting(partial), self._names, self._ranking)

    async def catalog(self, scope: Scope, start_ms: int) -> Catalog:
        """Every name since the day of that moment: whole days, so that OpenSearch remembers those that are over."""
        start_ms -= start_ms % DAY_MS
        index = ",".join(self._names.alias(kind) for kind in ("occurrences", "events", "series", "alerts"))
        answer = await self._reader.search(index, queries.catalog(scope, start_ms))
        groups = answer.get("aggregations", {})
        groups |= {kind: groups.get(kind, {}).get("name", {"buckets": []}) for kind in ("alerts", "metrics")}
        found = {
            name: frozenset(bucket["key"] for bucket in group["buckets"] if bucket["key"])
            for name, group in groups.items()
        }
        return Catalog(
            clusters=found.get("cluster", frozenset()),
            namespaces=found.get("namespace", frozenset()),
            workloads=found.get("workload", frozenset()),
            nodes=found.get("node", frozenset()),
            alerts=found.get("alerts", frozenset()),
            metrics=found.get("metrics", frozenset()),
        )

    async def anchored(self, plan: Plan, scope: Scope, live: Names | None) -> Plan:
        """The plan with its range around what its anchor names; as it is where it has none, or none was found."""
        if plan.anchor != "change":
            return plan
        found = await self._reader.search(self._names.alias("events"), queries.changes(plan, scope, size=EVENTS))
        day = Span(start=plan.span.end - changes.LOOKED_BACK, end=plan.span.end)
        change = changes.latest(_events(found, day))
        return changes.around(plan, change) if change else plan

    async def evidence(
        self,
        plan: Plan,
        scope: Scope,
        live: Names | None,
        nearest: Awaitable[Sequence[float] | None],
        catalog: Catalog,
        limit: int,
        watch: Stopwatch,
        *,
        asked_at: datetime | None = None,
    ) -> list[Evidence]:
        """The ranked evidence for a plan, runbooks excepted. Raises SinkUnavailable.

        `live`: whose indices to search; without it all that is behind the aliases. `nearest`: the question's vector,
        when it is there; None: patterns are matched by words alone. `asked_at`: incidents are told as they were known
        then, the end of the range when unset.
        """
        start, end = queries.millis(plan.span)
        where = _Places(self._names, live, start, end)
        patterns, places, candidates = await self._active(plan, scope, where, nearest, asked_at or plan.span.end)
        watch.lap("active")
        candidates += await self._logs(plan, scope, where, patterns, places)
        focus = focus_of(plan, candidates, catalog.workloads)
        watch.lap("details")
        candidates += await self._metrics(plan, scope, where, focus)
        watch.lap("metrics")
        chosen = select(candidates, plan, focus, self._ranking, limit)
        watch.lap("rank")
        began = await self._beginnings(plan, scope, where, chosen)
        watch.lap("beginnings")
        return await asyncio.gather(*(self._told(candidate, began, scope) for candidate in chosen))

    async def _told(self, candidate: Candidate, began: Mapping[str, Sequence[Json]], scope: Scope) -> Evidence:
        evidence = told(candidate, began)
        if not candidate.rests_on:
            return evidence
        return evidence.model_copy(update={"coordinates": await self._lookup.coordinates(candidate.rests_on, scope)})

    async def _active(
        self,
        plan: Plan,
        scope: Scope,
        where: "_Places",
        nearest: Awaitable[Sequence[float] | None],
        asked_at: datetime,
    ) -> tuple[list[str], dict[str, tuple[int, int]], list[Candidate]]:
        """Round one: patterns by words, by meaning and by activity; events; changes; alerts; incidents."""
        occurrences = where.of("occurrences")
        quiet = EVENTS if plan.intent == "change" else CHANGES
        asked = queries.who_is(workloads=plan.workloads, pods=plan.pods, nodes=plan.nodes)
        if plan.identifiers:
            asked.append({"terms": {"identifiers": list(plan.identifiers)}})
        searches = [
            (where.of("patterns"), queries.by_words(plan, scope)),
            (self._names.alias("events"), queries.events(plan, scope, warning=True, size=EVENTS)),
            (self._names.alias("events"), queries.events(plan, scope, warning=False, size=quiet)),
            (self._names.alias("alerts"), queries.alerts(plan, scope, size=ALERTS)),
            (self._names.alias("insights"), queries.incidents(plan, scope, size=INCIDENTS)),
        ]
        if asked:
            searches.append((occurrences, queries.active_patterns(plan, scope, entities=asked)))
        near, most, (worded, warnings, others, firing, incidents, *own) = await asyncio.gather(
            self._near(plan, scope, where, nearest),
            self._worst(plan, scope, occurrences),
            self._reader.together(searches),
        )
        places = fused(_ids(worded), near, self._ranking, queries.SIMILAR)
        mine = _patterns(own[0]) if own else []
        wanted = dict.fromkeys([*mine[:100], *most[:100], *places, *most, *mine])
        made = changes.grouped([*_events(warnings, plan.span), *_events(others, plan.span)])
        made += [
            candidate
            for hit in _hits(firing)
            if (candidate := alert_candidate(hit["_source"], plan.span, _day(hit), hit["_id"]))
        ]
        seen = [hit for hit in _hits(incidents) if visible_incident(scope, hit["_source"])]
        made += incident_candidates(seen, plan, asked_at)
        return list(wanted)[:DETAILED], places, made

    async def _worst(self, plan: Plan, scope: Scope, occurrences: str) -> list[str]:
        """The active patterns, worst first. The many that are no complaint count only when complaints are few."""
        found = _patterns(await self._reader.search(occurrences, queries.active_patterns(plan, scope, severe=True)))
        if len(found) < queries.ACTIVE_PATTERNS:
            rest = await self._reader.search(occurrences, queries.active_patterns(plan, scope, severe=False))
            found += _patterns(rest)
        return found[: queries.ACTIVE_PATTERNS]

    async def _near(
        self, plan: Plan, scope: Scope, where: "_Places", nearest: Awaitable[Sequence[float] | None]
    ) -> list[str]:
        """Patterns by meaning; the other searches of the round run while the question is being embedded."""
        vector = await nearest
        if vector is None:
            return []
        found = await self._reader.search(where.of("patterns"), queries.by_meaning(plan, scope, vector))
        return _ids(found)

    async def _logs(
        self, plan: Plan, scope: Scope, where: "_Places", patterns: Sequence[str], places: Mapping[str, tuple[int, int]]
    ) -> list[Candidate]:
        """Round two: how often the patterns were said in the range and before it, and what was said last."""
        if not patterns:
            return []
        occurrences = where.of("occurrences")
        then = where.of("occurrences", before_ms=queries.HISTORY_MS)
        if plan.compared:
            then = where.during(plan.compared).of("occurrences")
        details, newest, past = await self._reader.together(
            [
                (occurrences, queries.details(plan, scope, patterns)),
                (occurrences, queries.newest(plan, scope, patterns)),
                (then, queries.history(plan, scope, patterns)),
            ]
        )
        before = {b["key"]: b["seen"]["value"] for b in _buckets(past)}
        heard = past.get("aggregations", {}).get("heard", {}).get("value", 0)
        return log_candidates(details, newest, before, places, plan.span, plan.compared, heard_ms=heard * MINUTE_MS)

    async def _beginnings(
        self, plan: Plan, scope: Scope, where: "_Places", chosen: Sequence[Candidate]
    ) -> dict[str, list[Any]]:
        """By pattern, exemplars of its first minute: for those few whose last minute is another and has too few."""
        short = [c.evidence for c in chosen if len(c.evidence.coordinates) < SHOWN_COORDINATES]
        told_ids = (EvidenceId.parse(evidence.id).parts for evidence in short if evidence.kind == "log")
        patterns = [pattern for pattern, first, last in told_ids if first != last]
        if not patterns:
            return {}
        found = await self._reader.search(where.of("occurrences"), queries.oldest(plan, scope, patterns))
        return {hit["_source"]["pattern_id"]: hit["_source"].get("exemplars", []) for hit in _hits(found)}

    async def _metrics(self, plan: Plan, scope: Scope, where: "_Places", focus: Focus) -> list[Candidate]:
        """Round three: the series of what was asked about, and of what it leans on."""
        who = queries.who_is(workloads=sorted(focus.workloads), pods=sorted(focus.pods), nodes=sorted(focus.nodes))
        who += queries.who_is(
            workloads=sorted(focus.related_workloads), pods=(), nodes=sorted(focus.related_nodes), boost=4
        )
        series = where.of("series", before_ms=queries.SERIES_MS)
        found = await self._reader.search(series, queries.series(plan, scope, who, size=SERIES))
        hours = _by_series(found)
        then: Mapping[str, Sequence[Json]] = {}
        if plan.compared and hours:
            series = where.during(plan.compared).of("series")
            body = queries.series_then(list(hours), plan.compared, scope, size=SERIES)
            known = _by_series(await self._reader.search(series, body))
            then = {key: within(known.get(key, ()), plan.compared) for key in hours}
        candidates = (metric_candidate(group, plan.span, then.get(key)) for key, group in hours.items())
        return [candidate for candidate in candidates if candidate]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where to look: the days in question of the live generation, else all that is behind the alias."""

    names: Names
    live: Names | None
    start_ms: int
    end_ms: int

    def during(self, span: Span) -> "_Places":
        start, end = queries.millis(span)
        return replace(self, start_ms=start, end_ms=end)

    def of(self, kind: str, *, before_ms: int = 0) -> str:
        if self.live is None:
            return self.names.alias(kind)
        return self.live.between(kind, self.start_ms - before_ms, self.end_ms)


def _events(answer: Json, span: Span) -> list[Candidate]:
    made = (
        event_candidate(hit["_source"], place, span, _day(hit), hit["_id"])
        for place, hit in enumerate(_hits(answer), 1)
    )
    return [candidate for candidate in made if candidate]


def _by_series(answer: Json) -> dict[str, list[Json]]:
    """Hours of each series in order of time."""
    hours: dict[str, list[Json]] = {}
    for hit in sorted(_hits(answer), key=lambda hit: hit["_source"]["hour_ms"]):
        hours.setdefault(hit["_source"]["series_id"], []).append(hit["_source"])
    return hours


def _hits(answer: Json) -> list[Any]:
    return list(answer.get("hits", {}).get("hits", []))


def _ids(answer: Json) -> list[str]:
    return [hit["fields"]["pattern_id"][0] for hit in _hits(answer)]


def _buckets(answer: Json) -> Iterable[Any]:
    buckets: Iterable[Any] = answer.get("aggregations", {}).get("patterns", {}).get("buckets", [])
    return buckets


def _patterns(answer: Json) -> list[str]:
    return [bucket["key"] for bucket in _buckets(answer)]


def _day(hit: Json) -> str:
    return str(hit["_index"].rsplit("-", 1)[1])
