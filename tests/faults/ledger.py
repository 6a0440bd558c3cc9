"""The ledger: what was sent, written down outside the pipeline, before each send and after each acknowledgement.

traffic SEED START_S STEP_S BATCH      once, so that the file alone can make every message again
intent NUMBER                          before the message is handed to the producer
ok NUMBER TOPIC PARTITION OFFSET       Kafka has it
unknown NUMBER REASON                  Kafka may have it
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Delivered

from tests.faults.traffic import Sent, Traffic

Place = tuple[str, int]  # topic and partition
NUMBER: Final = "n"  # header of every message
GIVES_UP_S: Final = 120  # waits for so long in the producer's queue, while Kafka is away


@dataclass(slots=True)
class Book:
    """What the ledger says. A message that was meant to be sent, without an answer, is unknown."""

    traffic: Traffic
    intents: int = 0  # numbers 0 to this, in order
    ok: dict[Place, dict[int, int]] = field(default_factory=dict)  # offset -> number
    unknown: set[int] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, entry: str) -> None:
        """Read one line."""
        kind, number, *more = entry.split()
        with self.lock:
            if kind == "intent":
                self.intents = int(number) + 1
                self.unknown.add(int(number))
            elif kind == "ok":
                self.unknown.discard(int(number))
                self.ok.setdefault((more[0], int(more[1])), {})[int(more[2])] = int(number)

    def acknowledged(self) -> dict[Place, dict[int, int]]:
        """A copy: offset -> number, by place."""
        with self.lock:
            return {place: dict(offsets) for place, offsets in self.ok.items()}

    def ends(self) -> dict[Place, int]:
        """The first offset behind what was acknowledged."""
        with self.lock:
            return {place: max(offsets) + 1 for place, offsets in self.ok.items()}


def read(file: Path) -> Book:
    """The book as it stands in the file."""
    first, *entries = file.read_text().splitlines()
    _, seed, start_s, step_s, batch = first.split()
    book = Book(Traffic(seed=int(seed), start_s=float(start_s), step_s=float(step_s), batch=int(batch)))
    for entry in entries:
        book.note(entry)
    return book


class Ledger:
    """Produces the traffic and keeps the book about it. Not for two senders at once."""

    def __init__(self, file: Path, traffic: Traffic, bootstrap: str, topics: Mapping[str, str]) -> None:
        self.file, self.book, self._topics = file, Book(traffic), topics
        self._file = file.open("ab", buffering=0)  # each line is with the kernel before the send
        self._file.write(f"traffic {traffic.seed} {traffic.start_s} {traffic.step_s} {traffic.batch}\n".encode())
        self.records = 0  # in all messages that were offered
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "message.send.max.retries": 0,  # what is in doubt stays in doubt: a second copy would be another record
                "compression.type": "lz4",
                "linger.ms": 5,
                "delivery.timeout.ms": GIVES_UP_S * 1000,
                "sticky.partitioning.linger.ms": 0,  # unkeyed messages everywhere
                "log_level": 0,
                "error_cb": lambda _: None,
            }
        )

    def send(self, records: int) -> None:
        """Offer the next messages until so many more records are in them, and hear what came of the ones before."""
        self._producer.poll(0)
        before = self.records
        while self.records - before < records:
            sent = self.book.traffic.message(self.book.intents)
            self._note(f"intent {sent.number}")
            self._produce(sent)
            self.records += len(sent.outcomes)
            self._producer.poll(0)

    def settle(self) -> None:
        """Wait until every send is known or given up."""
        self._producer.flush(GIVES_UP_S + 10)

    def top_up(self, records: int) -> None:
        """See to it that Kafka has acknowledged that many in all, whatever is in doubt."""
        self.settle()
        doubtful = sum(len(self.book.traffic.message(number).outcomes) for number in self.book.unknown)
        self.send(records - (self.records - doubtful))
        self.settle()

    def close(self) -> None:
        self.settle()
        self._file.close()

    def _produce(self, sent: Sent) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topics[sent.topic],
                    sent.value,
                    sent.key,
                    timestamp=sent.timestamp_ms,
                    headers=[(NUMBER, str(sent.number).encode())],
                    on_delivery=lambda error, message: self._answered(sent.number, error, message),
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _answered(self, number: int, error: KafkaError | None, message: Delivered) -> None:
        if error is None:
            self._note(f"ok {number} {message.topic()} {message.partition()} {message.offset()}")
        else:
            self._note(f"unknown {number} {error.name()}")

    def _note(self, entry: str) -> None:
        self._file.write(f"{entry}\n".encode())
        self.book.note(entry)
