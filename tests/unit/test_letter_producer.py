"""Letters keep the original, are confirmed before anyone goes on, and too many of them stop the worker."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from processors.letters import CUT_BYTES, SHARED_FROM_BYTES, LetterProducer
from processors.writer import Stopped
from schemas.dead_letters import DeadLetter
from schemas.records import Message
from schemas.settings import Kafka
from streams.reject_share import DeadLetterLimit, RejectShare

FORGED = ("__connect.errors.topic", b"elsewhere")


def letter(value: bytes | None = b"raw \xff", index: int = 3) -> DeadLetter:
    source = Message(
        topic="logs", topic_id="ID", partition=2, offset=41, timestamp_ms=1234, key=b"k", value=value,
        headers=(FORGED, ("trace", None)),
    )  # fmt: skip
    return DeadLetter(message=source, index=index, reason="not JSON", stage="decode")


class FakeProducer:
    """Confirms each letter at the next poll, with the next of `errors` (None: it is written)."""

    def __init__(self, errors: list[int | None]) -> None:
        self.errors, self.written, self.waiting = errors, [], []  # type: ignore[var-annotated]

    def produce(self, topic: str, *, on_delivery: Callable[[KafkaError | None, object], None], **rest: Any) -> None:
        error = self.errors.pop(0) if self.errors else None
        if error == KafkaError.MSG_SIZE_TOO_LARGE:  # refused by the client itself
            raise KafkaException(KafkaError(error))
        self.waiting.append((on_delivery, error, {"topic": topic, **rest}))

    def poll(self, _: float) -> None:
        for on_delivery, error, sent in self.waiting:
            if error is None:
                self.written.append(sent)
            on_delivery(None if error is None else KafkaError(error), None)
        self.waiting = []


def deliver(errors: list[int | None], *letters: DeadLetter, stop: bool = False) -> FakeProducer:
    fake = FakeProducer(errors)
    event = threading.Event()
    if stop:
        event.set()
    LetterProducer(Kafka(group="app"), "w1", generation="g1", make=lambda _: fake).deliver(letters, event)
    return fake


def test_original_is_untouched_and_ours_come_last() -> None:
    (sent,) = deliver([], letter()).written
    assert (sent["topic"], sent["key"], sent["value"], sent["timestamp"]) == (
        "freshet.dead-letters.v1", b"k", b"raw \xff", 1234,
    )  # fmt: skip
    assert sent["headers"][:2] == [FORGED, ("trace", None)]
    assert dict(sent["headers"]) == {
        "trace": None,
        "__connect.errors.topic": b"logs",
        "__connect.errors.topic.id": b"ID",
        "__connect.errors.partition": b"2",
        "__connect.errors.offset": b"41",
        "__connect.errors.index": b"3",
        "__connect.errors.timestamp": b"1234",
        "__connect.errors.connector.name": b"app",
        "__connect.errors.task.id": b"w1",
        "__connect.errors.generation": b"g1",
        "__connect.errors.stage": b"DECODE",
        "__connect.errors.class.name": b"processors.decode",
        "__connect.errors.exception.class.name": b"schemas.errors.InvalidRecord",
        "__connect.errors.exception.message": b"not JSON",
        "__connect.errors.exception.stacktrace": b"",
    }


def test_only_what_failed_is_sent_again() -> None:
    written = deliver([None, KafkaError._MSG_TIMED_OUT], letter(index=0), letter(index=1)).written
    assert [dict(sent["headers"])["__connect.errors.index"] for sent in written] == [b"0", b"1"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_letter_too_large_for_the_topic_keeps_its_head(times: int) -> None:
    """Not even a giant header of the source holds up its partition."""
    large = letter(b"x" * (CUT_BYTES + 1))
    large = replace(large, message=large.message._replace(headers=(("trace", b"y" * CUT_BYTES),)))
    (sent,) = deliver([KafkaError.MSG_SIZE_TOO_LARGE] * times, large).written
    assert len(sent["value"]) == CUT_BYTES >> 3 * (times - 1)
    assert dict(sent["headers"])["__connect.errors.value.cut.from"] == str(CUT_BYTES + 1).encode()
    assert "trace" not in dict(sent["headers"])


@pytest.mark.parametrize(
    ("size", "many", "holding"),
    [
        (20, 3, [0, 1, 2]),  # small: each by itself, as Connect's tools expect
        (SHARED_FROM_BYTES // 4, 3, [0, 1, 2]),
        (SHARED_FROM_BYTES // 2, 3, [0]),
        (SHARED_FROM_BYTES * 9, 1, [0]),
    ],
)
def test_the_letters_of_a_large_message_hold_it_once(size: int, many: int, holding: list[int]) -> None:
    neighbour = replace(letter(b"other"), message=letter(b"other").message._replace(offset=42))
    written = deliver([], *(letter(b"x" * size, index) for index in range(many)), neighbour).written
    others = written.pop()
    held = [index for index, sent in enumerate(written) if sent["value"] is not None]
    assert (held, others["value"], len(written)) == (holding, b"other", many)
    for sent in written[1:] if held == [0] else []:
        said = dict(sent["headers"])
        assert (sent["key"], said["__connect.errors.value.in"], "trace" in said) == (None, b"0", False)


def test_stops_while_kafka_is_away() -> None:
    with pytest.raises(Stopped):
        deliver([KafkaError._MSG_TIMED_OUT], letter(), stop=True)


@pytest.mark.parametrize(
    ("parts", "stops"),
    [
        ([(1, 1)] * 999, False),  # too few to judge
        ([(1, 1)] * 1000, True),
        ([(10, 5)] * 5000, False),  # half is not more than half
        ([(10, 0)] * 1000 + [(10, 10)] * 500, False),
        ([(10, 0)] * 1000 + [(10, 10)] * 501, True),  # good ones of long ago do not count
        ([(0, 0)] * 10 + [(5000, 2501)], False),  # one giant message counts for a hundred records
        ([(5000, 2600)] * 10, True),
        ([(1, 0)] * 910 + [(100_000, 100_000)], False),
        ([(1, 1)] * 999 + [(100_000, 0)] + [(1, 1)], True),  # nor does one excuse the others
    ],
)
def test_share_of_rejects(parts: list[tuple[int, int]], stops: bool) -> None:
    share = RejectShare(0.5)
    raised = False
    for records, rejects in parts:
        try:
            share.add(*share.weigh(records, rejects))
        except DeadLetterLimit:
            raised = True
    assert raised is stops
