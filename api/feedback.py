"""Writes what people say about incidents to its topic: durable when the request is answered, or refused."""

import asyncio
from threading import Lock
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import KafkaException, Producer

from processors.insights.feedback import encoded
from processors.redact import Redactor
from schemas.errors import SinkUnavailable
from schemas.settings import Settings, kafka_client_config
from schemas.summaries import Feedback

DELIVERY_S: Final = 5.0  # a person waits; what was not taken by then is refused, and sent again under the same id
_log = structlog.get_logger("api")


class FeedbackSink(Protocol):
    async def send(self, feedback: Feedback, note: str) -> None:
        """Returns when it is durable. Raises SinkUnavailable."""

    async def close(self) -> None: ...


class KafkaFeedback:
    """One per process. Nothing connects before the first feedback."""

    def __init__(self, settings: Settings) -> None:
        self._kafka, self._topic = settings.kafka, settings.insights.feedback_topic
        self._redact = Redactor(settings.redaction)
        self._producer: Producer | None = None
        self._lock = Lock()

    async def send(self, feedback: Feedback, note: str) -> None:
        await asyncio.to_thread(self._send, feedback, note)

    async def close(self) -> None:
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, DELIVERY_S)

    def _send(self, feedback: Feedback, note: str) -> None:
        key, value = encoded(feedback, self._redact(note.encode(errors="replace").decode()))
        outcome: list[Any] = []
        producer = self._connected()
        try:
            producer.produce(self._topic, value, key=key, on_delivery=lambda error, _: outcome.append(error))
        except (BufferError, KafkaException) as error:
            raise self._refused(type(error).__name__) from None
        producer.flush(2 * DELIVERY_S)  # the message times out before
        if not outcome or outcome[0] is not None:
            raise self._refused(outcome[0].str() if outcome else "no answer in time")

    def _connected(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(
                    kafka_client_config(self._kafka)
                    | {
                        "client.id": "freshet-feedback",
                        "acks": "all",
                        "enable.idempotence": True,
                        "linger.ms": 0,
                        "message.timeout.ms": round(DELIVERY_S * 1000),
                        "log_level": 0,
                    }
                )
            return self._producer

    def _refused(self, reason: str) -> SinkUnavailable:
        _log.warning("feedback was not taken", topic=self._topic, reason=reason)
        return SinkUnavailable(f"Kafka at {self._kafka.bootstrap_servers} does not take feedback: {reason}")
