"""`python -m tests.faults [--full]`: a timeline while it runs, then a table, then one JSON line for scripts."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local import services
from deploy.local.services import Endpoints
from schemas.errors import FreshetError
from tests.benchmarks.machine import hardware
from tests.faults import run, trials
from tests.faults.check import Expected
from tests.faults.run import FULL, SMALL, Campaign, Size

notes = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
COUNTS: Final = ("lost", "doubled", "phantom")


def main(
    full: Annotated[
        bool, typer.Option("--full", help="The long run: a million records, hours of faults in minutes.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Decides traffic, faults and their order.")] = 1,
    records: Annotated[int, typer.Option(help="Other than the size's own.")] = 0,
    details: Annotated[Path | None, typer.Option("--json", help="Write timeline and findings to this file.")] = None,
    state: Annotated[Path | None, typer.Option(help="Use these services, and kill none; own ones otherwise.")] = None,
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """Kill, cut and freeze real workers and services, account for every record, and catch pipelines that are broken."""
    size = FULL if full else SMALL
    size = replace(size, records=records or size.records, broker_kills=0 if state else size.broker_kills)
    machine = hardware()
    notes.print(f"{machine}; seed {seed}; {size}")
    try:
        with _services(state, cache) as (home, endpoints), tempfile.TemporaryDirectory() as folder:
            summary, more = everything(size, seed=seed, state=home, endpoints=endpoints, folder=Path(folder))
    except FreshetError as error:
        notes.print(f"seed {seed}: {error}", markup=False)
        raise typer.Exit(1) from None
    summary |= {"hardware": machine}
    if details:
        details.write_text(json.dumps(summary | more, indent=2))
    show(summary, more)
    typer.echo(json.dumps(summary))
    if not summary["ok"]:
        raise typer.Exit(1)


def everything(
    size: Size, *, seed: int, state: Path, endpoints: Endpoints, folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The campaign, then the trials of broken pipelines: summary, and what explains it."""
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes, disable=not notes.is_terminal) as bar:
        task = bar.add_task("faults", total=1.0)
        with run.campaign(
            size,
            seed=seed,
            name="faults",
            state=state,
            endpoints=endpoints,
            file=folder / "ledger",
            tell=lambda line: bar.console.print(line, markup=False),
            advance=lambda share: bar.update(task, completed=share * 0.8),
        ) as campaign:
            campaign.work()
            expected = run.account(campaign)
            figures = summarize(campaign, expected)
        verdicts = trials.hold(
            seed=seed,
            name="faults-t",
            state=state,
            endpoints=endpoints,
            file=folder / "trials",
            tell=lambda line: bar.console.print(line, markup=False),
        )
        bar.update(task, completed=1.0)
    broken = [verdict for verdict in verdicts if verdict.name != trials.SOUND]
    caught = sum(verdict.right for verdict in broken)
    figures |= {"broken_caught": f"{caught}/{len(broken)}", "seconds": round(time.monotonic() - began)}
    figures["ok"] = campaign.findings.ok and all(verdict.right for verdict in verdicts)
    more = {
        "findings": campaign.findings.shown,
        "timeline": campaign.timeline,
        "trials": {v.name: dict(v.findings.counts) for v in verdicts},
        "wrong": [v.name for v in verdicts if not v.right],
        "sound": next(v.findings.shown for v in verdicts if v.name == trials.SOUND),
    }
    return {"name": "faults", "ok": False, **figures}, more


def summarize(campaign: Campaign, expected: Expected) -> dict[str, Any]:
    counts = campaign.findings.counts
    named = {name: counts[name] for name in COUNTS} | {"commit_breaches": counts["commit"]}
    return {
        "seed": campaign.seed,
        "sent": expected.records,
        "messages": expected.messages,
        "in_doubt": len(campaign.ledger.book.unknown),
        "documents": len(expected.documents),
        **named,
        "other_breaches": counts.total() - sum(named.values()),
        "sampled": campaign.sampler.checked,
        "kills": campaign.kills,
        "broker_kills": campaign.size.broker_kills,
        "own_exits": campaign.exits,
        "proxy_faults": campaign.proxy.happened.total(),
        "recovery_s_median": round(median(campaign.recoveries or [0.0]), 1),
        "recovery_s_max": round(max(campaign.recoveries, default=0.0), 1),
        "longest_stand_s": round(campaign.watch.longest_stand_s(), 1),
    }


def show(summary: dict[str, Any], more: dict[str, Any]) -> None:
    table = Table("what", "figure", box=None)
    for name, value in summary.items():
        table.add_row(name, str(value))
    out.print(table)
    table = Table("broken pipeline", "what gave it away", box=None)
    for name, counts in more["trials"].items():
        told = ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing found"
        table.add_row(name, told, style="red" if name in more["wrong"] else "")
    out.print(table)
    for line in (*more["findings"], *(f"in the sound trial: {line}" for line in more["sound"])):
        out.print(line, markup=False, style="red")
    if not summary["ok"]:
        out.print(f"seed {summary['seed']}; what happened:", *more["timeline"], sep="\n", markup=False)


@contextmanager
def _services(state: Path | None, cache: Path) -> Iterator[tuple[Path, Endpoints]]:
    """The services of that folder, which stay; without one our own, which go."""
    if state is not None:
        yield state, services.up(state, cache)
        return
    with tempfile.TemporaryDirectory(prefix="freshet-faults-") as folder:
        home = Path(folder)
        try:
            yield home, services.up(home, cache, until_pid=os.getpid())
        finally:
            services.down(home, wipe=True)


if __name__ == "__main__":
    typer.run(main)
