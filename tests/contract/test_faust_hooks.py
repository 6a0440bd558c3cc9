"""What `streams/consumer.py` assumes about faust-streaming: names, version, and its own book-keeping on top of them.

When a new version of Faust breaks one of these, repeat the kill runs before the pin moves.
"""

import inspect
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.drivers.aiokafka import Consumer as KafkaConsumer
from faust.types import TP

from streams import header_names
from streams.app import App
from streams.consumer import FETCH_WAIT_MS, BatchConsumer, PassThrough, bound
from tests.odd_headers import OddName, builder

HOOKED = (
    "_wait_next_records", "_new_offset", "_filter_tps_with_pending_acks", "_commit_offsets", "_add_gap", "ack",
    "getmany", "perform_seek", "on_partitions_revoked", "on_partitions_assigned", "wait_empty", "_commit",
    "seek_wait", "_new_consumer_thread",
)  # fmt: skip
CALLED = ("_wait_next_records", "perform_seek", "_commit", "seek_wait")
ATTRIBUTES = (
    "_acked", "_acked_index", "_committed_offset", "_read_offset", "_buffered_partitions", "callback", "flow_active",
)  # fmt: skip


class Listener:
    def __init__(self) -> None:
        self.told: list[Any] = []
        self.positions: dict[TP, int] = {}

    async def assigned(self, partitions: Any) -> None:
        self.told.append(("assigned", partitions))

    def drain(self) -> None:
        self.told.append("drain")

    async def drained(self) -> None:
        self.told.append("drained")

    async def settle(self, stood: Any) -> Any:
        self.told.append(("settle", stood))
        return self.positions


@pytest.fixture
async def consumer() -> AsyncIterator[BatchConsumer]:
    app = faust.App("contract", broker="kafka://127.0.0.1:1", autodiscover=False)
    app.transport.Consumer = bound(Listener())
    app.finalize()

    async def hand_over(_: Any) -> None: ...

    made = app.transport.create_consumer(
        callback=hand_over, on_partitions_revoked=hand_over, on_partitions_assigned=hand_over
    )
    app.topics.acks_enabled_for = lambda _: True
    yield made
    made._thread.thread_loop.close()


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=o, timestamp=1000, timestamp_type=0) for o in offsets]


def test_version_and_cython_are_those_that_were_measured() -> None:
    assert faust.__version__.startswith("0.15.3")
    assert __import__("faust._cython.streams", fromlist=["StreamIterator"]).StreamIterator


@pytest.mark.parametrize("name", HOOKED)
def test_hooked_methods_exist(name: str) -> None:
    assert hasattr(BaseConsumer, name) or name in vars(KafkaConsumer)
    assert name in vars(BatchConsumer) or name in CALLED
    theirs = inspect.signature(getattr(KafkaConsumer, name)).parameters
    ours = inspect.signature(getattr(BatchConsumer, name)).parameters
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_hooked_attributes_exist(consumer: BatchConsumer, name: str) -> None:
    assert hasattr(consumer, name)


async def chunks(consumer: BatchConsumer, found: dict[TP, list[Any]]) -> list[Any]:
    async def fetched(_: float) -> Any:
        return found, set(found)

    consumer._wait_next_records = fetched
    consumer.highwater = lambda _: 99
    out = []
    async for _, message in consumer.getmany(1.0):
        await consumer._deliver(message)
        out.append(message)
    return out


async def test_a_chunk_is_one_message_with_the_last_offset(consumer: BatchConsumer) -> None:
    got = await chunks(consumer, {TP("t", 0): records(*range(10, 1015)), TP("t", 1): records(3, 9)})
    assert [(m.partition, m.offset, len(m.value)) for m in got] == [(0, 1009, 1000), (0, 1014, 5), (1, 9, 2)]


async def test_commits_the_end_of_the_unbroken_run(consumer: BatchConsumer) -> None:
    tp = TP("t", 0)
    got = await chunks(consumer, {tp: records(*range(3000))})
    consumer.ack(got[1])
    assert consumer._filter_committable_offsets([tp]) == {}
    consumer.ack(got[0])
    assert consumer._filter_committable_offsets([tp]) == {tp: 2000}
    assert [m.offset for m in consumer._delivered[tp]] == [2999]  # payloads of acknowledged chunks are gone


async def test_a_failed_commit_is_tried_again(consumer: BatchConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
    tp = TP("t", 0)
    answers = iter([False, True])

    async def commit(self: Any, offsets: dict[TP, int], *_: Any) -> bool:
        self._committed_offset.update(offsets)  # as Faust does, whatever came of it
        return next(answers)

    monkeypatch.setattr(KafkaConsumer, "_commit_offsets", commit)
    consumer.ack((await chunks(consumer, {tp: records(0)}))[0])
    for _ in range(2):
        assert consumer._filter_committable_offsets([tp]) == {tp: 1}
        await consumer._commit_offsets({tp: 1})
    assert consumer._filter_committable_offsets([tp]) == {}
    consumer._committed_offset.clear()  # as a revocation does
    assert consumer._filter_committable_offsets([tp]) == {}  # what is committed is not committed again


async def test_offsets_that_run_backwards_are_a_defect(consumer: BatchConsumer) -> None:
    tp = TP("t", 0)
    consumer._read_offset[tp] = 500
    with pytest.raises(RuntimeError, match="ran backwards from 500 to 0"):  # Faust would drop them without a word
        await chunks(consumer, {tp: records(0, 1)})


class Moves:
    """What the consumer asks of its thread: commits and seeks."""

    def __init__(self, consumer: Any) -> None:
        self.commits, self.seeks, self.committed = list[Any](), list[Any](), True
        consumer._commit, consumer.seek_wait = self.commit, self.seek

    async def commit(self, offsets: dict[TP, int]) -> bool:
        self.commits.append(offsets)
        return self.committed

    async def seek(self, offsets: dict[TP, int]) -> None:
        self.seeks.append(offsets)


async def assign(consumer: Any, *partitions: TP) -> None:
    async def nothing(*_: Any) -> None: ...

    consumer._on_partitions_assigned = nothing
    consumer.app.on_rebalance_return = lambda: None
    await consumer.on_partitions_assigned(set(partitions), 1)


async def test_nothing_is_read_before_it_is_settled_where_to_begin(consumer: BatchConsumer) -> None:
    tp, moves = TP("t", 0), Moves(consumer)
    await assign(consumer, tp)
    assert await chunks(consumer, {tp: records(7)}) == []  # the services that know are away
    consumer.listener.positions = {tp: 3}
    moves.committed = False
    assert await chunks(consumer, {tp: records(7)}) == []  # a rebalance has begun
    assert moves.seeks == []
    moves.committed = True
    assert [m.offset for m in await chunks(consumer, {tp: records(3, 4)})] == [4]
    assert (moves.commits, moves.seeks) == ([{tp: 3}] * 2, [{tp: 3}])  # committed first: it may be another topic's
    assert [m.offset for m in await chunks(consumer, {tp: records(5)})] == [5]  # settled once
    assert consumer.listener.told == [("assigned", {tp}), *[("settle", {tp: None})] * 3]


async def test_a_lower_position_than_the_group_had_is_committed_again(consumer: BatchConsumer) -> None:
    tp = TP("t", 0)
    Moves(consumer)
    consumer.listener.positions = {tp: 0}
    await assign(consumer, tp)
    consumer._committed_offset[tp] = consumer._read_offset[tp] = 5_000  # of the earlier topic, read by Faust's own seek
    (message,) = await chunks(consumer, {tp: records(0, 1)})
    consumer.ack(message)
    assert consumer._filter_committable_offsets([tp]) == {tp: 2}


async def test_an_assignment_that_comes_while_settling_settles_anew(consumer: BatchConsumer) -> None:
    tp, moves = TP("t", 0), Moves(consumer)
    consumer.listener.positions = {tp: 3}
    await assign(consumer, tp)
    settle = consumer.listener.settle

    async def interrupted(stood: Any) -> Any:
        consumer.listener.settle = settle
        await assign(consumer, tp)
        return {tp: 99}

    consumer.listener.settle = interrupted
    assert await chunks(consumer, {tp: records(99)}) == []
    assert (moves.commits, moves.seeks) == ([], [])
    assert [m.offset for m in await chunks(consumer, {tp: records(3)})] == [3]


async def test_what_was_fetched_before_an_assignment_is_dropped(consumer: BatchConsumer) -> None:
    tp = TP("t", 0)

    async def fetched(_: float) -> Any:
        await assign(consumer, tp)
        return {tp: records(7)}, {tp}

    consumer._wait_next_records = fetched
    assert [message async for message in consumer.getmany(1.0)] == []


async def test_a_position_out_of_range_is_settled_but_not_committed(consumer: BatchConsumer) -> None:
    tp, moves = TP("t", 0), Moves(consumer)
    consumer.listener.positions = {tp: 600}
    (before,) = await chunks(consumer, {tp: records(499)})

    async def refused(_: float) -> Any:
        raise OffsetOutOfRangeError({TopicPartition("t", 0): 500})

    consumer._wait_next_records = refused
    assert [message async for message in consumer.getmany(1.0)] == []
    (after,) = await chunks(consumer, {tp: records(600)})
    assert consumer.listener.told == [("settle", {tp: 500})]
    assert (moves.commits, moves.seeks) == ([], [{tp: 600}])  # what was read before is not durable yet
    consumer.ack(after)
    assert consumer._filter_committable_offsets([tp]) == {}
    consumer.ack(before)
    assert consumer._filter_committable_offsets([tp]) == {tp: 601}


async def test_no_position_at_all_is_settled(consumer: BatchConsumer) -> None:
    async def refused(_: float) -> Any:
        raise NoOffsetForPartitionError(TopicPartition("t", 0))

    consumer._wait_next_records = refused
    assert [message async for message in consumer.getmany(1.0)] == []
    assert consumer._unsettled == {TP("t", 0): None}


async def test_waiting_for_empty_asks_for_a_flush(consumer: BatchConsumer) -> None:
    consumer._commit = None  # nothing is pending, nothing is committed
    await consumer.wait_empty()
    assert consumer.listener.told == ["drain", "drained"]


def test_hooked_methods_of_the_application_exist() -> None:
    assert {"_crash", "_create_directories", "on_start", "on_stop"} <= set(dir(faust.App)) & set(vars(App))


def test_pass_through_leaves_bytes_alone() -> None:
    message = SimpleNamespace(key=b"\xff", value=[1])
    schema = PassThrough()
    assert (schema.loads_key(None, message), schema.loads_value(None, message)) == (b"\xff", [1])


def from_kafka(*batches: Sequence[Any], compression: int) -> Any:
    """What aiokafka makes of batches whose records have one header each, from offset 11 on."""
    data, base = b"", 10
    for names in batches:
        batch = builder(compression)
        for nth, name in enumerate(names):
            batch.append(nth, 1000 + nth, b"k", b"v", [(name, b"x")])
        data += base.to_bytes(8, "big") + bytes(batch.build())[8:]
        base += len(names)
    records = fetcher.MemoryRecords(data)
    return fetcher.PartitionRecords(TP("t", 0), records, None, 11, None, None, True, "read_uncommitted")


@pytest.mark.parametrize("compression", [0, 1])
def test_a_header_name_that_is_no_text_stops_aiokafka_but_not_us(
    monkeypatch: pytest.MonkeyPatch, compression: int
) -> None:
    batches = [("a", "b"), ("c",), ("d", OddName(), "e"), (OddName(), "f")]
    # As aiokafka has them, whatever an earlier test has started; put back afterwards.
    monkeypatch.setattr(fetcher, "MemoryRecords", header_names._MemoryRecords)
    monkeypatch.setattr(fetcher, "PartitionRecords", header_names._Records.__base__)
    with pytest.raises(UnicodeDecodeError):
        list(from_kafka(*batches, compression=compression))
    header_names.tolerate()
    found = from_kafka(*batches, compression=compression)
    assert [(r.offset, "".join(name for name, _ in r.headers)) for r in found] == [
        *((11, "b"), (12, "c"), (13, "d"), (14, ""), (15, "e"), (16, ""), (17, "f"))
    ]
    assert found.next_fetch_offset == 18


async def test_fetches_do_not_wait_long_for_partitions_that_have_nothing(consumer: BatchConsumer) -> None:
    made = consumer._thread._create_consumer(loop=consumer.loop)
    try:
        assert made._fetch_max_wait_ms == FETCH_WAIT_MS
    finally:
        await made.stop()
