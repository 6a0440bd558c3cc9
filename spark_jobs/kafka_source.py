"""Ranges of Kafka offsets as a Spark data source: `spark.read.format("freshet-kafka")`.

The ranges are planned beforehand (`ranges.py`), so that all tasks of a job agree on them; each task reads a few of them
with one consumer, outside any group's positions.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import orjson
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from cag.topic import message_of
from schemas.errors import SinkUnavailable, StartupError
from schemas.records import Message
from schemas.settings import Kafka, kafka_client_config
from spark_jobs.messages import SPARK_SCHEMA, batch_of

FORMAT: Final = "freshet-kafka"
BATCH_MESSAGES: Final = 2_000
BATCH_BYTES: Final = 8_000_000
POLL_S: Final = 0.05  # `consume` waits this long for a full batch, also at the end of a range
IDLE_S: Final = 30.0  # without a single message while some are left to read
# Option names with "secret" in them are blacked out wherever Spark shows a plan.
PLAN, CLIENT = "plan", "client-secret"


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets of one partition, from `start` to before `end`."""

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int

    def __len__(self) -> int:
        return max(self.end - self.start, 0)


@dataclass
class Task(InputPartition):
    """What one Spark task reads."""

    ranges: tuple[Range, ...]


class KafkaRanges(DataSource):
    @classmethod
    def name(cls) -> str:
        return FORMAT

    def schema(self) -> str:
        return SPARK_SCHEMA

    def reader(self, schema: Any) -> "Reader":  # Spark passes it by this name
        return Reader(orjson.loads(self.options[PLAN]), orjson.loads(self.options[CLIENT]))


class Reader(DataSourceReader):
    def __init__(self, plan: Sequence[Sequence[Sequence[Any]]], client: Mapping[str, Any]) -> None:
        self._plan, self._client = plan, client

    def partitions(self) -> Sequence[InputPartition]:
        return [Task(tuple(Range(*each) for each in task)) for task in self._plan]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        if not isinstance(partition, Task):  # without any, Spark makes one of its own
            return
        consumer = Consumer(dict(self._client))
        try:
            for batch in batched(messages(consumer, partition.ranges)):
                yield batch_of(batch)
        finally:
            consumer.close()


def read_kafka(spark: SparkSession, kafka: Kafka, tasks: Sequence[Sequence[Range]]) -> DataFrame:
    """The messages of these ranges, a Spark task for each list of them."""
    spark.dataSource.register(KafkaRanges)
    plan = [[astuple(each) for each in task] for task in tasks]
    options = {PLAN: orjson.dumps(plan).decode(), CLIENT: orjson.dumps(client_options(kafka)).decode()}
    return spark.read.format(FORMAT).options(**options).load()


def client_options(kafka: Kafka) -> dict[str, Any]:
    """A consumer that belongs to no group and never waits long."""
    return kafka_client_config(kafka) | {
        "group.id": f"{kafka.group}.history",  # the client wants one; nothing is ever committed
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_uncommitted",  # as the worker reads: both must see the same records
        "queued.max.messages.kbytes": 32_768,
        "fetch.wait.max.ms": 50,
        "log_level": 0,
    }


def messages(consumer: Consumer, ranges: Sequence[Range], *, idle_s: float = IDLE_S) -> Iterator[Message]:
    """Every message of the ranges, in the order of each partition. Compaction may have left fewer than offsets.

    Raises SinkUnavailable when Kafka falls silent, StartupError when retention took something meanwhile.
    """
    left = {(each.topic, each.partition): each for each in ranges if len(each)}
    consumer.assign([TopicPartition(each.topic, each.partition, each.start) for each in left.values()])
    heard = time.monotonic()
    while left:
        found = consumer.consume(BATCH_MESSAGES, timeout=POLL_S)
        if found:
            heard = time.monotonic()
        elif time.monotonic() - heard > idle_s:
            names = ", ".join(sorted(f"{topic}/{partition}" for topic, partition in left))
            raise SinkUnavailable(f"Kafka sent nothing for {idle_s:g} s; still to read: {names}")
        done = set()
        for each in found:
            place = (str(each.topic()), int(each.partition() or 0))
            wanted = left.get(place)
            if wanted is None:
                continue
            error, offset = each.error(), int(each.offset() or 0)
            if error is None and offset < wanted.end:
                yield message_of(each, wanted.topic, wanted.topic_id)
            elif error is not None:
                _refuse(error, wanted, offset)
            if offset >= wanted.end - (error is None):
                done.add(place)
        if done:
            consumer.pause([TopicPartition(*place) for place in done])
            left = {place: each for place, each in left.items() if place not in done}


def _refuse(error: KafkaError, wanted: Range, offset: int) -> None:
    """All that an error may mean but for the end of the partition, which lies where we want to be or further."""
    if error.code() == KafkaError._PARTITION_EOF:
        if offset >= wanted.end:
            return
        raise StartupError(f"{wanted.topic}/{wanted.partition} ends at {offset}, before {wanted.end}: made anew?")
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise StartupError(
            f"retention removed offsets of {wanted.topic}/{wanted.partition} while they were read. Start again: what "
            "is left is read then."
        )
    if error.retriable():
        return
    raise SinkUnavailable(f"Kafka: {error.str()}") from KafkaException(error)


def batched(found: Iterator[Message]) -> Iterator[list[Message]]:
    """Cut by number and by bytes: Arrow batches are held whole, on both sides."""
    batch: list[Message] = []
    size = 0
    for message in found:
        batch.append(message)
        size += len(message.value or b"")
        if len(batch) >= BATCH_MESSAGES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
