"""Which offsets a replay reads: what was asked for, moved to the start of a block, cut to what Kafka and live have.

Slices are exact from the start of a block of 2^20 offsets, so that is where reading starts. It ends where the live
group has committed: beyond that, live would find its own records counted already. Pure.
"""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.documents import BLOCK_BITS, block_start
from schemas.errors import StartupError
from streams.moments import moment_ms
from streams.topics import Log

_OFFSET: Final = re.compile(r"(?:(\d+):)?(\d+)")


class Place(NamedTuple):
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One end of what was asked for: nothing, a moment, or offsets (`every` partition, or only those named)."""

    time_ms: int | None = None
    every: int | None = None
    partitions: Mapping[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.time_ms is not None or self.every is not None or bool(self.partitions)

    def offset(self, partition: int) -> int | None:
        return self.partitions.get(partition, self.every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What is read of one partition. `end` None: whatever comes, for ever."""

    place: Place
    topic_id: str
    start: int
    end: int | None
    asked: int  # where the range that was asked for begins; `start` may lie before it

    @property
    def messages(self) -> int:
        return max(0, self.end - self.start) if self.end is not None else 0

    def whole_blocks(self, position: int) -> Iterable[str]:
        """Slice keys of the blocks that are read from their very beginning by whoever goes on at `position`."""
        first = -(-position >> BLOCK_BITS)  # rounded up
        last = (self.end if self.end is not None else position) - 1 >> BLOCK_BITS
        return (f"{self.topic_id}/{self.place.partition}/{block}" for block in range(first, last + 1))


def bound(moment: str, offsets: Sequence[str], now: dt.datetime, *, option: str) -> Bound:
    """`moment` or `offsets` (N for every partition, or PARTITION:N), not both. Raises StartupError."""
    if moment and offsets:
        raise StartupError(f"{option} and {option}-offset say the same in two ways: give one of them")
    if moment:
        return Bound(time_ms=moment_ms(moment, now, option=option))
    every: int | None = None
    partitions: dict[int, int] = {}
    for text in offsets:
        match = _OFFSET.fullmatch(text)
        if match is None:
            raise StartupError(f"{option}-offset {text}: give an offset, or PARTITION:OFFSET")
        if match[1] is None:
            every = int(match[2])
        else:
            partitions[int(match[1])] = int(match[2])
    return Bound(every=every, partitions=partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What Kafka says about one partition."""

    topic_id: str
    log: Log
    from_time: int | None = None  # the first offset at or after the moment that was asked for
    to_time: int | None = None
    committed: int | None = None  # by the live group


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    stretches: tuple[Stretch, ...]
    notes: tuple[str, ...]  # what the operator should know before it starts

    @property
    def messages(self) -> int:
        return sum(stretch.messages for stretch in self.stretches)


def plan(measured: Mapping[Place, Measured], since: Bound, until: Bound, *, follow: bool) -> Plan:
    """`follow`: into a shadow, without an end. Raises StartupError for a range of which Kafka holds nothing."""
    stretches, notes = [], []
    named = set(since.partitions) | set(until.partitions)
    if unknown := named - {place.partition for place in measured}:
        raise StartupError(f"there is no partition {', '.join(map(str, sorted(unknown)))} in these topics")
    for place, there in sorted(measured.items()):
        if named and place.partition not in named and since.every is None and until.every is None:
            continue
        stretch, said = _one(place, there, since, until, follow=follow)
        stretches.append(stretch)
        notes += said
    made = Plan(stretches=tuple(stretches), notes=tuple(notes))
    if not follow and (since or until) and not made.messages:
        left = [f"{p} holds offsets {m.log.start} to {m.log.end - 1}" for p, m in sorted(measured.items()) if m.log.end]
        raise StartupError(
            f"nothing of that range can be read: {'; '.join(_some(left)) or 'the topics are empty'}. "
            "What the live group has not read yet is left to it."
        )
    return made


def _one(place: Place, there: Measured, since: Bound, until: Bound, *, follow: bool) -> tuple[Stretch, list[str]]:
    log, notes = there.log, []
    asked = since.offset(place.partition)
    if asked is None:
        asked = there.from_time if there.from_time is not None else log.start
    if asked < log.start:
        notes.append(
            f"the range begins before the log start of {place}: {log.start - asked:,} records are gone, "
            "the rest is read"
        )
    elif there.from_time == log.start > 0:
        notes.append(f"{place} starts at offset {log.start:,}: what was before it is gone")
    start = max(log.start, block_start(min(asked, log.end)))
    end: int | None = None
    if not follow:
        wanted = until.offset(place.partition)
        if wanted is None:
            wanted = there.to_time if there.to_time is not None else log.end
        live = there.committed if there.committed is not None else log.start
        if there.committed is None and log.end > log.start:
            notes.append(f"the live group has not read {place} yet, so there is nothing to repair in it")
        end = max(start, min(wanted, log.end, live))
        if asked >= end:  # nothing of what was asked for is there; its block alone is not worth reading
            start = end
    if start != block_start(start) and start < (end if end is not None else log.end):
        notes.append(
            f"the beginning of a block of {place} is gone (offsets {block_start(start):,} to {start - 1:,}): "
            "documents that hold records of it go on from what is stored, and one that was lost comes back without them"
        )
    return Stretch(place=place, topic_id=there.topic_id, start=start, end=end, asked=max(asked, log.start)), notes


def _some(lines: Sequence[str], most: int = 6) -> list[str]:
    return [*lines[:most], f"and {len(lines) - most} more partitions"] if len(lines) > most else list(lines)
