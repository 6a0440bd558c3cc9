"""Backlogs for one running worker: it is stopped (SIGSTOP) while one is sent, and the clock runs from when it goes on.

It has joined its group and loaded its model before. All is found when the sum of all counts in the index is what was
sent.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.installation import Installation
from deploy.shop.delivery import publish
from deploy.shop.telemetry import Message
from tests.benchmarks import corpus
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.reads import Reads, Totals

WARM_UP: Final = 10  # lines
SESSION_S: Final = 18.0  # the worker must not be missed while it is stopped
SETTLE_S: Final = 2.0  # watermarks and vectors follow
SURPLUS_S: Final = 5.0
PATIENCE_S: Final = 600.0
HISTORY_S: Final = 3_600.0  # backlogs begin so long ago, or their minutes would share documents
FORMS: Final[dict[str, Callable[..., Iterator[Message]]]] = {
    "hundred": corpus.by_the_hundred,
    "one": corpus.one_by_one,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one backlog."""

    lines: int
    wall_s: float  # until the last line can be found
    cpu_s: float  # of the worker, all threads
    texts: int  # different templates that are new: what the embedding model was asked for
    documents: int
    writes: int  # index operations, updates included
    size_bytes: int  # by which the indices grew on disk
    found: tuple[tuple[float, int], ...]  # seconds since the start, lines that could be found

    @property
    def lines_per_s(self) -> float:
        return self.lines / self.wall_s

    @property
    def lines_per_cpu_s(self) -> float:
        return self.lines / self.cpu_s


@dataclass(slots=True, kw_only=True)
class Drain:
    installation: Installation
    reads: Reads
    worker: WorkerProcess
    found_s: float  # from the start of the process until its first lines can be found
    ready_s: float  # ... and the embedding model is loaded
    sent: int = WARM_UP
    draws: int = 0
    event_s: float = field(default_factory=lambda: time.time() - HISTORY_S)  # of the last line drawn
    _size_bytes: int = 0
    _totals: Totals | None = None
    _cpu_s: float = field(default=0.0)

    def draw(self, form: str, count: int, *, keyed: bool = True) -> list[Message]:
        """Messages that no draw before had, of the time after those of the draw before."""
        self.draws += 1
        self.event_s += count / corpus.EVENT_RATE
        return list(FORMS[form](count, min(self.event_s, time.time()), keyed=keyed, draw=self.draws))

    def send(self, messages: Iterable[Message], count: int) -> None:
        """`count` lines as a backlog, as fast as Kafka takes them: the worker is stopped meanwhile."""
        with self.worker.stopped():
            publish(messages, self.installation.endpoints.kafka, topics=self.installation.topics)
            self.sent += count
            self._size_bytes = self.reads.stored_bytes()
            self._totals = self.reads.totals()
            self._cpu_s = self.worker.cpu_s()

    def all_found(self) -> list[tuple[float, int]]:
        """Blocks until all that was sent is found; what could be found when, since the start."""
        began, had, found = time.monotonic(), self._totals.counted if self._totals else 0, [(0.0, 0)]

        def done() -> bool:
            counted = self.reads.counted()
            found.append((round(time.monotonic() - began, 2), counted - had))
            return counted >= self.sent

        self.installation.wait(done, f"{self.sent - had:,} lines", "worker-1", PATIENCE_S)
        return found

    def figures(self, found: list[tuple[float, int]]) -> Figures:
        """Of what was sent last, some seconds after all of it was found."""
        cpu_s = self.worker.cpu_s() - self._cpu_s
        time.sleep(SETTLE_S)
        after, before = self.reads.totals(), self._totals
        assert before
        return Figures(
            lines=self.sent - before.counted,
            wall_s=found[-1][0],
            cpu_s=round(cpu_s, 2),
            texts=after.texts - before.texts,
            documents=after.documents - before.documents,
            writes=after.writes - before.writes,
            size_bytes=self.reads.stored_bytes() - self._size_bytes,
            found=tuple(found),
        )

    def backlog(self, form: str, count: int, *, keyed: bool = True) -> Figures:
        """Send one and drain it. Blocks."""
        self.send(self.draw(form, count, keyed=keyed), count)
        return self.figures(self.all_found())

    def surplus(self) -> int:
        """Lines that are counted beyond those that were sent, after some seconds in which they would show."""
        time.sleep(SURPLUS_S)
        return self.reads.refreshed().counted() - self.sent

    def conserved(self) -> bool:
        """Every line that was ever sent is counted once."""
        return self.reads.counted() == self.sent


@contextmanager
def draining(installation: Installation, *options: str) -> Iterator[Drain]:
    """A worker that is ready. Services are up; the installation's topics exist and are empty."""
    installation.extra["FRESHET_WORKER__SESSION_TIMEOUT_S"] = str(SESSION_S)
    with closing(Reads(installation)) as reads:
        began = time.monotonic()
        installation.start_worker(1, "--only", "logs", *options)
        to: Any = {"topics": installation.topics}
        publish(corpus.one_by_one(WARM_UP, time.time(), keyed=True), installation.endpoints.kafka, **to)
        installation.wait(lambda: reads.counted() >= WARM_UP, "the first lines", "worker-1", 120)
        found_s = time.monotonic() - began
        installation.wait(reads.embedded, "the embedding model", "worker-1", 120)
        ready_s = time.monotonic() - began
        yield Drain(
            installation=installation,
            reads=reads,
            worker=WorkerProcess.of(installation),
            found_s=round(found_s, 1),
            ready_s=round(ready_s, 1),
        )
