"""What a citation resolves to: the documents as stored, and the source records read back from Kafka."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from cag import queries
from cag.evidence import (
    Candidate,
    alert_candidate,
    event_candidate,
    log_candidates,
    moment,
    told,
    told_until_ms,
)
from cag.reads import IndexReader
from cag.scope import in_scope, visible_in
from cag.series import metric_candidate
from cag.source_records import SourceRecords
from schemas.context import Evidence, EvidenceDetail, Plan, Scope, SourceRecord, Span
from schemas.documents import MINUTE_MS, Names
from schemas.evidence_id import EvidenceId
from schemas.records import Coordinates

Json = Mapping[str, Any]
DOCUMENTS: Final = 50
RECORDS: Final = 3


class EvidenceReader:
    def __init__(self, reader: IndexReader, names: Names, records: SourceRecords) -> None:
        self._reader, self._names, self._records = reader, names, records

    async def read(self, identity: str, scope: Scope, *, around: int = 0) -> EvidenceDetail | None:
        """None when there is no such evidence in this scope. Raises SinkUnavailable.

        `around`: so many lines of the same entity before the cited one, and as many after it.
        """
        try:
            kind, parts = EvidenceId.parse(identity)
        except ValueError:
            return None
        if kind == "runbook":
            return None
        if kind in ("log", "metric"):
            span = Span(start=moment(int(parts[1]) * MINUTE_MS), end=moment((int(parts[2]) + 1) * MINUTE_MS - 1))
            found = await (self._log if kind == "log" else self._metric)(parts[0], span, scope)
        else:
            day = f"{parts[0][:4]}.{parts[0][4:6]}.{parts[0][6:]}"
            found = await self._dated(kind, day, parts[1], scope)
        if found is None:
            return None
        evidence, documents = found
        cited = [Coordinates.parse(text) for text in evidence.coordinates[:RECORDS]]
        records = await asyncio.gather(*(asyncio.to_thread(self._records.read, at, scope=scope) for at in cited))
        lines: tuple[SourceRecord, ...] = ()
        if around and kind == "log" and cited:
            # The newest exemplar: the one whose line the evidence shows.
            lines = await asyncio.to_thread(self._records.around, cited[0], around, scope=scope)
        return EvidenceDetail(evidence=evidence, documents=tuple(documents), records=tuple(records), around=lines)

    def close(self) -> None:
        self._records.close()

    async def _log(self, pattern: str, span: Span, scope: Scope) -> tuple[Evidence, list[dict[str, object]]] | None:
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

    async def _metric(self, series: str, span: Span, scope: Scope) -> tuple[Evidence, list[dict[str, object]]] | None:
        start, end = queries.millis(span)
        hours = {"range": {"hour_ms": {"gte": start - 2 * 3_600_000, "lte": end}}}
        filters = [hours, {"term": {"series_id": series}}, *in_scope(scope)]
        body = {"size": DOCUMENTS, "sort": [{"hour_ms": "asc"}], "query": {"bool": {"filter": filters}}}
        found = await self._reader.search(self._names.alias("series"), body)
        candidate = metric_candidate([hit["_source"] for hit in _hits(found)], span) if _hits(found) else None
        return _first([candidate] if candidate else [], _hits(found), scope)

    async def _dated(
        self, kind: str, day: str, identity: str, scope: Scope
    ) -> tuple[Evidence, list[dict[str, object]]] | None:
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
) -> tuple[Evidence, list[dict[str, object]]] | None:
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
