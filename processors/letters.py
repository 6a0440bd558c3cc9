"""Sending dead letters to Kafka: the edge that every runner (worker, replay, Spark) shares."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from processors.writer import Stopped
from schemas.dead_letters import Absent, DeadLetter, content_of
from schemas.records import Message
from schemas.settings import Kafka, kafka_client_config

log = structlog.get_logger()

SHARED_FROM_BYTES: Final = 1024 * 1024  # what the letters of one message may hold together before they share it
CUT_BYTES: Final = 512 * 1024  # what is kept of a value that the dead-letter topic does not take whole; then less
CUT_KEY_BYTES: Final = 4_096  # a longer key goes with the rest of such a value, and all headers of the source do
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 10.0
CONFIRM_S: Final = 30.0  # how long one round waits for Kafka before it says so and goes on waiting


class _Outgoing(NamedTuple):
    letter: DeadLetter
    absent: Absent | None = None
    cut: int = 0  # how often it was too large


def shared(letters: Sequence[DeadLetter]) -> list[_Outgoing]:
    """Letters that share one copy of their message where they would hold too much: the first of them has it.

    Otherwise one message of 10 MB with 10,000 bad records would make letters of 100 GB.
    """
    by_message = defaultdict[tuple[str, int, int], list[DeadLetter]](list)
    for letter in letters:
        by_message[letter.message.topic_id, letter.message.partition, letter.message.offset].append(letter)
    outgoing = []
    for together in by_message.values():
        message, absent = together[0].message, None
        first = min(letter.index for letter in together)
        if len(together) > 1 and len(together) * _size(message) > SHARED_FROM_BYTES:
            absent = Absent(content=content_of(message), value_in=first)
        outgoing += [_Outgoing(each, None if each.index == first else absent) for each in together]
    return outgoing


def _size(message: Message) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in message.headers)
    return len(message.value or b"") + len(message.key or b"") + headers


class LetterProducer:
    """Writes dead letters with acks=all. `paused` says why it waits, '' while it runs."""

    def __init__(
        self,
        kafka: Kafka,
        worker: str,
        *,
        generation: str = "",
        make: Callable[[dict[str, Any]], Any] = Producer,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        self._topic, self._address = kafka.dead_letters_topic, kafka.bootstrap_servers
        self._app, self._worker, self._generation = kafka.group, worker or "worker", generation
        self._make = make
        self._producer: Any = None
        self._options = kafka_client_config(kafka) | {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 5,
            "message.max.bytes": 17_825_792,
            "queue.buffering.max.kbytes": 65_536,
            "message.timeout.ms": int(confirm_s * 1000),
            "log_level": 0,
            "error_cb": lambda _: None,  # what matters comes with the letter that failed
        }
        self.paused = ""

    def deliver(self, letters: Sequence[DeadLetter], stop: threading.Event) -> None:
        """Blocks until Kafka confirmed every letter; tries for ever. Raises Stopped when `stop` is set meanwhile.

        A letter that is sent again after a doubtful answer is the same letter: readers tell by source and index.
        """
        self._producer = self._producer or self._make(self._options)  # most workers never need one
        waiting = shared(letters)
        delay = BACKOFF_FIRST_S
        while True:
            failed = self._round(waiting)
            if not failed:
                self.paused = ""
                return
            # Too large for the topic: keep the head and say so, rather than block its partition for ever.
            waiting = [
                out._replace(cut=out.cut + 1) if error == KafkaError.MSG_SIZE_TOO_LARGE else out
                for out, error in failed
            ]
            why = KafkaError(failed[0][1]).str()
            reason = f"Kafka at {self._address} did not take {len(failed)} dead letters: {why}"
            if not self.paused:
                log.warning("dead letters wait", reason=reason, topic=self._topic)
            self.paused = reason
            if stop.wait(random.uniform(0, delay)):  # noqa: S311 - jitter, not a secret
                raise Stopped(reason)
            delay = min(delay * 2, BACKOFF_MOST_S)

    def _round(self, letters: Sequence[_Outgoing]) -> list[tuple[_Outgoing, int]]:
        """Send each once; returns those without a confirmation, with Kafka's error code."""
        failed: list[tuple[_Outgoing, int]] = []
        confirmed = 0

        def on_delivery(out: _Outgoing) -> Callable[[KafkaError | None, object], None]:
            def note(error: KafkaError | None, _: object) -> None:
                nonlocal confirmed
                confirmed += 1
                if error is not None:
                    if error.fatal():  # the producer is done for; so is this worker
                        raise KafkaException(error)
                    failed.append((out, error.code()))

            return note

        for out in letters:
            try:
                self._produce(out, on_delivery(out))
            except KafkaException as error:
                confirmed += 1
                failed.append((out, error.args[0].code()))
            self._producer.poll(0)
        while confirmed < len(letters):  # message.timeout.ms bounds this: each one is confirmed or failed in the end
            self._producer.poll(0.1)
        return failed

    def _produce(self, out: _Outgoing, on_delivery: Callable[[KafkaError | None, object], None]) -> None:
        source, absent = out.letter.message, out.absent
        key, value = (source.key, source.value) if absent is None else (None, None)
        if out.cut:
            key = key if len(key or b"") <= CUT_KEY_BYTES else None
            value = value and value[: CUT_BYTES >> 3 * (out.cut - 1)]
            absent = absent or Absent(content=content_of(source), cut_from=len(source.value or b""))
        headers = out.letter.headers(self._app, self._worker, self._generation, absent)
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=key,
                    value=value,
                    headers=headers,
                    timestamp=max(source.timestamp_ms, 0),
                    on_delivery=on_delivery,
                )
            except BufferError:  # the local queue is full: let some of it go first
                self._producer.poll(0.1)
            else:
                return
