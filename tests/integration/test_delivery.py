"""Delivery on real services: blocked, stopped, scaled, overtaken by retention, a topic replaced. Every line once."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from deploy.installation import CHECKOUT, Installation
from deploy.local.services import Endpoints
from processors.index import connect
from schemas.settings import Kafka, OpenSearch
from schemas.topics import Topic
from streams.exits import Exit
from streams.topics import Broker
from tests.benchmarks.installed import installed
from tests.benchmarks.reads import Reads
from tests.faults.proxy import Fault, Proxy

pytestmark = pytest.mark.integration
SESSION_S = 6.0
PATIENCE_S = 120.0  # a busy machine
LINES = 400  # that a fetch brings at once
QUICK = {
    "FRESHET_EMBEDDER__KIND": "hashing",
    "FRESHET_WORKER__SESSION_TIMEOUT_S": str(SESSION_S),
    "FRESHET_WORKER__FLUSH_RECORDS": "2000",
}


class World:
    """One installation, its topic of logs, and the workers of one test."""

    def __init__(self, installation: Installation, folder: Path, reads: Reads) -> None:
        self.installation, self._folder, self._reads = installation, folder, reads
        self.kafka, self.group, self.topic = (
            installation.endpoints.kafka,
            installation.name,
            installation.topics["logs"],
        )
        self.admin = AdminClient({"bootstrap.servers": self.kafka})
        self.broker = Broker(Kafka(bootstrap_servers=self.kafka))
        self.index = connect(OpenSearch.model_validate({"url": installation.endpoints.opensearch}))
        self.sent = 0
        self.workers: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, number: int = 1, **settings: str) -> None:
        environment = {**self.installation.environment, "FRESHET_WORKER__ID": f"{self.group}-{number}", **settings}
        with self.log(number).open("ab") as log:
            self.workers[number] = subprocess.Popen(
                [sys.executable, "-m", "streams", "worker", "--only", "logs"],
                cwd=CHECKOUT, env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def log(self, number: int = 1) -> Path:
        return self._folder / f"worker-{number}.log"

    def end(self, number: int = 1, how: signal.Signals = signal.SIGTERM) -> int:
        self.workers[number].send_signal(how)
        return self.ended(number)

    def ended(self, number: int = 1) -> int:
        return self.workers.pop(number).wait(PATIENCE_S)

    def say(self, count: int, partition: int, *, end: bytes = b"") -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 20})
        for number in range(count):
            producer.produce(self.topic, b"order %d was paid" % number + end, partition=partition)
            producer.poll(0)
        assert producer.flush(20) == 0
        self.sent += count

    def until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            for number, process in self.workers.items():
                assert process.poll() is None, f"worker {number} has left: {self.words(number)}"
            assert time.monotonic() < deadline, f"waited for {what}: {self.counted()} of {self.sent}; {self.words(1)}"
            time.sleep(0.1)

    def words(self, number: int) -> str:
        return "\n".join(self.log(number).read_text(errors="replace").splitlines()[-8:])

    def counted(self) -> int:
        return self._reads.refreshed().counted()

    def lag(self) -> int:
        places = [(self.topic, partition) for partition in self.broker.partitions(self.topic)]
        return sum(self.broker.lag(self.group, places).values())

    def all_counted(self) -> None:
        """Each line once: none is missing, and none comes twice when everything has been acknowledged."""
        self.until(lambda: self.counted() >= self.sent and self.lag() == 0, "every line")
        assert self.counted() == self.sent

    def members(self) -> dict[str, int]:
        """Member ids with the number of their partitions; a member that was thrown out comes back under another id."""
        found = self.admin.describe_consumer_groups([self.group])[self.group].result()
        return {member.member_id: len(member.assignment.topic_partitions) for member in found.members}

    def watermarks(self, level: str) -> list[dict[str, Any]]:
        name = f"{self.group}-watermarks-*"
        self.index.indices.refresh(index=name)
        query = {"term": {"level": level}}
        return [h["_source"] for h in self.index.search(index=name, body={"size": 100, "query": query})["hits"]["hits"]]

    def indexed(self) -> int:
        """Offsets below the watermarks of the present topic."""
        (topic_id,) = self.broker.topic_ids([self.topic]).values()
        return sum(mark["offset"] + 1 for mark in self.watermarks("partition") if mark["topic_id"] == topic_id)

    def recreate(self, partitions: int) -> None:
        """Delete the topic and make it again, as fast as Kafka can."""
        self.admin.delete_topics([self.topic], operation_timeout=30)[self.topic].result()
        again = Topic(name=self.topic, partitions=partitions, purpose="")
        deadline = time.monotonic() + PATIENCE_S
        while not self.broker.create([again], 1)[self.topic]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def forget(self, partition: int) -> int:
        """What retention does: all that the partition holds is gone; returns the first offset that is not."""
        end = self.broker.logs([(self.topic, partition)])[self.topic, partition].end
        place = TopicPartition(self.topic, partition, end)
        return int(self.admin.delete_records([place])[place].result().low_watermark)


@pytest.fixture(scope="module")
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    with installed("it-delivery", state, endpoints, partitions=2) as made:
        made.extra |= QUICK
        yield made


@pytest.fixture(scope="module")
def whole(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with closing(Reads(installation)) as reads:
        world = World(installation, tmp_path_factory.mktemp("workers"), reads)
        yield world
        world.index.close()


@pytest.fixture
def world(whole: World) -> Iterator[World]:
    yield whole
    for number in list(whole.workers):
        whole.end(number, signal.SIGKILL)


@pytest.fixture
def proxy(installation: Installation) -> Iterator[Proxy]:
    made = Proxy(upstream=installation.endpoints.opensearch, seed=1).start()
    yield made
    made.stop()


def test_a_stop_with_a_flush_in_flight_ends_it_and_says_how_far_it_came(world: World, proxy: Proxy) -> None:
    proxy.weather = {Fault.LATENCY: 1.0}
    world.say(LINES, 0)
    world.start(FRESHET_OPENSEARCH__URL=proxy.url, FRESHET_WORKER__FLUSH_RECORDS="100")
    world.until(lambda: world.counted() > 0, "some lines")
    assert world.end() == 0
    assert world.counted() + world.lag() == world.sent  # acknowledged is what is indexed, and the rest is not
    assert world.indexed() == world.counted()  # the last watermarks too
    world.start()
    world.all_counted()


def test_a_stop_while_the_index_is_away_acknowledges_nothing(world: World, proxy: Proxy) -> None:
    world.start(FRESHET_OPENSEARCH__URL=proxy.url)
    world.say(LINES, 1)
    world.all_counted()
    proxy.outage = Fault.RESET
    world.say(LINES, 1)
    world.until(lambda: "sink waits" in world.words(1), "the worker to wait")
    assert world.end() == Exit.UNFINISHED
    assert world.lag() == LINES
    world.start()
    world.all_counted()


def test_a_blocked_worker_keeps_its_membership_and_others_may_join_and_leave(world: World, proxy: Proxy) -> None:
    world.start(FRESHET_OPENSEARCH__URL=proxy.url)
    world.say(LINES, 0)
    world.all_counted()
    before = world.members()
    proxy.outage = Fault.RESET
    for partition in (0, 1):
        world.say(LINES, partition)
    time.sleep(SESSION_S + 2)  # longer than a member that sends no heartbeat would be kept
    assert (world.members(), world.lag()) == (before, 2 * LINES)
    world.start(2)  # its join waits until the first worker has written what it took
    world.until(lambda: len(world.members()) == 2, "the second member")
    proxy.outage = None
    world.until(lambda: sorted(world.members().values()) == [1, 1], "the partitions to be shared")
    world.all_counted()
    for partition in (0, 1):
        world.say(LINES, partition)
    assert world.end(1) == 0  # in the middle of it
    world.all_counted()  # by the other, once the session of the first has run out


def test_partitions_that_are_added_are_read(world: World) -> None:
    world.start()
    world.all_counted()
    world.admin.create_partitions([NewPartitions(world.topic, 3)])[world.topic].result()
    world.say(LINES, 2)
    world.all_counted()


def test_what_retention_takes_from_a_stopped_worker_is_one_gap(world: World) -> None:
    world.say(LINES, 0)
    start = world.forget(0)
    world.sent -= LINES
    for _ in range(2):  # noticed once
        world.start()
        world.say(LINES, 0)
        world.all_counted()
        assert world.end() == 0
    (gap,) = world.watermarks("gap")
    assert (gap["reason"], gap["partition"], gap["from_offset"], gap["offset"]) == (
        "retention",
        0,
        start - LINES,
        start,
    )
    assert world.log().read_text().count("records were gone before they were read") == 1


def test_what_retention_takes_from_a_blocked_worker_is_one_gap(world: World, proxy: Proxy) -> None:
    known = len(world.watermarks("gap"))
    world.start(FRESHET_OPENSEARCH__URL=proxy.url)
    world.say(LINES, 0)
    world.all_counted()
    proxy.outage = Fault.RESET
    world.say(60_000, 0, end=b" in full" * 20)  # more than a worker holds in its buffers
    world.until(lambda: "sink waits" in world.words(1), "the worker to wait")
    world.forget(0)
    proxy.outage = None
    world.until(lambda: len(world.watermarks("gap")) > known, "the gap")
    gap = max(world.watermarks("gap"), key=lambda gap: gap["offset"])
    world.sent -= gap["offset"] - gap["from_offset"]
    world.say(LINES, 0)
    world.all_counted()
    assert len(world.watermarks("gap")) == known + 1


def test_a_topic_replaced_under_a_worker_is_read_from_its_start(world: World) -> None:
    world.start()
    world.say(LINES, 0)
    world.all_counted()
    (old,) = world.broker.topic_ids([world.topic]).values()
    logs = world.broker.logs([(world.topic, partition) for partition in world.broker.partitions(world.topic)])
    left = {partition: log.end for (_, partition), log in logs.items()}
    world.until(lambda: world.indexed() == sum(left.values()), "the watermarks, which follow what is counted")
    world.recreate(partitions=1)
    world.say(left[0] + LINES, 0)  # longer than the position in the old one: by the offsets alone, nothing has happened
    assert world.ended() == Exit.REPLACED
    world.start()
    world.all_counted()
    gaps = [gap for gap in world.watermarks("gap") if gap["topic_id"] == old and gap["reason"] == "recreated"]
    assert {gap["partition"]: gap["from_offset"] for gap in gaps} == left
    assert {gap["offset"] for gap in gaps} == {-1}  # nobody knows how much there was


def test_a_position_that_outlives_its_topic_is_not_believed(world: World) -> None:
    position = world.indexed()
    world.recreate(partitions=1)
    world.say(position + LINES, 0)
    stale = ConsumerGroupTopicPartitions(world.group, [TopicPartition(world.topic, 0, position)])
    world.until(lambda: not any(world.members().values()), "the sessions of the last test to end")
    world.admin.alter_consumer_group_offsets([stale])[world.group].result()
    world.start()
    world.all_counted()
