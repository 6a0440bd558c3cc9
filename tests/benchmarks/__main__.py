"""`python -m tests.benchmarks [freshness|rate|replay|spark]`: a table and one JSON line for each."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import FreshetError
from tests.benchmarks import corpus, freshness, rate, replay, spark
from tests.benchmarks.installed import installed, stack
from tests.benchmarks.machine import hardware

NAMES = ("freshness", "rate", "replay", "spark")
SPARK_LINES = 300_000  # at least: a few seconds of two cores
out = Console(highlight=False, soft_wrap=True)


def main(
    name: Annotated[str, typer.Argument(help="freshness, rate, replay or spark; all without one")] = "",
    state: Annotated[Path, typer.Option(help="folder of the services")] = Path(".local"),
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
    seconds: Annotated[float, typer.Option(min=10, help="of marked lines (freshness)")] = 75.0,
    per_second: Annotated[float, typer.Option(help="background log lines (freshness)")] = 50.0,
    lines: Annotated[int, typer.Option(min=1_000, help="of the backlog (rate)")] = 100_000,
    form: Annotated[str, typer.Option(help="lines a message: hundred or one; both without it (rate)")] = "",
    partitions: Annotated[int, typer.Option(min=1, help="of the input topics")] = 24,
    pair_seconds: Annotated[float, typer.Option(min=5, help="of each half of a pair (replay)")] = 20.0,
    unkeyed: Annotated[bool, typer.Option(help="messages without a key, otherwise the pod's name (rate)")] = False,
) -> None:
    """Measure on real services. Exit code 1 when a target or a guard is missed."""
    if name not in ("", *NAMES) or form not in ("", *rate.FORMS):
        raise typer.BadParameter(f"choose from {', '.join(NAMES)} and from --form {', '.join(rate.FORMS)}")
    out.print(hardware())
    results = []
    try:
        with stack(state, cache) as endpoints:
            if name in ("", "freshness"):
                out.print(f"freshness: the shop at {per_second:g} lines/s and its metrics, events and alerts")
                with installed("bench-freshness", state, endpoints, partitions) as installation:
                    figures = freshness.measure(installation, seconds=seconds, rate=per_second)
                freshness.show(figures, out)
                results.append(freshness.summary(figures))
                typer.echo(json.dumps(results[-1]))
            if name in ("", "rate"):
                keys = "no keys" if unkeyed else "keyed by pod"
                out.print(
                    f"rate: {lines:,} lines of the shop, seed {corpus.SEED}, all numbers and ids random, "
                    f"{corpus.EVENT_RATE:,.0f} lines/s of event time, {partitions} partitions, {keys}, one worker"
                )
                every = []
                for each in (form,) if form else tuple(rate.FORMS):
                    with installed(f"bench-rate-{each}", state, endpoints, partitions) as installation:
                        every.append(rate.measure(installation, each, count=lines, keyed=not unkeyed))
                rate.show(every, out)
                results.append(rate.summary(every))
                typer.echo(json.dumps(results[-1]))
            if name in ("", "replay"):
                out.print(
                    f"replay: {replay.PAIRS} pairs of {pair_seconds:g} s with and without a replay of "
                    f"{replay.BACKLOG:,} lines, under the shop at {per_second:g} lines/s, {partitions} partitions"
                )
                with installed("bench-replay", state, endpoints, partitions) as installation:
                    cost = replay.measure(installation, seconds=pair_seconds, rate=per_second)
                replay.show(cost, out)
                results.append(replay.summary(cost))
                typer.echo(json.dumps(results[-1]))
            if name in ("", "spark"):
                count = max(lines, SPARK_LINES)
                out.print(
                    f"spark: {count:,} lines of the shop, 100 a message, seed {corpus.SEED}, {partitions} partitions"
                )
                with installed("bench-spark", state, endpoints, partitions) as installation:
                    measured = spark.measure(installation, count=count, out=out)
                spark.show(measured, out)
                results.append(spark.summary(measured))
                typer.echo(json.dumps(results[-1]))
    except FreshetError as error:
        out.print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from None
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
