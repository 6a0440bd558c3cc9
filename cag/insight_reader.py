"""Incidents from the index, as of their newest revision, for those who may see all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cag.reads import IndexReader
from cag.scope import in_scope, visible_incident
from schemas.context import Scope
from schemas.documents import Names
from schemas.insights import Insight, State

Json = dict[str, Any]
PAGE: Final = 100
PAGES: Final = 10  # looked through at most: what may not be seen must not take the places of what may


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    insights: tuple[Insight, ...]  # the one that changed last comes first
    more: bool  # there are others, older ones


class InsightReader:
    def __init__(self, reader: IndexReader, names: Names) -> None:
        self._reader, self._index = reader, names.alias("insights")

    async def list(
        self, scope: Scope, *, states: tuple[State, ...] = (), since: datetime | None = None, limit: int
    ) -> Listing:
        """`since`: that changed then or later. Raises SinkUnavailable."""
        filters = in_scope(scope)
        if states:
            filters.append({"terms": {"state": list(states)}})
        if since:
            filters.append({"range": {"last_ms": {"gte": int(since.timestamp() * 1000)}}})
        body: Json = {
            "size": PAGE,
            "query": {"bool": {"filter": filters}},
            "sort": [{"last_ms": "desc"}, {"incident_id": "asc"}],
            "track_total_hits": False,
        }
        found: dict[str, Insight] = {}
        for _ in range(PAGES):
            hits = (await self._reader.search(self._index, body))["hits"]["hits"]
            for insight in (_read(hit["_source"]) for hit in hits if visible_incident(scope, hit["_source"])):
                if insight.id not in found or insight.revision > found[insight.id].revision:
                    found[insight.id] = insight
            if len(hits) < PAGE or len(found) > limit:
                return Listing(insights=tuple(found.values())[:limit], more=len(found) > limit)
            body["search_after"] = hits[-1]["sort"]
        return Listing(insights=tuple(found.values())[:limit], more=True)

    async def get(self, identity: str, scope: Scope) -> Insight | None:
        """None: there is none, or it is not all in this scope. Raises SinkUnavailable."""
        body = {"size": 5, "query": {"bool": {"filter": [{"term": {"incident_id": identity}}, *in_scope(scope)]}}}
        hits = (await self._reader.search(self._index, body))["hits"]["hits"]
        seen = [_read(hit["_source"]) for hit in hits if visible_incident(scope, hit["_source"])]
        return max(seen, key=lambda insight: insight.revision, default=None)


def _read(source: Mapping[str, Any]) -> Insight:
    return Insight.model_validate(source["insight"])
