"""Messages of the summaries topic become insights, inside Spark's tasks: the same fold as the worker's."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from processors.insights.step import State, fold
from schemas.errors import InvalidRecord
from schemas.insight_settings import Correlation, Detection
from spark_jobs.messages import messages_of

SPARK_SCHEMA: Final = "partition int, offset bigint, id string, revision int, state string, value string"
_ARROW: Final = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("id", pa.string()),
        ("revision", pa.int32()),
        ("state", pa.string()),
        ("value", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """`run` expects whole partitions of the topic, one after the other, each in order of its offsets."""

    detection: Detection
    correlation: Correlation

    def run(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """An insight is a row, its JSON in `value`. What is no summary is passed over: the worker has its letter."""
        place, state = None, State(self.detection, self.correlation)
        for batch in batches:
            rows = []
            for message in messages_of(batch):
                if place != (message.topic_id, message.partition):
                    place = (message.topic_id, message.partition)
                    state = State(self.detection, self.correlation)
                try:
                    told = fold(state, message)
                except InvalidRecord:
                    continue
                rows += [
                    (message.partition, message.offset, each.id, each.revision, each.state, each.model_dump_json())
                    for each in told
                ]
            columns = zip(*rows, strict=True) if rows else ([] for _ in _ARROW)
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, _ARROW, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=_ARROW)
