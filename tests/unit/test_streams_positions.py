"""Where to read on: never behind what is durable, never past what was not read without saying so."""

from collections.abc import Sequence

import pytest

from processors.sink import Gap, Mark
from schemas.errors import SinkUnavailable
from streams.positions import Lost, Place, settle, settle_one
from streams.topics import Log


@pytest.mark.parametrize(
    ("stood", "log", "indexed", "position", "lost"),
    [
        (None, Log(start=0, end=0), None, 0, None),  # nothing yet
        (None, Log(start=70, end=90), None, 70, None),  # a new group: what was gone before was never promised
        (50, Log(start=0, end=90), 49, 50, None),  # the rule
        (50, Log(start=0, end=50), 49, 50, None),  # caught up
        (50, Log(start=0, end=90), 30, 50, None),  # the watermark is published a second later than the commit
        (50, Log(start=50, end=90), 49, 50, None),  # all that retention took had been read
        (50, Log(start=60, end=90), 49, 60, Lost(50, 60, "retention")),
        (50, Log(start=60, end=90), None, 60, Lost(50, 60, "retention")),
        (50, Log(start=0, end=90), None, 0, None),  # another topic's position, or nothing durable behind it
        (50, Log(start=0, end=20), None, 0, None),
        (50, Log(start=0, end=40), 49, 0, Lost(40, 50, "cut")),  # same topic, shorter than what was read of it
        (None, Log(start=0, end=90), 49, 0, None),  # the group's offsets have expired: read again
        (None, Log(start=60, end=90), 49, 60, Lost(50, 60, "retention")),
    ],
)
def test_settle_one(stood: int | None, log: Log, indexed: int | None, position: int, lost: Lost | None) -> None:
    assert settle_one(stood, log, indexed) == (position, lost)


class Services:
    """Kafka and the index as they stand; notes the gaps that were recorded."""

    def __init__(self, committed: dict[Place, int], logs: dict[Place, Log], marks: Sequence[Mark]) -> None:
        self._committed, self._logs, self._marks = committed, logs, marks
        self.gaps: dict[tuple[str, int, int], Gap] = {}

    def committed(self, group: str, partitions: Sequence[Place]) -> dict[Place, int]:
        return {place: at for place, at in self._committed.items() if place in partitions}

    def logs(self, partitions: Sequence[Place]) -> dict[Place, Log]:
        return {place: log for place, log in self._logs.items() if place in partitions}

    def marks(self, topics: Sequence[str]) -> Sequence[Mark]:
        return [mark for mark in self._marks if mark.topic in topics]

    def record_gaps(self, gaps: Sequence[Gap]) -> Sequence[Gap]:
        new = [gap for gap in gaps if (gap.topic_id, gap.partition, gap.start) not in self.gaps]
        self.gaps |= {(gap.topic_id, gap.partition, gap.start): gap for gap in new}
        return new


def mark(topic_id: str, partition: int, offset: int) -> Mark:
    return Mark(topic="logs", topic_id=topic_id, partition=partition, offset=offset)


def settled(services: Services, stood: dict[Place, int | None]) -> tuple[dict[Place, int], list[Gap]]:
    ids = {"logs": "NEW", "runbooks": "R"}
    found = settle(stood, ids, group="g", broker=services, index=services, believed={"runbooks"}, known={})
    return dict(found.positions), list(found.gaps)


def test_a_topic_made_again_is_read_from_its_start_and_the_old_rest_is_a_gap() -> None:
    """The new topic is longer than the old position: by the offsets alone nothing would be noticed."""
    place = ("logs", 0)
    services = Services({place: 500}, {place: Log(start=0, end=9_000)}, [mark("OLD", 0, 499), mark("OLD", 7, 3)])
    rest = [
        Gap(topic="logs", topic_id="OLD", partition=p, start=at, end=-1, reason="recreated")
        for p, at in ((0, 500), (7, 4))
    ]
    assert settled(services, {place: None}) == ({place: 0}, rest)
    assert settled(services, {place: None}) == ({place: 0}, [])  # noticed once


def test_partitions_are_settled_one_by_one() -> None:
    logs = {("logs", p): Log(start=10, end=90) for p in range(3)}
    services = Services({("logs", 0): 50, ("logs", 1): 5}, logs, [mark("NEW", 0, 49), mark("NEW", 1, 4)])
    positions, gaps = settled(services, dict.fromkeys(logs))
    assert positions == {("logs", 0): 50, ("logs", 1): 10, ("logs", 2): 10}
    assert [(gap.partition, gap.start, gap.end) for gap in gaps] == [(1, 5, 10)]


def test_a_position_that_kafka_refused_counts_instead_of_the_committed_one() -> None:
    place = ("logs", 0)
    services = Services({place: 20}, {place: Log(start=60, end=90)}, [mark("NEW", 0, 19)])
    positions, gaps = settled(services, {place: 50})
    assert (positions, gaps[0].start, gaps[0].end) == ({place: 60}, 50, 60)


def test_the_runbooks_are_not_indexed_and_need_no_watermark() -> None:
    place = ("runbooks", 0)
    services = Services({place: 5}, {place: Log(start=0, end=9)}, [])
    assert settled(services, {place: None}) == ({place: 5}, [])


def test_a_partition_that_kafka_says_nothing_about_is_not_guessed() -> None:
    with pytest.raises(SinkUnavailable, match=r"\('logs', 0\)"):
        settled(Services({}, {}, []), {("logs", 0): None})


@pytest.mark.parametrize(
    ("known", "stood", "position", "reason"),
    [
        (None, None, 5, ""),  # no snapshot: fold from the earliest, whatever the group has committed
        (7, None, 7, ""),  # the state counts, not the commit
        (3, None, 5, "retention"),
        (30, None, 5, "cut"),
        (7, 99, 7, ""),  # Kafka refused the client's position: the state has its own
    ],
)
def test_what_is_folded_into_a_state_is_read_from_where_the_state_is(
    known: int | None, stood: int | None, position: int, reason: str
) -> None:
    place = ("summaries", 0)
    services = Services({place: 20}, {place: Log(start=5, end=25)}, [])
    found = settle(
        {place: stood},
        {"summaries": "S"},
        group="g",
        broker=services,
        index=services,
        believed=(),
        known={place: known},
    )
    assert (found.positions[place], [gap.reason for gap in found.gaps]) == (position, [reason] if reason else [])
