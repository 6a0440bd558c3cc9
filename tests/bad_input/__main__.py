"""`python -m tests.bad_input`: all cases by themselves and through a worker; a table, then one JSON line."""

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from schemas.errors import FreshetError
from tests.bad_input import fuzz, pure, stack
from tests.bad_input.case import World
from tests.bad_input.families import FAMILIES
from tests.bad_input.verdict import pipeline
from tests.benchmarks.installed import stack as services
from tests.benchmarks.machine import hardware

MESSAGE_BYTES: Final = 16_000_000  # the input topics take 16 MiB
SHOWN: Final = 8  # wrong cases of a family
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)


def main(
    state: Annotated[Path, typer.Option("--stack", help="folder of the services; started when they do not run")] = Path(
        ".local"
    ),
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
    large: Annotated[int, typer.Option(min=1_000_000, help="bytes of the large cases")] = 10_000_000,
    only_pure: Annotated[bool, typer.Option("--pure", help="without services: the pipeline by itself")] = False,
    memory: Annotated[bool, typer.Option(help="measure memory, too; takes some minutes")] = True,
    fuzz_s: Annotated[float, typer.Option("--fuzz", help="only mutate good messages, for so many seconds")] = 0.0,
) -> None:
    """Exit code 1 when a message ends elsewhere than a user expects, holds others up, or costs too much."""
    machine = hardware()
    out.print(machine)
    if fuzz_s:
        summary = explore(fuzz_s)
    else:
        world = World(at_ms=int(time.time()) * 1000, large_bytes=large)
        try:
            summary = measure(world, state, cache, only_pure=only_pure, memory=memory)
        except FreshetError as error:
            out.print(f"[red]error:[/] {error}")
            raise typer.Exit(1) from None
    typer.echo(json.dumps(summary | {"hardware": machine}))
    if not summary["ok"]:
        raise typer.Exit(1)


def explore(seconds: float) -> dict[str, Any]:
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task("messages", total=None)
        tried, found = fuzz.explore(pipeline(), seconds, lambda n: progress.update(task, completed=n))
    if found:
        out.print(f"{found.why}: kept in {found.save()}; write down what was to be expected there, then mend it")
    return {"ok": found is None, "cases": tried, "wrong": int(found is not None), "seconds": seconds}


def measure(world: World, state: Path, cache: Path, *, only_pure: bool, memory: bool) -> dict[str, Any]:
    with Progress(console=out, transient=True) as progress:
        task = progress.add_task("by itself", total=len(pure.NAMES))
        rows = pure.run(world, most_bytes=MESSAGE_BYTES, measure=memory, advance=lambda _: progress.advance(task))
    show(rows)
    wrong = sum(row.bad for row in rows)
    over = [verdict for row in rows for verdict in row.over]
    summary: dict[str, Any] = {
        "ok": not wrong and not over,
        "cases": sum(row.cases for row in rows),
        "wrong": wrong,
        "over": len(over),
        "slowest_ms": round(max(row.slowest.ms for row in rows if row.slowest), 1),
        "peak_mb": round(max(row.peak_mb for row in rows), 1),
        "large_bytes": world.large_bytes,
    }
    if only_pure:
        return summary
    with (
        services(state, cache) as endpoints,
        stack.installation(state, endpoints) as made,
        Progress(console=out, transient=True) as progress,
    ):
        task = progress.add_task("through a worker", total=len(FAMILIES))
        outcome = stack.through_worker(made, world, most_bytes=MESSAGE_BYTES, advance=lambda *_: progress.advance(task))
    return summary | through(outcome, ok=summary["ok"])


def through(outcome: stack.Outcome, *, ok: bool) -> dict[str, Any]:
    """The worker's part of the summary; shows it, too."""
    wrong = sum(map(len, outcome.wrong.values()))
    behind, slowest_s = max(outcome.marker_s.items(), key=lambda item: item[1])
    out.print(
        f"through a worker: {outcome.messages:,} messages in {outcome.seconds:.0f} s, {outcome.letters:,} letters "
        f"({outcome.copies} copies), {outcome.refused} refused by Kafka itself, {wrong} wrong; "
        f"a good record was searchable within {slowest_s:.1f} s (behind {behind!r}); worker: {outcome.peak_mb} MB"
    )
    for family, faults in outcome.wrong.items():
        for said in faults[:SHOWN]:
            out.print(f"  {family}: {said}", markup=False)
    return {
        "ok": ok and not wrong and slowest_s <= stack.MARKER_S,
        "worker_messages": outcome.messages,
        "worker_letters": outcome.letters,
        "worker_wrong": wrong,
        "worker_peak_mb": outcome.peak_mb,
        "marker_s": round(slowest_s, 1),
        "refused_by_kafka": outcome.refused,
    }


def show(rows: list[pure.Row]) -> None:
    table = Table("family", "cases", "counted", "letters", "filtered", "wrong", "slowest ms", "MB", "which")
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True
    for row in rows:
        slowest = row.slowest
        table.add_row(
            row.family,
            *(f"{number:,}" for number in (row.cases, row.counted, row.letters, row.filtered, row.bad)),
            f"{slowest.ms:.0f}" if slowest else "",
            f"{row.peak_mb:.0f}" if row.peak_mb else "",
            ascii(slowest.case.name[:40]) if slowest and slowest.ms > 1 else "",
        )
    out.print(table)
    for row in rows:
        for verdict in row.wrong[:SHOWN]:
            case = verdict.case
            out.print(f"  {row.family}, {case.topic}, {case.name!a}: {verdict.wrong!a}", markup=False)
        for said in row.notes[:SHOWN]:
            out.print(f"  {row.family}: {said}", markup=False)
        for verdict in row.over:
            out.print(
                f"  {row.family}, {verdict.case.name!a}: {verdict.ms:.0f} ms of {pure.bound_ms(verdict):.0f}, "
                f"{verdict.peak_mb:.0f} MB of {pure.MOST_MB:.0f}",
                markup=False,
            )


if __name__ == "__main__":
    typer.run(main)
