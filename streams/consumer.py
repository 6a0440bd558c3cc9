"""A Faust consumer that hands over chunks of records instead of single ones, and never commits past unfinished work.

Faust spends about 65 microseconds on every message: two asyncio tasks, an event, a queue. Here one Faust message
carries up to a thousand Kafka records, so that cost is shared. It also repairs Faust's commit book-keeping: what may be
committed of a partition is the end of the unbroken run of acknowledged chunks since the first one delivered.

No position is ever moved in silence: the client has no reset strategy, and a partition is read only after the listener
has settled where to begin.

This hooks private names of faust-streaming 0.15.3 (pinned); `tests/contract/test_faust_hooks.py` fails when they move.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any, Final, Protocol, cast

import faust
from aiokafka.errors import IllegalStateError, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP, ConsumerMessage, Message

CHUNK_RECORDS: Final = 1000
# How long the broker may hold back its answer while the asked partitions have nothing new. One request at a time is
# under way to a broker, so partitions that were not asked wait as long; Faust says 1,500.
FETCH_WAIT_MS: Final = 100


class Listener(Protocol):
    """What the worker wants to know about its partitions. Called in the event loop, before Faust goes on."""

    async def assigned(self, partitions: Collection[TP]) -> None:
        """These are all our partitions now: nothing that was remembered about any may be trusted.

        Must not wait for a service: no heartbeat is sent meanwhile.
        """

    async def settle(self, stood: Mapping[TP, int | None]) -> Mapping[TP, int]:
        """The next offset to read of each, durably noted if that leaves something out; nothing: try again.

        `stood`: a position that Kafka refused, or None for the one that the group has committed.
        """

    def drain(self) -> None:
        """Someone waits for all delivered chunks to be acknowledged (revocation or stop): finish them now."""

    async def drained(self) -> None:
        """They are acknowledged and committed, and nothing more is delivered. Must not wait for long."""


class PassThrough(faust.Schema[Any, Any]):
    """Values as they come: no codec means no poison message inside Faust, where it would stop a partition silently."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        return message.value


class FetchThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # before it starts, which is when it is looked at
        return consumer


class BatchConsumer(Consumer):
    """One message per chunk: its value is the list of records, its offset that of the last of them."""

    logger = logging.getLogger("faust.consumer")  # the library's voice, not ours
    listener: Listener  # set on the subclass that `bound` makes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._delivered: dict[TP, deque[Message]] = {}  # not yet acknowledged, oldest first
        self._finished: dict[TP, int] = {}  # committable offset
        self._unsettled: dict[TP, int | None] = {}  # not to be read yet; see `Listener.settle`
        self._hand_over = self.callback
        self.callback = self._deliver

    def _new_consumer_thread(self) -> FetchThread:
        return FetchThread(self, loop=self.loop, beacon=self.beacon)

    async def _deliver(self, message: Message) -> None:
        # The strong reference matters: Faust itself tracks messages in a WeakSet.
        self._delivered.setdefault(message.tp, deque()).append(message)
        await self._hand_over(message)

    def ack(self, message: Any) -> bool:
        done = super().ack(message)
        waiting = self._delivered.get(message.tp)
        while waiting and waiting[0].acked:  # releases the payload now, not at the next commit
            self._finished[message.tp] = waiting.popleft().offset + 1
        self._acked[message.tp].clear()
        self._acked_index[message.tp].clear()
        return done

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._finished) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._finished.get(tp)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing to note: the offsets of chunks jump by design, in compacted topics too."""

    async def _commit_offsets(self, offsets: Any, start_new_transaction: bool = True) -> bool:
        before = {tp: self._committed_offset[tp] for tp in offsets}
        committed = await super()._commit_offsets(offsets, start_new_transaction)
        if not committed:  # Faust books it as done either way and would not try again
            self._committed_offset.update(before)
            return False
        for tp, offset in offsets.items():
            # Not once more at the next revocation: by then the topic may be another one of the same name.
            if self._finished.get(tp) == offset:
                del self._finished[tp]
        return True

    async def wait_empty(self) -> None:
        self.listener.drain()
        await super().wait_empty()
        await self.listener.drained()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)  # waits for the work in flight and commits it
        for tp in revoked:
            self._delivered.pop(tp, None)
            self._finished.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._unsettled = dict.fromkeys(assigned)
        await self.listener.assigned(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        if self._unsettled and self.flow_active and not await self._settle():
            return
        try:
            records, active = await self._wait_next_records(timeout)
        except OffsetOutOfRangeError as error:
            self._unsettled |= {TP(*tp): position for tp, position in error.args[0].items()}
            return
        except NoOffsetForPartitionError as error:
            self._unsettled[TP(*error.args[0])] = None
            return
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self._seek_back()
            return
        for tp, found in records.items():
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            if tp in self._unsettled:  # assigned anew while we waited: settling comes back to these
                continue
            last = self._read_offset[tp]
            if last is not None and found[0].offset < last:  # Faust would drop these records without a word
                raise RuntimeError(f"offsets of {tp} ran backwards from {last} to {found[0].offset}")
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp) or 0)  # None breaks the sensors
            for start in range(0, len(found), CHUNK_RECORDS):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    return
                yield tp, _chunk(tp, found[start : start + CHUNK_RECORDS], generation)

    async def _settle(self) -> bool:
        """Ask where to begin, and go there. False: not now; an assignment that came meanwhile settles anew."""
        unsettled = self._unsettled
        stood = dict(unsettled)
        positions = await self.listener.settle(stood)
        if not positions or unsettled is not self._unsettled or not self.flow_active:
            return False
        # Committed before the first record is read: another topic's position must not outlive it. Not after an
        # out-of-range position: chunks before it may not be durable yet.
        new = {tp: position for tp, position in positions.items() if stood[tp] is None}
        if new and not await self._commit(new):
            return False
        try:
            await self.seek_wait(positions)
        except (IllegalStateError, TimeoutError) as error:  # a rebalance has begun
            self.log.warning("seek to settled positions: %r", error)
            return False
        if unsettled is not self._unsettled:
            return False
        for tp, position in positions.items():
            self._read_offset[tp] = position or None
            self._committed_offset[tp] = position or None if stood[tp] is None else self._committed_offset[tp]
            del unsettled[tp]
        return True

    async def _seek_back(self) -> None:
        try:
            await self.perform_seek()
        except KafkaError as error:  # a rebalance is open; the next round seeks again
            self.log.warning("seek while the flow is stopped: %r", error)


def _chunk(tp: TP, records: list[Any], generation: int) -> ConsumerMessage:
    last = records[-1]
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        last.offset,
        last.timestamp / 1000,
        last.timestamp_type,
        None,
        None,
        cast(Any, records),
        None,
        0,
        0,
        tp,
        generation_id=generation,
    )


def bound(listener: Listener) -> type[BatchConsumer]:
    """The consumer class for one worker: Faust makes the instance itself, so the listener travels on the class."""
    return type("BoundBatchConsumer", (BatchConsumer,), {"listener": listener})
