"""Conservation: each record ends in one count or one letter, and in the same documents by whatever route it came."""

import random
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import writer
from processors.fold import Fold
from processors.index import FakeIndex, ItemOutcome, Write
from processors.pipeline import TOO_OLD, Pipeline, place
from processors.sink import dead_letters
from processors.writer import Writer
from schemas.dead_letters import DeadLetter
from schemas.documents import DAY_MS, MINUTE_MS, Target, day_of
from schemas.records import Message
from schemas.settings import Settings

PIPELINE = Pipeline.from_settings(Settings())
KAFKA_MS = 1_795_219_198_000  # two seconds before a midnight, so that minutes, hours and days are crossed
FIRST_OFFSET = (1 << 20) - 3  # three before the end of a block
YEAR_MS = 365 * DAY_MS


def message(
    value: bytes | None, topic: str = "logs", *, partition: int = 0, offset: int = 0, at: int = KAFKA_MS
) -> Message:
    return Message(
        topic=topic, topic_id=f"id-{topic}", partition=partition, offset=offset, timestamp_ms=at, key=None, value=value
    )  # fmt: skip


def line(
    text: str,
    pod: str = "checkout-7d9f8b6c5-x2k4z",
    node: str = "node-a",
    time_ms: int | None = KAFKA_MS,
    level: str = "error",
) -> dict[str, Any]:
    who = {"namespace_name": "shop", "pod_name": pod, "host": node, "labels": {"app": "checkout"}}
    return {"log": text, "level": level, "kubernetes": who} | ({} if time_ms is None else {"date": time_ms / 1000})


def event(uid: str, count: int, time_ms: int, born_ms: int) -> dict[str, Any]:
    name, reason = ("cart-0", "BackOff") if uid < "c" else ("node-a", "NodeNotReady")
    about = {"kind": "Pod" if uid < "c" else "Node", "name": name, "namespace": "shop"}
    times = {"firstTimestamp": str(born_ms), "lastTimestamp": str(time_ms)}
    meta = {"uid": uid, "namespace": "shop"}
    said = {"reason": reason, "message": f"seen {count}", "type": "Warning", "count": count}
    return {"kind": "Event", "metadata": meta, "involvedObject": about, **said, **times}


def notice(name: str, starts_ms: int, ends_ms: int | None) -> dict[str, Any]:
    labels = {"alertname": name, "namespace": "shop", "severity": "critical"}
    state = {"status": "firing"} if ends_ms is None else {"status": "resolved", "endsAt": ends_ms}
    return {"labels": labels, "annotations": {"summary": "x"}, "startsAt": starts_ms, "fingerprint": name, **state}


def sample(value: float, time_ms: int) -> dict[str, Any]:
    return {"name": "disk", "tags": {"host": "node-a"}, "fields": {"used": value}, "timestamp": time_ms}


MOMENTS = st.sampled_from([0, -1, -2_500, -MINUTE_MS, -90 * MINUTE_MS, 3_600_000, -20 * DAY_MS, -10 * YEAR_MS]).map(
    lambda away: KAFKA_MS + away
)
TEXTS = st.sampled_from(["db timeout after 5 ms", "db timeout after 7 ms", "poison", ""]) | st.integers(0, 99).map(
    lambda n: f"trace {n:032x} failed with E{n:04d}"
)
LINES = st.builds(
    line,
    TEXTS,
    st.sampled_from(["checkout-7d9f8b6c5-x2k4z", "bad-0", ""]),
    st.sampled_from(["node-a", ""]),
    st.none() | MOMENTS,
    st.sampled_from(["error", "critical", "info"]),
)  # fmt: skip
VALUES = {
    "logs": LINES.map(orjson.dumps)
    | st.lists(LINES | st.just(7), min_size=1, max_size=4).map(orjson.dumps)
    | st.sampled_from([b"", b"{", b"\xff\xfe", b"plain words 12", b"[]"]),
    "metrics": st.lists(st.builds(sample, st.floats(0, 9), MOMENTS) | st.just({"name": "broken"}), max_size=4).map(
        lambda metrics: orjson.dumps({"metrics": metrics})
    ),
    "k8s-events": st.builds(event, st.sampled_from("abcd"), st.integers(1, 9), MOMENTS, MOMENTS).map(orjson.dumps),
    "alerts": st.lists(
        st.builds(notice, st.sampled_from(["Slow", "Poison"]), MOMENTS, st.none() | MOMENTS), max_size=3
    ).map(lambda alerts: orjson.dumps({"version": "4", "alerts": alerts})),
}


@st.composite
def logs_of_partitions(draw: st.DrawFn) -> list[list[Message]]:
    """What Kafka holds: per topic and partition its messages, in the order of their offsets."""
    held = []
    for topic in draw(st.sets(st.sampled_from(sorted(VALUES)), min_size=1)):
        for partition in range(draw(st.integers(1, 2))):
            values = draw(st.lists(VALUES[topic], min_size=1, max_size=6))
            steps = [draw(st.integers(1, 2)) for _ in values]
            offsets = [FIRST_OFFSET + sum(steps[:n]) for n in range(len(values))]
            held.append(
                [message(v, topic, partition=partition, offset=o, at=KAFKA_MS + 700 * n)
                 for n, (v, o) in enumerate(zip(values, offsets, strict=True))]
            )  # fmt: skip
    return held


class Killed(Exception):
    """The worker dies in the middle of a write."""


class Unsteady(FakeIndex):
    """Refuses poisonous documents always, and anything else now and then; `deadly` requests from now it kills."""

    def __init__(self, chance: random.Random | None = None) -> None:
        super().__init__(fault=self._fault)
        self._chance, self.deadly, self._suspected = chance, -1, set[Target]()

    def _fault(self, write: Write) -> ItemOutcome | None:
        fixed = write.fixed
        if fixed.get("template") == "poison" or fixed.get("name") == "Poison" or fixed.get("pod") == "bad-0":
            return ItemOutcome(400, "mapper_parsing_exception: no")
        if self._chance is None or self._chance.random() > 0.2:
            return None
        status = self._chance.choice((429, 503, 404, 400, 200 if write.create else 409))
        if status == 400 and write.target in self._suspected:  # refused twice it would be a letter
            return None
        self._suspected.add(write.target)
        return ItemOutcome(status, "some_exception: x") if status != 200 else None

    def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        self.deadly -= 1
        if self._chance and self._chance.random() < 0.1:
            return [ItemOutcome(413)] * len(writes) if len(writes) > 1 else None
        outcomes = super().bulk(writes)
        if self.deadly == 0:
            raise Killed
        return outcomes


@pytest.fixture(autouse=True, scope="module")
def _without_waiting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "BACKOFF_FIRST_S", 0.0)
        patch.setattr(writer.log, "warning", lambda *_, **__: None)
        yield


def flush(pen: Writer, batch: Sequence[Message]) -> list[DeadLetter]:
    fold = Fold()
    letters = [letter for each in batch for letter in PIPELINE.run(each, fold)]
    return letters + dead_letters(pen.write(fold, Event()), fold)


def places(letters: Sequence[DeadLetter]) -> set[str]:
    return {str(letter.message.at(letter.index)) for letter in letters}


def counted(index: FakeIndex) -> int:
    return sum(d["count"] for t, d in index.documents.items() if t.kind in ("occurrences", "tallies"))


@given(logs_of_partitions(), st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_any_route_ends_in_the_same_documents(held: list[list[Message]], seed: int) -> None:
    """Workers take partitions in any order and any pieces, die, and start again at or before what is acknowledged."""
    plain, total = Unsteady(), Fold()
    everything = [m for partition in held for m in partition]
    expected = places(flush(Writer(plain, bulk_bytes=1_000_000, cached_slices=1_000), everything))
    for each in everything:
        PIPELINE.run(each, total)
    assert counted(plain) + len(expected) == total.records

    chance = random.Random(seed)
    index, letters = Unsteady(chance), set[str]()

    def fresh() -> Writer:
        return Writer(index, bulk_bytes=chance.choice((1, 2_000, 1 << 20)), cached_slices=chance.choice((1, 3, 99)))

    pen, read = fresh(), [0] * len(held)
    while read != [len(partition) for partition in held]:
        batch: list[Message] = []
        for which in chance.sample(range(len(held)), len(held)):
            end = min(read[which] + chance.randint(0, 4), len(held[which]))
            batch += held[which][read[which] : end]
            read[which] = end
        index.deadly = chance.choice((-1, -1, -1, 1, 2, 3))
        try:
            letters |= places(flush(pen, batch))
        except Killed:  # the next worker starts where nobody has acknowledged, or even before
            pen, read = fresh(), [chance.randint(0, max(at - 4, 0)) for at in read]
    assert letters == expected
    assert index.documents == plain.documents


@pytest.mark.parametrize(
    ("time_ms", "kafka_ms", "placed"),
    [
        (1_000, 2_000, (1_000, False)),
        (2_000, 2_000, (2_000, False)),
        (2_001, 2_000, (2_000, True)),  # from the future
        (None, 2_000, (2_000, True)),
    ],
)
def test_the_moment_at_which_a_record_counts(time_ms: int | None, kafka_ms: int, placed: tuple[int, bool]) -> None:
    assert place(time_ms, kafka_ms) == placed


def folded(*messages: Message) -> tuple[Fold, list[DeadLetter]]:
    fold = Fold()
    return fold, [letter for each in messages for letter in PIPELINE.run(each, fold)]


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("logs", line("late", time_ms=KAFKA_MS - 15 * DAY_MS)),
        ("metrics", {"metrics": [sample(1, KAFKA_MS - 8 * DAY_MS)]}),
        ("k8s-events", event("a", 1, KAFKA_MS - 15 * DAY_MS, KAFKA_MS - 15 * DAY_MS)),
        ("alerts", {"version": "4", "alerts": [notice("Slow", KAFKA_MS - 31 * DAY_MS, None)]}),
    ],
)
def test_what_is_older_than_retention_is_counted_under_the_day_it_came(topic: str, value: Any) -> None:
    fold, letters = folded(message(orjson.dumps(value), topic))
    (change,) = fold
    assert (letters, change.fixed["rule"], change.target.day) == ([], f"filtered:{TOO_OLD}", day_of(KAFKA_MS))


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("k8s-events", event("a", 4_000, KAFKA_MS, KAFKA_MS - 40 * DAY_MS)),
        ("alerts", {"version": "4", "alerts": [notice("Slow", KAFKA_MS - YEAR_MS, KAFKA_MS)]}),
    ],
)
def test_what_outlives_retention_makes_no_index_of_its_birthday(topic: str, value: Any) -> None:
    fold, _ = folded(message(orjson.dumps(value), topic))
    assert {change.target.day for change in fold} == {day_of(KAFKA_MS)}


@pytest.mark.parametrize("kafka_ms", [0, KAFKA_MS // 1000, 1 << 62])
def test_a_kafka_timestamp_that_nobody_can_believe_is_a_dead_letter(kafka_ms: int) -> None:
    fold, letters = folded(message(orjson.dumps(line("words")), at=kafka_ms))
    assert (fold.records, len(letters), list(fold), fold.partitions["id-logs", 0].newest_ms) == (1, 1, [], 0)


def test_letters_name_the_record_inside_its_message() -> None:
    _, letters = folded(message(orjson.dumps([line("a"), 7, line("b"), "x"])), message(b"\xff", offset=1))
    assert [(letter.message.offset, letter.index, letter.stage) for letter in letters] == [
        (0, 1, "decode"), (0, 3, "decode"), (1, 0, "decode"),
    ]  # fmt: skip


def test_a_refused_pattern_takes_only_its_own_day_along_and_is_offered_again() -> None:
    index = FakeIndex(
        fault=lambda w: ItemOutcome(400, "x: y") if w.create and w.target.day != day_of(KAFKA_MS) else None
    )
    pen = Writer(index, bulk_bytes=1_000_000, cached_slices=100)
    both = [
        message(orjson.dumps(line("boom", time_ms=t)), offset=o) for o, t in enumerate((KAFKA_MS, KAFKA_MS - DAY_MS))
    ]
    assert places(flush(pen, both)) == {"logs/id-logs/0/1/0"}
    again = message(orjson.dumps(line("boom", time_ms=KAFKA_MS - DAY_MS)), offset=2)
    assert places(flush(pen, [again])) == {"logs/id-logs/0/2/0"}
    assert {(t.kind, t.day) for t in index.documents} == {(k, day_of(KAFKA_MS)) for k in ("patterns", "occurrences")}


def test_a_letter_is_not_written_for_a_record_that_was_counted_before() -> None:
    """The document took the first record, then refuses it together with a second one: only the second is a letter."""
    index = FakeIndex()
    first, second = (message(orjson.dumps(line("boom")), offset=n) for n in range(2))
    flush(Writer(index, bulk_bytes=1_000_000, cached_slices=100), [first])
    index.fault = lambda w: ItemOutcome(400, "x: y") if w.target.kind == "occurrences" else None
    letters = flush(Writer(index, bulk_bytes=1_000_000, cached_slices=100), [first, second])
    assert (places(letters), counted(index)) == ({str(second.at(0))}, 1)


def test_targets_of_the_past_stay_few() -> None:
    """A stream that names a thousand days in the past must not make a thousand indices."""
    values = [line("x", time_ms=KAFKA_MS - day * DAY_MS) for day in range(0, 1_000, 10)]
    fold, _ = folded(*(message(orjson.dumps(v), offset=n) for n, v in enumerate(values)))
    assert len({(t.kind, t.day) for t in (*fold.changes, *fold.patterns)}) <= 2 * 15 + 1
    assert Target("patterns", day_of(KAFKA_MS), "") not in fold.patterns
