"""Which offsets are read: from a block's start to where the live group is, in tasks of a fair size."""

import datetime as dt
from typing import Any

import pytest
import typer

from schemas.documents import slice_key
from schemas.errors import SinkUnavailable, StartupError
from spark_jobs import ranges
from spark_jobs.kafka_source import Range, messages
from spark_jobs.ranges import Held

BLOCK = 1 << 20


def held(low: int, high: int, **more: Any) -> Held:
    return Held(topic="logs", topic_id="i", partition=0, low=low, high=high, **more)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("", None),
        ("17", 17),
        ("2026-11-20T12:00Z", dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)),
        ("2026-11-20", dt.datetime(2026, 11, 20, tzinfo=dt.UTC)),
    ],
)
def test_bounds_are_offsets_or_moments(text: str, bound: ranges.Bound) -> None:
    assert ranges.bound(text) == bound


@pytest.mark.parametrize("text", ["yesterday", "-5", "1h"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="neither an offset nor"):
        ranges.option(text, "--from")


@pytest.mark.parametrize(
    ("partition", "read", "continued"),
    [
        (held(0, 100), (0, 100), False),
        (held(0, 100, start=40, end=60), (0, 60), False),  # from the block's start
        (held(0, 3 * BLOCK, start=2 * BLOCK + 7), (2 * BLOCK, 3 * BLOCK), False),
        (held(30, 100), (30, 100), True),  # its beginning is gone
        (held(30, 3 * BLOCK, start=BLOCK), (BLOCK, 3 * BLOCK), False),
        (held(BLOCK, BLOCK + 5), (BLOCK, BLOCK + 5), False),
        (held(0, 100, committed=70), (0, 70), False),  # no further than the live group
        (held(0, 100, end=50, committed=70), (0, 50), False),
        (held(0, 100, start=5, committed=0), None, False),
        (held(0, 100, start=100), None, False),
        (held(0, 0), None, False),
        (held(30, 100, start=10, end=60), (30, 60), True),
    ],
)
def test_a_range_begins_where_counts_are_exact(partition: Held, read: tuple[int, int] | None, continued: bool) -> None:
    plan = ranges.plan([partition])
    assert [(each.start, each.end) for each in plan.ranges] == ([read] if read else [])
    assert plan.continued == ({slice_key("i", 0, partition.low)} if continued else set())


def test_a_range_that_retention_took_says_what_is_left() -> None:
    with pytest.raises(StartupError, match=r"logs/0: offsets 5 to 9 are gone, retention has left 30 to 99"):
        ranges.plan([held(30, 100, start=5, end=10)])
    assert "30 to 99" in ranges.plan([held(30, 100, start=5)]).notes[0]


def test_the_live_groups_position_is_told() -> None:
    assert "ends at 70" in ranges.plan([held(0, 100, committed=70)]).notes[0]


@pytest.mark.parametrize("cores", [1, 2, 16])
@pytest.mark.parametrize("sizes", [[5], [1_000_000, 3, 0, 77_777], [300] * 24])
def test_tasks_cover_each_offset_once(sizes: list[int], cores: int) -> None:
    wanted = [Range("logs", "i", partition, 7, 7 + size) for partition, size in enumerate(sizes)]
    tasks = ranges.tasks(wanted, cores)
    covered = sorted((each.partition, n) for task in tasks for each in task for n in (each.start, each.end))
    ends = [(p, n) for p, size in enumerate(sizes) if size for n in (7, 7 + size)]
    inner = [place for place in covered if place not in ends]
    assert inner[::2] == inner[1::2], "a gap or an overlap between two pieces"
    assert max(sum(map(len, task)) for task in tasks) <= ranges.TASK_OFFSETS[1]
    assert sum(len(each) for task in tasks for each in task) == sum(sizes)


class Kafka:
    """Gives these (partition, offset, error) in one batch after the other."""

    def __init__(self, *batches: list["Found"]) -> None:
        self.batches, self.paused = list(batches), list[int]()

    def assign(self, places: Any) -> None:
        self.assigned = [(place.partition, place.offset) for place in places]

    def consume(self, number: int, timeout: float) -> list["Found"]:
        return self.batches.pop(0) if self.batches else []

    def pause(self, places: Any) -> None:
        self.paused += [place.partition for place in places]


class Error:
    def __init__(self, code: int) -> None:
        self._code = code

    def code(self) -> int:
        return self._code

    def retriable(self) -> bool:
        return False

    def str(self) -> str:
        return "told"


class Found:
    def __init__(self, partition: int, offset: int, error: int | None = None) -> None:
        self._at, self._error = (partition, offset), None if error is None else Error(error)

    def topic(self) -> str:
        return "logs"

    def partition(self) -> int:
        return self._at[0]

    def offset(self) -> int:
        return self._at[1]

    def error(self) -> Error | None:
        return self._error

    def timestamp(self) -> tuple[int, int]:
        return (0, -1)

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return b"v"

    def headers(self) -> None:
        return None


EOF, RESET = -191, -140  # librdkafka: _PARTITION_EOF, _AUTO_OFFSET_RESET
WANTED = (Range("logs", "i", 0, 2, 5), Range("logs", "i", 1, 0, 2))


def read(*batches: list[Found]) -> tuple[list[tuple[int, int]], Kafka]:
    kafka = Kafka(*batches)
    found = messages(kafka, WANTED, idle_s=0.0)  # type: ignore[arg-type]
    return [(each.partition, each.offset) for each in found], kafka


def test_a_range_ends_where_it_should_though_more_follows() -> None:
    got, kafka = read([Found(0, n) for n in range(2, 9)], [Found(1, 0), Found(1, 1), Found(1, 2)])
    assert (got, kafka.paused) == ([(0, 2), (0, 3), (0, 4), (1, 0), (1, 1)], [0, 1])
    assert kafka.assigned == [(0, 2), (1, 0)]


def test_offsets_that_compaction_took_are_not_waited_for() -> None:
    got, _ = read([Found(0, 3), Found(0, 7), Found(1, 0), Found(1, 2, EOF)])
    assert got == [(0, 3), (1, 0)]


@pytest.mark.parametrize(
    ("found", "error", "told"),
    [
        (Found(0, 3, EOF), StartupError, "made anew"),
        (Found(0, 3, RESET), StartupError, "retention removed"),
        (Found(0, 3, 29), SinkUnavailable, "told"),
        (None, SinkUnavailable, "still to read: logs/0, logs/1"),
    ],
)
def test_what_cannot_be_read_is_an_error(found: Found | None, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        read([found] if found else [])
