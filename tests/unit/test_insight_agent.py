"""The insights agent without services: what it sends again, what it acknowledges, where it goes on after a crash."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from processors.fold import Fold, SourceKey
from processors.index import Write
from processors.insights.summaries import decode, encode
from processors.sink import Sink
from processors.writer import Stopped
from schemas.dead_letters import DeadLetter
from schemas.documents import Target
from schemas.errors import SinkUnavailable
from schemas.insights import Insight
from schemas.records import FATAL, Message, Resource
from schemas.settings import Settings
from schemas.summaries import Feedback, Fired, Notified, Summary, Tick
from streams.insights.agent import InsightAgent
from streams.insights.outbox import ANY_PARTITION, Outgoing
from streams.insights.snapshots import CHUNK_BYTES, MANIFEST, Snapshots
from streams.insights.summaries import SummaryProducer
from streams.metrics import InsightMetrics
from streams.watchdog import Progress

ROOT = Path(__file__).parents[2]
SUMMARIES = "freshet.summaries.v1"
START_MS = 1_700_000_000_000
MINUTE_MS = 60_000


class Topic:
    """An outbox over a topic in memory. `fails`: so many rounds are refused."""

    def __init__(self) -> None:
        self.held: list[Outgoing] = []
        self.fails, self.paused = 0, ""

    def deliver(self, messages: Sequence[Outgoing], stop: threading.Event) -> int:
        self.offer(messages)
        return 0

    def offer(self, messages: Sequence[Outgoing]) -> None:
        if self.fails:
            self.fails -= 1
            raise SinkUnavailable("Kafka is away")
        self.held += messages

    def partitions(self) -> list[int]:
        return [0, 1, 2]

    def messages(self) -> Iterable[Message]:
        return [Message("state", "S", 0, n, 0, each.key, each.value) for n, each in enumerate(self.held)]


class World:
    """What outlives a worker: the topics, the index."""

    def __init__(self) -> None:
        self.insights: list[Insight] = []
        self.indexed: list[Target] = []
        self.letters: list[DeadLetter] = []
        self.state, self.summaries = Topic(), Topic()
        self.dies, self.paused = "", ""

    def published(self) -> Mapping[str, int]:
        return {each.id: each.revision for each in self.insights}

    def attach(self, insight: Insight) -> Insight:
        return insight

    def deliver(self, some: Sequence[Any], stop: threading.Event) -> None:
        if some and isinstance(some[0], DeadLetter):
            self.letters += some
            return
        if self.dies == "before publishing":
            raise Stopped(self.dies)
        self.insights += some
        if self.dies == "after publishing":
            raise Stopped(self.dies)

    def tell(self, writes: Sequence[Write], stop: threading.Event) -> list[tuple[Write, str]]:
        self.indexed += [write.target for write in writes]
        return []


def settings(**more: Any) -> Settings:
    return Settings(insights={"snapshot_s": 1, **more})  # type: ignore[arg-type]


def worker(world: World, clock: Any = lambda: 0.0) -> InsightAgent:
    metrics = InsightMetrics(CollectorRegistry())
    snapshots = Snapshots(settings(), world.state, read=world.state.messages)  # type: ignore[arg-type]
    made = InsightAgent(
        settings(), publisher=world, guides=world, documents=world, letters=world, snapshots=snapshots,
        summaries=SummaryProducer(world.summaries, metrics), metrics=metrics,  # type: ignore[arg-type]
        progress=Progress(), stop=threading.Event(), clock=clock, wall_ms=lambda: START_MS,
    )  # fmt: skip
    made.topic_ids = {SUMMARIES: "T", "feedback": "F"}
    made.keep([0])
    return made


def started(world: World, clock: Any = lambda: 0.0) -> tuple[InsightAgent, int]:
    """A worker that holds partition 0, and where it reads on."""
    made = worker(world, clock)
    at = made.hold("T", [0])[0] or 0
    made.begin({0: at})
    return made, at


def alert(name: str, minute: int, *, firing: bool) -> Summary:
    who = Resource(cluster="c", namespace="shop", workload=name)
    at_ms = START_MS + minute * MINUTE_MS
    seen = Notified(START_MS if firing else at_ms, firing, "is slow", "", at_ms, f"alerts/A/0/{minute}/0")
    labels = {"severity": "critical"}
    return Fired(who, Target("alerts", "2023.11.14", f"{name}00"), f"f-{name}", f"{name}Slow", FATAL, labels, (seen,))


def record(offset: int, told: Any) -> Any:
    value = told if isinstance(told, bytes) else next(encode([told]))[1]
    at_ms = START_MS + 40 * MINUTE_MS
    return SimpleNamespace(
        topic=SUMMARIES, partition=0, offset=offset, timestamp=at_ms, key=b"c", value=value, headers=()
    )


STORY = [
    record(0, alert("cart", 0, firing=True)),
    record(1, alert("search", 1, firing=True)),
    record(2, b"not ours"),
    record(3, alert("cart", 2, firing=False)),
    record(4, Tick(START_MS + 10 * MINUTE_MS)),
    record(5, alert("search", 12, firing=False)),
    record(6, Tick(START_MS + 30 * MINUTE_MS)),
]


async def taken(made: InsightAgent, records: Sequence[Any]) -> bool:
    acknowledged = []

    async def acknowledge() -> None:
        acknowledged.append(True)

    await made.take(SUMMARIES, records, acknowledge)
    return bool(acknowledged)


async def undisturbed() -> list[Insight]:
    world = World()
    made, _ = started(world)
    assert await taken(made, STORY)
    return world.insights


async def test_a_story_is_told_indexed_and_acknowledged() -> None:
    world = World()
    made, _ = started(world)
    assert await taken(made, STORY)
    told = [(each.revision, each.state) for each in world.insights]
    assert told.count((1, "opened")) == 2
    assert [state for _, state in told].count("resolved") == 2
    assert len(world.indexed) == len(world.insights)
    assert [(letter.stage, letter.message.offset) for letter in world.letters] == [("insight", 2)]


@pytest.mark.parametrize("crash", ["before publishing", "after publishing"])
@pytest.mark.parametrize("cut", range(1, len(STORY)))
@pytest.mark.parametrize("saves", [False, True], ids=["from the start", "from a snapshot"])
async def test_after_a_crash_everything_is_told_once(cut: int, crash: str, saves: bool) -> None:
    world, now = World(), [0.0]
    made, _ = started(world, lambda: now[0])
    for n in range(cut - 1):
        now[0] += 5.0 if saves else 0.0
        assert await taken(made, STORY[n : n + 1])
    world.dies = crash
    try:
        assert await taken(made, STORY[cut - 1 : cut])  # it told nothing
    except Stopped:
        made.put_away()  # as a stop would: what is not published must not be in it
    world.dies = ""
    made, at = started(world)
    assert at >= cut - 1 if saves else at <= cut
    assert await taken(made, STORY[at:])
    assert world.insights == await undisturbed()


async def test_a_zombie_sends_identical_copies() -> None:
    world = World()
    zombie, _ = started(world)
    await taken(zombie, STORY[:1])
    heir, _ = started(world)
    await taken(heir, STORY)
    await taken(zombie, STORY[1:])
    whole = await undisturbed()
    assert sorted(world.insights, key=str) == sorted([*whole, *whole[1:]], key=str)


async def test_a_partition_that_went_elsewhere_is_left_alone() -> None:
    world = World()
    made, _ = started(world)
    made.keep([1, 2])
    assert not await taken(made, STORY)
    assert world.insights == []


async def test_a_log_that_was_cut_is_folded_anew() -> None:
    world = World()
    made, _ = started(world)
    await taken(made, STORY[:4])
    made.begin({0: 0})
    await taken(made, STORY)
    assert [each.revision for each in world.insights if each.state == "opened"] == [1, 1]


# -- snapshots ---------------------------------------------------------------------------------------------------------


async def saved(world: World, *cuts: int) -> None:
    """A snapshot after each of these."""
    now, last = [0.0], 0
    made, _ = started(world, lambda: now[0])
    for cut in cuts:
        now[0] += 5.0
        await taken(made, STORY[last:cut])
        last = cut


def spoiled(held: list[Outgoing], what: str, slot: int) -> list[Outgoing]:
    mine = [n for n, each in enumerate(held) if each.key.split(b"/")[2] == str(slot).encode()]
    manifest = next(n for n in reversed(mine) if held[n].key.endswith(MANIFEST.encode()))
    if what == "manifest missing":
        return [each for n, each in enumerate(held) if n not in mine or not each.key.endswith(MANIFEST.encode())]
    at, value = {"manifest cut": (manifest, b"{"), "chunk of another": (manifest - 1, b"{}")}[what]
    return [each._replace(value=value) if n == at else each for n, each in enumerate(held)]


@pytest.mark.parametrize("what", ["manifest missing", "manifest cut", "chunk of another"])
async def test_a_broken_snapshot_falls_back_to_the_other_slot(what: str) -> None:
    world = World()
    await saved(world, 2, 4)
    assert worker(world).hold("T", [0]) == {0: 4}
    world.state.held = spoiled(world.state.held, what, 1)
    assert worker(world).hold("T", [0]) == {0: 2}
    world.state.held = spoiled(world.state.held, what, 0)
    assert worker(world).hold("T", [0]) == {0: None}


async def test_a_snapshot_of_another_topic_of_that_name_is_none() -> None:
    world = World()
    await saved(world, 2)
    assert worker(world).hold("NEW", [0]) == {0: None}


async def test_slots_take_turns_after_a_restart_too() -> None:
    world = World()
    await saved(world, 2)
    now = [0.0]
    made, _ = started(world, lambda: now[0])
    now[0] = 5.0
    await taken(made, STORY[2:4])
    assert [each.key.split(b"/")[2] for each in world.state.held if each.key.endswith(b"manifest")] == [b"0", b"1"]


async def test_a_state_that_is_large_is_cut_into_chunks() -> None:
    world = World()
    now = [0.0]
    made, _ = started(world, lambda: now[0])
    now[0] = 5.0
    many = [alert(f"unit-{n}-{'x' * 200}", 0, firing=True) for n in range(400)]
    await taken(made, [record(0, next(iter([value for _, value in encode(many)])))])
    sizes = [len(each.value or b"") for each in world.state.held]
    assert len(sizes) > 2
    assert max(sizes) <= CHUNK_BYTES
    assert worker(world).hold("T", [0]) == {0: 1}


async def test_kafka_away_puts_a_snapshot_off() -> None:
    world = World()
    world.state.fails = 1
    await saved(world, 2)
    assert world.state.held == []


# -- feedback and summaries --------------------------------------------------------------------------------------------

GOOD = b'{"id":"f1","incident_id":"i","fingerprint":"p","verdict":"rejected","by":"ann","time_ms":5,"until_ms":9}'


@pytest.mark.parametrize(
    "value",
    [None, b"", b"[]", b"{", GOOD.replace(b"rejected", b"maybe"), GOOD.replace(b'"id":"f1"', b'"id":""'),
     GOOD.replace(b":5", b":-5"), GOOD.replace(b":5", b':"5"'), b'{"by":"' + b"x" * 70_000 + b'"}'],
)  # fmt: skip
async def test_feedback_goes_to_every_partition_and_what_is_none_to_the_dead_letters(value: bytes | None) -> None:
    world = World()
    made, _ = started(world)
    records = [SimpleNamespace(topic="feedback", partition=0, offset=n, timestamp=n, key=b"i", value=each, headers=())
               for n, each in enumerate((value, GOOD))]  # fmt: skip

    async def acknowledge() -> None: ...

    await made.take_feedback("feedback", records, acknowledge)
    said = Feedback("f1", "i", "p", "rejected", "ann", 5, 9)
    assert [(each.partition, decode(each.value)) for each in world.summaries.held] == [(p, [said]) for p in (0, 1, 2)]
    assert [letter.message.offset for letter in world.letters] == [0]


def occurrence(cluster: str, mark: int) -> Write:
    fixed = {
        "cluster": cluster, "namespace": "shop", "workload": "cart", "pod": "p", "node": "n", "pattern_id": "P",
        "severity_number": 9, "minute_ms": START_MS,
    }  # fmt: skip
    target = Target("occurrences", "2023.11.14", f"o-{cluster}")
    return Write(target=target, fixed=fixed, delta={"slices": {"L/0/0": [mark, 7]}, "first_ms": 1, "last_ms": 2})


def test_summaries_are_sent_by_cluster_and_ticks_when_time_went_on() -> None:
    topic = Topic()
    producer = SummaryProducer(topic, InsightMetrics(CollectorRegistry()))  # type: ignore[arg-type]
    producer.tick()
    assert topic.held == []
    for cluster in ("", "blue"):
        producer.note(occurrence(cluster, 3))
    producer.note(Write(target=Target("patterns", "2023.11.14", "P"), fixed={}, delta=None))
    fold = Fold(patterns={Target("patterns", "2023.11.14", "P"): {"template": "took * ms"}})
    fold.sources = {SourceKey("logs", "", "", name): START_MS - n for n, name in enumerate("ab")}
    producer.deliver(fold, threading.Event())
    told = {each.key: decode(each.value) for each in topic.held}
    assert {each.partition for each in topic.held} == {ANY_PARTITION}
    assert {key: (said.template, dict(said.slices)) for key, [said] in told.items()} == {  # type: ignore[misc, union-attr]
        b"": ("took * ms", {"L/0/0": (3, 7)}), b"blue": ("took * ms", {"L/0/0": (3, 7)}),
    }  # fmt: skip
    topic.held.clear()
    topic.fails = 1
    with pytest.raises(SinkUnavailable):
        producer.tick()
    producer.tick()
    producer.tick()
    assert [(each.partition, decode(each.value)) for each in topic.held] == [(p, [Tick(START_MS)]) for p in (0, 1, 2)]


def test_only_the_worker_tells_summaries() -> None:
    """Replays, dead letters that are counted after all, and Spark write through the same sink: they can never page."""
    texts = {path: path.read_text() for folder in ("streams", "spark_jobs") for path in (ROOT / folder).rglob("*.py")}
    told = {path.relative_to(ROOT).as_posix() for path, text in texts.items() if "written=" in text}
    assert told == {"streams/worker.py"}
    sent = Sink.from_settings.__func__.__kwdefaults__["written"](occurrence("c", 1))  # type: ignore[attr-defined]
    assert sent is None
