"""Insights onto their topic: each revision confirmed, in order per incident, typed or not at all.

A registry that is set and away is waited for. What is sent again after a doubtful answer is the same bytes. What a
replay tells again goes to a topic in its own namespace: `Live` and `Replay` say which, and neither takes the other's.
"""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient

from cag.topic import describe, read_to_end
from processors.registry import AvroWriter, address, registry_client
from processors.writer import Stopped
from schemas.errors import FreshetError, InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.outbox import Outbox, Outgoing
from streams.insights.records import SCHEMA_FILE, Channel, Live, RecordEncoder, Replay, revision_of

log = structlog.get_logger()

BATCH: Final = 500
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 10.0


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
        self._outbox = Outbox(settings.kafka, channel.topic, make=make)
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
        records = [self._encode(insight) for insight in insights]
        self._outbox.offer([Outgoing(r.key, r.value, headers=r.headers) for r in records])

    def _say(self, error: FreshetError) -> None:
        reason = str(error)
        if reason != self.paused:
            alarm = not isinstance(error, SinkUnavailable)  # it goes on by itself only after somebody mends it
            (log.error if alarm else log.warning)("insights wait", reason=reason, topic=self.topic)
        self.paused = reason
