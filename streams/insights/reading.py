"""The insight topic as its readers have it: the present state from one reading, then each revision once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from cag.topic import End, Topic, message_of
from schemas.errors import InvalidRecord, SinkUnavailable
from schemas.records import Message
from schemas.settings import Kafka, kafka_client_config
from streams.insights.records import ended, revision_of

MOST_IDS: Final = 200_000  # incidents whose newest revision is remembered: more than a topic of 30 days should hold
MOST_OPEN: Final = 20_000  # incidents that are held whole; the longest unheard of go first
POLL_S: Final = 0.2
ANSWER_S: Final = 10.0


@dataclass(slots=True)
class Revisions:
    """The newest revision of each incident; the longest unheard of is forgotten first."""

    most: int = MOST_IDS
    newest: dict[str, int] = field(default_factory=dict)

    def news(self, incident: str, revision: int) -> bool:
        """Whether this one is newer than what was seen. Copies and what came late are not."""
        before = self.newest.get(incident, 0)
        if revision <= before:
            return False
        self.newest.pop(incident, None)
        self.newest[incident] = revision
        if len(self.newest) > self.most:
            del self.newest[next(iter(self.newest))]
        return True


@dataclass(slots=True)
class Present:
    """What a topic says: `open` holds the newest record of each incident that goes on."""

    revisions: Revisions = field(default_factory=Revisions)
    open: dict[str, Message] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # of the open ones, those that a later record ends
    ends: dict[int, int] = field(default_factory=dict)  # by partition, where reading ended
    invalid: int = 0


def present(records: Iterable[Message | End], until: Mapping[int, int] | None = None) -> Present:
    """Fold a reading of the topic by its headers alone. `until`: by partition, the offset before which it counts."""
    found, later = Present(), Revisions()
    for record in records:
        if isinstance(record, End):
            found.ends[record.partition] = record.offset
            continue
        if record.partition in found.ends:  # written since: read again by whoever goes on from there
            continue
        try:
            incident, revision = revision_of(record)
        except InvalidRecord:
            found.invalid += 1
            continue
        if until and record.offset >= until.get(record.partition, record.offset + 1):
            if later.news(incident, revision):
                (found.gone.add if ended(record) else found.gone.discard)(incident)
        elif found.revisions.news(incident, revision):
            found.open.pop(incident, None)
            if not ended(record):
                found.open[incident] = record
                if len(found.open) > MOST_OPEN:
                    del found.open[next(iter(found.open))]
    return found


class Reader:
    """Reads all partitions from given offsets, in a group that only holds positions: nobody is ever assigned to it."""

    def __init__(self, kafka: Kafka, topic: Topic, group: str) -> None:
        self._topic, self._at = topic, f"Kafka at {kafka.bootstrap_servers}"
        self._ended: set[int] = set()
        self._consumer = Consumer(
            kafka_client_config(kafka)
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",  # a topic that was made again is read from its start
                "fetch.wait.max.ms": 100,
                "log_level": 0,
                "error_cb": lambda _: None,
            }
        )

    def committed(self) -> dict[int, int]:
        """Next offset by partition, of those that have one. Raises SinkUnavailable."""
        try:
            found = self._consumer.committed(self._places(), timeout=ANSWER_S)
        except KafkaException as error:
            raise SinkUnavailable(f"{self._at} does not say the group's positions: {error.args[0].str()}") from None
        return {p.partition: p.offset for p in found if p.offset >= 0}

    def since(self, time_ms: int) -> dict[int, int]:
        """By partition, the first offset that was written at this time or later. Raises SinkUnavailable."""
        asked = [TopicPartition(self._topic.name, p, time_ms) for p in self._topic.partitions]
        try:
            found = self._consumer.offsets_for_times(asked, timeout=ANSWER_S)
        except KafkaException as error:
            raise SinkUnavailable(f"{self._at} does not answer: {error.args[0].str()}") from None
        return {p.partition: p.offset if p.offset >= 0 else OFFSET_END for p in found}

    def start(self, offsets: Mapping[int, int]) -> None:
        """Partitions that are not named are read from their beginning."""
        self._consumer.assign(
            [TopicPartition(self._topic.name, p, offsets.get(p, OFFSET_BEGINNING)) for p in self._topic.partitions]
        )

    def read(self, timeout_s: float = POLL_S) -> list[Message]:
        """What has come; blocks for `timeout_s` at most. Raises SinkUnavailable."""
        try:
            records = self._consumer.consume(200, timeout=timeout_s)
        except KafkaException as error:
            raise SinkUnavailable(f"{self._at}: {error.args[0].str()}") from None
        messages, problem = [], ""
        for record in records:
            fault = record.error()
            if fault is None:
                messages.append(message_of(record, self._topic.name, self._topic.topic_id))
            elif fault.code() == KafkaError._PARTITION_EOF:
                self._ended.add(_partition(record))
            else:
                problem = fault.str()
        if problem and not messages:  # what did come is not lost for it; a lasting trouble comes again
            raise SinkUnavailable(f"{self._at}: {problem}")
        return messages

    def follow(self, stop: Event, *, to_end: bool = False) -> Iterator[Message]:
        """Until `stop` is set or, `to_end`, every partition was read to its end once."""
        while not stop.is_set():
            yield from self.read()
            if to_end and self._ended >= set(self._topic.partitions):
                return

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Blocks; raises SinkUnavailable: what was delivered is then delivered again after a restart."""
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self._topic.name, p, o) for p, o in sorted(offsets.items())], asynchronous=False
            )
        except KafkaException as error:
            raise SinkUnavailable(f"{self._at} does not take positions: {error.args[0].str()}") from None

    def close(self) -> None:
        self._consumer.close()

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic.name, p) for p in self._topic.partitions]


def _partition(record: Any) -> int:
    return int(record.partition())
