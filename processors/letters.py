"""Sending dead letters to Kafka: the edge that every runner (worker, replay, Spark) shares."""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from processors.writer import Stopped
from schemas.dead_letters import CUT_FROM, DeadLetter
from schemas.settings import Kafka, kafka_client_config

log = structlog.get_logger()

CUT_BYTES: Final = 512 * 1024  # what is kept of a value that the dead-letter topic does not take whole
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 10.0
CONFIRM_S: Final = 30.0  # how long one round waits for Kafka before it says so and goes on waiting


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
        waiting = [(letter, False) for letter in letters]
        delay = BACKOFF_FIRST_S
        while True:
            failed = self._round(waiting)
            if not failed:
                self.paused = ""
                return
            # Too large for the topic: keep the head and say so, rather than block its partition for ever.
            waiting = [(letter, cut or error == KafkaError.MSG_SIZE_TOO_LARGE) for letter, cut, error in failed]
            why = KafkaError(failed[0][2]).str()
            reason = f"Kafka at {self._address} did not take {len(failed)} dead letters: {why}"
            if not self.paused:
                log.warning("dead letters wait", reason=reason, topic=self._topic)
            self.paused = reason
            if stop.wait(random.uniform(0, delay)):  # noqa: S311 - jitter, not a secret
                raise Stopped(reason)
            delay = min(delay * 2, BACKOFF_MOST_S)

    def _round(self, letters: Sequence[tuple[DeadLetter, bool]]) -> list[tuple[DeadLetter, bool, int]]:
        """Send each once; returns those without a confirmation, with Kafka's error code."""
        failed: list[tuple[DeadLetter, bool, int]] = []
        confirmed = 0

        def on_delivery(letter: DeadLetter, cut: bool) -> Callable[[KafkaError | None, object], None]:
            def note(error: KafkaError | None, _: object) -> None:
                nonlocal confirmed
                confirmed += 1
                if error is not None:
                    if error.fatal():  # the producer is done for; so is this worker
                        raise KafkaException(error)
                    failed.append((letter, cut, error.code()))

            return note

        for letter, cut in letters:
            try:
                self._produce(letter, cut, on_delivery(letter, cut))
            except KafkaException as error:
                confirmed += 1
                failed.append((letter, cut, error.args[0].code()))
            self._producer.poll(0)
        while confirmed < len(letters):  # message.timeout.ms bounds this: each one is confirmed or failed in the end
            self._producer.poll(0.1)
        return failed

    def _produce(self, letter: DeadLetter, cut: bool, on_delivery: Callable[[KafkaError | None, object], None]) -> None:
        source = letter.message
        value, headers = source.value, letter.headers(self._app, self._worker, self._generation)
        if cut and value is not None:
            headers.append((CUT_FROM, str(len(value)).encode()))
            value = value[:CUT_BYTES]
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=source.key,
                    value=value,
                    headers=headers,
                    timestamp=max(source.timestamp_ms, 0),
                    on_delivery=on_delivery,
                )
            except BufferError:  # the local queue is full: let some of it go first
                self._producer.poll(0.1)
            else:
                return
