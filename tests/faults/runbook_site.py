"""What the runbook checker acts on: workers that are started again when they end, a Redis of its own, a real topic."""

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient

from cag.store import RunbookStore
from deploy.installation import Installation
from deploy.local import processes, services
from deploy.local.services import Endpoints
from schemas.settings import Kafka, Redis, Settings
from schemas.topics import Topic
from streams.topics import Broker

SESSION_S: Final = 6
PATIENCE_S: Final = 60.0
SUPERVISED_EVERY_S: Final = 0.2
# Old versions and tombstones go within seconds, where they would go within a day and a week.
QUICK: Final = {
    "segment.ms": "4000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "1000",
    "max.compaction.lag.ms": "5000",
}


class Site(Installation):
    """An installation with runbook workers only."""

    __slots__ = ("_ended", "_keeper", "broken", "kafka", "redis_state", "starts", "store", "wanted")

    def __init__(self, name: str, state: Path, endpoints: Endpoints, redis_state: Path, broken: str) -> None:
        super().__init__(name=name, state=state.resolve(), endpoints=endpoints)
        self.extra |= {
            "FRESHET_EMBEDDER__KIND": "hashing",
            "FRESHET_WORKER__SESSION_TIMEOUT_S": str(SESSION_S),
            "FRESHET_LOG_LEVEL": "WARNING",
        }
        self.broken, self.redis_state = broken, redis_state
        self.kafka = Kafka(
            bootstrap_servers=endpoints.kafka,
            group=name,
            runbooks_topic=f"{name}.runbooks",
            dead_letters_topic=f"{name}.dead-letters",
        )
        self.store = RunbookStore(self.redis)
        self.wanted: set[int] = set()
        self.starts = 0
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    @property
    def redis(self) -> Redis:
        return Redis(url=self.endpoints.redis, namespace=self.name)

    def registry_client(self) -> SchemaRegistryClient:
        """Close it: `with` does."""
        return SchemaRegistryClient({"url": self.endpoints.registry, "timeout": 10, "max.retries": 1})

    @property
    def topic(self) -> str:
        return self.kafka.runbooks_topic

    # -- workers ------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """As Kubernetes does: what ends is started again."""
        while not self._ended.wait(SUPERVISED_EVERY_S):
            alive = processes.running(self.state)
            for number in sorted(self.wanted):
                if f"{self.name}.worker-{number}" not in alive:
                    self.starts += 1
                    self._start(number)

    def _start(self, number: int) -> None:
        if self.broken:
            settings = {"FRESHET_WORKER__ID": f"{self.name}-{number}"}
            self._spawn(f"worker-{number}", ["tests.faults.runbook_worker", self.broken], settings)
        else:
            self.start_worker(number, "--only", "runbooks")

    def signal(self, number: int, what: signal.Signals) -> None:
        processes.send(self.state, f"{self.name}.worker-{number}", what)

    def wait_for_member(self, number: int) -> None:
        broker, deadline = Broker(self.kafka), time.monotonic() + PATIENCE_S
        while f"{self.name}-{number}" not in broker.group(self.name).instances and time.monotonic() < deadline:
            time.sleep(0.2)

    # -- topic and group ----------------------------------------------------------------------------------------------

    def create_topics(self) -> None:
        for topic in self._table():
            self._create(topic)

    def make_topic_again(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.endpoints.kafka})
        admin.delete_topics([self.topic], operation_timeout=30)[self.topic].result()
        self._create(self._table()[0])

    def _create(self, topic: Topic) -> None:
        broker = Broker(self.kafka)
        while not broker.create([topic], replication=1)[topic.name]:
            time.sleep(0.2)  # the old one of that name is still being deleted
        while not broker.topic_ids([topic.name]):
            time.sleep(0.05)

    def _table(self) -> list[Topic]:
        """Runbooks first. A defect gets the whole history to go wrong with: compaction would hide it now and then."""
        quick = {} if self.broken else QUICK
        mine = [
            t
            for t in Settings(kafka=self.kafka).topics_table()
            if t.name in (self.topic, self.kafka.dead_letters_topic)
        ]
        return [replace(t, config={**t.config, **quick}) if t.name == self.topic else t for t in mine]

    def rewind_group(self) -> None:
        """Offsets to the beginning. All members must have been stopped; waits until the group has forgotten them."""
        admin, deadline = AdminClient({"bootstrap.servers": self.endpoints.kafka}), time.monotonic() + PATIENCE_S
        places = [TopicPartition(self.topic, p, 0) for p in Broker(self.kafka).partitions(self.topic)]
        while True:
            asked = [ConsumerGroupTopicPartitions(self.name, places)]
            try:
                done = admin.alter_consumer_group_offsets(asked)[self.name].result()
                refused = [p.error for p in done.topic_partitions if p.error]
            except KafkaException as error:
                refused = [error.args[0]]
            if not refused:
                return
            if time.monotonic() > deadline:
                raise KafkaException(refused[0])
            time.sleep(0.3)

    # -- Redis --------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        self.store.delete_everything()

    def back_to_an_older_copy(self, edits_s: float) -> None:
        """Redis ends, and starts again with what it held `edits_s` ago."""
        folder, copy = self.redis_state / "redis", self.redis_state / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        time.sleep(edits_s)
        services.kill(self.redis_state, "redis")
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        services.start(self.redis_state, "redis")

    def close(self) -> None:
        self.wanted.clear()
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self.stop(grace_s=0)
        self.store.close()
        self.remove()


@contextmanager
def runbook_site(name: str, state: Path, endpoints: Endpoints, cache: Path, broken: str = "") -> Iterator[Site]:
    """Kafka and registry of these endpoints, a Redis of its own; nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="freshet-runbooks-") as folder:
        redis_state = Path(folder)
        own = services.up(redis_state, cache, only=("redis",), until_pid=os.getpid())
        try:
            site = Site(name, state, replace(endpoints, redis=own.redis), redis_state, broken)
            site.stop(grace_s=0)
            site.remove()
            site.create_topics()
            site._keeper.start()
            try:
                yield site
            finally:
                site.close()
        finally:
            services.down(redis_state)
