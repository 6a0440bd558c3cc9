"""Records that count only once Kafka has confirmed them: the producer's settings, and one round of sending."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

from schemas.settings import Kafka, kafka_client_config

T = TypeVar("T")
OnDelivery = Callable[[KafkaError | None, object], None]


def producer_options(kafka: Kafka, *, message_bytes: int, confirm_s: float) -> dict[str, Any]:
    """Of a librdkafka producer. `confirm_s`: how long one round waits for Kafka."""
    return kafka_client_config(kafka) | {
        "acks": "all",
        "enable.idempotence": True,
        "compression.type": "zstd",
        "linger.ms": 5,
        "message.max.bytes": message_bytes,
        "queue.buffering.max.kbytes": 65_536,
        "message.timeout.ms": int(confirm_s * 1000),
        "log_level": 0,
        "error_cb": lambda _: None,  # what matters comes with the record that failed
    }


def send_each(client: Any, items: Sequence[T], produce: Callable[[T, OnDelivery], None]) -> list[tuple[T, int]]:
    """Send each once; returns those without a confirmation, with Kafka's error code. Blocks.

    `produce` hands one to the client. Raises KafkaException when the producer is done for.
    """
    answered: list[tuple[T, int]] = []  # appended to by whichever thread polls

    def on_delivery(item: T) -> OnDelivery:
        def note(error: KafkaError | None, _: object) -> None:
            if error is not None and error.fatal():  # the producer is done for; so is this worker
                raise KafkaException(error)
            answered.append((item, 0 if error is None else error.code()))

        return note

    for item in items:
        try:
            _offer(client, lambda item=item: produce(item, on_delivery(item)))  # type: ignore[misc]
        except KafkaException as error:
            answered.append((item, error.args[0].code()))
        client.poll(0)
    while len(answered) < len(items):  # message.timeout.ms bounds this: each one is answered in the end
        client.poll(0.1)
    return [(item, code) for item, code in answered if code]


def _offer(client: Any, produce: Callable[[], None]) -> None:
    while True:
        try:
            produce()
        except BufferError:  # the local queue is full: let some of it go first
            client.poll(0.1)
        else:
            return
