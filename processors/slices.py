"""Slices as last read or written, so that a document is read back only when it is first touched."""

from collections.abc import Container, Mapping, Sequence

from processors.fold import Slice
from schemas.documents import Target


class SliceCache(Container[Target]):
    """Bounded; the oldest documents go first, and only between flushes: what is evicted is read back when needed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # of slices; a document without any counts for one
        self._size = 0
        self.evicted = False  # ever: what is not here may have been
        self._documents: dict[Target, dict[str, Slice]] = {}

    def __contains__(self, target: object) -> bool:
        """Known, be it as "there is none". A document that was read back is known in all its slices."""
        return target in self._documents

    def get(self, target: Target, key: str) -> Slice | None:
        return self._documents[target].get(key)

    def load(self, asked: Sequence[Target], found: Mapping[Target, Mapping[str, Slice]]) -> None:
        for target in asked:
            self._set(target, dict(found.get(target, {})))

    def put(self, target: Target, slices: Mapping[str, Slice]) -> None:
        self._set(target, {**self._documents.get(target, {}), **slices})

    def evict(self) -> None:
        while self._size > self._limit:
            self.evicted = True
            self._drop(next(iter(self._documents)))

    def clear(self) -> None:
        self._documents.clear()
        self._size = 0

    def _set(self, target: Target, slices: dict[str, Slice]) -> None:
        if target in self._documents:
            self._drop(target)
        self._documents[target] = slices  # at the young end
        self._size += max(len(slices), 1)

    def _drop(self, target: Target) -> None:
        self._size -= max(len(self._documents.pop(target)), 1)
