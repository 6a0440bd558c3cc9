"""The flusher: chunks are folded while the fold before is being written, and acknowledged only once all is durable.

    agent:    room() -> fold the messages of a chunk -> covered(chunk)        (many agents, one event loop)
    flusher:  swap the fold -> write -> dead letters -> acknowledge in order  (one task)

At most one fold waits while another is written; then `room()` holds the agents back, Faust's buffers fill and fetching
stops. An exception leaves `run()` without acknowledging anything: the worker must exit, never go on.

Under load the counts of known documents are worth a write only now and then: a fold waits until it holds a hundred
records for each write, ten seconds at most. What is urgent (a new pattern, an error, an event, an alert) is shown
meanwhile, as it stands. Shown records are neither acknowledged nor counted twice: they are below the document's mark
when the fold follows.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from processors.fold import Fold
from schemas.dead_letters import DeadLetter
from schemas.documents import Target

RECORDS_PER_WRITE: Final = 100  # a fold is worth its writes from here on
FREE_WRITES_PER_S: Final = 40.0  # or while it costs no more than this: where little is said, all is written at once
FOLD_BYTES: Final = 64 * 1024 * 1024  # of message values held in one fold: two folds fit in a small container


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one agent was handed: acknowledged as a whole, after its last message is durable."""

    signal: str
    oldest_ms: int  # smallest Kafka timestamp in it
    acknowledge: Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Pending:
    """All that one flush makes durable."""

    fold: Fold = field(default_factory=Fold)
    letters: list[DeadLetter] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    size_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.fold or self.letters or self.chunks)


class Outcome(Protocol):
    """Told about what became durable; the worker counts it."""

    def flushed(self, seconds: float, fold: Fold, letters: Sequence[DeadLetter]) -> None:
        """A flush is done; nothing of it is acknowledged yet."""

    def durable(self, chunk: Chunk) -> None:
        """A chunk is about to be acknowledged."""


@dataclass(kw_only=True)
class Flusher:
    """One per worker. `write`, `show` and `deliver` block, run in a thread and return when their work is durable."""

    write: Callable[[Fold, threading.Event], list[DeadLetter]]
    urgent: Callable[[Fold], Fold | None]  # a copy of what has become urgent since it was asked last
    show: Callable[[Fold, threading.Event], Iterable[Target]]  # returns what is refused
    deliver: Callable[[Sequence[DeadLetter], threading.Event], None]
    forget: Callable[[], None]
    outcome: Outcome
    clock: Callable[[], float]  # monotonic seconds
    interval_s: float
    update_s: float  # the longest that a known document waits
    max_records: int
    max_documents: int
    max_bytes: int = FOLD_BYTES

    pending: Pending = field(default_factory=Pending, init=False)
    in_flight: Pending | None = field(default=None, init=False)
    stop: threading.Event = field(default_factory=threading.Event, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _draining: bool = field(default=False, init=False)
    _showing: bool = field(default=False, init=False)
    _active_at: float = field(default=0.0, init=False)
    _elsewhere: asyncio.Future[Any] | None = field(default=None, init=False)

    @property
    def unacknowledged(self) -> int:
        """Chunks that are folded whole and wait to become durable."""
        return len(self.pending.chunks) + (len(self.in_flight.chunks) if self.in_flight else 0)

    @property
    def full(self) -> bool:
        fold = self.pending.fold
        return (
            fold.records >= self.max_records
            or self.pending.size_bytes >= self.max_bytes
            or len(fold.changes) >= self.max_documents  # some thousands a second are written where all is new
        )

    @property
    def held(self) -> bool:
        """A thread is folding into `pending`: nobody else may, and it must not be flushed."""
        return self._elsewhere is not None and not self._elsewhere.done()

    def hold(self, work: asyncio.Future[Any]) -> None:
        """Until `work` is done, what is pending belongs to it: a message is folded whole, and into one fold."""
        self._elsewhere = work
        work.add_done_callback(lambda _: self._signal())

    async def room(self) -> None:
        """Give the flusher its turn, and wait while the fold is held, or full and waits for the one before it.

        Call between messages.
        """
        self._active_at = self.clock()
        self._signal()
        await asyncio.sleep(0)
        while self.full or self.held:
            await self._changed.wait()

    def covered(self, chunk: Chunk) -> None:
        """All messages of a chunk are folded, the last of them into the present fold."""
        self.pending.chunks.append(chunk)
        self._active_at = self.clock()
        self._signal()

    def drain(self) -> None:
        """From now on flush without waiting for the interval; somebody waits for all chunks to be acknowledged."""
        self._draining = True
        self._signal()

    async def settled(self) -> None:
        """Wait until what is folded by now is durable. Acknowledges what is covered, as ever, and nothing else."""
        pending = self.pending
        self.drain()
        while pending and (pending is self.pending or pending is self.in_flight):
            await self._changed.wait()

    async def reassigned(self) -> None:
        """Partitions were handed out anew. What the index said about them before may be out of date."""
        while self.in_flight or self._showing:
            await self._changed.wait()
        self.pending = Pending()  # never acknowledged: whoever owns these partitions now reads them again
        self._draining = False
        self.forget()
        self._signal()

    async def run(self) -> None:
        """Flush for ever. Raises whatever went wrong; `Stopped` when `stop` was set while a store was away."""
        last = self.clock()
        while True:
            await self._due(last)
            last = self.clock()
            batch = self.in_flight = self.pending
            self.pending = Pending()
            self._signal()
            letters = batch.letters + await asyncio.to_thread(self.write, batch.fold, self.stop)
            if letters:
                await asyncio.to_thread(self.deliver, letters, self.stop)
            self.outcome.flushed(self.clock() - last, batch.fold, letters)
            for chunk in batch.chunks:
                self.outcome.durable(chunk)
                await chunk.acknowledge()
            self.in_flight = None
            self._signal()

    async def _due(self, last: float) -> None:
        """Return when there is something to flush and it is time to; what is urgent is shown meanwhile."""
        while not self.pending:
            await self._changed.wait()
        looked = last
        while not (self.full or self._draining or self._ripe(last)):
            rest = looked + self.interval_s - self.clock()
            if rest > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), rest)
            else:
                await self._show()
                looked = self.clock()
        while self.held:
            await self._changed.wait()

    def _ripe(self, last: float) -> bool:
        """The interval is over, and the fold is worth its writes, has waited long enough, or nothing more comes."""
        now, fold = self.clock(), self.pending.fold
        waited = now - last
        if waited < self.interval_s:
            return False
        if self.pending.letters or waited >= self.update_s or now - self._active_at >= self.interval_s:
            return True
        return len(fold.changes) <= max(FREE_WRITES_PER_S * waited, fold.records / RECORDS_PER_WRITE)

    async def _show(self) -> None:
        urgent = None if self.held else self.urgent(self.pending.fold)
        if urgent is not None:
            self._showing = True
            try:
                self.pending.fold.hide(await asyncio.to_thread(self.show, urgent, self.stop))
            finally:
                self._showing = False
                self._signal()

    def _signal(self) -> None:
        """Wake everyone who waits; they look for themselves. Nothing is lost: all of this runs in one event loop."""
        self._changed.set()
        self._changed.clear()
