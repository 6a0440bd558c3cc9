"""`python -m tests.benchmarks [NAME]`: a table and one JSON line for each, and all of them in one table at the end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import FreshetError
from tests.benchmarks import (
    burst,
    cache,
    consumer,
    door,
    embedding,
    formats,
    freshness,
    gateway,
    growth,
    load,
    rate,
    replay,
    retrieval,
    runbooks,
    spark,
    startup,
    templates,
    workers,
)
from tests.benchmarks.bench import Bench, Measure, Summary
from tests.benchmarks.machine import hardware

BENCHMARKS: Final[Mapping[str, Measure]] = {
    "burst": burst.run,
    "cache": cache.run,
    "consumer": consumer.run,
    "door": door.run,
    "embedding": embedding.run,
    "formats": formats.run,
    "freshness": freshness.run,
    "gateway": gateway.run,
    "growth": growth.run,
    "load": load.run,
    "rate": rate.run,
    "replay": replay.run,
    "retrieval": retrieval.run,
    "runbooks": runbooks.run,
    "spark": spark.run,
    "startup": startup.run,
    "templates": templates.run,
    "workers": workers.run,
}
out = Console(highlight=False, soft_wrap=True)


def main(
    name: Annotated[str, typer.Argument(help=f"{', '.join(BENCHMARKS)}; all without one")] = "",
    state: Annotated[Path, typer.Option(help="folder of the services")] = Path(".local"),
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
    seconds: Annotated[float, typer.Option(min=10, help="of marked lines (freshness)")] = 75.0,
    per_second: Annotated[float, typer.Option(help="background log lines (freshness, replay)")] = 50.0,
    lines: Annotated[int, typer.Option(min=1_000, help="of the backlog or the corpus")] = 100_000,
    partitions: Annotated[int, typer.Option(min=1, help="of the input topics")] = 24,
    minutes: Annotated[float, typer.Option(min=0.1, help="of backlog to catch up with (load)")] = 1.0,
) -> None:
    """Measure, both sides in one run. Exit code 1 when a target or a guard is missed."""
    if name not in ("", *BENCHMARKS):
        raise typer.BadParameter(f"choose from {', '.join(BENCHMARKS)}")
    out.print(hardware())
    bench = Bench(
        out=out, state=state, cache=cache, seconds=seconds, lines=lines, partitions=partitions, per_second=per_second,
        minutes=minutes,
    )  # fmt: skip
    results: list[Summary] = []
    try:
        with bench.services:
            for each in (name,) if name else BENCHMARKS:
                results.append(BENCHMARKS[each](bench))
                typer.echo(json.dumps(results[-1]))
    except FreshetError as error:
        out.print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from None
    if len(results) > 1:
        table = Table("benchmark", "", "figure")
        for result in results:
            table.add_row(result["name"], "[green]ok[/]" if result["ok"] else "[red]short[/]", result["headline"])
        out.print(table)
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
