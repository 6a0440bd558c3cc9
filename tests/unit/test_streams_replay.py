"""Which range is read, how fast, and that reading again mends what is missing and changes nothing else."""

import datetime as dt
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest

from cag import known_letters
from cag.known_letters import KnownLetters
from processors.fold import Fold
from processors.index import FakeIndex, Write
from processors.pipeline import Pipeline
from processors.writer import Stopped, Writer
from schemas import dead_letters
from schemas.dead_letters import DeadLetter
from schemas.documents import Target
from schemas.errors import StartupError
from schemas.records import Message
from schemas.settings import Kafka, Settings
from streams.reject_share import RejectShare
from streams.replay.diff import Between, common
from streams.replay.loop import Replay
from streams.replay.pace import MOST, Pace
from streams.replay.reader import Lost
from streams.replay.repairs import Repairs
from streams.replay.shadow_run import check
from streams.replay.shadows import Label, behind, caught_up, switch_actions
from streams.replay.stretches import Bound, Measured, Place, Stretch, bound, plan
from streams.topics import Log

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
BLOCK = 1 << 20
LOGS = Place("logs", 0)


# -- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "offsets", "says"),
    [
        ("yesterday", (), "--from yesterday: give a moment"),
        ("2h", ("5",), "give one of them"),
        ("", ("five",), "--from-offset five: give an offset"),
    ],
)
def test_what_cannot_be_read_is_one_line(moment: str, offsets: Sequence[str], says: str) -> None:
    with pytest.raises(StartupError, match=says):
        bound(moment, offsets, NOW, option="--from")


def test_offsets_are_for_every_partition_or_for_some() -> None:
    assert bound("", ("7", "3:9"), NOW, option="--to") == Bound(every=7, partitions={3: 9})


def there(start: int, end: int, *, committed: int | None = None, **more: Any) -> Measured:
    return Measured(topic_id="id", log=Log(start=start, end=end), committed=committed, **more)


@pytest.mark.parametrize(
    ("measured", "since", "until", "expected", "said"),
    [
        (there(0, 90, committed=80), Bound(), Bound(), (0, 80), ""),  # never beyond live
        (there(0, BLOCK + 90, committed=BLOCK + 90), Bound(every=BLOCK + 5), Bound(every=BLOCK + 50),
         (BLOCK, BLOCK + 50), ""),  # from the block's start
        (there(0, BLOCK + 90, committed=BLOCK + 90, from_time=BLOCK + 5), Bound(time_ms=1), Bound(),
         (BLOCK, BLOCK + 90), ""),
        (there(100, 900, committed=900), Bound(every=40), Bound(), (100, 900), "60 records are gone"),
        (there(100, 900, committed=900, from_time=100), Bound(time_ms=1), Bound(), (100, 900), "starts at offset 100"),
        (there(100, 900, committed=900), Bound(), Bound(), (100, 900), "beginning of a block of logs/0 is gone"),
        (there(0, 90), Bound(), Bound(), (0, 0), "has not read logs/0"),
    ],
)  # fmt: skip
def test_the_range_of_a_partition(
    measured: Measured, since: Bound, until: Bound, expected: tuple[int, int], said: str
) -> None:
    made = plan({LOGS: measured}, since, until, follow=False)
    (stretch,) = made.stretches
    assert (stretch.start, stretch.end) == expected
    assert said in " ".join(made.notes)
    assert bool(made.notes) == bool(said)


@pytest.mark.parametrize(
    ("since", "until"), [(Bound(every=5_000), Bound()), (Bound(), Bound(every=100)), (Bound(every=950), Bound())]
)
def test_a_range_of_which_nothing_is_left_says_what_is(since: Bound, until: Bound) -> None:
    with pytest.raises(StartupError, match="logs/0 holds offsets 100 to 999"):
        plan({LOGS: there(100, 1_000, committed=950)}, since, until, follow=False)


def test_a_shadow_has_no_end_and_partitions_may_be_named() -> None:
    held = {Place("logs", n): there(0, 50) for n in range(3)}
    assert [s.end for s in plan(held, Bound(), Bound(), follow=True).stretches] == [None] * 3
    assert [s.place.partition for s in plan(held, Bound(partitions={1: 5}), Bound(), follow=True).stretches] == [1]
    with pytest.raises(StartupError, match="no partition 9"):
        plan(held, Bound(partitions={9: 5}), Bound(), follow=True)


@pytest.mark.parametrize(
    ("start", "position", "blocks"),
    [(0, 0, [0, 1, 2]), (5, 5, [1, 2]), (0, 7, [1, 2]), (0, BLOCK, [1, 2]), (0, 2 * BLOCK + 5, [])],
)
def test_blocks_that_are_read_from_their_beginning(start: int, position: int, blocks: list[int]) -> None:
    stretch = Stretch(place=LOGS, topic_id="id", start=start, end=2 * BLOCK + 10, asked=start)
    assert list(stretch.whole_blocks(position)) == [f"id/0/{block}" for block in blocks]


# -- pace -------------------------------------------------------------------------------------------------------------


def test_a_rate_is_kept_whatever_a_message_holds() -> None:
    now = [0.0]
    pace, read = Pace(clock=lambda: now[0], rate=1_000, max_live_lag=10), 0
    while now[0] < 10:
        if room := pace.room():
            pace.read(room * 3)  # three records a message
            read += room * 3
        now[0] += 0.01
    assert 9_000 <= read <= 11_500


def test_live_goes_first() -> None:
    pace, room = Pace(clock=lambda: 0.0, rate=None, max_live_lag=100), []
    for lag in (100, 101, 60, 50, 100):
        pace.live_is_behind(lag)
        room.append(pace.room())
    assert room == [MOST, 0, 0, MOST, MOST]


# -- the loop ---------------------------------------------------------------------------------------------------------


WORDS = ("login", "payment", "search", "upload", "refund", "basket", "export")


def message(offset: int) -> Message:
    """Lines of three workloads over three minutes; every 50th cannot be used."""
    at_ms = 1_795_000_000_000 + offset * 400
    line = f'{{"log": "{WORDS[offset % 7]} failed after {offset} ms", "kubernetes": {{"pod_name": "p{offset % 3}"}}}}'
    value = b"" if offset % 50 == 49 else line.encode()
    return Message(
        topic="logs", topic_id="id", partition=0, offset=offset, timestamp_ms=at_ms, key=None, value=value, headers=()
    )


MESSAGES = [message(offset) for offset in range(450)]
PIPELINE = Pipeline.from_settings(Settings())


class Store:
    """The writer over the fake index."""

    def __init__(self, index: FakeIndex, **more: Any) -> None:
        self._writer = Writer(index, bulk_bytes=1_000_000, cached_slices=more.pop("cached_slices", 10_000), **more)

    def write(self, fold: Fold, stop: threading.Event) -> list[DeadLetter]:
        assert not self._writer.write(fold, stop)
        return []

    def record_gaps(self, gaps: Sequence[Any]) -> None: ...


@dataclass
class Topic:
    """Messages of one partition; keeps what is committed."""

    position: int = 0
    saved: int = 0
    read_at_once: int = 40

    def assign(self, positions: Mapping[Place, int]) -> None:
        self.position = positions.get(LOGS, 0)

    add = assign

    def drop(self, place: Place) -> None: ...

    def read(
        self, most: int, wait_s: float, topic_ids: Mapping[str, str]
    ) -> Sequence[Message | tuple[Place, int] | Lost]:
        found = MESSAGES[self.position : self.position + min(most, self.read_at_once)]
        self.position += len(found)
        return found

    def save(self, positions: Mapping[Place, int], stretches: Mapping[Place, Stretch]) -> None:
        self.saved = positions.get(LOGS, self.saved)


@dataclass
class Known:
    """Letters by offset and index."""

    written: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, message: Message) -> list[int]:
        return [index for offset, index in self.written if offset == message.offset]

    def deliver(self, letters: Sequence[DeadLetter], stop: threading.Event) -> None:
        self.written += [(each.message.offset, each.index) for each in letters]


def replay(
    store: Store, topic: Topic, known: Known, *, end: int, start: int = 0, tick: Callable[[Replay], None] | None = None
) -> Replay:
    stretch = Stretch(place=LOGS, topic_id="id", start=0, end=end, asked=0)
    made = Replay(
        reader=topic,
        pipeline=PIPELINE,
        sink=store,
        known=known,
        deliver=known.deliver,
        share=RejectShare(0.9),
        pace=Pace(clock=lambda: 0.0, rate=None, max_live_lag=1),
        stretches={LOGS: stretch},
        positions={LOGS: start},
        topic_ids={"logs": "id"},
        stop=threading.Event(),
        clock=lambda: 0.0,
        flush_records=100,
    )
    if tick:
        made.tick = tick
    return made


def fold_of(offsets: range) -> Fold:
    fold = Fold()
    for offset in offsets:
        PIPELINE.run(MESSAGES[offset], fold)
    return fold


@pytest.fixture(scope="module")
def clean() -> dict[Target, dict[str, Any]]:
    """What live writes."""
    index = FakeIndex()
    Store(index).write(fold_of(range(450)), threading.Event())
    assert len(index.documents) > 30
    return index.documents


def test_nothing_changes_where_nothing_is_missing(clean: dict[Target, dict[str, Any]]) -> None:
    index, topic, repairs = FakeIndex(documents=deepcopy(clean)), Topic(), Repairs()
    known = Known(written=[(offset, 0) for offset in range(49, 450, 50)])
    done = replay(Store(index, own={"id/0/0"}, changed=repairs.note), topic, known, end=400)
    assert done.run()
    assert (index.documents, repairs.total, topic.saved) == (clean, 0, 400)
    assert (done.totals.messages, done.totals.records, done.totals.letters) == (400, 400, 0)


@pytest.mark.parametrize("stops", [1, 3, 5])
def test_what_is_missing_comes_back_through_kills(clean: dict[Target, dict[str, Any]], stops: int) -> None:
    index, topic, known, starts = FakeIndex(documents=deepcopy(clean)), Topic(), Known(), [0]
    for target in random.Random(stops).sample(sorted(clean, key=str), 20):
        del index.documents[target]

    class Killed(Exception):
        pass

    def tick(running: Replay) -> None:
        starts[0] += 1
        if starts[0] % 4 == 0 and starts[0] < 4 * stops:
            raise Killed

    for _ in range(stops):  # a kill leaves the documents and the committed position behind, nothing else
        try:
            done = replay(Store(index), topic, known, end=450, start=topic.saved, tick=tick).run()
        except Killed:
            done = False
    assert done
    assert index.documents == clean
    assert sorted(known.written) == [(offset, 0) for offset in range(49, 450, 50)]


def lose_and_go_on(clean: dict[Target, dict[str, Any]]) -> FakeIndex:
    """Live lost everything after 300 records, was restarted, and counted the other 150 into new documents."""
    index = FakeIndex()
    Store(index).write(fold_of(range(300, 450)), threading.Event())
    assert any(document["count"] < clean[t]["count"] for t, document in index.documents.items() if "count" in document)
    return index


@pytest.mark.parametrize(("cached", "mended"), [(10_000, True), (1, False)])
def test_counts_that_were_begun_after_a_loss_are_mended(
    clean: dict[Target, dict[str, Any]], cached: int, mended: bool
) -> None:
    """Not when more is read than is remembered: then what is stored is trusted, as it has to be."""
    index = lose_and_go_on(clean)
    assert replay(Store(index, own={"id/0/0"}, cached_slices=cached), Topic(), Known(), end=450).run()
    assert (index.documents == clean) == mended


def test_live_that_goes_on_counting_is_told_of(clean: dict[Target, dict[str, Any]]) -> None:
    index, repairs = lose_and_go_on(clean), Repairs()
    assert replay(Store(index, own={"id/0/0"}, changed=repairs.note), Topic(), Known(), end=320).run()
    short = [t for t, d in index.documents.items() if "slices" in d and d["slices"] != clean[t]["slices"]]
    assert short
    assert repairs.contested(index) >= len([t for t in short if t in repairs.documents]) > 0
    again = Repairs()
    assert replay(Store(index, own={"id/0/0"}, changed=again.note), Topic(), Known(), end=450).run()
    assert (index.documents, again.contested(index)) == (clean, 0)


def test_told_to_stop_it_flushes_and_commits(clean: dict[Target, dict[str, Any]]) -> None:
    topic, index = Topic(), FakeIndex()
    running = replay(Store(index), topic, Known(), end=450)
    running.tick = lambda r: r.stop.set() if r.totals.messages else None
    assert not running.run()
    assert topic.saved == running.totals.messages == 80
    assert sum(d["count"] for t, d in index.documents.items() if t.kind == "occurrences") == 79


def test_stopped_while_the_index_is_away_nothing_is_committed() -> None:
    class Away(Store):
        def write(self, fold: Fold, stop: threading.Event) -> list[DeadLetter]:
            raise Stopped("away")

    topic = Topic()
    with pytest.raises(Stopped):
        replay(Away(FakeIndex()), topic, Known(), end=450).run()
    assert topic.saved == 0


# -- letters that exist -----------------------------------------------------------------------------------------------


def test_letters_of_this_label_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def stored(offset: int, index: int, label: str, *more: tuple[str, bytes | None], rest: bool = False) -> Message:
        letter = DeadLetter(message=MESSAGES[offset], index=index, reason="bad", stage="decode", rest=rest)
        headers = (*more, *letter.headers("app", "worker", label))
        return Message(
            topic="dead", topic_id="d", partition=0, offset=0, timestamp_ms=0, key=None, value=b"", headers=headers
        )

    forged = (dead_letters.OFFSET, b"3")  # of the source message: ours come last and count
    topic = [stored(0, 1, "g1"), stored(0, 4, "g1", rest=True), stored(1, 0, "g2"), stored(2, 0, "", forged)]
    monkeypatch.setattr(known_letters, "describe", lambda *_: None)
    monkeypatch.setattr(known_letters, "read_to_end", lambda *_: iter(topic))
    known = KnownLetters(Kafka(), "g1")
    known.read()
    found = [[index for index in range(7) if index in known(each)] for each in MESSAGES[:4]]
    assert found == [[1, 4, 5, 6], [], [0], []]


def test_a_record_in_a_letter_is_not_counted_although_it_can_be_read_now() -> None:
    index, known = FakeIndex(), Known(written=[(5, 0), (49, 0)])
    done = replay(Store(index), Topic(), known, end=50)
    assert done.run()
    assert sum(d["count"] for t, d in index.documents.items() if t.kind == "occurrences") == 48
    assert (known.written, done.totals.letters) == ([(5, 0), (49, 0)], 0)


# -- labels -----------------------------------------------------------------------------------------------------------


def test_one_call_puts_one_label_behind_the_aliases() -> None:
    old = Label(name="g1", group="g", indices={"p-meta-g1": "meta", "p-series-g1-x": "series"}, live=True)
    old.shown |= set(old.indices)
    new = Label(name="g2_b", group="g.b", indices={"p-meta-g2_b": "meta", "p-series-g2_b-x": "series"})
    actions = switch_actions({"g1": old, "g2_b": new}, "g2_b", "p")
    assert [(how, what["index"], what["alias"]) for each in actions for how, what in each.items()] == [
        ("add", "p-meta-g2_b", "p-meta"),
        ("add", "p-series-g2_b-x", "p-series"),
        ("remove", "p-meta-g1", "p-meta"),
        ("remove", "p-series-g1-x", "p-series"),
    ]
    assert switch_actions({"g1": old}, "g1", "p") == []


@pytest.mark.parametrize(
    ("name", "label", "says"),
    [
        ("Blue!", "g2_Blue!", "a name is up to 20"),
        ("b", "g2_b", "exists with other settings (redaction)"),
        ("c", "g2_c", "has been promoted"),
    ],
)
def test_a_shadow_that_cannot_be_built_is_one_line(name: str, label: str, says: str) -> None:
    there = {
        "g1_b": Label(name="g1_b", group="", parts={"redaction": "1", "template": "5"}),
        "g2_c": Label(name="g2_c", group="", live=True),
    }
    with pytest.raises(StartupError) as error:
        check(name, label, {"redaction": "2", "template": "5"}, there)
    assert says in str(error.value)


def test_a_shadow_of_the_same_settings_goes_on() -> None:
    there = {"g2_b": Label(name="g2_b", group=""), "g1": Label(name="g1", group="", live=True)}
    assert check("b", "g2_b", {}, there) == "g1"


@pytest.mark.parametrize(("speed", "left"), [(10, {}), (0, {"a": 50})])
def test_a_shadow_that_moves_is_waited_for(speed: int, left: dict[str, int]) -> None:
    now = [0.0]
    missing = caught_up(
        {"a": 100},
        lambda: {"a": min(50 + int(now[0]) * speed, 200)},
        patience_s=30,
        still_s=4,
        clock=lambda: now[0],
        sleep=lambda s: now.__setitem__(0, now[0] + s),
    )
    assert (missing, now[0] < 6) == (left, True)


def test_behind_is_told_by_partition() -> None:
    assert behind({"a": 5, "b": 7, "c": 1}, {"a": 5, "b": 3}) == {"b": 4, "c": 1}


def test_only_what_both_have_read_is_compared() -> None:
    logs = {LOGS: Log(start=10, end=100), Place("logs", 1): Log(start=0, end=50)}
    times = lambda _, offset: 60_000 * offset + 5  # noqa: E731
    assert common({LOGS: 100, Place("logs", 1): 50}, {LOGS: 100, Place("logs", 1): 50}, {}, logs, times) == Between()
    found = common({LOGS: 90, Place("logs", 1): 50}, {LOGS: 80, Place("logs", 1): 50}, {LOGS: 20}, logs, times)
    assert found == Between(start_ms=60_000 * 21, end_ms=60_000 * 80)
    assert found.holds(60_000 * 21, 60_000 * 80 - 1)
    assert not found.holds(60_000 * 21 - 1, 60_000 * 30)
    assert not found.holds(60_000 * 30, 60_000 * 80)


def test_what_was_changed_is_remembered_up_to_a_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.replay.repairs.REMEMBERED", 2)
    repairs = Repairs()
    for n in (1, 1, 2, 3):
        repairs.note(Write(target=Target("series", "", str(n)), fixed={}, delta={}))
    assert repairs.total == 3
