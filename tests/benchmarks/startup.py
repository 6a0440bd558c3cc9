"""From the start of a process until it is of use, on real services: the API's probes, a worker's first hits, vectors.

The API starts over stores that are up; `/healthz` is asked all the while, so that one that stops answering while the
model is loaded shows. A worker starts with lines waiting whose words nobody has seen; its first start makes indices,
later ones do not. Processor seconds are those of the process until all of that has happened; they vary less than the
rest. What was once measured before torch was imported without transformers is shown beside, as a constant.
"""

import socket
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import httpx
from rich.table import Table

from deploy.installation import Installation
from deploy.local import processes
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.reads import Reads

STARTS: Final = 4
LINES: Final = 20
HEALTHZ_GOAL_S: Final = 2.0
PATIENCE_S: Final = 120.0
# Not measured in the same run: commit cc46765 on a busy machine of two cores, API median of three starts, worker one.
BEFORE_CPU_S: Final = {"api": 7.7, "worker": 7.4}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiStart:
    """Seconds from the start of the process."""

    healthz_s: float
    readyz_s: float  # the first that says 200: questions are answered, by words alone at first
    model_s: float  # ... and by meaning
    longest_healthz_s: float  # of all answers until then
    cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart:
    found_s: float  # its first lines can be found
    vectors_s: float  # ... by meaning
    cpu_s: float


def start_api(installation: Installation) -> ApiStart:
    began = time.monotonic()
    installation.start_api(port=_free_port(), patience_s=PATIENCE_S)
    healthz_s, readyz_s, longest_s = time.monotonic() - began, 0.0, 0.0
    with httpx.Client(base_url=installation.api_url, timeout=PATIENCE_S) as client:
        while True:
            ready = client.get("/readyz")
            readyz_s = readyz_s or (time.monotonic() - began if ready.is_success else 0.0)
            if readyz_s and ready.json()["parts"]["embedder"] == "ok":
                break
            for _ in range(5):
                asked = time.monotonic()
                client.get("/healthz").raise_for_status()
                longest_s = max(longest_s, time.monotonic() - asked)
                time.sleep(0.02)
    model_s, cpu_s = time.monotonic() - began, _process(installation, "api").cpu_s()
    installation.stop("api")
    return ApiStart(healthz_s=healthz_s, readyz_s=readyz_s, model_s=model_s, longest_healthz_s=longest_s, cpu_s=cpu_s)


def start_worker(installation: Installation, reads: Reads, number: int) -> WorkerStart:
    _send(installation, number)
    began = time.monotonic()
    installation.start_worker(1, "--only", "logs")
    installation.wait(lambda: reads.counted() >= LINES * number, "the first lines", "worker-1", PATIENCE_S)
    found_s = time.monotonic() - began
    installation.wait(reads.embedded, "the first vectors", "worker-1", PATIENCE_S)
    vectors_s, cpu_s = time.monotonic() - began, _process(installation, "worker-1").cpu_s()
    installation.stop("worker-1")
    return WorkerStart(found_s=found_s, vectors_s=vectors_s, cpu_s=cpu_s)


def _send(installation: Installation, number: int) -> None:
    """Lines of words that no earlier start had."""
    random = Random(number)
    with TemporaryDirectory() as folder:
        file = Path(folder, "lines.log")
        words = ["".join(random.choices("aeioulnrst", k=7)) for _ in range(3 * LINES)]
        file.write_text("".join(f"cannot {a} the {b} of {c}\n" for a, b, c in zip(*[iter(words)] * 3, strict=True)))
        who = ("--namespace", "shop", "--pod", "web-1")
        installation.run("streams", "send", str(file), "--topic", installation.topics["logs"], *who)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _process(installation: Installation, role: str) -> WorkerProcess:
    return WorkerProcess(pid=processes.running(installation.state)[f"{installation.name}.{role}"][0])


def _median(starts: Sequence[ApiStart] | Sequence[WorkerStart]) -> dict[str, float]:
    rows = [asdict(start) for start in starts]
    return {name: round(median(row[name] for row in rows), 2) for name in rows[0]}


def run(bench: Bench) -> Summary:
    bench.out.print(f"startup: {STARTS} starts of the API and of a worker, medians; the model that ships with it")
    with bench.installed("startup") as installation, closing(Reads(installation)) as reads:
        workers = [start_worker(installation, reads, number) for number in range(1, STARTS + 1)]
        apis = [start_api(installation) for _ in range(STARTS)]
    api, first, worker = _median(apis), workers[0], _median(workers[1:])
    table = Table("seconds from the start of the process until", "median", "slowest", "before")
    table.add_row("the API answers /healthz", f"{api['healthz_s']:.2f}", f"{max(a.healthz_s for a in apis):.2f}", "")
    table.add_row("... /readyz with 200", f"{api['readyz_s']:.2f}", f"{max(a.readyz_s for a in apis):.2f}", "")
    table.add_row("... by meaning, too", f"{api['model_s']:.2f}", f"{max(a.model_s for a in apis):.2f}", "")
    longest_s = max(a.longest_healthz_s for a in apis)
    table.add_row("(longest answer of /healthz until then)", f"{api['longest_healthz_s']:.2f}", f"{longest_s:.2f}", "")
    table.add_row("(its processor seconds)", f"{api['cpu_s']:.1f}", "", f"{BEFORE_CPU_S['api']:.1f}")
    table.add_row("a worker's first lines are found, no index yet", f"{first.found_s:.1f}", "", "")
    table.add_row("... again started", f"{worker['found_s']:.1f}", f"{max(w.found_s for w in workers[1:]):.1f}", "")
    table.add_row("... with vectors", f"{worker['vectors_s']:.1f}", f"{max(w.vectors_s for w in workers):.1f}", "")
    table.add_row("(its processor seconds)", f"{worker['cpu_s']:.1f}", "", f"{BEFORE_CPU_S['worker']:.1f}")
    bench.out.print(table)
    ok = api["healthz_s"] <= HEALTHZ_GOAL_S
    headline = (
        f"/healthz after {api['healthz_s']:.2f} s (goal {HEALTHZ_GOAL_S:g}), by meaning after {api['model_s']:.1f} s; "
        f"worker: first hit {worker['found_s']:.1f} s, vectors {worker['vectors_s']:.1f} s"
    )
    return {"name": "startup", "ok": ok, "headline": headline, "guards": {"healthz": ok}, "api": api,
            "worker": worker, "first_worker": asdict(first)}  # fmt: skip
