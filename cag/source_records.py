"""A citation's last step: the record itself, read back from Kafka by its coordinates, redacted, with its hash.

Blocking; run it in a thread. Of a message only the cited record is shown; what stands around it only when it is asked
for, and then only lines of the same entity, each redacted and checked against the scope by itself.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import unquote

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from cag.scope import visible_in
from cag.topic import message_of
from processors.decode import decode
from processors.pipeline import place
from processors.redact_records import RecordRedactor
from schemas.context import Scope, SourceRecord
from schemas.dead_letters import Letter, read_letter, source_message
from schemas.documents import LETTER
from schemas.errors import FreshetError, SinkUnavailable
from schemas.records import (
    Alert,
    Coordinates,
    Filtered,
    KubernetesEvent,
    LogRecord,
    Message,
    Record,
    Rejected,
    topic_id_text,
)
from schemas.settings import Kafka, Settings, kafka_client_config
from schemas.topics import Input

TIMEOUT_S: Final = 4.0  # for all of one read; a person waits for it
ASK_TIMEOUT_S: Final = 1.5  # for each question to the brokers
MAX_TEXT_CHARS: Final = 32_768
MESSAGES_AROUND: Final = 300  # on either side: an entity shares its partition with others
BYTES_AROUND: Final = 16 * 1_048_576

ARCHIVE: Final = "archive:"  # begins the topic of a record that never came through Kafka; its path follows
AWAY: Final = "Kafka does not answer"
_T = TypeVar("_T")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RecordExpired(FreshetError):
    """The record is gone for good -> say so, with the document that remains."""


class SourceRecords:
    """Reads cited records back. `fetch` gets one message: it raises RecordExpired or SinkUnavailable."""

    def __init__(
        self,
        settings: Settings,
        fetch: Callable[[Coordinates], Message] | None = None,
        neighbours: Callable[[Coordinates], Sequence[Message]] | None = None,
    ) -> None:
        self._inputs = {i.topic: i for i in settings.kafka.declared_inputs()}
        self._redact = RecordRedactor(settings.redaction)
        self._dead_letters = settings.kafka.dead_letters_topic
        self._kafka = KafkaFetch(settings.kafka)
        self._fetch = fetch or self._kafka
        self._neighbours = neighbours or self._kafka.neighbours

    def around(self, at: Coordinates, lines: int, *, scope: Scope) -> tuple[SourceRecord, ...]:
        """Log lines of the entity of `at`: so many before it, itself, and as many after it; in order of offsets.

        Of its own partition only: lines without a key may lie in others too. Empty when Kafka no longer has it, or when
        it lies outside of the scope.
        """
        source = self._inputs.get(at.topic)
        if source is None or lines < 1:
            return ()
        try:
            messages = self._neighbours(at)
        except (RecordExpired, SinkUnavailable):
            return ()
        told = [
            (at._replace(offset=message.offset, index=index), message, record)
            for message in messages
            for index, record in enumerate(decode(message, source))
            if isinstance(record, LogRecord) and _within(record, scope)
        ]
        cited = next((record for place, _, record in told if place == at), None)
        if cited is None:
            return ()
        same = [each for each in told if _speaker(each[2]) == _speaker(cited)]
        middle = next(number for number, each in enumerate(same) if each[0] == at)
        shown = same[max(middle - lines, 0) : middle + lines + 1]
        return tuple(self._found(place, message, record, "") for place, message, record in shown)

    def read(self, at: Coordinates, *, scope: Scope = Scope()) -> SourceRecord:  # noqa: B008 - frozen
        """The record at these coordinates, or why it cannot be shown. Never raises for a Kafka that is away."""
        if at.topic.startswith(ARCHIVE):
            path = unquote(at.topic.removeprefix(ARCHIVE))
            return _missing(at, "unavailable", f"archived: {path}, line {at.offset + 1}; only Kafka is read back")
        try:
            message, source, note = self._message(at)
        except RecordExpired as error:
            return _missing(at, "expired", str(error))
        except SinkUnavailable as error:
            return _missing(at, "unavailable", str(error))
        outcomes = decode(message, source)
        if not 0 <= at.index < len(outcomes):
            return _missing(at, "unavailable", "the message does not hold that many records")
        record = outcomes[at.index]
        if isinstance(record, Rejected | Filtered):
            return _missing(at, "unavailable", "the record does not decode to telemetry")
        if not _within(record, scope):
            return _missing(at, "unavailable", "the record lies outside of what you may see")
        return self._found(at, message, record, note)

    def _found(self, at: Coordinates, message: Message, record: Record, note: str) -> SourceRecord:
        shown = record if isinstance(record, LogRecord) else self._redact.record(record)
        return SourceRecord(
            coordinates=str(at),
            status="found",
            reason=note,
            timestamp=_moment(place(record.time_ms, message.timestamp_ms).time_ms),
            sha256=hashlib.sha256(message.value or b"").hexdigest(),
            text=self._redact(_text(shown))[:MAX_TEXT_CHARS],
        )

    def close(self) -> None:
        self._kafka.close()

    def _message(self, at: Coordinates) -> tuple[Message, Input, str]:
        """The source message, how to read it, and what has to be said about it."""
        topic_id, _, identity = at.topic_id.partition(LETTER)
        if identity and at.topic == self._dead_letters:
            message = self._fetch(at._replace(topic_id=topic_id))
            letter = read_letter(message, self._inputs)
            if not isinstance(letter, Letter) or not letter.complete or letter.identity_at(at.index) != identity:
                raise RecordExpired("another dead letter is in its place")
            source = source_message(message, letter, topic_id=topic_id, index=at.index)
            return source, self._inputs[letter.source.topic], "counted from a dead letter"
        if at.topic not in self._inputs:
            raise SinkUnavailable("the topic is none of the inputs")
        return self._fetch(at), self._inputs[at.topic], ""


class KafkaFetch:
    """One consumer for all reads, made at the first one; a lock hands it from read to read."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._admin: AdminClient | None = None

    def __call__(self, at: Coordinates) -> Message:
        """The message that holds `at`. Raises RecordExpired and SinkUnavailable."""
        return self._read(at, _seek)

    def neighbours(self, at: Coordinates) -> Sequence[Message]:
        """Messages of its partition around `at`, in order. Raises RecordExpired and SinkUnavailable."""
        return self._read(at, _stretch)

    def _read(self, at: Coordinates, read: Callable[[Consumer, Coordinates], _T]) -> _T:
        if not self._lock.acquire(timeout=TIMEOUT_S):
            raise SinkUnavailable("too many records are being read back; try again")
        try:
            admin, consumer = self._clients()
            _require_same_topic(admin, at)
            return read(consumer, at)
        except KafkaException as error:
            raise SinkUnavailable(AWAY) from error
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = self._admin = None

    def _clients(self) -> tuple[AdminClient, Consumer]:
        if self._consumer is None or self._admin is None:
            connect = {**kafka_client_config(self._settings), "log_level": 0}
            self._admin = AdminClient(connect)
            self._consumer = Consumer(
                {
                    **connect,
                    "group.id": f"{self._settings.group}-evidence",  # required by the client; never joined
                    "enable.auto.commit": False,
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "queued.min.messages": 1,  # one record is wanted, not what follows it
                    "fetch.queue.backoff.ms": 10,  # that small queue is always full; do not wait a second then
                }
            )
        return self._admin, self._consumer


def _require_same_topic(admin: AdminClient, at: Coordinates) -> None:
    """A topic that was deleted and made again starts its offsets anew: the same coordinates are another record."""
    described = admin.describe_topics(TopicCollection([at.topic]), request_timeout=ASK_TIMEOUT_S)
    try:
        found = topic_id_text(described[at.topic].result(ASK_TIMEOUT_S).topic_id)
    except TimeoutError as error:
        raise SinkUnavailable(AWAY) from error
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise RecordExpired("the topic no longer exists") from error
        raise
    if found != at.topic_id:
        raise RecordExpired("the topic was deleted and made again since")


def _seek(consumer: Consumer, at: Coordinates) -> Message:
    _bounds(consumer, at)
    consumer.assign([TopicPartition(at.topic, at.partition, at.offset)])
    try:
        return _poll(consumer, at)
    finally:
        consumer.unassign()


def _stretch(consumer: Consumer, at: Coordinates) -> list[Message]:
    """What is there within the bounds and in time; the cited message may be missing from it."""
    low, high = _bounds(consumer, at)
    first, end = max(at.offset - MESSAGES_AROUND, low), min(at.offset + MESSAGES_AROUND + 1, high)
    consumer.assign([TopicPartition(at.topic, at.partition, first)])
    found: list[Message] = []
    deadline, size = time.monotonic() + TIMEOUT_S, 0
    try:
        while (left := deadline - time.monotonic()) > 0 and size < BYTES_AROUND:
            message = consumer.poll(left)
            if message is None:
                continue
            if error := message.error():
                if error.code() == KafkaError._PARTITION_EOF:
                    break
                _refuse(error)
            if (offset := message.offset() or 0) < end:
                found.append(message_of(message, at.topic, at.topic_id))
                size += len(found[-1].value or b"")
            if offset >= end - 1:
                break
    finally:
        consumer.unassign()
    return found


def _bounds(consumer: Consumer, at: Coordinates) -> tuple[int, int]:
    """First offset that is kept, and the end."""
    bounds = consumer.get_watermark_offsets(TopicPartition(at.topic, at.partition), timeout=ASK_TIMEOUT_S)
    if bounds is None:
        raise SinkUnavailable(AWAY)
    low, high = bounds
    if at.offset < low:
        raise RecordExpired("retention has removed the record")
    if at.offset >= high:
        raise SinkUnavailable("the partition ends before the record")
    return low, high


def _poll(consumer: Consumer, at: Coordinates) -> Message:
    deadline = time.monotonic() + TIMEOUT_S
    while (left := deadline - time.monotonic()) > 0:
        found = consumer.poll(left)
        if found is None:
            continue
        if error := found.error():
            _refuse(error)
        if found.offset() != at.offset:
            raise RecordExpired("compaction has removed the record")
        return message_of(found, at.topic, at.topic_id)
    raise SinkUnavailable(AWAY)


def _refuse(error: KafkaError) -> NoReturn:
    if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise RecordExpired("the record was removed while it was looked up")
    raise KafkaException(error)


def _missing(at: Coordinates, status: Any, reason: str) -> SourceRecord:
    return SourceRecord(coordinates=str(at), status=status, reason=reason)


def _within(record: Record, scope: Scope) -> bool:
    """The scope once more, on the record itself, as the index applies it."""
    return visible_in(scope, record.resource.cluster, record.resource.namespace)


def _speaker(record: Record) -> tuple[str, ...]:
    """One container of a pod; what has no pod, by all that is said of it."""
    who = record.resource
    return (who.cluster, who.namespace, who.pod, who.container) if who.pod else tuple(who)


def _text(record: Record) -> str:
    """What the record said, on one line where it is no log."""
    if isinstance(record, LogRecord):
        return record.body
    if isinstance(record, KubernetesEvent):
        return f"{record.reason} {record.object_kind}/{record.object_name}: {record.message} (x{record.count})"
    if isinstance(record, Alert):
        said = "; ".join(f"{name}: {text}" for name, text in record.annotations.items())
        return f"{record.name} {'firing' if record.ends_ms is None else 'resolved'} {_labels(record.labels)} {said}"
    return f"{record.name}{_labels(record.labels)} {record.value:g} {record.unit}".rstrip()


def _labels(labels: Any) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _moment(time_ms: int) -> datetime | None:
    """None for a time that no calendar holds."""
    try:
        return _EPOCH + timedelta(milliseconds=time_ms)
    except OverflowError:
        return None
