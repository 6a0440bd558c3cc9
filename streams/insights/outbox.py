"""Sending to one of our own topics, and waiting for Kafka's word: what summaries and snapshots share."""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from processors.writer import Stopped
from schemas.errors import SinkUnavailable
from schemas.settings import Kafka, kafka_client_config

log = structlog.get_logger()

MESSAGE_BYTES: Final = 4_194_304  # what the topics take, see `schemas/topics.py`
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 10.0
CONFIRM_S: Final = 30.0  # how long one round waits for Kafka before it says so and goes on waiting
ANY_PARTITION: Final = -1  # the key decides


class Outgoing(NamedTuple):
    key: bytes
    value: bytes | None
    partition: int = ANY_PARTITION
    headers: Sequence[tuple[str, bytes]] = ()


class Outbox:
    """Sends with acks=all; a key's records stay in order. `paused` says why it waits, '' while it runs. Thread-safe."""

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        *,
        make: Callable[[dict[str, Any]], Any] = Producer,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self.topic, self._address, self._make = topic, kafka.bootstrap_servers, make
        self._lock = threading.Lock()
        self._producer: Any = None
        self._options = kafka_client_config(kafka) | {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 5,
            "partitioner": "murmur2",  # Kafka's own; without a seed of chance for the empty key, as librdkafka's has
            "message.max.bytes": MESSAGE_BYTES,
            "queue.buffering.max.kbytes": 65_536,
            "message.timeout.ms": int(confirm_s * 1000),
            "log_level": 0,
            "error_cb": lambda _: None,  # what matters comes with the record that failed
        }
        self.paused = ""

    def deliver(self, messages: Sequence[Outgoing], stop: threading.Event) -> int:
        """Blocks until Kafka confirmed them all; tries for ever. Raises Stopped when `stop` is set meanwhile.

        Returns how many are left out for good, because the topic does not take records of their size.
        """
        waiting, left_out, delay = list(messages), 0, BACKOFF_FIRST_S
        while True:
            failed = self._round(waiting)
            too_large = [error for _, error in failed if error == KafkaError.MSG_SIZE_TOO_LARGE]
            left_out += len(too_large)
            if too_large:
                log.error("records are larger than their topic takes", topic=self.topic, records=len(too_large))
            waiting = [message for message, error in failed if error != KafkaError.MSG_SIZE_TOO_LARGE]
            if not waiting:
                self.paused = ""
                return left_out
            reason = self._complaint(failed)
            if not self.paused:
                log.warning("records wait", reason=reason, topic=self.topic)
            self.paused = reason
            if stop.wait(random.uniform(0, delay)):  # noqa: S311 - jitter, not a secret
                raise Stopped(reason)
            delay = min(delay * 2, BACKOFF_MOST_S)

    def offer(self, messages: Sequence[Outgoing]) -> None:
        """One try, for what may be put off. Blocks; raises SinkUnavailable unless Kafka confirmed them all."""
        if failed := self._round(messages):
            raise SinkUnavailable(self._complaint(failed))

    def partitions(self, timeout_s: float = 10.0) -> list[int]:
        """Of the topic. Blocks; raises SinkUnavailable."""
        try:
            found = self._client().list_topics(self.topic, timeout=timeout_s).topics[self.topic].partitions
        except KafkaException as error:
            raise SinkUnavailable(f"Kafka at {self._address}: {error.args[0].str()}") from None
        if not found:
            raise SinkUnavailable(f"Kafka at {self._address} has no topic {self.topic} yet")
        return sorted(found)

    def _client(self) -> Any:
        with self._lock:
            self._producer = self._producer or self._make(self._options)
            return self._producer

    def _complaint(self, failed: Sequence[tuple[Outgoing, int]]) -> str:
        why = KafkaError(failed[0][1]).str()
        return f"Kafka at {self._address} did not take {len(failed)} records of {self.topic}: {why}"

    def _round(self, messages: Sequence[Outgoing]) -> list[tuple[Outgoing, int]]:
        """Send each once; returns those without a confirmation, with Kafka's error code."""
        client = self._client()
        answered: list[tuple[Outgoing, int]] = []  # appended to by whichever thread polls

        def on_delivery(message: Outgoing) -> Callable[[KafkaError | None, object], None]:
            def note(error: KafkaError | None, _: object) -> None:
                if error is not None and error.fatal():  # the producer is done for; so is this worker
                    raise KafkaException(error)
                answered.append((message, 0 if error is None else error.code()))

            return note

        for message in messages:
            try:
                self._produce(client, message, on_delivery(message))
            except KafkaException as error:
                answered.append((message, error.args[0].code()))
            client.poll(0)
        while len(answered) < len(messages):  # message.timeout.ms bounds this: each one is answered in the end
            client.poll(0.1)
        return [(message, code) for message, code in answered if code]

    def _produce(
        self, client: Any, message: Outgoing, on_delivery: Callable[[KafkaError | None, object], None]
    ) -> None:
        while True:
            try:
                client.produce(
                    self.topic,
                    key=message.key,
                    value=message.value,
                    partition=message.partition,
                    headers=list(message.headers),
                    on_delivery=on_delivery,
                )
            except BufferError:  # the local queue is full: let some of it go first
                client.poll(0.1)
            else:
                return
