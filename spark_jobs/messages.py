"""Kafka messages as Arrow batches: what sources give, what folding takes, what archives hold."""

from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa

from schemas.records import Message

# The same columns twice: Spark wants its own words, Python workers speak Arrow.
SPARK_SCHEMA: Final = (
    "topic string, topic_id string, partition int, offset bigint, timestamp_ms bigint, key binary, value binary, "
    "headers array<struct<name:string,value:binary>>"
)
_HEADERS: Final = pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))
ARROW_SCHEMA: Final = pa.schema(
    [
        ("topic", pa.string()),
        ("topic_id", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", _HEADERS),
    ]
)


def batch_of(messages: Iterable[Message]) -> pa.RecordBatch:
    rows = [
        (m.topic, m.topic_id, m.partition, m.offset, m.timestamp_ms, m.key, m.value,
         [{"name": name, "value": value} for name, value in m.headers])
        for m in messages
    ]  # fmt: skip
    columns = zip(*rows, strict=True) if rows else ([] for _ in ARROW_SCHEMA)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, ARROW_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=ARROW_SCHEMA)


def messages_of(batch: pa.RecordBatch) -> Iterator[Message]:
    columns = [batch.column(name).to_pylist() for name in ARROW_SCHEMA.names]
    for topic, topic_id, partition, offset, timestamp_ms, key, value, headers in zip(*columns, strict=True):
        yield Message(
            topic=topic,
            topic_id=topic_id,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=key,
            value=value,
            headers=tuple((h["name"], h["value"]) for h in headers) if headers else (),
        )
