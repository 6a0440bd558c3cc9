"""Retrieval in three rounds of parallel searches: what is active, what it is, what the numbers say. Then ranking."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cag import queries
from cag.evidence import Candidate, alert_candidate, event_candidate, log_candidates, metric_candidate
from cag.plan import Catalog
from cag.rank import Focus, focus_of, select
from cag.reads import IndexReader, Nearest
from schemas.context import Evidence, Plan, Scope
from schemas.documents import Names

Json = Mapping[str, Any]
DETAILED: Final = 250  # patterns looked at closely
SERIES: Final = 300
EVENTS, CHANGES, ALERTS = 60, 20, 100


@dataclass(slots=True)
class Stopwatch:
    """Milliseconds per stage, in order."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings_ms[stage] = round((now - self._last) * 1000, 2)
        self._last = now


class Retrieval:
    def __init__(self, reader: IndexReader, names: Names) -> None:
        self._reader, self._names = reader, names

    async def catalog(self, scope: Scope, start_ms: int) -> Catalog:
        index = ",".join(self._names.alias(kind) for kind in ("occurrences", "events", "series", "alerts"))
        answer = await self._reader.search(index, queries.catalog(scope, start_ms))
        groups = answer.get("aggregations", {})
        groups |= {"name": groups.pop("alerts", {}).get("name", {"buckets": []})}
        found = {
            name: frozenset(bucket["key"] for bucket in group["buckets"] if bucket["key"])
            for name, group in groups.items()
        }
        return Catalog(
            clusters=found.get("cluster", frozenset()),
            namespaces=found.get("namespace", frozenset()),
            workloads=found.get("workload", frozenset()),
            nodes=found.get("node", frozenset()),
            alerts=found.get("name", frozenset()),
        )

    async def evidence(
        self, plan: Plan, scope: Scope, nearest: Nearest | None, catalog: Catalog, limit: int, watch: Stopwatch
    ) -> list[Evidence]:
        """The ranked evidence for a plan, runbooks excepted. Raises SinkUnavailable."""
        patterns, ranks, candidates = await self._active(plan, scope, nearest)
        watch.lap("active")
        candidates += await self._logs(plan, scope, patterns, ranks)
        focus = focus_of(plan, candidates, catalog.workloads)
        watch.lap("details")
        candidates += await self._metrics(plan, scope, focus)
        watch.lap("metrics")
        chosen = select(candidates, plan, focus, limit)
        watch.lap("rank")
        return chosen

    async def _active(
        self, plan: Plan, scope: Scope, nearest: Nearest | None
    ) -> tuple[list[str], dict[str, int], list[Candidate]]:
        """Round one: patterns by meaning and by activity; events; changes; alerts."""
        occurrences, events, alerts = (self._names.alias(kind) for kind in ("occurrences", "events", "alerts"))
        asked = queries.who_is(workloads=plan.workloads, pods=plan.pods, nodes=plan.nodes)
        searches = [
            (occurrences, queries.active_patterns(plan, scope)),
            (occurrences, queries.active_patterns(plan, scope, entities=asked or [{"match_none": {}}])),
            (events, queries.events(plan, scope, warning=True, size=EVENTS)),
            (events, queries.events(plan, scope, warning=False, size=CHANGES)),
            (alerts, queries.alerts(plan, scope, size=ALERTS)),
        ]
        hybrid = self._reader.search(
            nearest.indices if nearest else self._names.alias("patterns"),
            queries.hybrid(plan, scope, nearest.vector if nearest else None),
            pipeline=self._names.pipeline if nearest else "_none",
        )
        similar, (worst, own, warnings, changes, firing) = await asyncio.gather(hybrid, self._reader.together(searches))
        ranks: dict[str, int] = {}
        for hit in _hits(similar):
            ranks.setdefault(hit["_source"]["pattern_id"], len(ranks))
        wanted = dict.fromkeys(
            [*_patterns(own)[:100], *_patterns(worst)[:100], *ranks, *_patterns(worst), *_patterns(own)]
        )
        made = [
            event_candidate(hit["_source"], rank, plan.span, _day(hit), hit["_id"])
            for group in (warnings, changes)
            for rank, hit in enumerate(_hits(group))
        ]
        made += [
            candidate
            for hit in _hits(firing)
            if (candidate := alert_candidate(hit["_source"], plan.span, _day(hit), hit["_id"]))
        ]
        return list(wanted)[:DETAILED], ranks, made

    async def _logs(
        self, plan: Plan, scope: Scope, patterns: Sequence[str], ranks: Mapping[str, int]
    ) -> list[Candidate]:
        """Round two: what the patterns are, how often they were said in the range, and how often before it."""
        if not patterns:
            return []
        occurrences = self._names.alias("occurrences")
        details, past, texts = await self._reader.together(
            [
                (occurrences, queries.details(plan, scope, patterns)),
                (occurrences, queries.history(plan, scope, patterns)),
                (self._names.alias("patterns"), queries.pattern_texts(scope, patterns)),
            ]
        )
        before = {b["key"]: b["seen"]["value"] for b in _buckets(past)}
        by_id = {hit["_source"]["pattern_id"]: hit["_source"] for hit in _hits(texts)}
        return log_candidates(details, by_id, before, ranks, plan.span)

    async def _metrics(self, plan: Plan, scope: Scope, focus: Focus) -> list[Candidate]:
        """Round three: the series of what was asked about, and of what it leans on."""
        who = queries.who_is(workloads=sorted(focus.workloads), pods=sorted(focus.pods), nodes=sorted(focus.nodes))
        who += queries.who_is(
            workloads=sorted(focus.related_workloads), pods=(), nodes=sorted(focus.related_nodes), boost=4
        )
        found = await self._reader.search(self._names.alias("series"), queries.series(plan, scope, who, size=SERIES))
        hours: dict[str, list[Json]] = {}
        for hit in _hits(found):
            hours.setdefault(hit["_source"]["series_id"], []).append(hit["_source"])
        ordered = (sorted(group, key=lambda hour: hour["hour_ms"]) for group in hours.values())
        return [candidate for group in ordered if (candidate := metric_candidate(group, plan.span))]


def _hits(answer: Json) -> list[Any]:
    return list(answer.get("hits", {}).get("hits", []))


def _buckets(answer: Json) -> Iterable[Any]:
    buckets: Iterable[Any] = answer.get("aggregations", {}).get("patterns", {}).get("buckets", [])
    return buckets


def _patterns(answer: Json) -> list[str]:
    return [bucket["key"] for bucket in _buckets(answer)]


def _day(hit: Json) -> str:
    return str(hit["_index"].rsplit("-", 1)[1])
