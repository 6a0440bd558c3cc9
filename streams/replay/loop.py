"""The replay: read a range again, fold, write, deliver letters, then commit to a group of its own. One loop.

    Reader -> Pipeline -> Fold -> Sink (index) -> dead letters -> positions

The same code as in the workers makes the same documents, and writing is a join: what is there already changes nothing.
"""

import threading
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from processors.fold import Fold
from processors.pipeline import Pipeline
from processors.sink import Gap
from schemas.dead_letters import DeadLetter
from schemas.records import Message
from streams.positions import RETENTION
from streams.reject_share import RejectShare
from streams.replay.pace import Pace
from streams.replay.reader import Lost
from streams.replay.stretches import Place, Stretch

READ_WAIT_S: Final = 0.2
FLUSH_EVERY_S: Final = 1.0
FLUSH_RECORDS: Final = 10_000  # small steps: live's own flushes come in between
FLUSH_BYTES: Final = 32 * 1024 * 1024


class Source(Protocol):
    """`reader.Reader`, as the loop sees it."""

    def assign(self, positions: Mapping[Place, int]) -> None: ...
    def add(self, positions: Mapping[Place, int]) -> None: ...
    def drop(self, place: Place) -> None: ...
    def read(
        self, most: int, wait_s: float, topic_ids: Mapping[str, str]
    ) -> Sequence[Message | tuple[Place, int] | Lost]: ...
    def save(self, positions: Mapping[Place, int], stretches: Mapping[Place, Stretch]) -> None: ...


class Store(Protocol):
    """`processors.sink.Sink`, as the loop sees it."""

    def write(self, fold: Fold, stop: threading.Event) -> list[DeadLetter]: ...
    def record_gaps(self, gaps: Sequence[Gap]) -> object: ...


@dataclass(slots=True)
class Totals:
    """What was done so far."""

    messages: int = 0
    records: int = 0
    letters: int = 0  # new ones
    lost: int = 0  # offsets that retention took while they waited


@dataclass(kw_only=True)
class Replay:
    """`run` it once. `positions`: where to start each stretch, its start or where it was interrupted."""

    reader: Source
    pipeline: Pipeline
    sink: Store
    known: Callable[[Message], Container[int]]  # records that are in a dead letter already
    deliver: Callable[[Sequence[DeadLetter], threading.Event], None]
    share: RejectShare
    pace: Pace
    stretches: dict[Place, Stretch]
    positions: dict[Place, int]
    topic_ids: Mapping[str, str]
    stop: threading.Event
    tick: Callable[["Replay"], None] = lambda _: None  # called between reads: progress, new partitions
    clock: Callable[[], float] = time.monotonic
    flush_records: int = FLUSH_RECORDS
    keeps_gaps: bool = False  # a shadow: what it never read is missing from it; live may have read it in time

    totals: Totals = field(default_factory=Totals, init=False)
    _open: set[Place] = field(default_factory=set, init=False)
    _fold: Fold = field(default_factory=Fold, init=False)
    _rejected: list[DeadLetter] = field(default_factory=list, init=False)
    _lost: list[Lost] = field(default_factory=list, init=False)
    _bytes: int = field(default=0, init=False)
    _saved: dict[Place, int] = field(default_factory=dict, init=False)

    def run(self) -> bool:
        """True when everything up to the end is durable and committed; False when it was told to stop before.

        Raises `writer.Stopped` when it was told to stop while a store is away: then the last step is not committed.
        """
        self._open = {place for place in self.stretches if not self._at_end(place)}
        self.reader.save(self.positions, self.stretches)  # the plan is fixed from here on
        self._saved = dict(self.positions)
        self.reader.assign({place: self.positions[place] for place in self._open})
        flushed = self.clock()
        while self._open and not self.stop.is_set():
            self.tick(self)
            room = self.pace.room()
            if room:
                self._take(room)
            else:
                self.stop.wait(READ_WAIT_S)
            full = self._fold.records >= self.flush_records or self._bytes >= FLUSH_BYTES
            if full or self.clock() - flushed >= FLUSH_EVERY_S or not self._open:
                self.flush()
                flushed = self.clock()
        self.flush()
        self.tick(self)
        return not self._open

    def follow(self, found: Mapping[Place, Stretch]) -> None:
        """Read these as well: partitions that were added."""
        self.stretches |= found
        self.positions |= (starts := {place: stretch.start for place, stretch in found.items()})
        self._open |= set(found)
        self.reader.add(starts)

    @property
    def left(self) -> int:
        """Messages up to the end of all stretches that have one."""
        ends = {place: stretch.end for place, stretch in self.stretches.items()}
        return sum(max(0, end - self.positions[place]) for place, end in ends.items() if end is not None)

    def _at_end(self, place: Place) -> bool:
        end = self.stretches[place].end
        return end is not None and self.positions[place] >= end

    def _take(self, room: int) -> None:
        before = self._fold.records
        for item in self.reader.read(room, READ_WAIT_S, self.topic_ids):
            if isinstance(item, Message):
                place, position = Place(item.topic, item.partition), item.offset + 1
                end = self.stretches[place].end
                if end is None or item.offset < end:
                    self._rejected += self.pipeline.run(item, self._fold, self.known(item))
                    self._bytes += len(item.value or b"")
                    self.totals.messages += 1
            elif isinstance(item, Lost):
                place, position = item.place, item.end
                self._lost.append(item)
            else:
                place, position = item
            self.positions[place] = max(self.positions[place], position)
            if self._at_end(place) and place in self._open:
                self._open.remove(place)
                self.reader.drop(place)
        self.pace.read(self._fold.records - before)

    def flush(self) -> None:
        """Make durable what was read, then commit."""
        fold, rejected, lost = self._fold, self._rejected, self._lost
        self._fold, self._rejected, self._lost, self._bytes = Fold(), [], [], 0
        if fold:
            rejected += self.sink.write(fold, self.stop)
            self.totals.records += fold.records
        if rejected:
            self.deliver(rejected, self.stop)
            self.totals.letters += len(rejected)
        if fold:
            self.share.add(fold.records, len(rejected))
        if lost and self.keeps_gaps:
            self.sink.record_gaps([self._gap(each) for each in lost])
        self.totals.lost += sum(each.end - each.start for each in lost)
        moved = {place: at for place, at in self.positions.items() if self._saved.get(place) != at}
        self.reader.save(moved, self.stretches)
        self._saved |= moved

    def _gap(self, lost: Lost) -> Gap:
        return Gap(
            topic=lost.place.topic,
            topic_id=self.stretches[lost.place].topic_id,
            partition=lost.place.partition,
            start=lost.start,
            end=lost.end,
            reason=RETENTION,
        )
