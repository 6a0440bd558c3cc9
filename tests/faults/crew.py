"""The workers of one installation, with or without something wrong, and what is known about them from outside."""

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.installation import Installation
from deploy.local import processes
from deploy.local.services import Endpoints
from deploy.shop.topology import CLUSTER
from schemas.settings import Settings
from streams.topics import Broker

PROC: Final = Path("/proc")
SESSION_S: Final = 6
ANSWER_S: Final = 30.0  # of Kafka, which may just have been restarted


class Crew(Installation):
    """An installation whose workers are those of `worker_with.py`; role `worker-1` has the static member id NAME-1."""

    __slots__ = ()

    def start(self, number: int, *, crash: str = "", nth: int = 1, broken: str = "") -> None:
        arguments = ["tests.faults.worker_with", "--nth", str(nth)]
        arguments += ["--crash", crash] if crash else []
        arguments += ["--broken", broken] if broken else []
        self._spawn(f"worker-{number}", arguments, {"FRESHET_WORKER__ID": f"{self.name}-{number}"})

    def pid(self, number: int) -> int:
        """0: it does not run."""
        return processes.running(self.state).get(f"{self.name}.worker-{number}", [0])[0]

    def signal(self, number: int, what: signal.Signals) -> None:
        processes.send(self.state, f"{self.name}.worker-{number}", what)

    def alive(self) -> list[str]:
        """Everything of this name that runs."""
        return [name for name in processes.running(self.state) if name.startswith(f"{self.name}.")]

    def last_words(self, number: int) -> str:
        log = self.log(f"worker-{number}")
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        return lines[-1][:300] if lines else ""

    def settings(self) -> Settings:
        """As its workers have them, but straight to OpenSearch."""
        nested: dict[str, dict[str, object]] = {}
        for name, value in self.environment.items():
            section, _, field = name.removeprefix("FRESHET_").lower().partition("__")
            if field:
                nested.setdefault(section, {})[field] = json.loads(value) if value.startswith("[") else value
        nested["opensearch"]["url"] = self.endpoints.opensearch
        return Settings.model_validate(nested)

    def open_files(self, number: int) -> int:
        return sum(1 for _ in (PROC / str(self.pid(number)) / "fd").iterdir())

    def resident_mb(self, number: int) -> int:
        return processes.resident_mb([self.pid(number)])


def crew(name: str, state: Path, endpoints: Endpoints, *, partitions: int, extra: Mapping[str, str]) -> Crew:
    """A crew of this name; its topics are made anew, those that `extra` borrows from another crew stay."""
    made = Crew(name=name, state=state.resolve(), endpoints=endpoints, cluster=CLUSTER)
    made.extra |= {
        "FRESHET_KAFKA__PARTITIONS": str(partitions),
        "FRESHET_EMBEDDER__KIND": "hashing",
        "FRESHET_WORKER__SESSION_TIMEOUT_S": str(SESSION_S),
        "FRESHET_WORKER__FLUSH_INTERVAL_S": "0.3",
        **extra,
    }
    made.stop(grace_s=0)
    made.remove()
    settings = made.settings()
    kafka = settings.kafka
    broker = Broker(kafka, ANSWER_S)
    broker.create(settings.topics_table(), replication=1)
    while not broker.topic_ids([kafka.dead_letters_topic]):
        time.sleep(0.1)
    # A cluster that never had a group makes its coordinator when it is asked about one. Asked for positions instead,
    # librdkafka 2.16 crashes there (measured).
    broker.group(kafka.group)
    return made
