"""`python -m tests.evaluation.insights [NAMES]`: how good insights are, beside simple peers in the same run."""

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console

from tests.benchmarks.machine import hardware
from tests.evaluation.insights import folder, must_gather, shop
from tests.evaluation.insights.report import Goal, Part

HELP: Final = """Measure what is told as incidents, each part beside simple peers, and print a table for each.

NAMES: parts (shop, must-gather, nab, points, petshop, nezha), or folders of recorded telemetry in the format of
EVALUATION.md, with commas between; everything unless given. A folder may hold incidents.jsonl, one true incident a
line, {"id", "start", "end", "entity": {"kind": "workload", "name": ..., "namespace": ...}}: without it what was told
is only listed.

The last line is one JSON object. Exit code 1 when a goal falls short.
"""
SERIES: Final = ("nab", "points")  # modules beside this one with a `run(say) -> Part`
CAUSES: Final = ("petshop", "nezha")  # with a `run()` that returns figures and a table as text
Say = Callable[[str], None]
WIDE: Final = 200  # characters, where nobody says how many there are
out = Console(width=None if sys.stdout.isatty() else WIDE)
notes = Console(stderr=True, highlight=False)


def main(
    names: Annotated[str, typer.Argument(metavar="[NAMES]", help="Parts or folders, commas between.")] = "",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Of the shop's plays, each.")] = 2,
    jobs: Annotated[int, typer.Option(min=1, help="Plays of the shop at a time.")] = 2,
    details: Annotated[Path, typer.Option("--json", help="Write everything to this file.")] = Path(
        ".bench/insights.json"
    ),
) -> None:
    began, parts = time.monotonic(), {}
    try:
        for name in [name for name in names.split(",") if name] or ["shop", "must-gather", *SERIES, *CAUSES]:
            parts[name] = part = _run(name, seeds=seeds, jobs=jobs)
            for table in part.tables:
                out.print(table, markup=False, soft_wrap=isinstance(table, str), highlight=False)
            for goal in part.goals:
                out.print(f"{'met  ' if goal.met else 'SHORT'} {name}: {goal.text}", markup=False)
    except (OSError, ValueError) as error:
        notes.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    details.parent.mkdir(parents=True, exist_ok=True)
    details.write_bytes(orjson.dumps({name: part.details for name, part in parts.items()}, option=orjson.OPT_INDENT_2))
    notes.print(f"everything is in {details}", markup=False)
    short = [f"{name}: {goal.text}" for name, part in parts.items() for goal in part.goals if not goal.met]
    found = {
        "name": "eval-insights", "ok": not short, "short": short,
        **{name: part.figures for name, part in parts.items()},
        "seconds": round(time.monotonic() - began), "hardware": hardware(),
    }  # fmt: skip
    typer.echo(orjson.dumps(found).decode())
    if short:
        raise typer.Exit(1)


def _run(name: str, *, seeds: int, jobs: int) -> Part:
    if name == "shop":
        return shop.run(_say, seeds=seeds, jobs=jobs)
    if name == "must-gather":
        return must_gather.run(_say)
    if name in (*SERIES, *CAUSES):
        _say(f"{name}: a minute or so")
        run = importlib.import_module(f"tests.evaluation.insights.{name}").run
        return run(_say) if name in SERIES else _of_result(run())
    return folder.run(Path(name), _say)


def _of_result(result: Mapping[str, Any]) -> Part:
    """`table` is text, `ok` says whether goals are met where there are any, the rest is figures."""
    figures = {key: value for key, value in result.items() if key != "table"}
    goals = [Goal(name="its own goals", value=float(result["ok"]), limit=1.0, at_least=True)] if "ok" in result else []
    return Part(tables=[result["table"]], figures=figures, goals=goals, details=figures)


def _say(text: str) -> None:
    notes.print(text, markup=False, soft_wrap=True)


main.__doc__ = HELP

if __name__ == "__main__":
    typer.run(main)
