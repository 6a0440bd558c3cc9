"""Vectors for new patterns: off the acknowledgement path, from the cache by text or from the model.

A pattern is found by BM25 at once; its vector follows as a second write. Those that missed it (a crash, a model that
was away) are found again by query.
"""

import time
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from processors.embed import Embedder
from processors.index import OpenSearchIndex
from schemas.documents import Target

BATCH: Final = 256
SWEEP_EVERY_S: Final = 30.0
REMEMBERED: Final = 50_000


class Vectorizer:
    def __init__(self, index: OpenSearchIndex, embedder: Embedder) -> None:
        self._index, self._embedder = index, embedder
        self._lock = Lock()
        self._waiting: dict[Target, str] = {}
        self._done: dict[Target, None] = {}
        self._swept_at = float("-inf")

    def offer(self, patterns: Mapping[Target, Mapping[str, Any]]) -> None:
        """Remember patterns that may be new; cheap, called after each flush."""
        with self._lock:
            for target, pattern in patterns.items():
                if target not in self._done and len(self._waiting) < REMEMBERED:
                    self._waiting[target] = pattern["template"]

    def run(self) -> None:
        """Give one batch its vectors, and now and then look for patterns without. Blocks; raises SinkUnavailable."""
        with self._lock:
            batch = dict(list(self._waiting.items())[:BATCH])
        if batch:
            self._write(batch)
        elif time.monotonic() - self._swept_at > SWEEP_EVERY_S:
            found = self._index.without_vector(BATCH)
            if len(found) < BATCH:  # else there are more, as after a crash: look again in the next round
                self._swept_at = time.monotonic()
            self._write(found)

    def _write(self, batch: Mapping[Target, str]) -> None:
        if not batch:
            return
        texts = sorted(set(batch.values()))
        vectors = dict(zip(texts, self._embedder.embed(texts), strict=True))
        self._index.set_vectors({target: vectors[text] for target, text in batch.items()})
        with self._lock:
            for target in batch:
                self._waiting.pop(target, None)
                self._done[target] = None
            while len(self._done) > REMEMBERED:
                del self._done[next(iter(self._done))]
