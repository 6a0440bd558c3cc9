"""`python -m tests.evaluation [SETS]`: measure the answers to labelled sets, plain searches beside them."""

import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer

from processors.embed import make_embedder
from schemas.errors import FreshetError
from schemas.settings import Embedder
from tests.benchmarks.machine import hardware
from tests.evaluation.report import figures, misses, recorded, summary, tables
from tests.evaluation.run import Asked
from tests.evaluation.stack import notes, out, sets_asked
from tests.evaluation.standing import WRITERS, chosen


def main(
    sets: Annotated[
        str, typer.Argument(metavar="[SETS]", help=f"Folders or names, commas between: {', '.join(WRITERS)}, shop.")
    ] = "",
    full: Annotated[bool, typer.Option("--full", help="All seeds of the shop.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=50, help="Pieces of evidence to ask for.")] = 10,
    plain: Annotated[bool, typer.Option("--no-baselines", help="The product alone.")] = False,
    missed: Annotated[bool, typer.Option("--misses", help="Show what came instead of what was expected.")] = False,
    each: Annotated[bool, typer.Option("--tasks", help="A row for each task too.")] = False,
    details: Annotated[Path, typer.Option("--json", help="Write everything to this file.")] = Path(
        ".bench/evaluation.json"
    ),
    state: Annotated[Path | None, typer.Option(help="Use the services of this folder; own ones otherwise.")] = None,
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """Load each set through Kafka and a worker, ask its questions through an API process, report, clear away.

    The last line is one JSON object. Exit code 1 when something could not be run or a forbidden text was shown.
    """
    began = time.monotonic()
    everything: dict[str, list[Asked]] = {}
    embedder = None if plain else make_embedder(Embedder())
    try:
        for name, asked in sets_asked(
            chosen(sets, full=full), state=state, cache=cache, limit=limit, embedder=embedder
        ):
            everything[name] = asked
            _show(name, asked, each=each, missed=missed)
            details.parent.mkdir(parents=True, exist_ok=True)
            details.write_bytes(orjson.dumps(recorded(everything), option=orjson.OPT_INDENT_2))
    except (FreshetError, httpx.HTTPError, ValueError, OSError) as error:
        notes.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    notes.print(f"everything is in {details}", markup=False)
    found = _line(everything) | {"seconds": round(time.monotonic() - began), "hardware": hardware()}
    typer.echo(orjson.dumps(found).decode())
    if not found["ok"]:
        raise typer.Exit(1)


def _show(name: str, asked: list[Asked], *, each: bool, missed: bool) -> None:
    for table in tables(name, asked, tasks=each):
        out.print(table)
    for one in asked:
        for match in one.forbidden:
            out.print(f"forbidden in {one.task.id}: {match}"[:300], markup=False, style="red", soft_wrap=True)
    for line in misses(asked) if missed else ():
        out.print(line, markup=False, soft_wrap=True)


def _line(everything: dict[str, list[Asked]]) -> dict[str, Any]:
    """What a script wants: everything together, then each set."""
    together = [one for asked in everything.values() for one in asked]
    whole = summary(together)
    kept = {key: whole[key] for key in (*figures(together), "baselines")}
    by_set = {name: figures(asked) for name, asked in everything.items()}
    return {"name": "evaluation", "ok": not figures(together)["forbidden"], **kept, "sets": by_set}


if __name__ == "__main__":
    typer.run(main)
