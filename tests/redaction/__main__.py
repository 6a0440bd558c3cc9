"""`python -m tests.redaction`: tables for people, then one JSON line for scripts."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from processors.redact import Redactor
from schemas.errors import FreshetError
from schemas.settings import Redaction
from tests.benchmarks.machine import hardware
from tests.conftest import SHARED_DATA
from tests.redaction import canaries, clean, personal, recall, speed

out = Console(highlight=False, soft_wrap=True, width=160)
MOST_FALSE = 1.0  # in 10,000 clean lines


def main(
    seed: Annotated[int, typer.Option(help="of everything that is made up")] = 1,
    each: Annotated[int, typer.Option(min=24, help="secrets planted for each family")] = 240,
    only_speed: Annotated[bool, typer.Option("--speed", help="Nothing but the speed.")] = False,
    planted: Annotated[
        int, typer.Option("--canaries", min=0, help="Instead: so many secrets through a running installation.")
    ] = 0,
    state: Annotated[Path, typer.Option(help="folder of the services, for canaries")] = Path(".local"),
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """How much of what is planted is hidden, how much is hidden wrongly, how fast. Exit code 1 below a goal."""
    out.print(hardware())
    if planted:
        try:
            result = canaries.measure(planted, seed, state, cache, out)
        except FreshetError as error:
            out.print(f"[red]error:[/] {error}")
            raise typer.Exit(1) from None
    else:
        shared = SHARED_DATA if SHARED_DATA.is_dir() else None
        if shared is None:
            out.print(f"no data at {SHARED_DATA}: real lines and the second measure are left out")
        quality, short = ({}, []) if only_speed else _quality(seed, each, shared)
        rates, slow = _speed(shared)
        result = {"ok": not short + slow, "seed": seed, **quality, **rates, "short": short + slow}
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


def _quality(seed: int, each: int, shared: Path | None) -> tuple[dict[str, object], list[str]]:
    redact, plain = Redactor(recall.SETTINGS), Redactor(Redaction())
    families = recall.measure(recall.plant(seed, each), redact)
    again = recall.measure(recall.plant(seed, each, held_out=True), redact)
    _show_recall(families, again)
    made = clean.measure(clean.made(seed, 2_000), plain)
    real = clean.measure(clean.real(shared), plain) if shared else {}
    _show_hits("made lines without a secret", made)
    _show_hits("real lines", real)
    if shared:
        _show_personal(personal.measure(shared, redact))
    kinds, held = recall.by_kind(families), recall.by_kind(again)
    judged = (real or made).values()
    false = 10_000 * sum(hits.false for hits in judged) / sum(hits.lines for hits in judged)
    made_false = 10_000 * sum(hits.false for hits in made.values()) / sum(hits.lines for hits in made.values())
    short = [f"recall of {kind}" for kind, goal in recall.GOALS.items() if min(kinds[kind], held[kind]) < goal]
    short += ["false hits"] if max(false, made_false) > MOST_FALSE else []
    figures = {
        "families": len(families),
        "planted": sum(row.planted for row in (*families.values(), *again.values())),
        "recall": {kind: round(value, 4) for kind, value in kinds.items()},
        "recall_other_shapes": {kind: round(value, 4) for kind, value in held.items()},
        "partial_leaks": sum(row.partial for row in families.values()),
        "false_per_10000_real": round(false, 3) if real else None,
        "false_per_10000_made": round(made_false, 3),
        "clean_lines": sum(hits.lines for hits in (*real.values(), *made.values())),
    }
    return figures, short


def _speed(shared: Path | None) -> tuple[dict[str, object], list[str]]:
    table = _table("lines/s on one core, median of 5", "system", "bodies", "whole lines", "characters a body")
    rates = {}
    corpora = speed.corpora(shared)
    for name, (bodies, lines) in corpora.items():
        rates[name] = speed.rate(bodies)
        size = sum(map(len, bodies)) // len(bodies)
        table.add_row(name, f"{rates[name]:,.0f}", f"{speed.rate(lines):,.0f}", str(size))
    overall = speed.rate([body for bodies, _ in corpora.values() for body in bodies])
    whole = speed.rate([line for _, lines in corpora.values() for line in lines])
    table.add_row("all", f"{overall:,.0f}", f"{whole:,.0f}", "")
    out.print(table)
    short = [f"speed: {overall:,.0f} lines/s of {speed.GOAL:,}"] if overall < speed.GOAL else []
    return {"lines_per_s": round(overall), "whole_lines_per_s": round(whole)}, short


def _show_recall(families: dict[str, recall.Found], again: dict[str, recall.Found]) -> None:
    table = _table(
        "secrets", "family", "kind", "planted", "found", "recall", "partial leaks", "recall, other shapes", "missed in"
    )
    for name, row in families.items():
        other = f"{again[name].recall:.4f}" if name in again else ""
        missed = ", ".join(f"{shape} {count}" for shape, count in row.missed.most_common(3))
        table.add_row(
            name, row.kind, str(row.planted), str(row.found), f"{row.recall:.4f}", str(row.partial), other, missed
        )
    out.print(table)


def _show_hits(title: str, sources: dict[str, clean.Hits]) -> None:
    table = _table(title, "source", "lines", "true hits", "false hits", "false in 10,000", "placeholders")
    for name, hits in sources.items():
        kinds = ", ".join(f"{kind} {count}" for kind, count in hits.kinds.most_common())
        table.add_row(name, f"{hits.lines:,}", str(hits.true), str(hits.false), f"{hits.per_10_000:.2f}", kinds)
        for example in hits.examples:
            out.print(f"  false? {name}: {example[:200]}", markup=False)
    out.print(table)


def _show_personal(entities: dict[str, tuple[int, int]]) -> None:
    table = _table("sentences of safety/pii", "entity", "there", "hidden", "recall", "claimed")
    for kind, (there, hidden) in entities.items():
        claimed = "yes" if kind in personal.CLAIMED else "no"
        table.add_row(kind, str(there), str(hidden), f"{hidden / there:.3f}", claimed)
    out.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


if __name__ == "__main__":
    typer.run(main)
