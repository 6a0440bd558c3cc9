"""A preloaded backlog, one worker: the time from its first chunk until the last line can be found.

The guard is conservation: the sum of all counts in the index is the number of lines sent, when the last is found and
still some seconds later.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from deploy.demo import free_port
from deploy.installation import Installation
from deploy.shop.delivery import publish
from deploy.shop.telemetry import Message
from schemas import telemetry
from tests.benchmarks import corpus
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.reads import Reads

SETTLE_S: Final = 5.0  # a record that is counted twice would show by then
FORMS: Final[dict[str, Callable[..., Iterator[Message]]]] = {
    "hundred": corpus.by_the_hundred,
    "one": corpus.one_by_one,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one form of message."""

    form: str
    lines: int
    messages: int
    counted: int
    wall_s: float
    cpu_s: float  # of the worker, all threads
    peak_mb: int
    texts: int
    documents: int
    writes: int

    @property
    def conserved(self) -> bool:
        return self.counted == self.lines

    @property
    def lines_per_s(self) -> int:
        return round(self.lines / self.wall_s)

    @property
    def lines_per_cpu_s(self) -> int:
        return round(self.lines / self.cpu_s)


def measure(installation: Installation, form: str, *, count: int, keyed: bool) -> Figures:
    """Blocks until all is found. Services are up; the installation's topics exist and are empty."""
    messages = publish(
        FORMS[form](count, time.time(), keyed=keyed), installation.endpoints.kafka, topics=installation.topics
    )
    port = free_port(0)
    installation.extra["FRESHET_WORKER__METRICS_PORT"] = str(port)
    installation.start_worker(1, "--only", "logs")
    worker = WorkerProcess.of(installation, port)

    def started() -> bool:
        return worker.total(telemetry.PENDING_CHUNKS.name) > 0

    with closing(Reads(installation)) as reads:
        installation.wait(started, "the worker to consume", "worker-1", 120)
        began, cpu_s = time.monotonic(), worker.cpu_s()
        installation.wait(lambda: reads.counted() >= count, f"{count} lines in the index", "worker-1", 600)
        wall_s, cpu_s = time.monotonic() - began, worker.cpu_s() - cpu_s
        time.sleep(SETTLE_S)
        totals, peak_mb = reads.totals(), worker.peak_mb()
    return Figures(
        form=form,
        lines=count,
        messages=messages,
        counted=totals.counted,
        wall_s=round(wall_s, 2),
        cpu_s=round(cpu_s, 2),
        peak_mb=peak_mb,
        texts=totals.texts,
        documents=totals.documents,
        writes=totals.writes,
    )


def show(every: Sequence[Figures], out: Console) -> None:
    rows: dict[str, Callable[[Figures], str]] = {
        "messages": lambda f: f"{f.messages:,}",
        "wall": lambda f: f"{f.wall_s:.1f} s",
        "lines per second": lambda f: f"{f.lines_per_s:,}",
        "lines per second of worker CPU": lambda f: f"{f.lines_per_cpu_s:,}",
        "peak memory of the worker": lambda f: f"{f.peak_mb} MB",
        "texts for the embedding model": lambda f: f"{f.texts:,}",
        "documents in the index": lambda f: f"{f.documents:,}",
        "index writes": lambda f: f"{f.writes:,}",
        "every line counted once": lambda f: "[green]yes[/]" if f.conserved else f"[red]no: {f.counted:,}[/]",
    }
    table = Table("lines a message", *(figures.form for figures in every))
    for name, cell in rows.items():
        table.add_row(name, *(cell(figures) for figures in every))
    out.print(table)


def summary(every: Sequence[Figures]) -> dict[str, Any]:
    forms = [
        {**asdict(each), "lines_per_s": each.lines_per_s, "lines_per_cpu_s": each.lines_per_cpu_s} for each in every
    ]
    conserved = all(each.conserved for each in every)
    return {"name": "rate", "ok": conserved, "guards": {"conserved": conserved}, "forms": forms}
