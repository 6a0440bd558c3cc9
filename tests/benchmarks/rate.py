"""A preloaded backlog, one worker: the time until the last line can be found.

The worker is ready before: it has joined its group and loaded its model. It is stopped (SIGSTOP) while the backlog is
sent, and the clock runs from the moment it goes on. What getting ready takes is reported beside it.

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

from deploy.installation import Installation
from deploy.shop.delivery import publish
from deploy.shop.telemetry import Message
from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.reads import Reads

WARM_UP: Final = 10  # lines
SESSION_S: Final = 18.0  # the worker must not be missed while it is stopped
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
    found_s: float  # from the start of the process until its first lines can be found
    ready_s: float  # ... and the embedding model is loaded
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
    installation.extra |= {"FRESHET_WORKER__SESSION_TIMEOUT_S": str(SESSION_S)}
    with closing(Reads(installation)) as reads:
        started = time.monotonic()
        installation.start_worker(1, "--only", "logs")
        worker = WorkerProcess.of(installation)
        publish(corpus.one_by_one(WARM_UP, time.time(), keyed=True), **_to(installation))
        installation.wait(lambda: reads.counted() >= WARM_UP, "the first lines", "worker-1", 120)
        found_s = time.monotonic() - started
        installation.wait(reads.embedded, "the embedding model", "worker-1", 120)
        ready_s = time.monotonic() - started
        with worker.stopped():
            messages = publish(FORMS[form](count, time.time(), keyed=keyed), **_to(installation))
            before = reads.totals()
            cpu_s = worker.cpu_s()
        began = time.monotonic()
        installation.wait(lambda: reads.counted() >= WARM_UP + count, f"{count} lines", "worker-1", 600)
        wall_s, cpu_s = time.monotonic() - began, worker.cpu_s() - cpu_s
        time.sleep(SETTLE_S)
        totals = reads.totals()
    return Figures(
        form=form,
        lines=count,
        messages=messages,
        counted=totals.counted - WARM_UP,
        wall_s=round(wall_s, 2),
        cpu_s=round(cpu_s, 2),
        found_s=round(found_s, 1),
        ready_s=round(ready_s, 1),
        peak_mb=worker.peak_mb(),
        texts=totals.texts,
        documents=totals.documents - before.documents,
        writes=totals.writes - before.writes,
    )


def _to(installation: Installation) -> dict[str, Any]:
    return {"bootstrap": installation.endpoints.kafka, "topics": installation.topics}


def show(every: Sequence[Figures], out: Console) -> None:
    rows: dict[str, Callable[[Figures], str]] = {
        "messages": lambda f: f"{f.messages:,}",
        "wall": lambda f: f"{f.wall_s:.1f} s",
        "lines per second": lambda f: f"{f.lines_per_s:,}",
        "lines per second of worker CPU": lambda f: f"{f.lines_per_cpu_s:,}",
        "start of the worker to its first hit": lambda f: f"{f.found_s:.1f} s",
        "start of the worker to its first vectors": lambda f: f"{f.ready_s:.1f} s",
        "peak memory of the worker": lambda f: f"{f.peak_mb} MB",
        "different texts (model calls)": lambda f: f"{f.texts:,}",
        "documents in the index": lambda f: f"{f.documents:,}",
        "index writes": lambda f: f"{f.writes:,}",
        "every line counted once": lambda f: "[green]yes[/]" if f.conserved else f"[red]no: {f.counted:,}[/]",
    }
    table = Table("lines a message", *(figures.form for figures in every))
    for name, cell in rows.items():
        table.add_row(name, *(cell(figures) for figures in every))
    out.print(table)


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"rate: {bench.lines:,} lines of the shop, seed {corpus.SEED}, all numbers and ids random, "
        f"{corpus.EVENT_RATE:,.0f} lines/s of event time, {bench.partitions} partitions, "
        f"{'keyed by pod' if bench.keyed else 'no keys'}, one worker"
    )
    every = []
    for form in (bench.form,) if bench.form else tuple(FORMS):
        with bench.installed(f"rate-{form}") as installation:
            every.append(measure(installation, form, count=bench.lines, keyed=bench.keyed))
    show(every, bench.out)
    forms = [
        {**asdict(each), "lines_per_s": each.lines_per_s, "lines_per_cpu_s": each.lines_per_cpu_s} for each in every
    ]
    conserved = all(each.conserved for each in every)
    headline = ", ".join(f"{each.lines_per_s:,} lines/s ({each.form})" for each in every)
    guards = {"conserved": conserved}
    return {"name": "rate", "ok": conserved, "headline": headline, "guards": guards, "forms": forms}
