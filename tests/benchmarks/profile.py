"""`python -m tests.benchmarks.profile`: where a worker's time goes while it drains the reference load.

py-spy looks at the worker from outside, two backlogs long: once for the table, once for the flame graph. It needs the
right to look into another process: root, or CAP_SYS_PTRACE, or kernel.yama.ptrace_scope=0.
"""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import FreshetError, StartupError
from tests.benchmarks import corpus
from tests.benchmarks.drain import Drain, draining
from tests.benchmarks.installed import installed, stack
from tests.benchmarks.machine import hardware
from tests.benchmarks.series import FOLDER, keep

RATE: Final = 200  # samples a second
LIBRARIES: Final = "site-packages/"
THREADS: Final = {"MainThread": "event loop", "asyncio": "flush", "vectors": "vectors"}
OTHERS: Final = "other threads"
WAITS: Final = re.compile(r"select \(selectors|wait \(threading|_worker \(concurrent|readinto \(socket|poll \(")
# The first that fits a frame's file, innermost frame first; C code counts for the line that calls it.
LAYERS: Final = (
    ("decode", r"processors/decode"),
    ("redact", r"processors/(redact|scan)"),
    ("template", r"processors/(template|canonical|kernel)"),
    ("shape and fold", r"processors/(lines|shape|fold|merge|pipeline|slices)|schemas/(documents|records)"),
    ("write: deltas and JSON", r"processors/(writer|sink|outcomes|index|letters)"),
    ("embed", r"processors/(embed|encoder|bert|vectors|budget)|(torch|transformers|sentence_transformers|tokenizers)/"),
    ("OpenSearch client", r"(opensearchpy|urllib3)/|http/client"),
    ("Kafka client", r"(aiokafka|confluent_kafka|cramjam)/"),
    ("Faust", r"(faust|mode)/"),
    ("intake, flusher, consumer", r"streams/"),
    ("metrics", r"prometheus_client/"),
    ("event loop", r"asyncio/|selectors|concurrent/|threading|socket"),
)
out = Console(highlight=False, soft_wrap=True)


@contextmanager
def recording(pid: int, file: Path, form: str, *options: str) -> Iterator[None]:
    """py-spy, until the block ends. Raises StartupError with what it says when it cannot look."""
    spy = str(Path(sys.executable).with_name("py-spy"))
    command = [spy, "record", "--pid", str(pid), "--rate", str(RATE), "--format", form, "--output", str(file), *options]
    spying = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    yield
    spying.send_signal(signal.SIGINT)
    _, said = spying.communicate(timeout=60)
    if spying.returncode or not file.is_file():
        last = said.strip().splitlines()[-1:] or [str(spying.returncode)]
        raise StartupError(f"py-spy cannot look into the worker ({last[0]}): run as root, or give CAP_SYS_PTRACE")


def drained(drain: Drain, lines: int, file: Path, form: str, *options: str) -> float:
    """Record one backlog; returns the seconds until the last line is found."""
    backlog = drain.draw("hundred", lines)
    drain.send(backlog, lines)
    with recording(drain.worker.pid, file, form, *options):
        found = drain.all_found()
    return found[-1][0]


def layer_of(stack: list[str]) -> str:
    """Of the innermost frame that is known."""
    for frame in reversed(stack):
        place = frame.rpartition("(")[2].rpartition(LIBRARIES)[2]
        for name, files in LAYERS:
            if re.search(files, place):
                return name
    return "other"


def shares(raw: str, every: float) -> dict[str, dict[str, float]]:
    """Layer -> thread -> share of the wall time, which is `every` samples.

    A line of py-spy's raw form is `thread (id): name;outermost;...;innermost count`. Threads that wait are left out by
    it, as far as it can tell.
    """
    working: dict[str, Counter[str]] = {column: Counter() for column in (*THREADS.values(), OTHERS)}
    for line in raw.splitlines():
        frames, _, count = line.rpartition(" ")
        thread, *stack = frames.split(";")
        if not stack or WAITS.search(stack[-1]):
            continue
        name = re.sub(r"^thread \(\w+\)(: )?|_\d+$", "", thread)
        working[THREADS.get(name, OTHERS)][layer_of(stack)] += int(count)
    layers = sorted(
        {layer for found in working.values() for layer in found}, key=lambda x: -sum(f[x] for f in working.values())
    )
    return {layer: {column: found[layer] / every for column, found in working.items()} for layer in layers}


def show(layers: dict[str, dict[str, float]]) -> dict[str, float]:
    """The table; returns each layer's share of the work."""
    columns = (*THREADS.values(), OTHERS)
    busy = {column: sum(row[column] for row in layers.values()) for column in columns}
    work = {layer: sum(row.values()) / (sum(busy.values()) or 1) for layer, row in layers.items()}
    table = Table("", "of the work", *columns, title="threads: of the wall time", title_justify="right")
    for layer, row in layers.items():
        table.add_row(layer, f"{work[layer]:.1%}", *(f"{row[column]:.1%}" for column in columns))
    table.add_section()
    table.add_row("works", "", *(f"{share:.1%}" for share in busy.values()))
    rest = (f"{max(0.0, 1 - busy[column]):.1%}" for column in THREADS.values())
    table.add_row("waits (GIL, core, work)", "", *rest, "")
    out.print(table)
    return {layer: round(share, 3) for layer, share in work.items()}


def main(
    state: Annotated[Path, typer.Option(help="folder of the services")] = Path(".local"),
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
    lines: Annotated[int, typer.Option(min=1_000, help="of each of the two backlogs")] = 600_000,
) -> None:
    """Profile one worker: a table, `.bench/profile.svg` and `.bench/profile.txt`, and one JSON line."""
    out.print(hardware())
    out.print(f"profile: {corpus.STATED}, two backlogs of {lines:,} lines, 24 partitions, keyed, a hundred a message")
    FOLDER.mkdir(exist_ok=True)
    raw, flames = FOLDER / "profile.txt", FOLDER / "profile.svg"
    for file in (raw, flames):
        file.unlink(missing_ok=True)
    try:
        with (
            stack(state, cache) as endpoints,
            installed("bench-profile", state, endpoints, 24) as installation,
            draining(installation) as drain,
        ):
            seconds = drained(drain, lines, raw, "raw", "--threads")
            cpu_s = drain.figures([(0.0, 0), (seconds, lines)]).cpu_s
            drained(drain, lines, flames, "flamegraph")
            conserved = drain.conserved()
    except FreshetError as error:
        out.print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from None
    layers = shares(raw.read_text(), seconds * RATE)
    work = show(layers)
    result = {
        "name": "profile", "ok": conserved, "lines_per_s": round(lines / seconds), "cpu_s": cpu_s,
        "wall_s": seconds, "work": work,
        "flames": str(flames), "stacks": str(raw),
    }  # fmt: skip
    keep("profile", figures=result)
    typer.echo(json.dumps(result))
    raise typer.Exit(0 if conserved else 1)


if __name__ == "__main__":
    typer.run(main)
