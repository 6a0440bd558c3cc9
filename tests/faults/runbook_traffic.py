"""What goes into the runbooks topic of the checker, and what comes out of the store."""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient

from cag.registry import Published, ValueDecoder, ValueEncoder
from cag.runbooks import normalise_path
from cag.store import RunbookReader
from cag.topic import End, describe, read_to_end
from schemas.errors import SinkUnavailable
from schemas.runbooks import Corpus
from tests.faults.runbook_ledger import Ledger, Observer, Sent, State
from tests.faults.runbook_site import Site

LOOK_EVERY_S: Final = 0.02
FRESH_EVERY: Final = 10
NUMBER: Final = re.compile(r"number: (\d+)")


@dataclass(slots=True)
class Author:
    """Sends seeded changes, at random moments, half of them as Avro."""

    site: Site
    registry: SchemaRegistryClient
    ledger: Ledger
    random: Random
    paths: Sequence[str]
    rate: float
    halt: threading.Lock = field(default_factory=threading.Lock)  # held by a fault that needs silence
    _producer: Any = None
    _encode: ValueEncoder | None = None

    def open(self) -> None:
        """Again after the topic was made again: a producer remembers the old one's sequence numbers."""
        self._producer = Producer(
            {
                "bootstrap.servers": self.site.endpoints.kafka,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": 30_000,
                "linger.ms": 0,
                "log_level": 0,
            }
        )
        self._encode = ValueEncoder(self.registry, self.site.topic, self.site.endpoints.registry)

    def write(self, edits: int, going_on: Callable[[], bool], tick: Callable[[int], None]) -> None:
        """At least so many changes, and more while a fault is still to come."""
        done, due = 0, time.monotonic()
        while done < edits or going_on():
            due += self.random.expovariate(self.rate)
            while (left := due - time.monotonic()) > 0:
                self._producer.poll(min(left, 0.02))
            for _ in range(40 if self.random.random() < 0.005 else 1):  # sometimes a whole folder is published
                with self.halt:
                    self._send(self.random.choice(self.paths))
                done += 1
            due = max(due, time.monotonic() - 1)
            tick(done)
        self.flush()

    def flush(self) -> None:
        if self._producer.flush(60):
            raise SinkUnavailable("Kafka did not confirm everything within a minute")

    def _send(self, path: str) -> None:
        past = self.ledger.by_path.get(path)
        there = bool(past) and not past[-1].deletes and past[-1].topic == self.ledger.topic
        sent = self.ledger.intend(path, deletes=there and self.random.random() < 0.2, at_s=time.monotonic())
        value = None if sent.deletes else self._value(sent)

        def confirmed(error: KafkaError | None, message: Any) -> None:
            sent.state = State.UNKNOWN if error else State.OK
            sent.coordinates = "" if error else f"{message.partition()}/{message.offset()}"

        self._producer.produce(self.site.topic, value, path.encode(), on_delivery=confirmed)
        self._producer.poll(0)

    def _value(self, sent: Sent) -> bytes:
        filler = "Look at the graph, then at the log. " * self.random.randrange(1, 30)
        text = f"# {sent.path}\n\nnumber: {sent.number}\n\n## Diagnosis\n\n{filler}\n"
        if self._encode is None or self.random.random() < 0.5:
            return text.encode()
        return self._encode(Published(path=sent.path, text=text, revision=str(sent.number)))


# -- reading -----------------------------------------------------------------------------------------------------------


class Look:
    """Reads as the API does, all the time, in a thread of its own; hands every new corpus to the observer."""

    def __init__(self, site: Site, observer: Observer) -> None:
        self._site, self._observer = site, observer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()), name="reader", daemon=True)
        self._seen: Corpus | None = None
        self.numbers: dict[str, int] | None = None  # None: nothing is served, and the reader says so
        self.seconds: Counter[str] = Counter()
        self.longest: Counter[str] = Counter()
        self.error: BaseException | None = None

    def __enter__(self) -> "Look":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    async def _read(self) -> None:
        reader, turn = RunbookReader(self._site.redis), 0
        since = now = time.monotonic()
        state = ""
        try:
            while not self._ended.is_set():
                turn += 1
                try:
                    if turn % FRESH_EVERY == 0:  # an API that has just been started knows nothing yet
                        await reader.aclose()
                        reader = RunbookReader(self._site.redis)
                    now_state = self._look(await reader.snapshot())
                except SinkUnavailable:
                    now_state = "Redis away"
                before, now = now, time.monotonic()
                self.seconds[now_state] += now - before
                since, state = (since, state) if now_state == state else (now, now_state)
                self.longest[state] = max(self.longest[state], now - since)
                await asyncio.sleep(LOOK_EVERY_S)
        except BaseException as error:
            self.error = error
            raise
        finally:
            await reader.aclose()

    @property
    def incarnation(self) -> str:
        """Of the store that was read last."""
        return self._seen.version.rpartition("-")[0] if self._seen else ""

    def _look(self, corpus: Corpus | None) -> str:
        if corpus is None:
            self.numbers = None
            return "not loaded"
        if corpus is not self._seen or self.numbers is None:
            self._seen, self.numbers = corpus, numbers_of(corpus)
            self._observer.observe(self.numbers, time.monotonic())
        return "served"


@lru_cache(maxsize=100_000)
def _number(text: str) -> int:
    found = NUMBER.search(text)
    return int(found[1]) if found else -1


def numbers_of(corpus: Corpus) -> dict[str, int]:
    return {runbook.path: _number(runbook.sections[0].text) for runbook in corpus.runbooks}


def topic_holds(site: Site) -> dict[str, int]:
    """Path -> number, read from the topic by itself, without any store."""
    held: dict[str, int] = {}
    with site.registry_client() as registry:
        decode = ValueDecoder(registry, site.endpoints.registry)
        for record in read_to_end(site.kafka, describe(site.kafka, site.topic)):
            if not isinstance(record, End):
                held.pop(path := normalise_path(record.key), None)
                if record.value is not None:
                    held[path] = _number(decode(record).text)
    return held
