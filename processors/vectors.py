"""Vectors for new patterns: off the acknowledgement path, from the cache by text or from the model.

A pattern is found by BM25 at once; its vector follows as a second write. New ones within their workload's budget come
first. Those beyond it, and those that missed their vector (a crash, a model that was away), are found again by query:
a few go with every batch, more of them when nothing is new. When a vector is written depends on this process and its
clock; which vector it is depends on the text alone.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

from processors.budget import Budget, Turns, Why
from processors.embed import Embedder
from processors.index import Index, workload_of
from schemas.documents import Target
from schemas.errors import SinkMisconfigured, SinkUnavailable

TURN_S: Final = 0.5  # of embedding before the caller's pause; the pipeline wants the processor too
BATCH: Final = 96
LATE_SHARE: Final = 16  # of a batch, for those that were put off: always a few, lest they wait for ever
LATE_BATCH: Final = 32  # of those alone: what is new waits for one such batch at most
SWEEP_EVERY_S: Final = 30.0
SOON_S: Final = 1.0  # when the index is known to have more
RESTS: Final = 4.0  # times as long as the last look at the index took
SHOWN_AFTER_S: Final = 5.0  # searches show what was written, or lacks its vector, later than writes are done
Pattern = tuple[Target, str]  # and its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What was done since the last report."""

    new: int  # patterns embedded within their budget
    late: int  # ... that were put off, or had missed their vector
    deferred: Mapping[Why, int]
    without: int  # patterns that the whole index has without a vector, as it was looked at last


class Vectorizer:
    """`offer` from one thread, `run` from another."""

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index, self._embedder, self._clock = index, embedder, clock
        self._lock = Lock()  # around what `offer` touches
        self._new: Budget[Pattern] = Budget(per_minute)
        self._deferred: Counter[Why] = Counter()
        self._refused_s = self._look_at = float("-inf")
        self._late: Turns[Pattern] = Turns()
        self._page: dict[str, Any] | None = None
        self._without = 0
        self._counts: Counter[str] = Counter()
        self._done: dict[Target, float] = {}  # when; for as long as the index may not show it

    def offer(self, target: Target, pattern: Mapping[str, Any]) -> None:
        """A pattern that has just been created; cheap."""
        now_s = self._clock()
        with self._lock:
            why = self._new.offer(workload_of(pattern), (target, pattern["template"]), now_s)
            if why:
                self._deferred[why] += 1
                self._refused_s, self._look_at = now_s, min(self._look_at, now_s + SOON_S)

    def run(self) -> None:
        """Embed for a while. Blocks. Raises SinkUnavailable and SinkMisconfigured, then the sweep finds the rest."""
        began = self._clock()
        self._done = {target: at_s for target, at_s in self._done.items() if at_s > began - SHOWN_AFTER_S}
        try:
            while self._clock() < began + TURN_S:
                with self._lock:
                    new = self._new.take(BATCH - LATE_SHARE)
                late = self._put_off(LATE_SHARE if new else LATE_BATCH)
                if not new and not late:
                    break
                self._write({**dict(new), **dict(late)})
                self._counts += Counter(new=len(new), late=len(late))
                self._without = max(0, self._without - len(late))
        except (SinkUnavailable, SinkMisconfigured):
            self._look_at = self._clock()
            raise

    def report(self) -> Embedded:
        """To be called by who calls `run`, also when that raised."""
        with self._lock:
            deferred, self._deferred = self._deferred, Counter()
        counts, self._counts = self._counts, Counter()
        return Embedded(new=counts["new"], late=counts["late"], deferred=deferred, without=self._without)

    def _put_off(self, most: int) -> list[Pattern]:
        """Up to so many that miss their vector, of all workloads in turn."""
        if not self._late and self._clock() >= self._look_at:
            self._look()
        return [pattern for pattern in self._late.take(most) if pattern[0] not in self._done]

    def _look(self) -> None:
        """Ask the index for a few of each of the next workloads; rarely when it has none, or when asking is dear."""
        began = self._clock()
        found = self._index.without_vector(self._page)
        self._page, self._without = found.following, found.total
        for workload, patterns in found.texts.items():
            for target, text in patterns.items():
                if target not in self._done:
                    self._late.put(workload, (target, text))
        now_s = self._clock()
        with self._lock:
            expected = found.total or now_s - self._refused_s < SHOWN_AFTER_S
            soon = 0 if self._late or found.following else SOON_S if expected else SWEEP_EVERY_S
            self._look_at = now_s + max(soon, RESTS * (now_s - began))

    def _write(self, batch: Mapping[Target, str]) -> None:
        texts = sorted(set(batch.values()))
        vectors = dict(zip(texts, self._embedder.embed(texts), strict=True))
        self._index.set_vectors({target: vectors[text] for target, text in batch.items()})
        now_s = self._clock()
        self._done |= dict.fromkeys(batch, now_s)
