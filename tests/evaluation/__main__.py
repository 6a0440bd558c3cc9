"""`python -m tests.evaluation SET`: measure the answers to a labelled set."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console

from deploy.local import services
from deploy.local.services import Endpoints
from schemas.errors import FreshetError
from tests.evaluation.report import figures, groups, tables
from tests.evaluation.run import Asked, ask, loaded
from tests.evaluation.sets import LabelledSet

WIDE: Final = 140  # columns where no terminal says how many there are
notes = Console(stderr=True, highlight=False)
out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def main(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="Folder with set.json and tasks.jsonl.")],
    limit: Annotated[int, typer.Option(min=1, max=50, help="Pieces of evidence to ask for.")] = 10,
    details: Annotated[Path | None, typer.Option("--json", help="Write everything to this file.")] = None,
    state: Annotated[Path | None, typer.Option(help="Use the services of this folder; own ones otherwise.")] = None,
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """Load the set through Kafka and a worker, ask its questions through an API process, report, clear away.

    The last line is one JSON object. Exit code 1 when something could not be run or a forbidden text was shown.
    """
    try:
        chosen = LabelledSet.read(folder)
    except (OSError, ValueError) as error:
        notes.print(f"{folder} is no labelled set: {error}", markup=False)
        raise typer.Exit(1) from None
    try:
        with _services(state, cache) as (home, endpoints), loaded(chosen, home, endpoints, notes.print) as installation:
            asked = [ask(installation, chosen, task, limit) for task in chosen.tasks]
    except FreshetError as error:
        notes.print(str(error), markup=False)
        raise typer.Exit(1) from None
    for table in tables(chosen.name, asked):
        out.print(table)
    for one in asked:
        for match in one.forbidden:
            out.print(f"forbidden in {one.task.id}: {match}", markup=False, style="red")
    summary = {"name": chosen.name, "ok": not any(one.forbidden for one in asked), **figures(asked)}
    if details:
        details.write_bytes(orjson.dumps(_everything(summary, asked), option=orjson.OPT_INDENT_2))
    typer.echo(orjson.dumps(summary).decode())
    if not summary["ok"]:
        raise typer.Exit(1)


@contextmanager
def _services(state: Path | None, cache: Path) -> Iterator[tuple[Path, Endpoints]]:
    """The services of a folder, which stay as they are; or own ones, which end with this process, however it ends."""
    if state is not None:
        yield state, services.up(state, cache)
        return
    with tempfile.TemporaryDirectory(prefix="freshet-eval-") as folder:
        home = Path(folder)
        try:
            yield (
                home,
                services.up(home, cache, until_pid=os.getpid(), report=lambda s, text: notes.print(f"{s}: {text}")),
            )
        finally:
            services.down(home, wipe=True)


def _everything(summary: dict[str, Any], asked: list[Asked]) -> dict[str, Any]:
    tasks = [
        {
            "id": one.task.id,
            "group": one.task.group,
            "ranks": one.ranks,
            "forbidden": one.forbidden,
            "abstained": one.abstained,
            "milliseconds": one.milliseconds,
            "context": one.context.model_dump(mode="json"),
        }
        for one in asked
    ]
    return {"summary": summary, "groups": groups(asked), "tasks": tasks}


if __name__ == "__main__":
    typer.run(main)
