"""`python -m tests.answers NAME`: the tables of corrupted, injected, isolated and interrupted answers."""

import importlib
from typing import Annotated, Final

import orjson
import typer
from rich.console import Console

from tests.answers.trial import Outcome, Trial
from tests.benchmarks.machine import hardware

TRIALS: Final = {
    "corrupted": "right answers with one number, name, time, quote or citation changed: how many are caught",
    "injection": "a model that obeys every injected instruction: what comes out",
    "isolation": "two scopes with canaries, adversarial requests; with the filter off they must leak",
    "requests": "thousands of generated requests over all endpoints: no 5xx, no schema violation",
    "disconnects": "clients that hang up at every phase, and cancelled requests under load",
}
notes = Console(stderr=True, highlight=False)
out = Console(highlight=False, width=None if Console().is_terminal else 140)


def main(
    name: Annotated[str, typer.Argument(help="; ".join(f"{name}: {what}" for name, what in TRIALS.items()))],
    full: Annotated[bool, typer.Option(help="The long run.")] = False,
    state: Annotated[str, typer.Option(help="Use the services of this folder; own ones otherwise.")] = "",
) -> None:
    """Play one kind of trouble, print its table and one JSON line. Exit code 1 when it falls short."""
    if name not in TRIALS:
        raise typer.BadParameter(f"{name!r}: choose from {', '.join(TRIALS)}")
    trial = Trial(full=full, state=state, note=lambda text: notes.print(text, markup=False))
    outcome: Outcome = importlib.import_module(f"tests.answers.{name}").run(trial)
    out.print(outcome.table)
    typer.echo(orjson.dumps({"name": name, "ok": outcome.ok, **outcome.figures, "hardware": hardware()}).decode())
    if not outcome.ok:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
