"""One running installation on the local services: its names, its worker, its API. For the demo and for tests.

Everything that runs is started through the same commands that a user types; the processes belong to the state directory
of the services, so that `make down` finds them too.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import redis
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local import processes
from deploy.local.processes import Command
from deploy.local.services import Endpoints
from processors.index import connect
from schemas.context import Context, Freshness
from schemas.errors import StartupError
from schemas.settings import OpenSearch

CHECKOUT: Final = Path(__file__).parents[1]
TOPICS: Final = {"logs": "log", "metrics": "metric", "k8s-events": "event", "alerts": "alert"}
GRACE_S: Final = 15.0
SESSION_PATIENCE_S: Final = 20.0


@dataclass(slots=True)
class Installation:
    """`name` prefixes topics, group, indices and keys, so that several live side by side on one stack."""

    name: str
    state: Path  # of the services, resolved
    endpoints: Endpoints
    cluster: str = ""  # for shippers that do not name theirs
    extra: dict[str, str] = field(default_factory=dict)  # more FRESHET_* settings
    insights: bool = False  # most tests are about other things, and these are 13 partitions more
    api_url: str = ""

    @property
    def topics(self) -> dict[str, str]:
        """Logical name -> the topic of this installation."""
        return {topic: f"{self.name}.{topic}" for topic in TOPICS}

    @property
    def folder(self) -> Path:
        """For files of its processes; deleted with the rest by `remove`."""
        return self.state / "installed" / self.name

    @property
    def environment(self) -> dict[str, str]:
        inputs = [
            {"topic": self.topics[topic], "signal": signal, "cluster": self.cluster} for topic, signal in TOPICS.items()
        ]
        return {
            **self.endpoints.environment(),
            "FRESHET_ENV_FILE": os.devnull,
            "FRESHET_KAFKA__GROUP": self.name,
            "FRESHET_KAFKA__INPUTS": json.dumps(inputs),
            "FRESHET_KAFKA__RETENTION_MS": "-1",
            "FRESHET_KAFKA__RUNBOOKS_TOPIC": f"{self.name}.runbooks",
            "FRESHET_KAFKA__DEAD_LETTERS_TOPIC": f"{self.name}.dead-letters",
            "FRESHET_INSIGHTS__ENABLED": str(self.insights).lower(),
            "FRESHET_INSIGHTS__SUMMARIES_TOPIC": f"{self.name}.summaries",
            "FRESHET_INSIGHTS__TOPIC": f"{self.name}.incident-insights",
            "FRESHET_INSIGHTS__FEEDBACK_TOPIC": f"{self.name}.insight-feedback",
            "FRESHET_INSIGHTS__STATE_TOPIC": f"{self.name}.insight-state",
            "FRESHET_OPENSEARCH__PREFIX": self.name,
            "FRESHET_REDIS__NAMESPACE": self.name,
            **self.extra,
        }

    def run(self, *arguments: str, timeout_s: float = 300) -> str:
        """Run `python -m ...` to its end; returns what it printed. Raises StartupError with its last words."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            check=False,
            cwd=CHECKOUT,
            env={**_plain_environment(), **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise StartupError(f"`python -m {' '.join(arguments)}` failed: {said[-1] if said else done.returncode}")
        return done.stdout

    def start_worker(self, number: int = 1, *options: str) -> None:
        """Start one worker; `number` makes it a stable member of the group."""
        worker = f"worker-{number}"
        settings = {"FRESHET_WORKER__ID": f"{self.name}-{number}"}
        self._spawn(worker, ["streams", "worker", *options], settings)

    def start_api(self, *, port: int, role: str = "api", patience_s: float = 60.0) -> None:
        """Start an API and wait until it answers; questions of this installation then go there."""
        self.api_url = f"http://127.0.0.1:{port}"
        self._spawn(role, ["api", "serve"], {"FRESHET_API__PORT": str(port)})
        self.wait(self._healthy, f"the API at {self.api_url}", role, patience_s)

    def stop(self, *roles: str, grace_s: float = GRACE_S) -> None:
        """Stop these processes (`worker-1`, `api`), or all of this installation; the services stay."""
        mine = {name for name in processes.running(self.state) if name.startswith(f"{self.name}.")}
        wanted = {f"{self.name}.{role}" for role in roles} or mine
        if wanted:
            processes.stop(self.state, wanted, grace_s=grace_s)

    def stop_with(self, pid: int) -> None:
        """All of this installation stops when that process ends, however it ends; the services stay."""
        self._spawn("watchdog", ["deploy.local.watchdog", str(self.state), str(pid), f"{self.name}."], {})

    def kill(self, role: str) -> None:
        """SIGKILL: what a crash looks like."""
        processes.stop(self.state, {f"{self.name}.{role}"}, grace_s=0)

    def log(self, role: str) -> Path:
        return self.state / "logs" / f"{self.name}.{role}.log"

    def context(self, question: str, now: datetime | None = None, **more: Any) -> Context:
        body = {"question": question, **({"now": now.isoformat()} if now else {}), **more}
        answer = httpx.post(f"{self.api_url}/v1/context", json=body, timeout=60)
        answer.raise_for_status()
        return Context.model_validate(answer.json())

    def sources(self) -> Freshness:
        return Freshness.model_validate(httpx.get(f"{self.api_url}/v1/sources", timeout=30).raise_for_status().json())

    def wait_indexed(self, ends: Callable[[], dict[tuple[str, int], int]], patience_s: float = 300.0) -> None:
        """Until every record that Kafka holds for this installation is searchable. `ends`: end offset by partition."""

        def done() -> bool:
            seen = {(p.topic, p.partition): p.offset for p in self.sources().partitions}
            return all(seen.get(place, -1) >= end - 1 for place, end in ends().items() if end > 0)

        self.wait(done, "the worker to catch up", "worker-1", patience_s)

    def wait(self, done: Callable[[], bool], what: str, role: str, patience_s: float) -> None:
        """Poll until `done`; raises StartupError when it takes too long or the process behind it has ended."""
        deadline = time.monotonic() + patience_s
        while not done():
            if f"{self.name}.{role}" not in processes.running(self.state):
                raise StartupError(f"{what} ended early; its last words:\n{_tail(self.log(role))}")
            if time.monotonic() > deadline:
                raise StartupError(f"waited {patience_s:.0f} s for {what}; see {self.log(role)}")
            time.sleep(0.1)

    def remove(self) -> None:
        """Delete topics, groups, indices, keys and files of this name. Services must be up; nothing of it may run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        admin = AdminClient({"bootstrap.servers": self.endpoints.kafka})
        mine = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(f"{self.name}.")]
        if mine:
            for future in admin.delete_topics(mine, operation_timeout=30).values():
                future.result()
        self._remove_groups(admin)
        client = connect(OpenSearch.model_validate({"url": self.endpoints.opensearch}))
        indices = [row["index"] for row in client.cat.indices(index=f"{self.name}-*", format="json")]
        if indices:
            client.indices.delete(index=",".join(indices))
        templates = client.cat.templates(name=f"{self.name}-*", format="json")
        for template in templates:
            client.indices.delete_index_template(name=template["name"])
        client.close()
        with redis.Redis.from_url(self.endpoints.redis) as store:
            keys = list(store.scan_iter(f"*{self.name}*:*", count=1_000))
            if keys:
                store.delete(*keys)

    def _remove_groups(self, admin: AdminClient) -> None:
        """A static member that was stopped stays in the group until its session has timed out."""
        deadline = time.monotonic() + SESSION_PATIENCE_S
        while mine := [group for group in _groups(admin) if group == self.name or group.startswith(f"{self.name}.")]:
            try:
                for future in admin.delete_consumer_groups(mine).values():
                    future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.NON_EMPTY_GROUP or time.monotonic() > deadline:
                    why = error.args[0].str()
                    raise StartupError(f"cannot remove the consumer groups {', '.join(mine)}: {why}") from None
                time.sleep(0.5)

    def _spawn(self, role: str, arguments: Sequence[str], settings: dict[str, str]) -> None:
        environment = {**_plain_environment(), **self.environment, **settings}
        processes.spawn(
            self.state,
            Command(
                name=f"{self.name}.{role}",
                argv=[sys.executable, "-m", *arguments],
                cwd=CHECKOUT,
                log=self.log(role),
                env=environment,
            ),
        )

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.api_url}/healthz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False


def _groups(admin: AdminClient) -> list[str]:
    return [group.group_id for group in admin.list_consumer_groups().result().valid]


def _plain_environment() -> dict[str, str]:
    """What a program needs of the caller's environment, without the caller's own settings of the product."""
    wanted = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
    return {name: value for name in wanted if (value := os.environ.get(name))}


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else "(no log)"
