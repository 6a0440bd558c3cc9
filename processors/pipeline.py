"""The whole story of a record, on one screen: decode, place in time, redact, template, fold.

Pure: bytes in, a fold and dead letters out. Faust workers, replay and Spark all run this same code, so that they end in
the same documents. What writes the fold is in `sink.py`.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from processors import shape
from processors.decode import decode
from processors.decode.timestamps import LATEST_S
from processors.fold import Fold
from processors.lines import TOO_OLD, Lines
from processors.redact_records import RecordRedactor
from schemas.dead_letters import DeadLetter
from schemas.documents import DAY_MS
from schemas.records import (
    Alert,
    Coordinates,
    Filtered,
    KubernetesEvent,
    LogRecord,
    Message,
    MetricSample,
    Record,
    Rejected,
)
from schemas.settings import Settings
from schemas.topics import Input

# All is placed and judged by the Kafka timestamp, so that one which nobody can believe places nothing: it would make
# indices for days that no one looks at. Between the bounds only the broker has a clock to judge by: it refuses what
# is an hour ahead, and a topic with LogAppendTime leaves nothing to the producers.
EARLIEST_KAFKA_MS: Final = 946_684_800_000  # 2000-01-01: before Kafka; 0 is none, seconds or a wrong epoch lie there
UNTIMELY: Final = "Kafka timestamp before 2000 or after 2200: set message.timestamp.type=LogAppendTime on the topic"


class Placed(NamedTuple):
    """The moment at which a record counts. `clamped`: its own time was missing or later than Kafka's."""

    time_ms: int
    clamped: bool


def place(time_ms: int | None, kafka_ms: int) -> Placed:
    """Event time, else Kafka's; never the clock, so that a replay lands in the same minute."""
    if time_ms is None or time_ms > kafka_ms:
        return Placed(kafka_ms, True)
    return Placed(time_ms, False)


def timely(kafka_ms: int) -> bool:
    """A Kafka timestamp by which records can be placed."""
    return EARLIEST_KAFKA_MS <= kafka_ms < LATEST_S * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    inputs: Mapping[str, Input]  # by topic
    redact: RecordRedactor
    lines: Lines
    retention_days: Mapping[type[Record], int]

    @classmethod
    def from_settings(cls, settings: Settings) -> "Pipeline":
        keep = settings.retention
        redact = RecordRedactor(settings.redaction)
        return cls(
            inputs={i.topic: i for i in settings.kafka.declared_inputs()},
            redact=redact,
            lines=Lines(redact, max_body_chars=settings.worker.max_body_chars),
            retention_days={
                LogRecord: keep.occurrences,
                MetricSample: keep.series,
                KubernetesEvent: keep.events,
                Alert: keep.alerts,
            },
        )

    def run(self, message: Message, fold: Fold, known: Container[int] = ()) -> list[DeadLetter]:
        """Fold every record of one message; what cannot be used comes back as dead letters. Never raises on input.

        `known`: records that are in a dead letter already, neither folded nor handed back.
        """
        letters: list[DeadLetter] = []
        fold.messages.append(message)
        if not timely(message.timestamp_ms):
            fold.note(message.at(0), None, 0)
            rejected = DeadLetter(message=message, index=0, reason=UNTIMELY, stage="decode", rest=True)
            return [] if 0 in known else [rejected]
        items = decode(message, self.inputs[message.topic])
        said: list[tuple[int, LogRecord]] = []
        for index, item in enumerate(items):
            if index in known:
                fold.note(message.at(index), None, message.timestamp_ms)
            elif type(item) is LogRecord:
                said.append((index, item))
            elif isinstance(item, Rejected):
                letters.append(DeadLetter(message=message, index=index, reason=item.reason, stage=item.stage))
                fold.note(message.at(index), None, message.timestamp_ms)
            else:
                self.add(item, message.at(index), message.timestamp_ms, fold)
        if said:
            self._say(said, message.at(0), message.timestamp_ms, fold)
        if letters and all(isinstance(item, Rejected) for item in items):
            letters[-1] = replace(letters[-1], rest=True)
        return letters

    def add(self, item: Record | Filtered, at: Coordinates, kafka_ms: int, fold: Fold) -> str:
        """Fold one decoded record; returns the rule by which it was filtered, '' when it is counted as telemetry."""
        if isinstance(item, Filtered):
            shape.tally(fold, at, item.rule, kafka_ms)
            return item.rule
        if isinstance(item, LogRecord):
            return TOO_OLD if self._say([(at.index, item)], at, kafka_ms, fold) else ""
        item = self.redact.record(item)
        placed = place(item.time_ms, kafka_ms)
        oldest_ms = self._oldest_ms(type(item), kafka_ms)
        if placed.time_ms < oldest_ms:
            shape.tally(fold, at, TOO_OLD, kafka_ms)
            return TOO_OLD
        if isinstance(item, MetricSample):
            shape.metric(fold, at, item, placed, self.redact)
        elif isinstance(item, KubernetesEvent):
            shape.event(fold, at, item, placed, self.redact, oldest_ms)
        else:
            shape.alert(fold, at, item, placed, self.redact, oldest_ms, kafka_ms)
        return ""

    def _say(self, said: Sequence[tuple[int, LogRecord]], at: Coordinates, kafka_ms: int, fold: Fold) -> int:
        return self.lines.fold(at, kafka_ms, self._oldest_ms(LogRecord, kafka_ms), said, fold)

    def _oldest_ms(self, kind: type[Record], kafka_ms: int) -> int:
        """Measured against the Kafka timestamp, not the clock: a record is filtered on every replay or never."""
        return kafka_ms - self.retention_days[kind] * DAY_MS
