"""`python -m streams`: the worker and the commands around it."""

import datetime as dt
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from processors.terminal import run_command
from schemas.records import Format
from schemas.settings import Settings
from streams import purge_commands, topics, worker
from streams.doctor import examine
from streams.expire import Shelf, expired
from streams.insights import commands as insight_commands
from streams.letters import commands as dead_letter_commands
from streams.recording import Place
from streams.replay import commands as replay_commands
from streams.send import Options, report, send

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Telemetry from Kafka into the index: the worker, its topics, retention, and a way to try your own logs.",
)
topic_commands = typer.Typer(no_args_is_help=True, help="The topics that the product needs.")
app.add_typer(topic_commands, name="topics")
app.add_typer(dead_letter_commands.app, name="dead-letters")
app.add_typer(replay_commands.app, name="replay")
app.add_typer(insight_commands.app, name="insights")
app.command("purge")(purge_commands.purge)

notes = Console(stderr=True, highlight=False)
answers = Console(highlight=False, soft_wrap=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command("worker")
def run_worker(
    only: Annotated[
        str, typer.Option(help=f"Comma separated, instead of everything: {', '.join(worker.CHOICES)}.")
    ] = "",
) -> None:
    """Consume, fold, index, acknowledge. Stops on SIGTERM with everything flushed.

    Exit codes: 1 could not start, 70 defect, 71 no progress or frozen for long, 72 too many dead letters, 73 a topic
    was replaced, 74 another generation is live (a restart follows it), 75 stopped while a service was away. Whatever
    the code, nothing unfinished is acknowledged: start it again.
    """
    chosen = {name.strip() for name in only.split(",") if name.strip()} or set(worker.CHOICES)
    if unknown := chosen - set(worker.CHOICES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(worker.CHOICES)}")
    worker.run(Settings.load(), chosen)


@topic_commands.command("create")
def create_topics() -> None:
    """Make the topics that are missing; those that exist stay as they are."""
    settings = Settings.load()
    broker = _broker(settings)
    for name, made in broker.create(settings.topics_table(), settings.kafka.replication_factor).items():
        typer.echo(f"{name}: {'created' if made else 'exists'}")


@topic_commands.command("describe")
def describe_topics(as_json: AsJson = False) -> None:
    """Show each topic: what it is for, what the broker has."""
    settings = Settings.load()
    table = settings.topics_table()
    found = _broker(settings).describe(t.name for t in table)
    if as_json:
        rows = [
            {"name": t.name, "purpose": t.purpose, "exists": t.name in found}
            | ({"id": d.topic_id, "partitions": d.partitions, "replication": d.replication} if d else {})
            for t, d in ((t, found.get(t.name)) for t in table)
        ]
        typer.echo(json.dumps(rows))
        return
    shown = Table("topic", "partitions", "replication", "cleanup", "keeps", "purpose", box=None)
    for topic in table:
        if there := found.get(topic.name):
            cleanup = there.config.get("cleanup.policy", "")
            keeps = "newest per key" if cleanup == "compact" else _duration(there.config.get("retention.ms", ""))
            shown.add_row(topic.name, str(there.partitions), str(there.replication), cleanup, keeps, topic.purpose)
        else:
            shown.add_row(topic.name, "missing", "", "", "", topic.purpose)
    answers.print(shown)


@topic_commands.command("verify")
def verify_topics() -> None:
    """Compare the broker's topics with the table; one line for each difference, exit code 1 if there is any."""
    settings = Settings.load()
    table = settings.topics_table()
    found = _broker(settings).describe(t.name for t in table)
    lines = topics.differences(table, found, settings.kafka.replication_factor)
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(1)
    typer.echo(f"{len(table)} topics are as they should be")


@app.command()
def expire(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, drop nothing.")] = False,
    now: Annotated[str, typer.Option(help="ISO 8601 moment instead of the present, such as 2026-11-20T00:00Z.")] = "",
) -> None:
    """Drop the days that are older than the retention of their kind (FRESHET_RETENTION__*, in days). Run it daily."""
    settings = Settings.load()
    shelf = Shelf(settings)
    everything = shelf.all()
    going = expired(everything, settings.retention, _moment(now))
    for index in sorted(going, key=lambda i: i.name):
        if not dry_run:
            shelf.drop(index)
        verb = "would drop" if dry_run else "dropped"
        typer.echo(f"{verb} {index.name}: {index.documents} documents, {index.size_bytes / 1e6:.1f} MB")
    typer.echo(f"{len(everything) - len(going)} day indices stay, {len(going)} {'would go' if dry_run else 'went'}")


@app.command("send")
def send_file(
    source: Annotated[str, typer.Argument(metavar="FILE|-", help="Text or JSON lines, gzip allowed; - is a pipe.")],
    topic: Annotated[str, typer.Option(help="Where to.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="How to read times, instead of what the topic's input says.")
    ] = None,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move all times so that the last record is now.")
    ] = False,
    speed: Annotated[
        float | None, typer.Option(min=0.001, help="Replay at this pace; 1 is the recorded one. Otherwise at once.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=100_000, help="Lines per Kafka message.")] = 1,
    key_field: Annotated[str, typer.Option(help="JSON field to use as key, such as kubernetes.pod_name.")] = "",
    cluster: Annotated[str, typer.Option(help="For plain lines: who speaks.")] = "",
    namespace: Annotated[str, typer.Option(help="For plain lines: who speaks.")] = "",
    pod: Annotated[str, typer.Option(help="For plain lines: who speaks.")] = "",
) -> None:
    """Try it on your own logs: send a file, or what another program prints, to a topic.

    Plain lines go as they are, or as Fluent Bit would send them when they are given a pod, a namespace or a cluster or
    are moved in time. A line {"value": ..., "key": ..., "headers": {...}, "timestamp_ms": ...} is taken apart.

    kubectl logs deploy/web --timestamps | python -m streams send - --topic logs --namespace shop --pod web-1
    """
    settings = Settings.load()
    options = Options(
        source=source,
        topic=topic,
        format=format_,
        shift_to_now=shift_to_now,
        speed=speed,
        batch=batch,
        key_field=key_field,
        place=Place(cluster=cluster, namespace=namespace, pod=pod),
    )
    topics.require(_broker(settings), [topic])
    sent = send(settings.kafka, options, notes)
    for line in report(sent, options, topic in {i.topic for i in settings.kafka.inputs}):
        typer.echo(line)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Try every connection: one line each, fine or what to do. Exit code 1 when something that is needed fails."""
    checks = examine(Settings.load())
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            mark, style = ("ok", "green") if check.ok else ("WRONG", "red") if check.needed else ("warn", "yellow")
            answers.print(f"{mark:5} {check.name:10} {check.address}  {check.text}", markup=False, style=style)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(1)


def _moment(text: str) -> dt.datetime:
    if not text:
        return dt.datetime.now(dt.UTC)
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an ISO 8601 moment", param_hint="--now") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _broker(settings: Settings) -> topics.Broker:
    broker = topics.Broker(settings.kafka)
    broker.reach()
    return broker


def _duration(milliseconds: str) -> str:
    if milliseconds in ("", "-1"):
        return "for ever" if milliseconds else ""
    return f"{int(milliseconds) / 86_400_000:g} days"


if __name__ == "__main__":
    run_command(app)
