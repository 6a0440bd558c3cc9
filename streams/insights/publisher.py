"""Insights onto their topic: each revision confirmed, in order per incident, typed or not at all.

A registry that is set and away is waited for. What is sent again after a doubtful answer is the same bytes. What a
replay tells again goes to a topic in its own namespace: `Live` and `Replay` say which, and neither takes the other's.
"""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient

from cag.topic import describe, read_to_end
from processors.registry import AvroWriter, address, registry_client
from processors.writer import Stopped
from schemas.errors import FreshetError, InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings, kafka_client_config
from streams.insights.records import SCHEMA_FILE, Channel, Live, Record, RecordEncoder, Replay, revision_of

log = structlog.get_logger()

BATCH: Final = 500
MESSAGE_BYTES: Final = 1_048_576  # what the topic takes, see `schemas/topics.py`
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 10.0
CONFIRM_S: Final = 30  # how long one try waits for Kafka before it says so and tries again


class InsightPublisher:
    """Writes to one channel. `paused` says why it waits, '' while it runs; others may read it."""

    def __init__(
        self,
        settings: Settings,
        channel: Channel,
        *,
        make: Callable[[dict[str, Any]], Any] = Producer,
        connect: Callable[[Any], SchemaRegistryClient | None] = registry_client,
    ) -> None:
        """Nothing is sent yet. Raises StartupError for a live channel elsewhere, or a replay onto the live topic."""
        if isinstance(channel, Live) != (channel.topic == settings.insights.topic):
            raise StartupError(f"{channel.topic} is not for a {type(channel).__name__.lower()} publisher")
        self.topic, self.paused = channel.topic, ""
        self.settings, self._channel, self._connect = settings, channel, connect
        self._make = make
        self._producer: Any = None
        self._registry: SchemaRegistryClient | None = None
        self._encode: RecordEncoder | None = None

    @classmethod
    def from_settings(cls, settings: Settings, topic: str = "") -> "InsightPublisher":
        """The live publisher; with a topic, that of a replay. Raises StartupError, see `Replay.of`."""
        return cls(settings, Replay.of(settings, topic) if topic else Live.of(settings))

    def prepare(self) -> None:
        """Check and register the schema. Blocks.

        Raises StartupError when it could not read what the topic holds, SinkUnavailable and SinkMisconfigured as usual.
        `deliver` does the same when nobody did, and waits where this raises.
        """
        if self._encode is None:
            registry = self.settings.registry
            self._registry = self._registry or self._connect(registry)
            avro = None
            if self._registry is not None:
                avro = AvroWriter(self._registry, self.topic, SCHEMA_FILE.read_text(), address(registry))
            self._encode = RecordEncoder(self._channel, avro)

    def deliver(self, insights: Sequence[Insight], stop: threading.Event) -> None:
        """Blocks until Kafka confirmed them all; tries for ever. Raises Stopped when `stop` is set meanwhile.

        After a failure the whole batch goes again: were only what failed sent, an older revision would come to stand
        behind a newer one, and compaction keeps the last.
        """
        for start in range(0, len(insights), BATCH):
            self._patiently(insights[start : start + BATCH], stop)

    def published(self) -> dict[str, int]:
        """For each incident, the revision of its newest record: what compaction keeps.

        Blocks; raises StartupError when there is no such topic, SinkUnavailable when it cannot be read to its end.
        """
        held: dict[str, int] = {}
        for record in read_to_end(self.settings.kafka, describe(self.settings.kafka, self.topic)):
            if not isinstance(record, Message):
                continue
            try:
                incident, revision = revision_of(record)
            except InvalidRecord as error:
                log.warning("not an insight", topic=self.topic, offset=record.offset, reason=error.reason)
                continue
            held[incident] = revision
        return held

    def close(self) -> None:
        """Nothing waits here: what `deliver` returned from is with Kafka."""
        if self._registry is not None:
            self._registry.close()

    def _patiently(self, insights: Sequence[Insight], stop: threading.Event) -> None:
        delay = BACKOFF_FIRST_S
        while True:
            try:
                self._send(insights)
            except (SinkUnavailable, SinkMisconfigured, StartupError) as error:
                self._say(error)
            else:
                self.paused = ""
                return
            if stop.wait(random.uniform(0, delay)):  # noqa: S311 - jitter, not a secret
                raise Stopped(self.paused)
            delay = min(delay * 2, BACKOFF_MOST_S)

    def _send(self, insights: Sequence[Insight]) -> None:
        self.prepare()
        assert self._encode is not None
        self._offer([self._encode(insight) for insight in insights])

    def _offer(self, records: Sequence[Record]) -> None:
        """One try. Raises SinkUnavailable unless Kafka confirmed them all."""
        if self._producer is None:
            self._producer = self._make(_options(self.settings))
        failed: list[KafkaError] = []

        def note(error: KafkaError | None, _: object) -> None:
            if error is not None:
                if error.fatal():  # the producer is done for; so is this process
                    raise KafkaException(error)
                failed.append(error)

        for record in records:
            try:
                self._producer.produce(
                    self.topic, key=record.key, value=record.value, headers=record.headers, on_delivery=note
                )
            except (BufferError, KafkaException) as error:
                failed.append(
                    error.args[0] if isinstance(error, KafkaException) else KafkaError(KafkaError._QUEUE_FULL)
                )
                break
        self._producer.flush()  # message.timeout.ms bounds this: each one is answered in the end
        if failed:
            raise SinkUnavailable(
                f"Kafka at {self.settings.kafka.bootstrap_servers} did not take {len(failed)} insights for "
                f"{self.topic}: {failed[0].str()}"
            )

    def _say(self, error: FreshetError) -> None:
        reason = str(error)
        if reason != self.paused:
            alarm = not isinstance(error, SinkUnavailable)  # it goes on by itself only after somebody mends it
            (log.error if alarm else log.warning)("insights wait", reason=reason, topic=self.topic)
        self.paused = reason


def _options(settings: Settings) -> dict[str, Any]:
    return kafka_client_config(settings.kafka) | {
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "zstd",
        "linger.ms": 5,
        "partitioner": "murmur2_random",  # what Java producers do, so that both agree on a key's partition
        "message.max.bytes": MESSAGE_BYTES,
        "message.timeout.ms": CONFIRM_S * 1000,
        "log_level": 0,
        "error_cb": lambda _: None,  # what matters comes with the record that failed
    }
