"""The worker on real services: killed, cut off, refused, fed with bad bytes. Nothing is lost or counted twice."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Producer

from deploy.demo import free_port
from deploy.installation import CHECKOUT, Installation
from deploy.local import processes, services
from deploy.local.services import Endpoints
from deploy.shop import formats
from deploy.shop.delivery import publish
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import HOME, build_estate
from schemas import dead_letters
from schemas.settings import Kafka
from streams.topics import Broker
from tests.benchmarks import corpus
from tests.benchmarks.installed import installed
from tests.benchmarks.reads import Reads

pytestmark = pytest.mark.integration
QUICK = {"FRESHET_EMBEDDER__KIND": "hashing", "FRESHET_WORKER__SESSION_TIMEOUT_S": "6"}
PATIENCE_S = 120.0  # a busy machine takes a minute to restart OpenSearch


@pytest.fixture(scope="module")
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    with installed("it-worker", state, endpoints, partitions=4) as made:
        made.extra |= QUICK
        yield made


@pytest.fixture(scope="module")
def reads(installation: Installation) -> Iterator[Reads]:
    with closing(Reads(installation)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _stopped(installation: Installation) -> Iterator[None]:
    yield
    installation.stop()


def until(installation: Installation, done: Callable[[], bool], what: str) -> None:
    """Wait; fails at once with the worker's last words when it has ended."""
    installation.wait(done, what, "worker-1", PATIENCE_S)


def lag(installation: Installation) -> int:
    """Log messages that are not acknowledged yet."""
    broker = Broker(Kafka(bootstrap_servers=installation.endpoints.kafka))
    topic = installation.topics["logs"]
    behind = broker.lag(installation.name, [(topic, partition) for partition in broker.partitions(topic)])
    return sum(behind.values())


def say(installation: Installation, messages: Sequence[Message]) -> None:
    publish(messages, installation.endpoints.kafka, topics=installation.topics)


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("FRESHET_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:{port}", "Kafka at 127.0.0.1:{port}"),
        ("FRESHET_OPENSEARCH__URL", "http://127.0.0.1:{port}", "OpenSearch at http://127.0.0.1:{port}"),
        ("FRESHET_REDIS__URL", "redis://127.0.0.1:{port}/0", "127.0.0.1:{port}"),
    ],
)
def test_a_service_that_is_down_at_the_start_is_one_line(
    installation: Installation, setting: str, value: str, named: str
) -> None:
    port = free_port(0)
    done = subprocess.run(
        [sys.executable, "-m", "streams", "worker"],
        check=False,
        cwd=CHECKOUT,
        env=installation.environment | {setting: value.format(port=port)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    (line,) = done.stderr.splitlines()
    assert named.format(port=port) in line
    assert f"`make up`) or set {setting}" in line
    assert done.returncode == 1


def test_bad_bytes_become_dead_letters_and_good_ones_are_indexed(installation: Installation, reads: Reads) -> None:
    pod = build_estate((HOME,), seed=1).pods_of(HOME, "gateway")[0]
    good = formats.fluent_bit(Log(at_s=time.time(), pod=pod, level="info", text="all is well here"))
    bad = [b"\xff\xfe\x00 not text", b'{"log": "cut off', b"\x00\x00\x00\x00\x07framed", b""]
    producer = Producer({"bootstrap.servers": installation.endpoints.kafka})
    for value in [good, *(each for one in bad for each in (one, good))]:
        headers: list[tuple[str, str | bytes | None]] = [("trace", b"\x00\x01")]
        producer.produce(installation.topics["logs"], value, key=b"pod-\xff", partition=0, headers=headers)
    assert producer.flush(10) == 0
    before = reads.counted()
    installation.start_worker()
    until(installation, lambda: reads.counted() == before + len(bad) + 1, "the good lines")
    letters = read_letters(installation, len(bad))
    assert [letter.value() for letter in letters] == bad
    for offset, letter in zip(range(1, 2 * len(bad), 2), letters, strict=True):
        said = dict(letter.headers())
        assert (letter.key(), said["trace"]) == (b"pod-\xff", b"\x00\x01")
        assert said[dead_letters.TOPIC].decode() == installation.topics["logs"]
        assert (int(said[dead_letters.PARTITION]), int(said[dead_letters.OFFSET])) == (0, offset)
        assert said[dead_letters.STAGE] == b"DECODE"
        assert said[dead_letters.REASON]
    until(installation, lambda: lag(installation) == 0, "the acknowledgement of all of it")


def read_letters(installation: Installation, count: int) -> list[Any]:
    """The dead letters in the order of their source; fails when there are fewer or more."""
    options = {"group.id": "it-worker-reader", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": installation.endpoints.kafka, **options})
    try:
        consumer.subscribe([f"{installation.name}.dead-letters"])
        found: list[Any] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < deadline:
            found += consumer.consume(count, timeout=0.5)
        found += consumer.consume(1, timeout=0.5)
    finally:
        consumer.close()
    assert len(found) == count
    return sorted(found, key=lambda letter: int(dict(letter.headers())[dead_letters.OFFSET]))


def test_kills_in_the_middle_of_work_lose_and_repeat_nothing(installation: Installation, reads: Reads) -> None:
    before, now_s = reads.counted(), time.time()
    say(
        installation,
        [*corpus.one_by_one(20_000, now_s, keyed=False), *corpus.by_the_hundred(20_000, now_s, keyed=False)],
    )
    total = before + 40_000
    installation.extra["FRESHET_WORKER__FLUSH_RECORDS"] = "2000"
    reached = before
    for _ in range(2):
        installation.start_worker()
        until(installation, more_than(reached + 4_000, reads), "some of the work")
        installation.kill("worker-1")
        reached = reads.refreshed().counted()
        assert reached < total, "the worker was done before it was killed"
        assert lag(installation) > 0
    installation.start_worker()
    until(installation, lambda: reads.refreshed().counted() >= total, "the rest of the work")
    installation.stop(grace_s=20)  # SIGTERM
    assert (reads.refreshed().counted(), lag(installation)) == (total, 0)


def more_than(count: int, reads: Reads) -> Callable[[], bool]:
    return lambda: reads.refreshed().counted() > count


def test_opensearch_away_for_a_while_loses_nothing(
    installation: Installation, reads: Reads, state: Path, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--stack"):
        pytest.skip("stops OpenSearch, and others may be using the one that was given")
    now_s = time.time()
    before = reads.refreshed().counted()
    say(installation, list(corpus.one_by_one(10, now_s, keyed=False)))
    installation.start_worker()
    until(installation, lambda: reads.counted() == before + 10, "the first lines")
    installation.start_api(port=free_port(0))
    until(installation, lambda: readiness(installation)[0] == 200, "readiness")
    services.halt(state, "opensearch")
    say(installation, list(corpus.one_by_one(2_000, now_s, keyed=False)))
    until(installation, lambda: readiness(installation)[0] == 503, "unreadiness")
    assert "does not answer" in readiness(installation)[1]["opensearch"]
    assert f"{installation.name}.worker-1" in processes.running(installation.state), "the worker must wait"
    assert lag(installation) == 2_000
    services.start(state, "opensearch")
    until(installation, lambda: reads.counted() == before + 2_010, "the worker to catch up")
    until(
        installation,
        lambda: readiness(installation)[0] == 200 and lag(installation) == 0,
        "readiness and acknowledgement",
    )


def readiness(installation: Installation) -> tuple[int, dict[str, str]]:
    answer = httpx.get(f"{installation.api_url}/readyz", timeout=20)
    return answer.status_code, answer.json()["parts"]
