"""What `streams/consumer.py` assumes about faust-streaming: names, version, and its own book-keeping on top of them.

When a new version of Faust breaks one of these, repeat the kill runs before the pin moves.
"""

import inspect
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.drivers.aiokafka import Consumer as KafkaConsumer
from faust.types import TP

from streams.consumer import BatchConsumer, PassThrough, bound

HOOKED = (
    "_wait_next_records", "_new_offset", "_filter_tps_with_pending_acks", "_commit_offsets", "_add_gap", "ack",
    "getmany", "perform_seek", "on_partitions_revoked", "on_partitions_assigned", "wait_empty",
)  # fmt: skip
ATTRIBUTES = (
    "_acked", "_acked_index", "_committed_offset", "_read_offset", "_buffered_partitions", "callback", "flow_active",
)  # fmt: skip


class Listener:
    def __init__(self) -> None:
        self.told: list[Any] = []

    async def assigned(self, partitions: Any) -> None:
        self.told.append(("assigned", partitions))

    def drain(self) -> None:
        self.told.append("drain")

    async def ran_backwards(self, *told: Any) -> None:
        self.told.append(told)


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
    assert hasattr(BaseConsumer, name)
    assert name in vars(BatchConsumer) or name in ("_wait_next_records", "perform_seek")
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


async def test_offsets_that_run_backwards_are_told_and_read(consumer: BatchConsumer) -> None:
    tp = TP("t", 0)
    consumer._read_offset[tp] = consumer._committed_offset[tp] = 500
    (message,) = await chunks(consumer, {tp: records(0, 1)})
    assert consumer.listener.told == [("t", 0, 500, 0)]
    consumer.ack(message)
    assert consumer._filter_committable_offsets([tp]) == {tp: 2}


async def test_waiting_for_empty_asks_for_a_flush(consumer: BatchConsumer) -> None:
    consumer._commit = None  # nothing is pending, nothing is committed
    await consumer.wait_empty()
    assert consumer.listener.told == ["drain"]


def test_pass_through_leaves_bytes_alone() -> None:
    message = SimpleNamespace(key=b"\xff", value=[1])
    schema = PassThrough()
    assert (schema.loads_key(None, message), schema.loads_value(None, message)) == (b"\xff", [1])
