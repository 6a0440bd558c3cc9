"""`python -m streams insights replay`."""

import datetime as dt
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.insights import Insight
from schemas.settings import Settings
from streams.insights import lines
from streams.insights.replay import FOR_EVER_MS, Progress, ReplayTopic, from_inputs, from_summaries
from streams.moments import moment_ms

HELP = """Tell incidents again from the summaries that Kafka still holds, by the same code as the workers.

Printed, or with --into NAME written to a topic of their own, <insights topic>.replay.NAME. Never into the topic that
people are paged from, so a replay pages nobody.

With --inputs they are told from the telemetry topics themselves: for a time before there were summaries, or with
other FRESHET_DETECTION__* and FRESHET_CORRELATION__* settings. Nothing is indexed. What is usual is learned on the way,
so begin some hours before what is to be looked at.
"""
notes = Console(stderr=True, highlight=False)
answers = Console(highlight=False, soft_wrap=True)


def replay(
    inputs: Annotated[bool, typer.Option("--inputs", help="From the input topics instead of the summaries.")] = False,
    since: Annotated[
        str, typer.Option("--from", help="With --inputs: a moment (2026-11-20T14:05Z) or how long ago (2h).")
    ] = "",
    until: Annotated[str, typer.Option("--to", help="The same, by Kafka's time; else up to the present end.")] = "",
    into: Annotated[str, typer.Option(metavar="NAME", help="Write them to the replay topic of this name.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="An object a line, for scripts.")] = False,
) -> None:
    if since and not inputs:
        raise typer.BadParameter("goes with --inputs: summaries are always read from their first", param_hint="--from")
    settings, done, now = Settings.load(), Progress(), dt.datetime.now(dt.UTC)
    since_ms = moment_ms(since, now, option="--from") if since else 0
    until_ms = moment_ms(until, now, option="--to") if until else FOR_EVER_MS
    told: Iterable[Insight] = (
        from_inputs(settings, done, since_ms, until_ms) if inputs else from_summaries(settings, done, until_ms)
    )
    if into:
        topic = ReplayTopic(settings, into)
        told = topic.fill(told, threading.Event())
    incidents = set()
    for insight in _watched(told, done):
        incidents.add(insight.id)
        if as_json:
            typer.echo(insight.model_dump_json())
        elif not into:
            answers.print(lines.line(insight))
    where = f" written to {topic.name}" if into else ""
    notes.print(
        f"{done.messages:,} messages read, {done.rejected:,} rejected; {done.insights:,} revisions of "
        f"{len(incidents):,} incidents{where}",
        markup=False,
    )


def _watched(told: Iterable[Insight], done: Progress) -> Iterator[Insight]:
    """Say on a terminal how far it has come."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=notes, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading", total=None)
        for insight in told:
            done.insights += 1
            at = dt.datetime.fromtimestamp(done.reached_ms / 1000, dt.UTC)
            bar.update(task, description=f"{done.messages:,} messages, at {at:%Y-%m-%d %H:%M}")
            yield insight
