"""Where played messages go: to Kafka topics, or to a folder in the format of an evaluation set."""

import gzip
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Delivered

from deploy.shop.incidents import Incident
from deploy.shop.player import TOPICS
from deploy.shop.telemetry import Message
from schemas.errors import StartupError

RUNBOOKS: Final = Path(__file__).parent / "runbooks"
_REACH_TIMEOUT_S: Final = 5.0
_DELIVERY_TIMEOUT_S: Final = 60.0
_FULL_QUEUE_WAIT_S: Final = 0.1


class KafkaDelivery:
    """A producer that counts what Kafka has confirmed. Constructing it connects.

    `topics` maps logical names to real ones, `client` adds librdkafka settings (security). Raises StartupError
    when nothing answers at `bootstrap`, and when a message was not taken.
    """

    def __init__(
        self, bootstrap: str, *, topics: Mapping[str, str] | None = None, client: Mapping[str, Any] | None = None
    ) -> None:
        self.confirmed = 0
        self._sent = 0
        self._refusal: KafkaError | None = None
        self._bootstrap = bootstrap
        self._topics = {name: name for name in TOPICS} | dict(topics or {})
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 20,
                "log_level": 0,  # a refusal is raised once, not logged at every attempt
                "delivery.timeout.ms": int(_DELIVERY_TIMEOUT_S * 1000),
                **(client or {}),
            }
        )
        try:
            self._producer.list_topics(timeout=_REACH_TIMEOUT_S)
        except KafkaException as error:
            reason = error.args[0].str()
            raise StartupError(f"Kafka at {bootstrap} does not answer ({reason}): start it with `make up`") from error

    def send(self, message: Message) -> None:
        """Hand one message over; blocks while the producer's queue is full."""
        while True:
            try:
                self._producer.produce(
                    self._topics[message.topic],
                    value=message.value,
                    key=message.key,
                    headers=list(message.headers),
                    timestamp=message.timestamp_ms,
                    on_delivery=self._on_delivery,
                )
                break
            except BufferError:
                self._producer.poll(_FULL_QUEUE_WAIT_S)
        self._sent += 1
        self._producer.poll(0)
        self._raise_refusal()

    def finish(self) -> int:
        """Wait for every confirmation and return their number."""
        self._producer.flush(_DELIVERY_TIMEOUT_S)
        self._raise_refusal()
        if self.confirmed != self._sent:
            lost = self._sent - self.confirmed
            raise StartupError(f"Kafka at {self._bootstrap} did not confirm {lost} of {self._sent} messages")
        return self.confirmed

    def _on_delivery(self, error: KafkaError | None, _message: Delivered) -> None:
        if error is None:
            self.confirmed += 1
        else:
            self._refusal = self._refusal or error

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise StartupError(f"Kafka at {self._bootstrap} refused a message: {self._refusal.str()}")


def publish(
    messages: Iterable[Message],
    bootstrap: str,
    *,
    topics: Mapping[str, str] | None = None,
    client: Mapping[str, Any] | None = None,
) -> int:
    """Send all messages as fast as Kafka takes them; returns how many it confirmed."""
    delivery = KafkaDelivery(bootstrap, topics=topics, client=client)
    for message in messages:
        delivery.send(message)
    return delivery.finish()


def paced(
    messages: Iterable[Message],
    due_s: Callable[[Message], float],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Message]:
    """Hold each message back until `due_s` of it, in the seconds of `clock`, has come."""
    for message in messages:
        wait_s = due_s(message) - clock()
        if wait_s > 0:
            sleep(wait_s)
        yield message


def write_set(
    messages: Iterable[Message],
    incidents: Iterable[Incident],
    folder: Path,
    *,
    name: str,
    tasks: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Write an evaluation set; returns the number of messages. Values must be JSON (play with `binary=False`).

    `tasks`: what is asked, instead of the incidents' own questions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    incidents = tuple(incidents)
    written = 0
    with ExitStack() as stack:
        files = {topic: stack.enter_context(gzip.open(folder / f"{topic}.jsonl.gz", "wb")) for topic in TOPICS}
        for message in messages:
            line: dict[str, Any] = {"value": orjson.Fragment(message.value), "timestamp_ms": message.timestamp_ms}
            if message.key is not None:
                line["key"] = message.key.decode()
            files[message.topic].write(orjson.dumps(line) + b"\n")
            written += 1
    described = {
        "name": name,
        "now": f"{max(incident.end for incident in incidents):%Y-%m-%dT%H:%M:%SZ}",
        "inputs": [{"file": f"{topic}.jsonl.gz", "topic": topic, "format": "auto"} for topic in TOPICS],
        "runbooks": "runbooks/",
    }
    (folder / "set.json").write_text(json.dumps(described, indent=2) + "\n")
    asked = tasks or [task for incident in incidents for task in incident.tasks()]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in asked))
    copy_runbooks(folder / "runbooks")
    return written


def copy_runbooks(folder: Path) -> int:
    """Copy the shop's runbooks; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = sorted(RUNBOOKS.glob("*.md"))
    for page in pages:
        shutil.copyfile(page, folder / page.name)
    return len(pages)
