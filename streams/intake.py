"""What an agent does with a chunk: each record becomes a message, each message is folded, then the chunk is covered."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from processors.pipeline import Pipeline
from schemas.records import Message, Signal
from streams.flusher import Chunk, Flusher, Pending
from streams.metrics import WorkerMetrics
from streams.reject_share import DeadLetterLimit, RejectShare
from streams.watchdog import Progress

BUSY_S: Final = 0.02  # folding is CPU work: after this long the event loop gets a turn
LARGE_BYTES: Final = 64 * 1024  # folding this much takes longer than BUSY_S: a thread does it
OVERHEAD_BYTES: Final = 300  # of a message beside its key and value, roughly


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
        folded = size_bytes = 0
        began = self._clock()
        for record in records:
            if flusher.full or flusher.held or self._clock() - began > BUSY_S:
                await flusher.room()
                began = self._clock()
            size = len(record.value or b"")
            message, pending = message_of(record, topic_id), flusher.pending  # another one after each wait
            if size < LARGE_BYTES:
                seen, rejects = self._fold(message, pending)
            else:
                seen, rejects = await self._fold_aside(message, pending)
            folded, size_bytes = folded + seen, size_bytes + size
            try:
                self._share.add(seen, rejects)
            except DeadLetterLimit:
                await flusher.settled()  # so that the operator who is sent to the dead letters finds some
                raise
        self._metrics.folded(topic, self._signals[topic], messages=len(records), records=folded, size_bytes=size_bytes)
        oldest_ms = min(record.timestamp for record in records)
        flusher.covered(Chunk(signal=self._signals[topic], oldest_ms=oldest_ms, acknowledge=acknowledge))

    def _fold(self, message: Message, pending: Pending) -> tuple[int, int]:
        """Fold a message whole; returns how many records it held and how many were rejected."""
        before = pending.fold.records
        letters = self._pipeline.run(message, pending.fold)
        pending.letters += letters
        pending.size_bytes += len(message.value or b"") + len(message.key or b"") + OVERHEAD_BYTES
        return pending.fold.records - before, len(letters)

    async def _fold_aside(self, message: Message, pending: Pending) -> tuple[int, int]:
        """The same in a thread, so that the event loop goes on: a message may hold 100,000 records."""
        work = asyncio.get_running_loop().run_in_executor(None, partial(self._fold, message, pending))
        self._flusher.hold(work)
        return await asyncio.shield(work)  # cancelled or not, the message is folded whole before anyone may flush


def message_of(record: Any, topic_id: str) -> Message:
    """The record as aiokafka consumed it. A timestamp of -1 (none) becomes 0."""
    return Message(
        topic=record.topic,
        topic_id=topic_id,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=max(record.timestamp, 0),
        key=record.key,
        value=record.value,
        headers=tuple(record.headers),
    )
