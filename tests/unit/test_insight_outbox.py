"""What is sent to our own topics is confirmed before anyone goes on; one record too large holds up nothing."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processors.writer import Stopped
from schemas.errors import SinkUnavailable
from schemas.settings import Kafka
from streams.insights.outbox import Outbox, Outgoing

AWAY, LARGE = KafkaError._MSG_TIMED_OUT, KafkaError.MSG_SIZE_TOO_LARGE


class FakeProducer:
    """Answers each record at the next poll, with the next of `errors` (None: it is written)."""

    def __init__(self, errors: list[int | None]) -> None:
        self.errors, self.written = errors, list[bytes]()
        self.waiting: list[tuple[Callable[[KafkaError | None, object], None], int | None, bytes]] = []

    def produce(self, topic: str, *, on_delivery: Any, value: bytes, **rest: Any) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error == LARGE:  # refused by the client itself
            raise KafkaException(KafkaError(error))
        self.waiting.append((on_delivery, error, value))

    def poll(self, _: float) -> None:
        waiting, self.waiting = self.waiting, []
        for on_delivery, error, value in waiting:
            if error is None:
                self.written.append(value)
            on_delivery(None if error is None else KafkaError(error), None)


def outbox(*errors: int | None) -> tuple[Outbox, FakeProducer, dict[str, Any]]:
    fake, options = FakeProducer(list(errors)), dict[str, Any]()

    def make(asked: dict[str, Any]) -> FakeProducer:
        options.update(asked)
        return fake

    return Outbox(Kafka(), "t", make=make), fake, options


ONE, TWO = Outgoing(b"a", b"1"), Outgoing(b"", b"2", 3)


@pytest.mark.parametrize(
    ("errors", "written", "left_out"),
    [
        ([], [b"1", b"2"], 0),
        ([None, AWAY], [b"1", b"2"], 0),  # only what failed is sent again
        ([AWAY, None, AWAY], [b"2", b"1"], 0),
        ([LARGE, None], [b"2"], 1),
        ([LARGE, AWAY], [b"2"], 1),
    ],
)
def test_deliver(errors: list[int | None], written: list[bytes], left_out: int) -> None:
    made, fake, options = outbox(*errors)
    assert made.deliver([ONE, TWO], threading.Event()) == left_out
    assert (fake.written, made.paused) == (written, "")
    assert (options["acks"], options["enable.idempotence"]) == ("all", True)
    assert options["partitioner"] == "murmur2"  # the empty cluster name, too, has one partition for good


def test_it_stops_while_kafka_is_away_and_says_so() -> None:
    made, _, _ = outbox(AWAY)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        made.deliver([ONE], stop)
    assert made.paused.startswith("Kafka at 127.0.0.1:9092 did not take 1 records of t")


def test_an_offer_is_made_once() -> None:
    made, fake, _ = outbox(None, AWAY)
    with pytest.raises(SinkUnavailable):
        made.offer([ONE, TWO])
    assert fake.written == [b"1"]
