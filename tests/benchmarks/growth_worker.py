"""A real worker, watched from outside while it works off more and more lines, and then for a while at a modest rate."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from deploy.installation import Installation
from deploy.shop.delivery import paced, publish
from deploy.shop.telemetry import Message
from processors.index import connect
from schemas.settings import OpenSearch
from tests.benchmarks.drain import PATIENCE_S, SETTLE_S, Drain, draining
from tests.benchmarks.growth_load import Load, messages
from tests.benchmarks.growth_path import rss_mb

SAMPLE_S: Final = 0.5
AT_ONCE: Final = 1_000_000  # lines that Kafka takes while the worker may be stopped
# What the model holds does not grow, and what waits for it does so with any embedder.
SETTINGS: Final = {"FRESHET_EMBEDDER__KIND": "hashing"}
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A backlog, drained."""

    name: str
    lines: int
    conserved: bool
    lines_per_s: int
    cpu_us: float  # of the worker, all threads, a line
    documents: int
    writes: int
    index_bytes: int
    memory: list[Point]  # lines that are found, resident MB


@dataclass(slots=True)
class Watched:
    drain: Drain
    started_mb: float
    stages: list[Stage] = field(default_factory=list)
    quiet: list[Point] = field(default_factory=list)  # seconds, resident MB at a modest rate

    def stage(self, name: str, load: Load) -> None:
        """Send all of it and drain it, a million lines at a time. Blocks until the last line can be found."""
        drain, memory = self.drain, list[Point]()
        before, stored, cpu_s, wall_s = drain.reads.totals(), self._stored_bytes(), 0.0, 0.0
        for part in _parts(load):
            drain.send(list(messages(part)), part.lines)
            began, used_s = time.monotonic(), drain.worker.cpu_s()
            drain.installation.wait(
                lambda: self._found(before.counted, memory), f"{name} lines", "worker-1", PATIENCE_S
            )
            wall_s, cpu_s = wall_s + time.monotonic() - began, cpu_s + drain.worker.cpu_s() - used_s
        time.sleep(SETTLE_S)
        after = drain.reads.totals()
        self.stages.append(
            Stage(
                name=name,
                lines=load.lines,
                conserved=drain.conserved(),
                lines_per_s=round(load.lines / wall_s),
                cpu_us=round(cpu_s / load.lines * 1e6, 2),
                documents=after.documents - before.documents,
                writes=after.writes - before.writes,
                index_bytes=self._stored_bytes() - stored,
                memory=memory,
            )
        )

    def _found(self, before: int, memory: list[Point]) -> bool:
        counted = self.drain.reads.counted()
        memory.append((float(counted - before), rss_mb(self.drain.worker.pid)))
        return counted >= self.drain.sent

    def _stored_bytes(self) -> int:
        """The size of the segments: index statistics know it ten seconds late."""
        client = connect(OpenSearch.model_validate({"url": self.drain.installation.endpoints.opensearch}))
        try:
            segments = client.cat.segments(index=f"{self.drain.installation.name}-*", format="json", bytes="b")
            return sum(int(segment["size"]) for segment in segments)
        finally:
            client.close()

    def steady(self, seconds: float, per_second: float) -> None:
        """Watch while lines come at this rate, each at its own time. Blocks."""
        drain = self.drain
        load = Load(lines=int(seconds * per_second), rate=per_second, seed=int(time.time()))
        began = time.time()

        def due_s(message: Message) -> float:
            passed = time.time() - began
            if not self.quiet or passed - self.quiet[-1][0] >= SAMPLE_S:
                self.quiet.append((round(passed, 2), rss_mb(drain.worker.pid)))
            return message.timestamp_ms / 1000

        to: Any = {"bootstrap": drain.installation.endpoints.kafka, "topics": drain.installation.topics}
        publish(paced(messages(load, began + seconds), due_s, clock=time.time), **to)
        drain.sent += load.lines
        drain.installation.wait(drain.conserved, f"{drain.sent:,} lines", "worker-1", PATIENCE_S)


def watch(installation: Installation, loads: dict[str, Load], seconds: float, per_second: float) -> Watched:
    """Services are up; the installation's topics exist and are empty."""
    installation.extra |= SETTINGS
    with draining(installation) as drain:
        watched = Watched(drain, rss_mb(drain.worker.pid))
        for name, load in loads.items():
            watched.stage(name, load)
        watched.steady(seconds, per_second)
    return watched


def _parts(load: Load) -> Iterator[Load]:
    for nth, start in enumerate(range(0, load.lines, AT_ONCE)):
        yield replace(load, lines=min(AT_ONCE, load.lines - start), seed=load.seed + 1_000 * nth)
