"""Where to read on: the group's position, checked against the log, the topic's id and what is indexed.

Kafka keeps a position under the topic's name, so it may belong to a topic that was deleted and made again; and a
position that retention has overtaken is moved to the start of the log without a word by most clients. So every
partition is settled before its first record is taken, and again when Kafka says that a position is out of range. What
was never read is recorded as a gap: compaction and transaction markers leave holes in a log too, but those lie behind
its start and are no gaps.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from processors.sink import Gap, Mark
from schemas.errors import SinkUnavailable
from streams.topics import Log

RETENTION: Final = "retention"  # the log's start moved past the position
CUT: Final = "cut"  # the log's end moved before the position: a leader was lost with records that had been confirmed
RECREATED: Final = "recreated"  # the topic was deleted and made again: what was left of the old one is unknown
UNKNOWN_END: Final = -1
Place = tuple[str, int]  # topic and partition


class Broker(Protocol):
    """What is asked of Kafka. Calls block and raise SinkUnavailable."""

    def logs(self, partitions: Sequence[Place]) -> dict[Place, Log]: ...

    def committed(self, group: str, partitions: Sequence[Place]) -> dict[Place, int]: ...


class Marks(Protocol):
    """What is asked of the index. Calls block and raise SinkUnavailable or SinkMisconfigured."""

    def marks(self, topics: Sequence[str]) -> Sequence[Mark]: ...

    def record_gaps(self, gaps: Sequence[Gap]) -> Sequence[Gap]: ...


@dataclass(frozen=True, slots=True)
class Lost:
    """Offsets from `start` to before `end`."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The next offset to read of each partition, and the gaps that nobody had noticed before."""

    positions: Mapping[Place, int]
    gaps: Sequence[Gap]


def settle_one(stood: int | None, log: Log, indexed: int | None) -> tuple[int, Lost | None]:
    """The next offset to read, and what is lost before it. Reading again is free: it changes nothing in the index.

    `stood`: the group's position, None without one. `indexed`: the highest offset in the index under the present topic
    id. Without it the position is another topic's, or nothing durable stands behind it: read from the log's start.
    """
    reached = stood if stood is not None else indexed + 1 if indexed is not None else log.start
    if reached < log.start:
        return log.start, Lost(reached, log.start, RETENTION)
    if stood is None or indexed is None:
        return log.start, None
    if stood > log.end:
        return log.start, Lost(log.end, stood, CUT)
    return stood, None


def settle(
    stood: Mapping[Place, int | None],
    ids: Mapping[str, str],
    *,
    group: str,
    broker: Broker,
    index: Marks,
    believed: Collection[str],
    known: Mapping[Place, int | None],
) -> Settled:
    """Settle these partitions; gaps are durable when this returns.

    `stood`: a position that Kafka refused, or None for the one that the group has committed. `believed`: topics that
    are not indexed, so that the group's position is all there is. `known`: of partitions that are folded into a state,
    the position of that state, which counts instead of the group's; None without a state. Blocks.
    """
    places = sorted(stood)
    names = sorted({topic for topic, _ in places if topic not in believed} - {topic for topic, _ in known})
    committed, logs = broker.committed(group, places), broker.logs(places)
    if missing := set(places) - set(logs):
        raise SinkUnavailable(f"Kafka did not say what it holds of {sorted(missing)}")
    marks = index.marks(names) if names else ()
    indexed = {(mark.topic, mark.partition): mark.offset for mark in marks if mark.topic_id == ids[mark.topic]}
    positions, gaps = {}, []
    for place in places:
        topic, partition = place
        at = stood[place]
        if at is None:
            at = committed.get(place)
        if place in known:
            at = known[place]
        durable = at if topic in believed or place in known else indexed.get(place)
        positions[place], lost = settle_one(at, logs[place], durable)
        if lost:
            gaps.append(_gap(topic, ids[topic], partition, lost))
    for mark in marks:
        if mark.topic_id != ids[mark.topic]:
            lost = Lost(mark.offset + 1, UNKNOWN_END, RECREATED)
            gaps.append(_gap(mark.topic, mark.topic_id, mark.partition, lost))
    return Settled(positions, index.record_gaps(gaps) if gaps else ())


def _gap(topic: str, topic_id: str, partition: int, lost: Lost) -> Gap:
    return Gap(topic=topic, topic_id=topic_id, partition=partition, start=lost.start, end=lost.end, reason=lost.reason)
