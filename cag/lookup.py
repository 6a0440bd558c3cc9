"""From the id of a piece of evidence to the piece and the documents that it was made of, in a scope."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from cag import queries
from cag.evidence import (
    SHOWN_COORDINATES,
    Candidate,
    alert_candidate,
    event_candidate,
    log_candidates,
    moment,
    told,
    told_until_ms,
)
from cag.incidents import candidate as incident_candidate
from cag.incidents import evidence_of
from cag.reads import IndexReader
from cag.scope import in_scope, visible_in, visible_incident
from cag.series import metric_candidate
from schemas.context import Evidence, Plan, Scope, Span
from schemas.documents import MINUTE_MS, Names
from schemas.evidence_id import EvidenceId
from schemas.insights import Insight

Json = Mapping[str, Any]
Found = tuple[Evidence, list[dict[str, object]]]
DOCUMENTS: Final = 50


class Lookup:
    def __init__(self, reader: IndexReader, names: Names) -> None:
        self._reader, self._names = reader, names

    async def find(self, identity: str, scope: Scope) -> Found | None:
        """None when there is no such evidence in this scope. Raises SinkUnavailable."""
        try:
            kind, parts = EvidenceId.parse(identity)
        except ValueError:
            return None
        if kind == "runbook":
            return None
        if kind in ("log", "metric"):
            span = Span(start=moment(int(parts[1]) * MINUTE_MS), end=moment((int(parts[2]) + 1) * MINUTE_MS - 1))
            return await (self._log if kind == "log" else self._metric)(parts[0], span, scope)
        if kind == "incident":
            return await self._incident(parts[1], scope)
        day = f"{parts[0][:4]}.{parts[0][4:6]}.{parts[0][6:]}"
        return await self._dated(kind, day, parts[1], scope)

    async def coordinates(self, identities: Sequence[str], scope: Scope) -> tuple[str, ...]:
        """Of records behind these pieces of evidence: one of each before the second of any."""
        traces = await asyncio.gather(*(self._trace(each, scope) for each in identities))
        order = [trace[n] for n in range(SHOWN_COORDINATES) for trace in traces if n < len(trace)]
        return tuple(dict.fromkeys(order))[:SHOWN_COORDINATES]

    async def _trace(self, identity: str, scope: Scope) -> Sequence[str]:
        """Of a log one search is enough, of the four that its evidence takes."""
        if not identity.startswith("log-"):
            found = await self.find(identity, scope)
            return found[0].coordinates if found else ()
        try:
            pattern, first, last = EvidenceId.parse(identity).parts
        except ValueError:
            return ()
        span = Span(start=moment(int(first) * MINUTE_MS), end=moment((int(last) + 1) * MINUTE_MS - 1))
        body = queries.newest(Plan(question="", span=span), scope, [pattern])
        said = [hit["_source"] for hit in _hits(await self._reader.search(self._names.alias("occurrences"), body))]
        seen = [each for each in said if visible_in(scope, each["cluster"], each["namespace"])]
        return [exemplar["at"] for each in seen for exemplar in each.get("exemplars") or ()][::-1]

    async def _incident(self, identity: str, scope: Scope) -> Found | None:
        """Under its day or another: an older symptom may have been found meanwhile, which moves its beginning."""
        filters = [{"ids": {"values": [identity]}}, *in_scope(scope)]
        body = {"size": 5, "query": {"bool": {"filter": filters}}, "sort": [{"last_ms": "desc"}]}
        found = await self._reader.search(self._names.alias("insights"), body)
        hits = [hit for hit in _hits(found) if visible_incident(scope, hit["_source"])]
        if not hits:
            return None
        newest = max(hits, key=lambda hit: hit["_source"]["latest"]["order"])
        insight = Insight.model_validate(newest["_source"]["insight"])
        made = incident_candidate(insight, identity, Span(start=insight.started, end=insight.updated)).evidence
        traced = made.model_copy(update={"coordinates": await self.coordinates(evidence_of(insight), scope)})
        return traced, [{"index": newest["_index"], "id": identity, **insight.model_dump(mode="json")}]

    async def _log(self, pattern: str, span: Span, scope: Scope) -> Found | None:
        plan = Plan(question="", span=span)
        occurrences = self._names.alias("occurrences")
        filters = [queries.minutes_in(span), {"term": {"pattern_id": pattern}}, *in_scope(scope)]
        listing = {"size": DOCUMENTS, "sort": [{"minute_ms": "asc"}], "query": {"bool": {"filter": filters}}}
        details, newest, oldest, listed = await self._reader.together(
            [
                (occurrences, queries.details(plan, scope, [pattern])),
                (occurrences, queries.newest(plan, scope, [pattern])),
                (occurrences, queries.oldest(plan, scope, [pattern])),
                (occurrences, listing),
            ]
        )
        began = {hit["_source"]["pattern_id"]: hit["_source"].get("exemplars", []) for hit in _hits(oldest)}
        return _first(log_candidates(details, newest, {}, {}, span), _hits(listed), scope, began)

    async def _metric(self, series: str, span: Span, scope: Scope) -> Found | None:
        start, end = queries.millis(span)
        hours = {"range": {"hour_ms": {"gte": start - 2 * 3_600_000, "lte": end}}}
        filters = [hours, {"term": {"series_id": series}}, *in_scope(scope)]
        body = {"size": DOCUMENTS, "sort": [{"hour_ms": "asc"}], "query": {"bool": {"filter": filters}}}
        found = await self._reader.search(self._names.alias("series"), body)
        candidate = metric_candidate([hit["_source"] for hit in _hits(found)], span) if _hits(found) else None
        return _first([candidate] if candidate else [], _hits(found), scope)

    async def _dated(self, kind: str, day: str, identity: str, scope: Scope) -> Found | None:
        filters = [{"ids": {"values": [identity]}}, *in_scope(scope)]
        body = {"size": 5, "query": {"bool": {"filter": filters}}}
        found = await self._reader.search(self._names.alias(f"{kind}s"), body)
        hits = [hit for hit in _hits(found) if hit["_index"].endswith(day)]
        if not hits:
            return None
        source = hits[0]["_source"]
        end = moment(told_until_ms(source)) + timedelta(milliseconds=1)
        span = Span(start=moment(source["first_ms"]), end=end)
        if kind == "event":
            candidate: Candidate | None = event_candidate(source, 0, span, day, identity)
        else:
            candidate = alert_candidate(source, span, day, identity)
        return _first([candidate] if candidate else [], hits, scope)


def _first(
    candidates: Sequence[Candidate], hits: Sequence[Json], scope: Scope, began: Mapping[str, Sequence[Json]] = {}
) -> Found | None:
    """The evidence and the documents that it was made of; slices are for machines and stay out."""
    documents = [
        {"index": hit["_index"], "id": hit["_id"], **{k: v for k, v in hit["_source"].items() if k != "slices"}}
        for hit in hits
        if visible_in(scope, hit["_source"]["cluster"], hit["_source"]["namespace"])
    ]
    if not candidates or len(documents) < len(hits):
        return None
    return told(candidates[0], began), documents


def _hits(answer: Json) -> list[Any]:
    return list(answer.get("hits", {}).get("hits", []))
