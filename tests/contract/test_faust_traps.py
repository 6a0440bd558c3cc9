"""Every known way in which Faust loses records or stands still, driven through our own consumer, agent and flusher.

Each test fails when its protection is taken out. What needs a broker is in `tests/integration/test_delivery.py`; a
consumer's book-keeping by itself is in `test_faust_hooks.py`.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import aiokafka
import faust
import pytest
from faust.transport.drivers.aiokafka import Consumer as KafkaConsumer
from faust.types import TP

from processors.writer import Stopped
from schemas.settings import Kafka, Settings
from streams import app as app_module
from streams.app import App, agent, make_app
from streams.consumer import CHUNK_RECORDS, BatchConsumer
from streams.exits import Exit
from streams.flusher import Chunk, Flusher
from streams.watchdog import Progress

SETTINGS = Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1", group="traps"), worker={"id": "w1"})  # type: ignore[arg-type]
SEVEN_DAYS_S = 7 * 86_400


class Left(BaseException):
    """Instead of the end of the process: nothing after `leave` runs."""

    def __init__(self, code: Exit) -> None:
        self.code = code


@pytest.fixture(autouse=True)
def _no_real_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: Exit, *_: object, **__: object) -> None:
        raise Left(code)

    monkeypatch.setattr(app_module, "leave", leave)


class Stores:
    """A sink that fails as told, and a note of what was acknowledged."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.acknowledged = error, list[str]()
        self.flusher = Flusher(
            write=self.write, urgent=lambda _: None, show=lambda *_: (), deliver=lambda *_: None,
            forget=lambda: None, outcome=self, clock=lambda: 0.0,
            interval_s=0.0, update_s=0.0, max_records=10, max_documents=10,
        )  # fmt: skip

    def write(self, *_: object) -> list[Any]:
        if self.error:
            raise self.error
        return []

    def flushed(self, *_: object) -> None: ...

    def durable(self, _: Chunk) -> None: ...

    def chunk(self) -> Chunk:
        async def acknowledge() -> None:
            self.acknowledged.append("chunk")

        return Chunk(signal="log", oldest_ms=0, acknowledge=acknowledge)


async def nothing() -> None: ...


def app_with(stores: Stores) -> App:
    return make_app(
        SETTINGS,
        steps={"logs": None},  # type: ignore[dict-item]
        flusher=stores.flusher,
        progress=Progress(),
        listener=SimpleNamespace(drain=lambda: None, drained=nothing),  # type: ignore[arg-type]
        farewell=lambda: None,
    )


@pytest.fixture
async def consumer() -> AsyncIterator[BatchConsumer]:
    made: Any = app_with(Stores())
    made.finalize()

    async def callback(_: Any) -> None: ...

    consumer = made.transport.create_consumer(
        callback=callback, on_partitions_revoked=callback, on_partitions_assigned=callback
    )
    made.topics.acks_enabled_for = lambda _: True
    yield consumer
    consumer._thread.thread_loop.close()


async def deliver(consumer: Any, tp: TP, first: int, count: int) -> list[Any]:
    """The chunks of these records, handed over as the fetcher does it."""

    async def fetched(_: float) -> Any:
        records = [SimpleNamespace(offset=o, timestamp=1, timestamp_type=0) for o in range(first, first + count)]
        return {tp: records}, {tp}

    consumer._wait_next_records, consumer.highwater = fetched, lambda _: 0
    found = []
    async for _, message in consumer.getmany(1.0):
        await consumer.callback(message)
        found.append(message)
    return found


# -- traps 1, 2, 6: a failed or slow chunk, with later ones acknowledged around it -------------------------------------


@pytest.mark.parametrize("committed", [None, 2_000])  # a fresh group has no commit that could guard the gap
async def test_no_commit_passes_a_chunk_that_failed(consumer: Any, committed: int | None) -> None:
    tp = TP("logs", 0)
    consumer._committed_offset[tp] = committed
    first, second, third = await deliver(consumer, tp, 2_000, 3 * CHUNK_RECORDS)
    consumer.ack(second)
    consumer.ack(third)
    assert consumer._filter_committable_offsets([tp]) == {}
    consumer.ack(first)
    assert consumer._filter_committable_offsets([tp]) == {tp: 5_000}


async def test_nobody_acknowledges_by_dropping_a_chunk(consumer: Any) -> None:
    """Faust counts what it delivered in a WeakSet: a chunk that nobody holds any more would be taken for done."""
    tp = TP("logs", 0)
    await deliver(consumer, tp, 0, 5)
    assert [message.offset for message in consumer._delivered[tp]] == [4]


# -- traps 1 to 4: an exception in the agent, or in the flusher behind it ----------------------------------------------


class Stream:
    """Faust's, with one event; acknowledges by itself unless it is told not to."""

    def __init__(self) -> None:
        self.enable_acks, self.acknowledged, self.ended = True, 0, False

    async def events(self) -> Any:
        try:
            yield SimpleNamespace(value=["record"])
        finally:
            self.acknowledged += self.enable_acks  # as Faust does when the loop goes on or breaks

    async def ack(self, _: Any) -> None:
        self.acknowledged += 1


@pytest.mark.parametrize("error", [RuntimeError("sink failed"), MemoryError(), KeyboardInterrupt(), SystemExit(0)])
async def test_an_exception_in_the_agent_ends_the_process_unacknowledged(error: BaseException) -> None:
    async def step(*_: object) -> None:
        raise error

    stream = Stream()
    with pytest.raises(Left) as left:
        await agent(SimpleNamespace(should_stop=False), "logs", step)(stream)  # type: ignore[arg-type]
    assert left.value.code is Exit.DEFECT
    assert (stream.enable_acks, stream.acknowledged) == (False, 0)


@pytest.mark.parametrize(("error", "code"), [(RuntimeError("defect"), Exit.DEFECT), (Stopped("away"), Exit.UNFINISHED)])
async def test_an_exception_in_the_flusher_ends_the_process_unacknowledged(error: Exception, code: Exit) -> None:
    stores = Stores(error)
    stores.flusher.covered(stores.chunk())
    with pytest.raises(Left) as left:
        await app_with(stores)._flush()
    assert left.value.code is code
    assert stores.acknowledged == []


async def test_a_crash_inside_faust_ends_the_process() -> None:
    """Its own way out waits for streams that will never be done."""
    with pytest.raises(Left) as left:
        app_with(Stores())._crash(RuntimeError("commit refused"))
    assert left.value.code is Exit.DEFECT


async def test_the_agent_leaves_acknowledging_to_the_flusher() -> None:
    async def step(*_: object) -> None: ...

    stream = Stream()
    await agent(SimpleNamespace(should_stop=False), "logs", step)(stream)  # type: ignore[arg-type]
    assert stream.acknowledged == 0


# -- trap 5: a stop with a flush in flight -----------------------------------------------------------------------------


async def test_a_stop_waits_for_what_was_taken_and_hurries_it(consumer: Any) -> None:
    told: list[str] = []
    consumer.listener.drain = lambda: told.append("drain")
    (message,) = await deliver(consumer, TP("logs", 0), 0, 5)
    consumer._unacked_messages.add(message)  # as Faust's stream does when an agent takes it

    async def commit(*_: Any, **__: Any) -> None:
        told.append(f"commit {consumer._filter_committable_offsets(list(consumer._finished))}")

    consumer.commit = commit
    stopping = asyncio.create_task(consumer.on_stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    assert told[0] == "drain"
    consumer.ack(message)
    await asyncio.wait_for(stopping, 5)
    assert told[-1] == f"commit { {TP('logs', 0): 5} }"


# -- traps 5 to 13: settings, as Faust hands them to the client --------------------------------------------------------


@pytest.fixture
def handed(consumer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", lambda **options: seen.update(options) or SimpleNamespace())
    consumer._thread._create_worker_consumer(consumer.transport)
    return seen


@pytest.mark.parametrize(
    ("option", "sound"),
    [
        ("max_poll_interval_ms", lambda ms: SEVEN_DAYS_S * 1000 < ms < 2**31),  # trap 9: never dropped for idleness
        ("rebalance_timeout_ms", lambda ms: ms >= 60_000),  # trap 10: a joining member waits for a blocked one
        ("session_timeout_ms", lambda ms: ms == 10_000),
        ("heartbeat_interval_ms", lambda ms: ms <= 10_000 / 3),
        ("group_instance_id", lambda name: name == "w1"),
        ("enable_auto_commit", lambda on: on is False),
        ("auto_offset_reset", lambda name: name == "none"),  # a position is never moved in silence
        ("metadata_max_age_ms", lambda ms: ms <= 10_000),  # new partitions are noticed
        ("max_poll_records", lambda count: count == CHUNK_RECORDS),
    ],
)
def test_client_settings(handed: dict[str, Any], option: str, sound: Any) -> None:
    assert sound(handed[option]), handed[option]


async def test_application_settings() -> None:
    made = app_with(Stores())
    assert made.conf.stream_wait_empty is True  # trap 5
    assert [running.concurrency for running in made.agents.values()] == [1]  # trap 6
    assert not any(running.isolated_partitions for running in made.agents.values())
    assert issubclass(made.transport.Consumer, BatchConsumer)
    assert issubclass(made.transport.Consumer, KafkaConsumer)  # trap 13: not librdkafka's driver
    assert (made.conf.topic_disable_leader, made.conf.topic_allow_declare) == (True, False)


# -- traps 7, 8: poison ------------------------------------------------------------------------------------------------


async def test_no_codec_of_faust_sees_a_message() -> None:
    made: Any = app_with(Stores())
    schema = next(iter(made.agents.values())).channel.schema
    message = SimpleNamespace(key=b"\xff", value=b"\xfe{bad", headers=None)
    decoded = schema.loads_value(made, message, loads=None, serializer="json")
    assert decoded is message.value
    assert schema.loads_key(made, message, loads=None, serializer="json") is message.key


# -- no trap of Faust's, but the same kind: who waits must be told -----------------------------------------------------


async def test_a_flush_that_hangs_for_ever_is_given_up_at_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = Stores()
    stores.flusher.stop = threading.Event()
    monkeypatch.setattr(app_module, "STOP_WITHIN_S", 0.02)
    left: list[Any] = []
    monkeypatch.setattr(app_module, "leave", lambda code, *_: left.append(code))
    made: Any = app_with(stores)
    made._duties = []

    async def hang(_: Any) -> None:
        await asyncio.sleep(0.2)

    monkeypatch.setattr(faust.App, "on_stop", hang)
    await made.on_stop()
    assert stores.flusher.stop.is_set()  # the sink is told to give up
    assert left == [Exit.UNFINISHED]  # and when even that does not help
