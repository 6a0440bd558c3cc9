"""`python -m streams insights ...`: read the topic of incidents, and tell others of it."""

import datetime as dt
from collections.abc import Callable, Iterator
from threading import Event
from typing import Annotated

import typer
from confluent_kafka import OFFSET_END
from rich.console import Console

from cag.topic import Topic, describe, read_to_end
from processors import logs
from processors.registry import address, registry_client
from schemas.errors import InvalidRecord, StartupError
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from streams.insights import lines, twin
from streams.insights.bridge import Bridge
from streams.insights.export import export
from streams.insights.reading import Present, Reader, Revisions, present
from streams.insights.receivers import Alertmanager, Receiver, Webhook
from streams.insights.records import SCHEMA_FILE, RecordDecoder, revision_of
from streams.insights.replay_command import HELP as REPLAY_HELP
from streams.insights.replay_command import replay
from streams.moments import moment_ms
from streams.replay.run import stopped_by_signals

app = typer.Typer(no_args_is_help=True, help="Incidents: watch them, look at one, send them on, tell them again.")
app.command("replay", help=REPLAY_HELP)(replay)
app.command()(export)
notes = Console(stderr=True, highlight=False)
answers = Console(highlight=False, soft_wrap=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, for scripts.")]
OfTopic = Annotated[str, typer.Option("--topic", help="Another insight topic, such as a replay's.")]


@app.command()
def tail(
    since: Annotated[str, typer.Option(help="beginning, now, a moment, or an age such as 1h.")] = "now",
    present_first: Annotated[bool, typer.Option("--present", help="Open incidents first, then what is new.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on, or end when all is read.")] = True,
    cluster: Annotated[str, typer.Option(help="Only of this cluster.")] = "",
    namespace: Annotated[str, typer.Option(help="Only what touches this namespace.")] = "",
    state: Annotated[list[str] | None, typer.Option(help="opened, updated, merged, resolved; may be repeated.")] = None,
    severity: Annotated[list[str] | None, typer.Option(help="critical, warning, info; may be repeated.")] = None,
    entity: Annotated[str, typer.Option(help="A name, or kind/name: affected, or a probable cause.")] = "",
    topic: OfTopic = "",
    as_json: AsJson = False,
) -> None:
    """Print each revision of each incident once, as it comes. Ctrl-C ends it."""
    settings = Settings.load()
    chosen = lines.Filters(
        cluster=cluster, namespace=namespace, states=state or (), severities=severity or (), entity=entity
    )
    stop = stopped_by_signals()
    for insight in _revisions(settings, topic, since, present_first, follow, stop):
        if chosen.take(insight):
            _print(insight, as_json)


@app.command()
def show(
    incident: Annotated[str, typer.Argument(metavar="ID", help="Incident id.")],
    topic: OfTopic = "",
    as_json: AsJson = False,
) -> None:
    """Print the newest revision of one incident. Exit code 1 when the topic does not hold it (any more)."""
    settings = Settings.load()
    there, decode = _topic(settings, topic), _decoder(settings)
    newest: Message | None = None
    seen = Revisions()
    for record in read_to_end(settings.kafka, there):
        if isinstance(record, Message) and record.key == incident.encode():
            try:
                fresh = seen.news(*revision_of(record))
            except InvalidRecord:
                continue
            newest = record if fresh else newest
    if newest is None:
        raise StartupError(f"{there.name} holds no incident {incident}: `streams insights tail --since beginning`")
    _print(decode(newest), as_json, whole=True)


@app.command()
def schema(
    as_json_schema: Annotated[bool, typer.Option("--json-schema", help="The twin, for people without Avro.")] = False,
) -> None:
    """Print the schema of the topic's values: Avro, or JSON Schema."""
    typer.echo(twin.text() if as_json_schema else SCHEMA_FILE.read_text(), nl=False)


@app.command()
def bridge(
    webhook: Annotated[
        str, typer.Option(metavar="URL", help="Notify this one, as FRESHET_BRIDGE__WEBHOOK_URL does where nobody sees.")
    ] = "",
) -> None:
    """Tell an Alertmanager (FRESHET_BRIDGE__ALERTMANAGER_URL) of each live incident, or notify a webhook.

    A webhook gets what Alertmanager would send, when an incident begins, gets worse and is over; it is used where no
    Alertmanager is set. Each has its own group and positions. Run one of each: a second one is harmless to an
    Alertmanager, and tells a webhook twice. Replays are never told.
    """
    settings = Settings.load()
    logs.configure(settings.log_level)
    stop = stopped_by_signals()
    by_settings = settings.bridge.alertmanager_url is None and settings.bridge.webhook_url.get_secret_value()
    if webhook or by_settings:
        receiver: Receiver = Webhook(settings.bridge, webhook)
        group = "insights-webhook"
    else:
        receiver, group = Alertmanager(settings.bridge), "insights-bridge"
    Bridge.from_settings(settings, receiver, group, stop).run()


def _revisions(
    settings: Settings, topic: str, since: str, present_first: bool, follow: bool, stop: Event
) -> Iterator[Insight]:
    there, decode = _topic(settings, topic), _decoder(settings)
    revisions, starts = Revisions(), {}
    reader = Reader(settings.kafka, there, f"{settings.kafka.group}.insights-tail")
    if present_first:
        found = present(read_to_end(settings.kafka, there))
        revisions, starts = found.revisions, found.ends
        yield from sorted(_decoded(found, decode), key=lambda insight: (insight.started, insight.id))
        if not follow:
            return
    elif since == "now":
        starts = dict.fromkeys(there.partitions, OFFSET_END)
    elif since != "beginning":
        starts = reader.since(moment_ms(since, dt.datetime.now(dt.UTC), option="--since"))
    reader.start(starts)
    for message in reader.follow(stop, to_end=not follow):
        try:
            if revisions.news(*revision_of(message)):
                yield decode(message)
        except InvalidRecord as error:
            _odd(message, error)
    reader.close()


def _decoded(found: Present, decode: Callable[[Message], Insight]) -> Iterator[Insight]:
    for message in found.open.values():
        try:
            yield decode(message)
        except InvalidRecord as error:
            _odd(message, error)


def _odd(message: Message, error: InvalidRecord) -> None:
    notes.print(f"{message.topic}/{message.partition}/{message.offset}: {error.reason}", markup=False, style="yellow")


def _print(insight: Insight, as_json: bool, *, whole: bool = False) -> None:
    if as_json:
        typer.echo(insight.model_dump_json())
    else:
        answers.print(lines.whole(insight) if whole else lines.line(insight))


def _topic(settings: Settings, name: str) -> Topic:
    return describe(settings.kafka, name or settings.insights.topic)


def _decoder(settings: Settings) -> RecordDecoder:
    return RecordDecoder(registry_client(settings.registry), address(settings.registry))
