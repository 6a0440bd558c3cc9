"""The replay's edge to Kafka: measure partitions, read them by assignment, keep positions in a group of its own.

Positions carry the plan as metadata, so that the same command goes on where it was interrupted, to the same end.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import orjson
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from cag.topic import message_of
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.records import Message
from schemas.settings import Kafka, kafka_client_config
from streams.replay.stretches import Place, Stretch
from streams.topics import Log

T = TypeVar("T")
ASK_S: Final = 10.0
GONE: Final = frozenset({KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET})
MISSING: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})


DENIED: Final = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A committed position with the stretch that it belongs to."""

    position: int
    stretch: Stretch | None  # None: committed by something that is no replay (a worker)


@dataclass(frozen=True, slots=True)
class Lost:
    """Retention took these offsets while they waited to be read."""

    place: Place
    start: int
    end: int


class Reader:
    """One consumer, never subscribed. Calls block; they raise SinkUnavailable. `close` it."""

    def __init__(self, kafka: Kafka, group: str) -> None:
        self.group, self._kafka = group, kafka
        self._consumer = Consumer(
            kafka_client_config(kafka)
            | {
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_uncommitted",  # as the workers read
                "queued.max.messages.kbytes": 16_384,
                "fetch.wait.max.ms": 100,
                "log_level": 0,
                "error_cb": lambda _: None,
            }
        )

    def close(self) -> None:
        self._consumer.close()

    def at_time(self, logs: Mapping[Place, Log], time_ms: int) -> dict[Place, int]:
        """The first offset whose timestamp is not earlier; the end of the log where there is none."""
        asked = [TopicPartition(*place, time_ms) for place in logs]
        found = self._ask(lambda: self._consumer.offsets_for_times(asked, ASK_S)) if asked else []
        places = {Place(p.topic, p.partition): p.offset for p in found}
        return {place: offset if offset >= 0 else logs[place].end for place, offset in places.items()}

    def time_at(self, place: Place, offset: int) -> int | None:
        """The timestamp of the first message from there on; None when none comes."""
        self._consumer.assign([TopicPartition(*place, offset)])
        deadline = time.monotonic() + ASK_S
        while time.monotonic() < deadline:
            record = self._consumer.poll(0.5)
            error = record.error() if record is not None else None
            if record is not None and error is None:
                return record.timestamp()[1]
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return None
        raise SinkUnavailable(f"Kafka at {self._kafka.bootstrap_servers}: {place} sent nothing for {ASK_S:g} s")

    def saved(self, places: Iterable[Place]) -> dict[Place, Saved]:
        """What this group has committed."""
        found = self._ask(lambda: self._consumer.committed([TopicPartition(*place) for place in places], ASK_S))
        return {
            (place := Place(p.topic, p.partition)): Saved(position=p.offset, stretch=_stretch(place, p.metadata))
            for p in found
            if p.offset >= 0
        }

    def save(self, positions: Mapping[Place, int], stretches: Mapping[Place, Stretch]) -> None:
        """Commit, and wait for it."""
        offsets = [TopicPartition(*place, offset, _metadata(stretches[place])) for place, offset in positions.items()]
        if offsets:
            self._ask(lambda: self._consumer.commit(offsets=offsets, asynchronous=False))

    def assign(self, positions: Mapping[Place, int]) -> None:
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in positions.items()])

    def add(self, positions: Mapping[Place, int]) -> None:
        self._consumer.incremental_assign([TopicPartition(*place, offset) for place, offset in positions.items()])

    def drop(self, place: Place) -> None:
        self._consumer.incremental_unassign([TopicPartition(*place)])

    def read(self, most: int, wait_s: float, topic_ids: Mapping[str, str]) -> list[Message | tuple[Place, int] | Lost]:
        """Messages in order per partition; `(place, offset)` where a partition is read up to its end, for now."""
        read: list[Message | tuple[Place, int] | Lost] = []
        for record in self._consumer.consume(most, wait_s):
            error, place = record.error(), Place(cast(str, record.topic()), cast(int, record.partition()))
            if error is None:
                read.append(message_of(record, place.topic, topic_ids[place.topic]))
            elif error.code() == KafkaError._PARTITION_EOF:
                read.append((place, cast(int, record.offset())))
            elif error.code() in GONE:
                read.append(self._skip(place))
            elif error.code() in MISSING:
                raise StartupError(f"Kafka has no {place} any more: the topic was deleted while it was read")
            elif error.code() in DENIED or error.fatal():  # everything else passes, and the client tries again
                raise SinkMisconfigured(f"Kafka at {self._kafka.bootstrap_servers} refuses us: {error.str()}")
        return read

    def _skip(self, place: Place) -> Lost:
        """Retention was faster: go on where the log starts now."""
        low, _ = self._ask(lambda: self._consumer.get_watermark_offsets(TopicPartition(*place), ASK_S))
        (at,) = self._consumer.position([TopicPartition(*place)])
        self.drop(place)
        self.add({place: low})
        return Lost(place, max(at.offset, 0), low)

    def _ask(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except KafkaException as error:
            raise SinkUnavailable(f"Kafka at {self._kafka.bootstrap_servers}: {error.args[0].str()}") from None


def remove_group(kafka: Kafka, group: str) -> bool:
    """False when it has members. Raises SinkUnavailable."""
    admin = AdminClient(kafka_client_config(kafka) | {"log_level": 0})
    try:
        admin.delete_consumer_groups([group], request_timeout=ASK_S)[group].result()
    except KafkaException as error:
        code = error.args[0].code()
        if code == KafkaError.NON_EMPTY_GROUP:
            return False
        if code != KafkaError.GROUP_ID_NOT_FOUND:
            raise SinkUnavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from None
    return True


def _metadata(stretch: Stretch) -> str:
    return orjson.dumps([stretch.topic_id, stretch.start, stretch.end, stretch.asked]).decode()


def _stretch(place: Place, metadata: Any) -> Stretch | None:
    try:
        topic_id, start, end, asked = orjson.loads(metadata or "")
    except (ValueError, TypeError):
        return None
    return Stretch(place=place, topic_id=topic_id, start=start, end=end, asked=asked)
