"""Slices as last read or written, so that a document is read back only when it is first touched."""

from collections.abc import Mapping, Sequence

from processors.fold import Slice
from schemas.documents import Target


class SliceCache:
    """Bounded; the oldest documents go first, and only between flushes: what is evicted is read back when needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._documents: dict[Target, dict[str, Slice]] = {}

    def __contains__(self, target: Target) -> bool:
        """Known, be it as "there is none". A document that was read back is known in all its slices."""
        return target in self._documents

    def get(self, target: Target, key: str) -> Slice | None:
        return self._documents[target].get(key)

    def load(self, asked: Sequence[Target], found: Mapping[Target, Mapping[str, Slice]]) -> None:
        for target in asked:
            self._documents[target] = dict(found.get(target, {}))

    def put(self, target: Target, slices: Mapping[str, Slice]) -> None:
        known = self._documents.pop(target, {})  # to the young end
        known.update(slices)
        self._documents[target] = known

    def evict(self) -> None:
        while len(self._documents) > self._limit:
            del self._documents[next(iter(self._documents))]

    def clear(self) -> None:
        self._documents.clear()
