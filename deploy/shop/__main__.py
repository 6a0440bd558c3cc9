"""`python -m deploy.shop`: play incidents into Kafka or into files, list their kinds, write the runbooks."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.shop.delivery import KafkaDelivery, copy_runbooks, paced, write_set
from deploy.shop.incidents import KINDS
from deploy.shop.player import (
    DEFAULT_MINUTES,
    DEFAULT_RATE,
    REGIONS,
    TOPICS,
    Scenario,
    all_incidents,
    play,
    single_incident,
)
from schemas.errors import StartupError

FOLLOW = timedelta(days=365)  # "until it is stopped"
app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
screen = Console(stderr=True)


@app.command("list")
def list_kinds() -> None:
    """The kinds of incident, one a line."""
    for kind in KINDS.values():
        typer.echo(f"{kind.name:<20} {kind.summary}")


@app.command()
def runbooks(folder: Annotated[Path, typer.Argument(help="folder to write the Markdown files to")]) -> None:
    """Write the shop's runbooks to a folder."""
    typer.echo(f"{copy_runbooks(folder)} runbooks in {folder}")


@app.command("play")
def play_incident(
    incident: Annotated[str, typer.Option(help="kind of incident, see `list`")] = "pool-exhaustion",
    seed: Annotated[int, typer.Option(min=0, help="chooses victim and details")] = 3,
    every: Annotated[bool, typer.Option("--all", help="all kinds at once, a shop for each of --seeds")] = False,
    seeds: Annotated[str, typer.Option(help="with --all: comma separated")] = "1,2,3",
    minutes: Annotated[float, typer.Option(min=1, help="telemetry to play, ending now")] = DEFAULT_MINUTES,
    rate: Annotated[float, typer.Option(min=1, help="background log lines per second of event time")] = DEFAULT_RATE,
    speed: Annotated[float | None, typer.Option(min=0.1, help="times as fast as it happened")] = None,
    realtime: Annotated[bool, typer.Option(help="after the past part go on at the clock's pace until stopped")] = False,
    bootstrap: Annotated[
        str, typer.Option(envvar="FRESHET_KAFKA__BOOTSTRAP_SERVERS", help="Kafka, host:port")
    ] = "127.0.0.1:9092",
    prefix: Annotated[str, typer.Option(help="put before each topic's name")] = "",
    out: Annotated[Path | None, typer.Option(help="write an evaluation set to this folder instead")] = None,
) -> None:
    """Play one incident, or all of them, that began in the past and is at its worst now.

    Prints the questions and their expected evidence as JSON lines when done.
    """
    end = datetime.now(UTC)
    try:
        scenario = (
            all_incidents(_numbers(seeds), end=end, minutes=minutes, rate=rate)
            if every
            else single_incident(_known(incident), seed=seed, end=end, minutes=minutes, rate=rate)
        )
        if out is not None:
            name = f"shop-{'all' if every else incident}"
            written = write_set(play(replace(scenario, binary=False)), scenario.incidents, out, name=name)
            screen.print(f"{written} messages in {out}")
        else:
            topics = {topic: prefix + topic for topic in TOPICS}
            _deliver(scenario, KafkaDelivery(bootstrap, topics=topics), speed=speed, realtime=realtime)
    except StartupError as error:
        screen.print(str(error), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    for one in scenario.incidents:
        for task in one.tasks():
            typer.echo(json.dumps(task))


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind} is none of {', '.join(KINDS)}", param_hint="--incident")
    return kind


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if (
        not all(part.strip().isdecimal() for part in parts)
        or len(set(parts)) != len(parts)
        or len(parts) > len(REGIONS)
    ):
        raise typer.BadParameter(f"give up to {len(REGIONS)} different numbers, commas between", param_hint="--seeds")
    return tuple(int(part) for part in parts)


def _deliver(scenario: Scenario, delivery: KafkaDelivery, *, speed: float | None, realtime: bool) -> None:
    """Send the past part with a progress bar, then, in real time, go on until Ctrl-C."""
    began_s, start_ms = time.monotonic(), scenario.start.timestamp() * 1000
    past_s = (scenario.end - scenario.start).total_seconds()
    messages = play(scenario, until=scenario.end + FOLLOW if realtime else None)
    if speed is not None and not realtime:
        factor = speed
        messages = paced(messages, lambda message: began_s + (message.timestamp_ms - start_ms) / 1000 / factor)
    if realtime:
        messages = paced(messages, lambda message: message.timestamp_ms / 1000, clock=time.time)
    columns = (TextColumn("playing {task.fields[when]}"), BarColumn(), TextColumn("{task.fields[sent]} messages"))
    sent = 0
    try:
        with Progress(*columns, TimeElapsedColumn(), console=screen) as progress:
            bar = progress.add_task("", total=past_s, when="", sent=0)
            for message in messages:
                delivery.send(message)
                sent += 1
                if sent % 500 == 0 or realtime:
                    when = datetime.fromtimestamp(message.timestamp_ms / 1000, UTC)
                    played_s = (message.timestamp_ms - start_ms) / 1000
                    progress.update(bar, completed=min(past_s, played_s), when=f"{when:%H:%M:%S}", sent=sent)
            progress.update(bar, completed=past_s, sent=sent)
    except KeyboardInterrupt:
        screen.print("stopped")
    screen.print(f"{delivery.finish()} messages confirmed by Kafka")


if __name__ == "__main__":
    app()
