"""`python -m api`: the server, and questions from a terminal."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from api import show
from api.ask import ApiClient, url_of
from api.serve import serve as serve_api
from processors import logs
from processors.terminal import run_command
from schemas.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Answers about running software: serve them to any OpenAI client, or ask from here.",
)
notes = Console(stderr=True, highlight=False)
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON, for scripts.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="Plain text.")]
Url = Annotated[str, typer.Option(help="Of the API. Default: from the settings (host and port).")]


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. Default: from the settings.")] = "",
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="0: a free one. Default: from the settings.")
    ] = None,
) -> None:
    """Serve the chat API. The URL is the first line of the output.

    Exit codes: 1 could not start; else that of the signal that ended it (143, 130), after answers under way.
    """
    settings = Settings.load()
    chosen = {"host": host or settings.api.host, "port": settings.api.port if port is None else port}
    settings = settings.model_copy(update={"api": settings.api.model_copy(update=chosen)})
    logs.configure(settings.log_level)
    serve_api(settings, typer.echo)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="In your own words; times and names in it are understood.")],
    url: Url = "",
    now: Annotated[str, typer.Option(help="Ask as of this moment (ISO 8601 with zone).")] = "",
    cluster: Annotated[list[str] | None, typer.Option(help="Look at this cluster only; may be repeated.")] = None,
    namespace: Annotated[list[str] | None, typer.Option(help="Look at this namespace only; may be repeated.")] = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
) -> None:
    """Ask the running API, and show the answer with what it rests on.

    Exit codes: 0 answered, 1 the API is away or refuses, 2 wrong usage.
    """
    settings = Settings.load().api
    scope = {"clusters": cluster or [], "namespaces": namespace or []}
    extension: dict[str, Any] = ({"now": now} if now else {}) | ({"scope": scope} if any(scope.values()) else {})
    with ApiClient(url or url_of(settings), settings) as client:
        if as_json:
            typer.echo(json.dumps(client.completion(question, extension)))
            return
        console = Console(no_color=no_color, highlight=False)
        waiting = Text("Looking at what your systems say ...", style="dim")
        # On a terminal the answer grows here, and is shown again in full and with its sources below.
        with Live(waiting, console=console, transient=True, refresh_per_second=8) as live:
            said = client.ask(question, extension, lambda text: live.update(show.tail(text, console)))
        console.print(show.answer(said))


@app.command()
def evidence(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As an answer cites it.")],
    context: Annotated[int, typer.Option(min=0, max=100, help="Lines of the same container before and after.")] = 0,
    url: Url = "",
    as_json: AsJson = False,
    no_color: NoColor = False,
) -> None:
    """Show what a citation stands for: its documents, and its source records read back from Kafka."""
    settings = Settings.load().api
    with ApiClient(url or url_of(settings), settings) as client:
        detail = client.evidence(identity, context)
    if as_json:
        typer.echo(json.dumps(detail.model_dump(mode="json")))
        return
    Console(no_color=no_color, highlight=False).print(show.evidence(detail))


if __name__ == "__main__":
    run_command(app)
