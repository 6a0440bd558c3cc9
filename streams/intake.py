"""What an agent does with a chunk: each record becomes a message, each message is folded, then the chunk is covered."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from processors.pipeline import Pipeline
from schemas.records import Message, Signal
from streams.flusher import Chunk, Flusher, Pending
from streams.metrics import WorkerMetrics
from streams.reject_share import DeadLetterLimit, RejectShare
from streams.watchdog import Progress

BUSY_S: Final = 0.02  # folding is CPU work: after this long the event loop gets a turn
LARGE_BYTES: Final = 64 * 1024  # folding this much takes longer than BUSY_S: a thread does it
STRETCH: Final = 16  # small messages that are folded before anyone asks whether there is room for more
OVERHEAD_BYTES: Final = 300  # of a message beside its key and value, roughly


class Took(NamedTuple):
    """What some messages held. `weight` and `rejects` are for the share of rejects."""

    records: int
    size_bytes: int
    weight: int
    rejects: int


class Intake:
    """One per worker, shared by the agents of all topics. Topic ids are learned at every assignment."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        flusher: Flusher,
        share: RejectShare,
        metrics: WorkerMetrics,
        progress: Progress,
        signals: Mapping[str, Signal],
        clock: Callable[[], float],
    ) -> None:
        self._pipeline, self._flusher, self._share = pipeline, flusher, share
        self._metrics, self._progress, self._signals, self._clock = metrics, progress, signals, clock
        self.topic_ids: dict[str, str] = {}

    async def take(self, topic: str, records: Sequence[Any], acknowledge: Callable[[], Awaitable[object]]) -> None:
        """Fold a chunk of Kafka records. Raises DeadLetterLimit once the letters so far are durable."""
        self._progress.taken += 1
        flusher, topic_id = self._flusher, self.topic_ids[topic]
        folded = size_bytes = done = 0
        began = self._clock()
        while done < len(records):
            if flusher.full or flusher.held or self._clock() - began > BUSY_S:
                await flusher.room()
                began = self._clock()
            pending = flusher.pending  # another one after each wait
            some = self._small(records, done)
            messages = [message_of(record, topic_id) for record in some or records[done : done + 1]]
            took = self._fold(messages, pending) if some else await self._fold_aside(messages, pending)
            done, folded, size_bytes = done + len(messages), folded + took.records, size_bytes + took.size_bytes
            try:
                self._share.add(took.weight, took.rejects)
            except DeadLetterLimit:
                await flusher.settled()  # so that the operator who is sent to the dead letters finds some
                raise
        self._metrics.folded(topic, self._signals[topic], messages=len(records), records=folded, size_bytes=size_bytes)
        oldest_ms = min(record.timestamp for record in records)
        flusher.covered(Chunk(signal=self._signals[topic], oldest_ms=oldest_ms, acknowledge=acknowledge))

    def _small(self, records: Sequence[Any], start: int) -> Sequence[Any]:
        """The next few records; none when the first of them is large."""
        for end in range(start, min(start + STRETCH, len(records))):
            if records[end].value is not None and len(records[end].value) >= LARGE_BYTES:
                return records[start:end]
        return records[start : start + STRETCH]

    def _fold(self, messages: Sequence[Message], pending: Pending) -> Took:
        """Fold messages whole."""
        fold, run, weigh = pending.fold, self._pipeline.run, self._share.weigh
        first = fold.records
        size_bytes = weight = rejects = 0
        for message in messages:
            before = fold.records
            letters = run(message, fold)
            if letters:
                pending.letters += letters
            weighed = weigh(fold.records - before, len(letters))
            weight, rejects = weight + weighed[0], rejects + weighed[1]
            size_bytes += len(message.value or b"")
            pending.size_bytes += len(message.key or b"") + OVERHEAD_BYTES
        pending.size_bytes += size_bytes
        return Took(fold.records - first, size_bytes, weight, rejects)

    async def _fold_aside(self, messages: Sequence[Message], pending: Pending) -> Took:
        """The same in a thread, so that the event loop goes on: a message may hold 100,000 records."""
        work = asyncio.get_running_loop().run_in_executor(None, partial(self._fold, messages, pending))
        self._flusher.hold(work)
        return await asyncio.shield(work)  # cancelled or not, the message is folded whole before anyone may flush


def message_of(record: Any, topic_id: str) -> Message:
    """The record as aiokafka consumed it. A timestamp of -1 (none) becomes 0."""
    topic, partition, offset = record.topic, record.partition, record.offset
    time_ms = max(record.timestamp, 0)
    return Message(topic, topic_id, partition, offset, time_ms, record.key, record.value, tuple(record.headers))
