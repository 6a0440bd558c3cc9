"""`python -m deploy.local`: the local services for people."""

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from deploy.local import services
from deploy.local.service import log_of
from schemas.errors import StartupError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Kafka, OpenSearch, Redis and a schema registry on free loopback ports, without Docker.",
)
State = Annotated[
    Path,
    typer.Option("--state", help="Folder for ports, logs and what the services store."),
]
Cache = Annotated[
    Path,
    typer.Option(
        "--cache",
        envvar="FRESHET_CACHE",
        help="Folder for downloads, outside the checkout.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
DEFAULT_STATE = Path(".local")
DEFAULT_CACHE = Path("~/.cache/freshet")


@app.command()
def up(
    state: State = DEFAULT_STATE,
    cache: Cache = DEFAULT_CACHE,
    only: Annotated[str, typer.Option(help="Comma separated services instead of all.")] = "",
    java_home: Annotated[
        Path | None,
        typer.Option(envvar="JAVA_HOME", help="Java 21 or newer to prefer."),
    ] = None,
    opensearch_heap_mb: Annotated[int, typer.Option(min=256, help="Heap of OpenSearch in MB.")] = 512,
    until_pid: Annotated[int | None, typer.Option(help="Stop everything when this process ends.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start what does not run yet; the first time it downloads about 380 MB."""
    console, began = Console(stderr=as_json, highlight=False), time.monotonic()

    def report(service: str, text: str) -> None:
        console.print(f"[bold]{service:<11}[/] {text}", soft_wrap=True)

    def interrupted(number: int, frame: FrameType | None) -> NoReturn:
        console.show_cursor()
        console.print("interrupted; what was started goes on: `down` stops it, `up` continues")
        os._exit(130)  # without waiting for the threads that wait for services

    signal.signal(signal.SIGINT, interrupted)
    with console.status("starting the local services"):
        endpoints = services.up(
            state,
            cache,
            only=[name.strip() for name in only.split(",") if name.strip()] or list(services.SERVICES),
            report=report,
            java_home=java_home,
            opensearch_heap_mb=opensearch_heap_mb,
            until_pid=until_pid,
        )
    if as_json:
        typer.echo(json.dumps(asdict(endpoints)))
    else:
        console.print(f"up in {time.monotonic() - began:.1f} s; settings for the product: {state / 'freshet.env'}")


@app.command()
def down(
    state: State = DEFAULT_STATE,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also delete everything that was stored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Stop all services of the state folder, also after a crash."""
    stopped = services.down(state, wipe=wipe)
    typer.echo(json.dumps(stopped) if as_json else f"stopped: {', '.join(stopped) or 'nothing was running'}")


@app.command()
def status(state: State = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Show address, process and memory; exit code 1 unless all services that were started run."""
    rows = services.status(state)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
    else:
        table = Table("service", "state", "address", "pid", "memory MB", box=None)
        for row in rows:
            table.add_row(row.name, row.state, row.address, str(row.pid or "-"), str(row.memory_mb or "-"))
        console = Console(highlight=False)
        console.width = max(console.width, 100)  # an address must never be cut
        console.print(table if rows else f"nothing was ever started in {state}")
    if not rows or any(row.state != "running" for row in rows):
        raise typer.Exit(1)


@app.command()
def logs(
    service: Annotated[str, typer.Argument(help="One service; all when left out.")] = "",
    state: State = DEFAULT_STATE,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = 40,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is written.")] = False,
) -> None:
    """Print the end of the services' logs."""
    paths = [log_of(state.resolve(), name) for name in services.SERVICES if service in ("", name)]
    present = [str(path) for path in paths if path.is_file()]
    if not present:
        raise StartupError(f"no log of {service or 'any service'} in {state}: run `up` first")
    with contextlib.suppress(KeyboardInterrupt):
        subprocess.run(["tail", "-n", str(lines), *(["-F"] if follow else []), *present], check=True)


def main() -> None:
    """Run the command; what an operator can mend is one line and exit code 1."""
    try:
        app()
    except StartupError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
