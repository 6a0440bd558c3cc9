"""Two workers that are killed and started again, on an installation of their own with a door before the registry."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from cag.topic import describe, read_to_end
from deploy.local import processes
from deploy.local.services import Endpoints
from schemas.records import Message
from streams.topics import Broker
from tests.faults.crew import SESSION_S, Crew
from tests.faults.runbook_door import Door, door

WORKERS: Final = 2
SUPERVISED_EVERY_S: Final = 0.2
PATIENCE_S: Final = 90.0
PARTITIONS: Final = 4  # of each input topic
# Minutes become seconds, so that an incident ends within the trial.
QUICK: Final = {
    "FRESHET_EMBEDDER__KIND": "hashing",
    "FRESHET_KAFKA__PARTITIONS": str(PARTITIONS),
    "FRESHET_WORKER__SESSION_TIMEOUT_S": str(SESSION_S),
    "FRESHET_WORKER__FLUSH_INTERVAL_S": "0.3",
    "FRESHET_INSIGHTS__SNAPSHOT_S": "2",
    "FRESHET_INSIGHTS__TICK_S": "1",
    "FRESHET_DETECTION__LEARNING_S": "5",
    "FRESHET_CORRELATION__QUIET_S": "30",
    "FRESHET_CORRELATION__SETTLE_S": "3",
    "FRESHET_CORRELATION__UPDATE_S": "3",
}


class InsightSite(Crew):
    """`crash` and `broken` are for whoever starts next; see `insight_worker.py`."""

    __slots__ = ("_ended", "_keeper", "broken", "crashes", "registry", "starts", "wanted")

    def __init__(self, name: str, state: Path, endpoints: Endpoints, registry: Door, broken: str) -> None:
        super().__init__(name=name, state=state.resolve(), endpoints=endpoints, insights=True)
        self.extra |= QUICK
        self.registry, self.broken = registry, broken
        self.crashes: Iterator[tuple[str, int]] = iter(())
        self.wanted: set[int] = set()
        self.starts = 0
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def lives(self, number: int) -> bool:
        return f"{self.name}.worker-{number}" in processes.running(self.state)

    def launch(self, number: int) -> None:
        arguments = ["tests.faults.insight_worker"]
        if self.broken:
            arguments += ["--broken", self.broken]
        if crash := next(self.crashes, None):
            arguments += ["--crash", crash[0], "--nth", str(crash[1])]
        self._spawn(f"worker-{number}", arguments, {"FRESHET_WORKER__ID": f"{self.name}-{number}"})
        self.starts += 1

    def _keep(self) -> None:
        """As Kubernetes does: what ends is started again."""
        while not self._ended.wait(SUPERVISED_EVERY_S):
            for number in sorted(self.wanted):
                if not self.lives(number):
                    self.launch(number)

    def read(self, topic: str) -> list[Message]:
        """All that it holds; `topic` as the settings name it, such as `summaries`."""
        kafka = self.settings().kafka
        found = read_to_end(kafka, describe(kafka, f"{self.name}.{topic}"))
        return [message for message in found if isinstance(message, Message)]

    def wait_until_read(self) -> None:
        """Until the group has acknowledged all of the telemetry, and of the summaries that it became."""
        broker, deadline = Broker(self.settings().kafka), time.monotonic() + PATIENCE_S
        topics = [*self.topics.values(), f"{self.name}.summaries"]
        places = [(topic, partition) for topic in topics for partition in broker.partitions(topic)]
        quiet = 0
        while quiet < 3:  # a tick may follow
            time.sleep(0.5)
            quiet = 0 if sum(broker.lag(self.name, places).values()) else quiet + 1
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all was read after {PATIENCE_S:.0f} s: {broker.lag(self.name, places)}")

    def close(self) -> None:
        self.wanted.clear()
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join()
        self.stop(grace_s=0)
        self.remove()


@contextmanager
def insight_site(name: str, state: Path, endpoints: Endpoints, broken: str = "") -> Iterator[InsightSite]:
    """Nothing is left behind."""
    with ExitStack() as stack:
        registry, url = stack.enter_context(door(endpoints.registry))
        site = InsightSite(name, state, replace(endpoints, registry=url), registry, broken)
        site.stop(grace_s=0)
        site.remove()
        site.run("streams", "topics", "create")
        site._keeper.start()
        stack.callback(site.close)
        yield site
