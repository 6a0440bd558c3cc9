"""Runbooks on real services: killed, rolled back, slowed down, fed with broken Avro. Nothing goes back or returns."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from cag.registry import Published, ValueEncoder
from deploy.demo import free_port
from deploy.local.services import Endpoints
from schemas import dead_letters
from tests.conftest import CACHE
from tests.faults.runbook_door import door
from tests.faults.runbook_ledger import Observer
from tests.faults.runbook_rebuild import ask, titles
from tests.faults.runbook_site import Site, runbook_site
from tests.faults.runbook_worker import broken_scripts
from tests.faults.runbooks import HANDFUL, Run, check

pytestmark = pytest.mark.integration
PATIENCE_S = 60.0


@pytest.fixture
def site(state: Path, endpoints: Endpoints) -> Iterator[Site]:
    with runbook_site("it-runbooks", state, endpoints, CACHE) as made:
        yield made


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def served(site: Site) -> dict[str, str]:
    corpus = site.store.snapshot()
    return {r.path: r.sections[0].text for r in corpus.runbooks} if corpus else {}


def checked(site: Site, edits: int, paths: int) -> tuple[Run, Observer]:
    return check(site, edits=edits, paths=paths, rate=20, seed=4, tick=lambda _: None)


def test_faults_break_no_law(site: Site) -> None:
    run, observer = checked(site, edits=400, paths=60)
    assert (observer.breaches, run.troubles) == ([], []), run.timeline
    assert run.done.total() == HANDFUL
    assert observer.readings > 50


def test_a_broken_store_is_caught(state: Path, endpoints: Endpoints) -> None:
    """One of the defects; `make runbook-faults` shows each."""
    kind = "careless"
    with broken_scripts(kind), runbook_site("it-runbooks-broken", state, endpoints, CACHE, kind) as site:
        _, observer = checked(site, edits=150, paths=40)
    assert "went back" in {breach.law for breach in observer.breaches}


# -- values that are not what they seem --------------------------------------------------------------------------------

LATER = {
    "type": "record",
    "name": "Runbook",
    "namespace": "freshet",
    "fields": [
        {"name": "path", "type": "string"},
        {"name": "text", "type": "string"},
        {"name": "owner", "type": ["null", "string"], "default": None},
    ],
}
FOREIGN = {"type": "record", "name": "Deployment", "fields": [{"name": "replicas", "type": "int"}]}
HOSTILE = {
    "type": "record",
    "name": "Runbook",
    "namespace": "freshet",
    "fields": [*LATER["fields"], {"name": "n", "type": {"type": "array", "items": "null"}}],
}


def frame(schema_id: int, body: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def text(value: str) -> bytes:
    """An Avro string of fewer than 64 bytes."""
    return bytes([2 * len(value)]) + value.encode()


def registered(registry: SchemaRegistryClient, subject: str, schema: object) -> int:
    return registry.register_schema(f"{subject}-value", Schema(json.dumps(schema), "AVRO"))


def traps(registry: SchemaRegistryClient, good: bytes) -> list[bytes]:
    """Each must become a dead letter; `good` is a whole value."""
    schema_id = int.from_bytes(good[1:5], "big")
    return [
        b"\x01" + good[1:],  # another magic byte
        frame(2**31 - 5, good[5:]),  # an id that nobody registered
        *(good[:n] for n in (1, 4, 5, 6, len(good) // 2, len(good) - 1)),  # cut short
        good + b"x",
        frame(schema_id, b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x"),  # a string that promises 2^62 bytes
        frame(registered(registry, "it-foreign", FOREIGN), b"\x06"),
        frame(
            registered(registry, "it-hostile", HOSTILE),
            text("a.md") + text("x") + b"\x00" + b"\xfe\xff\xff\xff\x0f\x00",
        ),
        "# ö".encode("utf-16-le"),
        b"\xff\xfe",
        b" \n",
    ]


def test_broken_values_become_letters_and_good_ones_are_served(site: Site) -> None:
    with site.registry_client() as registry:
        good = ValueEncoder(registry, site.topic)(Published(path="good.md", text="good", revision="1"))
        later = registered(registry, "it-later", LATER)
        bad = traps(registry, good)
    producer = Producer({"bootstrap.servers": site.endpoints.kafka})
    producer.produce(site.topic, good, b"good.md", partition=0)
    for value in bad:
        producer.produce(site.topic, value, b"good.md", partition=0)
    producer.produce(site.topic, good, b"other.md", partition=0)  # names another path than its key
    producer.produce(
        site.topic, frame(later, text("later.md") + text("newer writer") + b"\x00"), b"later.md", partition=0
    )
    producer.produce(site.topic, b"plain", b"plain.md", partition=0)
    assert producer.flush(10) == 0
    site.wanted.add(1)
    until(lambda: set(served(site)) == {"good.md", "later.md", "plain.md"}, "the good ones")
    assert served(site) == {"good.md": "good", "later.md": "newer writer", "plain.md": "plain"}
    assert letters(site, len(bad) + 1) == [*bad, good]


def letters(site: Site, count: int) -> list[bytes]:
    """The values of the distinct dead letters, in the order of their source."""
    options = {"group.id": f"{site.name}-reader", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": site.endpoints.kafka, **options})
    found: dict[int, bytes] = {}
    try:
        consumer.subscribe([site.kafka.dead_letters_topic])
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < deadline:
            for letter in consumer.consume(count, timeout=0.5):
                found[int(dict(letter.headers())[dead_letters.OFFSET])] = letter.value()
        assert len(found) == count
        assert consumer.consume(1, timeout=0.5) == []
    finally:
        consumer.close()
    return [found[offset] for offset in sorted(found)]


def test_a_registry_that_is_away_is_waited_for_and_nothing_is_rejected(site: Site) -> None:
    with site.registry_client() as registry:
        value = ValueEncoder(registry, site.topic)(Published(path="a.md", text="as Avro", revision="1"))
    producer = Producer({"bootstrap.servers": site.endpoints.kafka})
    with door(site.endpoints.registry) as (way, url):
        way.shut = True
        site.extra["FRESHET_REGISTRY__URL"] = url
        site.wanted.add(1)
        until(lambda: site.store.corpus_version() is not None, "the first build")
        producer.produce(site.topic, value, b"a.md", partition=0)
        producer.produce(site.topic, b"plain", b"b.md", partition=0)
        assert producer.flush(10) == 0
        until(lambda: "runbooks wait" in site.log("worker-1").read_text(), "the worker to say that it waits")
        assert served(site) == {}
        way.shut = False
        until(lambda: served(site) == {"a.md": "as Avro", "b.md": "plain"}, "both")
    assert letters(site, 0) == []


# -- Redis -------------------------------------------------------------------------------------------------------------


def test_answers_come_while_redis_is_slow_or_lost_and_say_so(site: Site) -> None:
    producer = Producer({"bootstrap.servers": site.endpoints.kafka})

    def publish(mark: str) -> None:
        producer.produce(site.topic, f"# The {mark} runbook\n\nDrain the pool.".encode(), b"a.md")
        assert producer.flush(10) == 0

    with door(site.endpoints.redis) as (way, url):
        site.extra["FRESHET_REDIS__URL"] = url
        publish("zebra")
        site.wanted.add(1)
        site.start_api(port=free_port(0))
        until(lambda: "zebra" in titles(site, "zebra"), "the first version in an answer")
        assert not ask(site).said
        way.delay_s = 5.0  # longer than anybody waits for Redis
        publish("quagga")
        until(lambda: ask(site).said, "an answer that says so")
        assert ask(site).status == 200
        assert "zebra" in titles(site, "zebra")
        way.delay_s = 0.0
        until(lambda: "quagga" in titles(site, "quagga"), "the second version in an answer")
        until(lambda: not ask(site).said, "an answer without complaint")
        site.wanted.clear()
        site.stop("worker-1", grace_s=0)
        site.flush()
        until(lambda: ask(site).said, "an answer that says that runbooks were lost")
        assert httpx.get(f"{site.api_url}/readyz", timeout=10).json()["parts"]["redis"] != "ok"
        assert "zebra" not in titles(site, "zebra")
        site.wanted.add(1)
        until(lambda: not ask(site).said, "the rebuild")
        assert "quagga" in titles(site, "quagga")
