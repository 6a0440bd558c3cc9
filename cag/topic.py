"""A compacted topic, read once from its beginning to its end, outside any consumer group."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Final, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka import Message as KafkaMessage
from confluent_kafka.admin import AdminClient

from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.records import Message, topic_id_text
from schemas.settings import Kafka, kafka_client_config

_DENIED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
)
# The client returns a broken list *and* sets an error where a name is not UTF-8. CPython notices when it is called from
# C, as here; its own fast path for `record.headers()` would go on, and fail or crash somewhere later.
_read_headers: Final = methodcaller("headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    name: str
    topic_id: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Everything of a partition below this offset was read."""

    partition: int
    offset: int


def describe(kafka: Kafka, name: str, *, timeout_s: float = 5.0) -> Topic:
    """The topic's id and partitions.

    Raises StartupError when it does not exist, SinkUnavailable or SinkMisconfigured when the broker is away or refuses.
    """
    complaints: list[KafkaError] = []  # what was wrong; the request itself only times out
    admin = AdminClient(_quiet(kafka) | {"error_cb": complaints.append})
    try:
        future = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_s)[name]
        found = future.result()
    except KafkaException as error:
        admin.poll(0)
        told = [c for c in complaints if c.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL)]
        raise _explained(told[0] if told else error.args[0], kafka, name) from error
    return Topic(name=name, topic_id=topic_id_text(found.topic_id), partitions=tuple(p.id for p in found.partitions))


def read_to_end(kafka: Kafka, topic: Topic, *, idle_s: float = 15.0) -> Iterator[Message | End]:
    """Every record that the topic holds now, and one `End` for each partition, in no order between partitions.

    Ends by itself when all partitions are read. Blocks; raises SinkUnavailable when nothing arrives for `idle_s`.
    """
    config = _quiet(kafka) | {
        "group.id": f"{kafka.group}.reader",  # the client wants one; nothing is ever committed
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer(config)
    left = set(topic.partitions)
    try:
        consumer.assign([TopicPartition(topic.name, p, OFFSET_BEGINNING) for p in sorted(left)])
        while left:
            batch = _some(consumer, idle_s)
            if not batch:
                raise SinkUnavailable(f"Kafka at {kafka.bootstrap_servers}: {topic.name} sent nothing for {idle_s:g} s")
            for record in batch:
                error = record.error()
                if error is None:
                    yield message_of(record, topic.name, topic.topic_id)
                elif error.code() == KafkaError._PARTITION_EOF:
                    end = End(partition=cast(int, record.partition()), offset=cast(int, record.offset()))
                    if end.partition in left:
                        left.remove(end.partition)
                        yield end
                else:
                    raise _explained(error, kafka, topic.name)
    except KafkaException as failure:
        raise _explained(failure.args[0], kafka, topic.name) from failure
    finally:
        consumer.close()


def _some(consumer: Consumer, idle_s: float) -> list[KafkaMessage]:
    """What is there; waits for a first record only. (`consume(1000)` alone waits until it has them all.)"""
    ready: list[KafkaMessage] = consumer.consume(1000, timeout=0.05)
    if ready:
        return ready
    first = consumer.poll(idle_s)
    return [] if first is None else [first]


def message_of(record: KafkaMessage, topic: str, topic_id: str) -> Message:
    """The record as librdkafka consumed it. No timestamp becomes 0."""
    kind, timestamp_ms = record.timestamp()
    return Message(
        topic=topic,
        topic_id=topic_id,
        partition=cast(int, record.partition()),
        offset=cast(int, record.offset()),
        timestamp_ms=0 if kind == TIMESTAMP_NOT_AVAILABLE else max(timestamp_ms, 0),
        key=record.key(),
        value=record.value(),
        headers=_headers(record),
    )


def _headers(record: KafkaMessage) -> tuple[tuple[str, bytes | None], ...]:
    """None where a name is not UTF-8, which the client cannot hand over and anyone can send."""
    try:
        return tuple(_read_headers(record) or ())
    except SystemError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        return ()


def _quiet(kafka: Kafka) -> dict[str, Any]:
    """Errors are reported by our own words; the library's log lines on standard error would only repeat them."""
    return kafka_client_config(kafka) | {"log_level": 0, "error_cb": lambda _: None}


def _explained(error: KafkaError, kafka: Kafka, name: str) -> Exception:
    at = f"Kafka at {kafka.bootstrap_servers}"
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        return StartupError(f"{at} has no topic {name}: create it with `python -m streams topics create`")
    if error.code() in _DENIED:
        return SinkMisconfigured(f"{at} refuses us ({error.name()}): check user name, password and rights on {name}")
    return SinkUnavailable(f"{at} does not answer ({error.name()}): start it, or check its address and TLS settings")
