"""What can be found in the index, asked as a search client would."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from opensearchpy import OpenSearch
from opensearchpy.exceptions import TransportError

from deploy.installation import Installation
from processors.index import connect
from schemas.settings import OpenSearch as OpenSearchSettings

NOTHING: Final[Any] = {"hits": {"hits": [], "total": {"value": 0}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of one installation."""

    counted: int  # sum of the counts of all occurrences
    patterns: int
    texts: int  # different templates: what the embedding model was called for
    occurrences: int
    documents: int  # of all kinds
    writes: int  # index operations of all kinds, updates and refused creates included
    size_mb: float


class Reads:
    """`close` it."""

    def __init__(self, installation: Installation) -> None:
        self._prefix = installation.name
        url = installation.endpoints.opensearch
        self._client: OpenSearch = connect(OpenSearchSettings.model_validate({"url": url}))

    def close(self) -> None:
        self._client.close()

    def refreshed(self) -> "Reads":
        """Make everything searchable that is durable; never while freshness is measured."""
        self._client.indices.refresh(index=f"{self._prefix}-*")
        return self

    def counted(self) -> int:
        """Records that can be found: the sum over all occurrences."""
        answer = self._search("occurrences", {"size": 0, "aggs": {"sum": {"sum": {"field": "count"}}}})
        return int(answer.get("aggregations", {}).get("sum", {}).get("value", 0))

    def embedded(self) -> bool:
        """There are patterns, and the embedding model has seen them all."""
        vectors = {"aggs": {"with": {"filter": {"exists": {"field": "vector"}}}}}
        answer = self._search("patterns", {"size": 0, "track_total_hits": True, **vectors})
        patterns = int(answer["hits"]["total"]["value"])
        return patterns > 0 and answer["aggregations"]["with"]["doc_count"] == patterns

    def unembedded(self) -> int:
        """Patterns without a vector."""
        missing = {"bool": {"must_not": {"exists": {"field": "vector"}}}}
        answer = self._search("patterns", {"size": 0, "track_total_hits": True, "query": missing})
        return int(answer["hits"]["total"]["value"])

    def pattern_ids(self, marks: Collection[str], *, embedded: bool = False) -> dict[str, str]:
        """Which of these words are in a pattern that can be found, with the pattern's id."""
        vector = {"filter": {"exists": {"field": "vector"}}} if embedded else {}
        body = {
            "size": 1_000,
            "query": {"bool": {"must": {"match": {"search_text": " ".join(marks)}}, **vector}},
            "_source": ["template", "pattern_id"],
        }
        hits = self._search("patterns", body)["hits"]["hits"]
        by_word = {word: hit["_source"]["pattern_id"] for hit in hits for word in hit["_source"]["template"].split()}
        return {mark: by_word[mark] for mark in marks if mark in by_word}

    def occurring(self, pattern_ids: Collection[str]) -> set[str]:
        """Those of which an occurrence can be found."""
        body = {"size": 1_000, "query": {"terms": {"pattern_id": list(pattern_ids)}}, "_source": ["pattern_id"]}
        return {hit["_source"]["pattern_id"] for hit in self._search("occurrences", body)["hits"]["hits"]}

    def totals(self) -> Totals:
        texts = {"aggs": {"texts": {"cardinality": {"field": "template_hash", "precision_threshold": 10_000}}}}
        patterns = self._search("patterns", {"size": 0, "track_total_hits": True, **texts})
        occurrences = self._search("occurrences", {"size": 0, "track_total_hits": True})
        stats = self._client.indices.stats(index=f"{self._prefix}-*", metric="docs,indexing,store")["_all"]["primaries"]
        return Totals(
            counted=self.counted(),
            patterns=patterns["hits"]["total"]["value"],
            texts=patterns["aggregations"]["texts"]["value"],
            occurrences=occurrences["hits"]["total"]["value"],
            documents=stats["docs"]["count"],
            writes=stats["indexing"]["index_total"],
            size_mb=round(stats["store"]["size_in_bytes"] / 1e6, 1),
        )

    def stored_bytes(self, indices: str = "") -> int:
        """Of all our documents, or of other indices: the segments on disk after a flush, replicas left out."""
        names = indices or f"{self._prefix}-*"
        self._client.indices.refresh(index=names)
        self._client.indices.flush(index=names)
        found = self._client.indices.segments(index=names)["indices"].values()  # the size in its statistics lags behind
        copies = (copy for index in found for shard in index["shards"].values() for copy in shard)
        segments = (segment for copy in copies if copy["routing"]["primary"] for segment in copy["segments"].values())
        return sum(int(segment["size_in_bytes"]) for segment in segments)

    def _search(self, kind: str, body: dict[str, Any]) -> Any:
        options = {"ignore_unavailable": "true", "allow_no_indices": "true", "search_pipeline": "_none"}
        path = f"/{self._prefix}-{kind}-*/_search"
        try:
            return self._client.transport.perform_request("POST", path, params=options, body=body)
        except TransportError as error:
            if error.status_code != 503:  # an index that is being made has no shard yet
                raise
            return NOTHING
