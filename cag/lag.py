"""How far the index is behind Kafka, and how much of it went to the dead letters. Blocking; run it in a thread."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.settings import Kafka, kafka_client_config

TIMEOUT_S: Final = 1.5
REMEMBERED_S: Final = 2.0
FAILURE_REMEMBERED_S: Final = 10.0
_LATEST: Final[Any] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
Ends = dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    ends: Ends | None


class LagReader:
    """End offsets of the input topics, remembered for a moment so that questions do not flood the brokers."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._topics = [i.topic for i in settings.inputs]
        self._lock = threading.Lock()
        self._admin: AdminClient | None = None
        self._reading: _Reading | None = None

    def ends(self) -> Ends | None:
        """By topic and partition; None when Kafka does not answer in time."""
        with self._lock:
            known = self._reading
            keep = REMEMBERED_S if known and known.ends is not None else FAILURE_REMEMBERED_S
            if known is None or time.monotonic() - known.at > keep:
                known = self._reading = _Reading(time.monotonic(), self._offsets(self._topics, _LATEST))
            return known.ends

    def dead_letters_since(self, start_ms: int) -> int | None:
        """How many letters were written since; None when that is unknown."""
        with self._lock:
            if self._reading is not None and self._reading.ends is None:
                return None
            topic = [self._settings.dead_letters_topic]
            ends = self._offsets(topic, _LATEST)
            starts = self._offsets(topic, OffsetSpec.for_timestamp(start_ms))
        if ends is None or starts is None:
            return None
        return sum(end - starts[place] for place, end in ends.items() if starts.get(place, -1) >= 0)

    def judged(self, topic: str, group: str, at_ms: int) -> bool | None:
        """Whether a group has acknowledged all that was written to a topic by then; None when that is unknown."""
        with self._lock:
            if self._reading is not None and self._reading.ends is None:
                return None
            ends = self._offsets([topic], _LATEST)
            since = self._offsets([topic], OffsetSpec.for_timestamp(at_ms))
            done = self._committed(topic, group, [partition for _, partition in ends or ()])
        if ends is None or since is None or done is None:
            return None
        if not ends:  # nothing is ever told where nothing can be written
            return False
        wanted = {place: offset if (offset := since.get(place, -1)) >= 0 else end for place, end in ends.items()}
        return all(done.get(place, 0) >= offset for place, offset in wanted.items())

    def _committed(self, topic: str, group: str, partitions: Sequence[int]) -> Ends | None:
        if self._admin is None or not partitions:
            return {} if self._admin else None
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in partitions])
        try:
            (future,) = self._admin.list_consumer_group_offsets([asked], request_timeout=TIMEOUT_S).values()
            found = future.result(TIMEOUT_S).topic_partitions
        except (KafkaException, TimeoutError):
            return None
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def _offsets(self, topics: Sequence[str], spec: Any) -> Ends | None:
        if self._admin is None:
            self._admin = AdminClient(
                {**kafka_client_config(self._settings), "log_level": 0, "socket.timeout.ms": int(TIMEOUT_S * 1000)}
            )
        try:
            described = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=TIMEOUT_S)
            places = []
            for name, future in described.items():
                try:
                    places += [TopicPartition(name, p.id) for p in future.result(TIMEOUT_S).partitions]
                except KafkaException:  # this one does not exist (yet)
                    continue
            if not places:
                return {}
            found = self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=TIMEOUT_S)
            return {(p.topic, p.partition): future.result(TIMEOUT_S).offset for p, future in found.items()}
        except (KafkaException, TimeoutError):
            return None
