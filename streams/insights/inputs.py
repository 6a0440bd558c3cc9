"""Several topics read at once in the order of Kafka's timestamps, as far as each partition is in order itself."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from cag.topic import Topic, describe, message_of
from schemas.errors import SinkUnavailable
from schemas.records import Message
from schemas.settings import Kafka, kafka_client_config

ASK_S: Final = 10.0
IDLE_S: Final = 30.0
MOST, FEW = 2_000, 200  # messages of a partition that wait: then it is paused, and read on

Place = tuple[str, int]


class _Queues:
    """Messages that wait, by partition."""

    def __init__(self, consumer: Consumer, topics: Sequence[Topic]) -> None:
        self._consumer = consumer
        self._ids = {topic.name: topic.topic_id for topic in topics}
        self._waiting: dict[Place, deque[Message]] = {(t.name, p): deque() for t in topics for p in t.partitions}
        self._paused: set[Place] = set()
        self._left = set(self._waiting)

    def read(self) -> None:
        """Until each partition that is not at its end has a message. Raises SinkUnavailable."""
        while any(not self._waiting[place] for place in self._left):
            records = self._consumer.consume(MOST, timeout=0.05)  # waits until there are so many
            if not records:
                first = self._consumer.poll(IDLE_S)
                if first is None:
                    raise SinkUnavailable(f"Kafka sent nothing for {IDLE_S:g} s")
                records = [first]
            for record in records:
                self._take(record)

    def heads(self) -> list[tuple[int, str, int]]:
        return [(queue[0].timestamp_ms, *place) for place, queue in self._waiting.items() if queue]

    def pop(self, place: Place) -> tuple[Message, Message | None]:
        """The next message of a partition, and the one after it where it is there."""
        queue = self._waiting[place]
        message = queue.popleft()
        if place in self._paused and len(queue) < FEW:
            self._paused.remove(place)
            self._consumer.resume([TopicPartition(*place)])
        if not queue and place in self._left:
            self.read()
        return message, queue[0] if queue else None

    def _take(self, record: Any) -> None:
        place = (cast(str, record.topic()), cast(int, record.partition()))
        error = record.error()
        if error is None:
            queue = self._waiting[place]
            queue.append(message_of(record, place[0], self._ids[place[0]]))
            if len(queue) >= MOST and place not in self._paused:
                self._paused.add(place)
                self._consumer.pause([TopicPartition(*place)])
        elif error.code() == KafkaError._PARTITION_EOF:
            self._left.discard(place)
        else:
            raise SinkUnavailable(f"Kafka: {error.str()}")


def by_time(kafka: Kafka, topics: Sequence[str], since_ms: int, until_ms: int) -> Iterator[Message]:
    """Messages from one Kafka timestamp to before another, of all partitions together, up to the present end.

    Blocks. Raises StartupError for a topic that does not exist, SinkUnavailable and SinkMisconfigured.
    """
    described = [describe(kafka, name) for name in topics]
    consumer = Consumer(
        kafka_client_config(kafka)
        | {
            "group.id": f"{kafka.group}.reader",  # the client wants one; nothing is ever committed
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 16_384,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
            "error_cb": lambda _: None,
        }
    )
    try:
        places = [TopicPartition(t.name, p, since_ms) for t in described for p in t.partitions]
        found = consumer.offsets_for_times(places, timeout=ASK_S)  # beyond the last message: the end
        consumer.assign(found)
        yield from _merged(_Queues(consumer, described), until_ms)
    except KafkaException as error:
        raise SinkUnavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def _merged(queues: _Queues, until_ms: int) -> Iterator[Message]:
    queues.read()
    heap = queues.heads()
    heapq.heapify(heap)
    while heap:
        time_ms, *place = heapq.heappop(heap)
        message, following = queues.pop(cast(Place, tuple(place)))
        if time_ms < until_ms:
            yield message
        if following is not None:
            heapq.heappush(heap, (following.timestamp_ms, message.topic, message.partition))
