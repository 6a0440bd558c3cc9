"""Replay on real services: over live traffic, through kills, after losses; a shadow built, promoted, thrown away."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.installation import CHECKOUT, Installation
from deploy.local import processes
from deploy.local.services import Endpoints
from deploy.shop.delivery import KafkaDelivery, publish
from deploy.shop.player import play, single_incident
from deploy.shop.telemetry import Message
from processors.index import OpenSearchIndex, connect
from processors.scan import Digest, digest_of, scan
from schemas.documents import DAILY_KINDS, Names, Target
from schemas.errors import SinkUnavailable, StartupError
from schemas.settings import Kafka, OpenSearch, Settings
from streams.exits import Exit
from streams.replay.shadows import Label, Shadows
from streams.topics import Broker
from tests.benchmarks import corpus
from tests.benchmarks.installed import installed

pytestmark = pytest.mark.integration
QUICK = {
    "FRESHET_EMBEDDER__KIND": "hashing",
    "FRESHET_EMBEDDER__DIMENSIONS": "64",
    "FRESHET_WORKER__SESSION_TIMEOUT_S": "6",
}
SASL = {"FRESHET_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT", "FRESHET_KAFKA__USERNAME": "nobody"}
STRICTER = {"FRESHET_REDACTION__IP_ADDRESSES": "true"}
BROKEN = [b"\xff\xfe\x00 not text", b'{"log": "cut off', b""]
PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """Lines, metrics, events, alerts and broken messages, indexed by a worker that goes on running."""
    with installed("it-replay", state, endpoints, partitions=4) as made:
        made.extra |= QUICK
        now = datetime.now(UTC)
        publish(play(single_incident("bad-deploy", seed=3, end=now, minutes=2)), endpoints.kafka, topics=made.topics)
        say(made, 12_000)
        publish(broken(100), endpoints.kafka, topics=made.topics)
        made.start_worker()
        settled(made)
        yield made


def say(installation: Installation, count: int) -> None:
    lines = corpus.one_by_one(count, time.time(), keyed=False)
    publish(lines, installation.endpoints.kafka, topics=installation.topics)


def broken(count: int) -> Iterator[Message]:
    for n in range(count):
        yield Message(topic="logs", key=None, value=BROKEN[n % 3], timestamp_ms=int(time.time() * 1000))


def broker(installation: Installation) -> Broker:
    return Broker(Kafka(bootstrap_servers=installation.endpoints.kafka))


def settled(installation: Installation, group: str = "") -> None:
    """Until all that was sent is acknowledged."""
    asked = broker(installation)
    places = [(topic, p) for topic in installation.topics.values() for p in asked.partitions(topic)]
    installation.wait(
        lambda: not any(asked.lag(group or installation.name, places).values()), "the worker", "worker-1", PATIENCE_S
    )


@contextmanager
def speaking(installation: Installation, per_second: int) -> Iterator[None]:
    """Live traffic."""
    stop = threading.Event()

    def speak() -> None:
        delivery = KafkaDelivery(installation.endpoints.kafka, topics=installation.topics)
        while not stop.wait(0.1):
            for message in corpus.one_by_one(per_second // 10, time.time(), keyed=False):
                delivery.send(message)
        delivery.finish()

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def replay(installation: Installation, *arguments: str) -> Any:
    """The JSON of one command."""
    return json.loads(installation.run("streams", "replay", *arguments, "--json"))


@contextmanager
def running(installation: Installation, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "streams", "replay", *arguments],
        cwd=CHECKOUT,
        env=installation.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def index_of(installation: Installation, label: str) -> OpenSearchIndex:
    settings = OpenSearch(url=installation.endpoints.opensearch, prefix=installation.name)
    return OpenSearchIndex(connect(settings), Names(settings.prefix, label), settings, dimensions=64)


def digest(installation: Installation, label: str) -> Digest:
    return digest_of(scan(index_of(installation, label)))


def labels(installation: Installation) -> dict[str, Label]:
    search = OpenSearch(url=installation.endpoints.opensearch, prefix=installation.name)
    return Shadows(Settings(opensearch=search, kafka=Kafka(group=installation.name))).labels()


def live(installation: Installation) -> str:
    return next(label.name for label in labels(installation).values() if label.live)


def letters(installation: Installation) -> int:
    """How many were ever written."""
    consumer = Consumer({"bootstrap.servers": installation.endpoints.kafka, "group.id": "it-replay-count"})
    topic = f"{installation.name}.dead-letters"
    try:
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in broker(installation).partitions(topic)
        )
    finally:
        consumer.close()


def test_replays_with_kills_over_live_traffic_change_nothing(installation: Installation) -> None:
    label, topics = live(installation), [*installation.topics.values()]
    before, written = digest(installation, label), letters(installation)
    assert (set(before.documents), written) == (set(DAILY_KINDS), 100)
    done = replay(installation, *topics)
    assert (done["documents_mended"], done["new_dead_letters"], done["records"] > 12_000) == (0, 0, True)
    assert digest(installation, label) == before
    with speaking(installation, 200):
        with running(installation, *topics, "--rate", "4000") as killed:
            group = broker(installation)
            name = done["group"]
            places = [(topics[0], partition) for partition in range(4)]
            installation.wait(
                lambda: sum(group.committed(name, places).values()) > 2_000,
                "some of the replay",
                "worker-1",
                PATIENCE_S,
            )
            killed.kill()
        resumed = replay(installation, *topics)
        assert any("where it was interrupted" in note for note in resumed["notes"])
        assert resumed["records"] < done["records"]
        assert resumed["documents_mended"] == 0
    settled(installation)
    assert letters(installation) == written
    # A clean run beside it, from the first record on, in its own indices; told to stop, it resumes.
    with running(installation, "--shadow", "clean") as follower:
        until(lambda: any(each.shadow == "clean" and each.documents for each in labels(installation).values()))
        follower.send_signal(signal.SIGTERM)
        said, _ = follower.communicate(timeout=PATIENCE_S)
        assert (follower.returncode, "resume with the same command" in said) == (0, True)
    clean = replay(installation, "--shadow", "clean", "--exit-when-caught-up")
    assert any("goes on where it was" in note for note in clean["notes"])
    assert digest(installation, clean["label"]) == digest(installation, label)
    installation.run("streams", "replay", "discard", "clean")
    assert set(labels(installation)) == {label}


def test_what_was_lost_comes_back_identical(installation: Installation) -> None:
    label, topics = live(installation), [*installation.topics.values()]
    index, before = index_of(installation, label), digest(installation, label)
    days = index.request("GET", f"/_resolve/index/{index.names.pattern('occurrences')}")["indices"]
    index.request("DELETE", f"/{','.join(entry['name'] for entry in days)}")
    some = [target for target, _ in scan(index) if target.kind in ("events", "tallies", "patterns", "series")]
    for target in random.Random(5).sample(some, 30):
        index.request("DELETE", f"/{index.names.index(target)}/_doc/{target.id}")
    done = replay(installation, *topics)
    assert done["documents_mended"] >= before.documents["occurrences"] + 30
    assert digest(installation, label) == before


@pytest.mark.parametrize(
    ("arguments", "more", "says"),
    [
        (["it-replay.nothing"], {}, "it-replay.nothing: no input topic. Choose from it-replay.logs"),
        (["it-replay.logs", "--from-offset", "9000000"], {}, "it-replay.logs/0 holds offsets 0 to"),
        (["it-replay.logs"], {"FRESHET_REDACTION__IP_ADDRESSES": "true"}, "made with other redaction"),
        (["it-replay.logs"], SASL, "password must be set"),
        (["it-replay.logs"], SASL | {"FRESHET_KAFKA__PASSWORD": "wrong"}, "does not answer"),
        (["promote", "nobody"], {}, "there is no generation 'nobody'"),
        (["discard", "{live}"], {}, "is live: promote another one first"),
    ],
)
def test_trouble_is_one_line(installation: Installation, arguments: list[str], more: dict[str, str], says: str) -> None:
    filled = [argument.format(live=live(installation)) if "{" in argument else argument for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "streams", "replay", *filled],
        check=False,
        cwd=CHECKOUT,
        env=installation.environment | more,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    (line,) = done.stderr.splitlines()
    assert says in line
    assert (done.returncode, done.stdout) == (1, "")


def test_a_shadow_is_built_compared_promoted_and_nothing_is_lost(installation: Installation) -> None:
    old, stricter = live(installation), replace(installation, extra=installation.extra | STRICTER)
    counted = counts(installation, old)
    with running(stricter, "--shadow", "blue", "--rate", "8000") as killed:
        until(lambda: any(each.shadow == "blue" and each.documents for each in labels(installation).values()))
        killed.kill()
    with running(stricter, "--shadow", "blue") as follower:
        say(installation, 1_000)
        other = {"FRESHET_EMBEDDER__DIMENSIONS": "32"}
        with pytest.raises(StartupError, match=r"'blue' exists with other settings \(embedder"):
            replace(installation, extra=installation.extra | other).run("streams", "replay", "--shadow", "blue")
        installation.run("streams", "replay", "promote", "blue")
        said, _ = follower.communicate(timeout=PATIENCE_S)
        assert (follower.returncode, "promoted; start workers" in said) == (0, True)
    blue = live(installation)
    assert blue.endswith("_blue")
    until(lambda: f"{installation.name}.worker-1" not in processes.running(installation.state))
    assert f'"exit_code": {int(Exit.SUPERSEDED)}' in installation.log("worker-1").read_text()
    say(installation, 500)
    stricter.start_worker()
    settled(stricter, group=f"{installation.name}.blue")
    assert counts(installation, blue) == counted + 1_500
    compared = replay(installation, "diff", old)
    kinds = compared["kinds"]
    assert not compared["equal"]
    assert kinds["patterns"]["added"] > 0
    assert kinds["patterns"]["gone"] > 0
    assert (kinds["series"]["changed"], kinds["series"]["gone"], kinds["series"]["same"] > 0) == (0, 0, True)
    assert "<redacted:ip>" in json.dumps(kinds["occurrences"]["examples"])
    assert compared["recall"]["queries"] > 10
    installation.run("streams", "replay", "discard", old)
    assert set(labels(installation)) == {blue}
    stricter.stop()


def counts(installation: Installation, label: str) -> int:
    return sum(source["count"] for _, source in scan(index_of(installation, label), ("occurrences",)))


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_promotion_that_dies_half_way_is_completed_by_the_next(endpoints: Endpoints, dies: str) -> None:
    search = OpenSearch(url=endpoints.opensearch, prefix=f"switch{random.randrange(10**9)}")

    class Dying(OpenSearchIndex):
        armed = False

        def request(self, method: str, path: str, body: Any = None) -> Any:
            hit = self.armed and path == "/_aliases"
            if hit and dies == "before":
                raise SinkUnavailable("killed")
            answer = super().request(method, path, body)
            if hit:
                raise SinkUnavailable("killed")
            return answer

    made = {
        label: Dying(connect(search), Names(search.prefix, label), search, dimensions=4) for label in ("g1", "g2_b")
    }
    made["g1"].install(live=True)
    made["g2_b"].install(live=False)
    shadows = Shadows(Settings(opensearch=search), made["g1"])

    def seen(day: str) -> set[str]:
        """The labels that readers see, when each has written to that day."""
        for index in made.values():
            index.ensure_days([Target("tallies", day, "")])
        there = made["g1"].request("GET", f"/{search.prefix}-meta,{search.prefix}-tallies/_alias")
        return {name.split("-")[2] for name in there}

    try:
        assert seen("2026.11.20") == {"g1"}
        made["g1"].armed = True
        with pytest.raises(SinkUnavailable):
            shadows.switch("g2_b")
        made["g1"].armed = False
        assert {label.name for label in shadows.labels().values() if label.live} == {
            "g1" if dies == "before" else "g2_b"
        }
        if dies == "before":
            assert seen("2026.11.21") == {"g1"}  # nothing of it has happened
        shadows.switch("g2_b")
        assert seen("2026.11.22") == {"g2_b"}
        shadows.switch("g1")  # and back
        assert seen("2026.11.23") == {"g1"}
        shadows.remove(shadows.named("b"), settle_s=0)
        assert set(shadows.labels()) == {"g1"}
    finally:
        made["g1"].request("DELETE", f"/{','.join(made['g1'].request('GET', f'/{search.prefix}-*'))}")
        made["g1"].request("DELETE", f"/_index_template/{search.prefix}-*")
