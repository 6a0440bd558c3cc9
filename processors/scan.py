"""Every document of one generation, and a digest of them all: how two routes are shown to end in the same index."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import orjson

from processors.index import OpenSearchIndex
from schemas.documents import DAILY_KINDS, DATED_KINDS, Target

PAGE: Final = 2_000
KEEP_ALIVE: Final = "2m"
# A vector follows later and depends on the batch it was computed in, down to the last bits.
LEFT_OUT: Final = frozenset({"vector"})


def scan(
    index: OpenSearchIndex, kinds: Sequence[str] = DAILY_KINDS, *, day: str = "*", page: int = PAGE
) -> Iterator[tuple[Target, dict[str, Any]]]:
    """Documents with their source (vectors left out), in no order. Sees what was there when it began.

    Raises SinkUnavailable, SinkMisconfigured.
    """
    for kind in kinds:
        name = index.names.index(Target(kind, day if kind in DATED_KINDS else "", ""))
        index.request("POST", f"/{name}/_refresh?ignore_unavailable=true")
        if index.request("GET", f"/_resolve/index/{name}")["indices"]:  # a point in time over none is refused
            yield from _scan(index, kind, name, page)


def _scan(index: OpenSearchIndex, kind: str, name: str, page: int) -> Iterator[tuple[Target, dict[str, Any]]]:
    opened = index.request("POST", f"/{name}/_search/point_in_time?keep_alive={KEEP_ALIVE}&ignore_unavailable=true")
    pit = opened["pit_id"]
    body: dict[str, Any] = {
        "size": page,
        "pit": {"id": pit, "keep_alive": KEEP_ALIVE},
        # `_shard_doc` alone loses documents where the point in time spans several indices (OpenSearch 3.6, measured).
        "sort": [{"_index": "asc"}, {"_shard_doc": "asc"}],
        "_source": {"excludes": sorted(LEFT_OUT)},
        "track_total_hits": False,
    }
    try:
        while True:
            hits = index.request("POST", "/_search?search_pipeline=_none", body)["hits"]["hits"]
            for hit in hits:
                day = hit["_index"].rsplit("-", 1)[1] if kind in DATED_KINDS else ""
                yield Target(kind, day, hit["_id"]), hit["_source"]
            if len(hits) < page:
                return
            body["search_after"] = hits[-1]["sort"]
    finally:
        index.request("DELETE", "/_search/point_in_time", {"pit_id": [pit]})


@dataclass(slots=True)
class Digest:
    """Order-independent: the sum of a hash of each document, and how many there are of each kind."""

    documents: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def add(self, target: Target, source: Mapping[str, Any]) -> None:
        self.documents[target.kind] = self.documents.get(target.kind, 0) + 1
        self.total = (self.total + int(document_digest(target, source), 16)) % (1 << 128)

    @property
    def text(self) -> str:
        return f"{self.total:032x}"


def document_digest(target: Target, source: Mapping[str, Any]) -> str:
    """128 bits in hex of where a document is and what it says."""
    said = {name: value for name, value in source.items() if name not in LEFT_OUT}
    whole = orjson.dumps([target.kind, target.day, target.id, said], option=orjson.OPT_SORT_KEYS)
    return blake2b(whole, digest_size=16).hexdigest()


def digest_of(documents: Iterable[tuple[Target, Mapping[str, Any]]]) -> Digest:
    digest = Digest()
    for target, source in documents:
        digest.add(target, source)
    return digest
