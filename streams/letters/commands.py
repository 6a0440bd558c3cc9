"""`python -m streams dead-letters list | show | replay`."""

import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Event
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cag.source_records import KafkaFetch, RecordExpired
from cag.topic import Topic, describe, read_to_end
from processors import logs
from processors.fold import Fold
from processors.generation import group_of
from processors.pipeline import Pipeline
from processors.sink import Sink, live_label, open_index
from schemas.dead_letters import DeadLetter, Foreign, Letter
from schemas.errors import SinkUnavailable, StartupError
from schemas.records import Coordinates, Message
from schemas.settings import Settings
from streams.letters import view
from streams.letters.replay import Positions, Replayer, plan, verdict
from streams.letters.scan import Catalog, Filters, Found, LetterPlace, by_age, find, known_topics, parse_place
from streams.moments import moment_ms
from streams.topics import Broker

app = typer.Typer(no_args_is_help=True, help="What could not be used: look at it, mend the cause, count it after all.")
notes = Console(stderr=True, highlight=False)
answers = Console(highlight=False, soft_wrap=True)
WIDE: Final = 240  # columns of a table that no terminal shows
REDRAW_S: Final = 0.1

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
OfTopic = Annotated[str, typer.Option("--topic", help="Only records of this input topic.")]
OfStage = Annotated[str, typer.Option("--stage", help="Only what was rejected at this stage: decode, index.")]
OfReason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Only reasons that hold this text.")]
Since = Annotated[str, typer.Option(help="Only letters written since: an ISO 8601 moment, or an age such as 90m, 2d.")]
Until = Annotated[str, typer.Option(help="Only letters written before: a moment or an age.")]


@app.command("list")
def list_letters(
    topic: OfTopic = "",
    stage: OfStage = "",
    reason: OfReason = "",
    since: Since = "",
    until: Until = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest last. Copies that a crash left behind are folded and counted."""
    settings, filters = Settings.load(), _filters(topic, stage, reason, since, until)
    catalog = _catalog(settings, _topic(settings))
    chosen = catalog.chosen(filters)
    foreign = [thing for thing in catalog.foreign if filters.foreign(thing)]
    things: list[Letter | Foreign] = [*chosen, *foreign]
    things = sorted(things, key=by_age)[-limit:]
    listed = sum(isinstance(thing, Letter) for thing in things)
    if as_json:
        typer.echo(json.dumps(view.list_json(catalog, things, chosen)))
        return
    if things:
        Console(highlight=False, width=None if answers.is_terminal else WIDE).print(view.table(catalog, things))
    for line in view.summary(catalog, chosen, listed):
        typer.echo(line)


@app.command("show")
def show_letter(
    where: Annotated[str, typer.Argument(help="PARTITION/OFFSET of the letter, or TOPIC/PARTITION/OFFSET\\[/INDEX].")],
    raw: Annotated[
        str, typer.Option(metavar="FILE", help="Write the original bytes, not redacted, to a new file.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show one letter: reason, headers, and its value, redacted. Exit code 1 when it is not there (any more)."""
    settings, place = Settings.load(), parse_place(where)
    topic, known = _topic(settings), known_topics(settings.kafka)
    with _fetcher(settings, topic) as fetch:
        found = find(place, fetch=fetch, scan=lambda: _catalog(settings, topic), known=known)
    pipeline = Pipeline.from_settings(settings)
    if raw:
        _write_raw(raw, found)
    body = view.found_json(found, pipeline.redact, verdict(pipeline, found))
    if as_json:
        typer.echo(json.dumps(body))
        return
    answers.print(view.found_text(body))
    if others := view.others_note(found):
        notes.print(others, markup=False)


@app.command("replay")
def replay_letters(
    topic: OfTopic = "",
    stage: OfStage = "",
    reason: OfReason = "",
    since: Since = "",
    until: Until = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Count after all what can be decoded by now, with the present inputs (FRESHET_KAFKA__INPUTS).

    Repeat it as often as you like, interrupt it, replay a part first: each record counts once. What is rejected again
    stays where it is and is reported; the exit code is 0 all the same.
    """
    settings, filters = Settings.load(), _filters(topic, stage, reason, since, until)
    logs.configure(settings.log_level)
    label = live_label(settings)
    letters_topic = _topic(settings)
    catalog = _catalog(settings, letters_topic)
    pipeline = Pipeline.from_settings(settings)
    positions = _positions(settings, group_of(settings.kafka.group, label))
    planned = plan(catalog, filters, inputs=pipeline.inputs, live=label, positions=positions)
    if planned.letters:
        replayer = Replayer(
            pipeline=pipeline,
            topic_id=letters_topic.topic_id,
            tally=planned.tally,
            write=(lambda _: []) if dry_run else _writer(settings, label),
            slices=open_index(settings, label).slices,
        )
        with _progress("replaying", planned.letters) as tick:
            replayer.run(read_to_end(settings.kafka, letters_topic), planned.wanted, tick)
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, "generation": label, **planned.tally.as_dict()}))
        return
    for line in view.tally_lines(planned.tally, dry_run=dry_run):
        typer.echo(line)


def _writer(settings: Settings, label: str) -> Callable[[Fold], list[DeadLetter]]:
    sink, stop = Sink.from_settings(settings, label=label), Event()
    sink.prepare()
    return lambda fold: sink.write(fold, stop)


def _filters(topic: str, stage: str, reason: str, since: str, until: str) -> Filters:
    now = dt.datetime.now(dt.UTC)
    return Filters(
        topic=topic,
        stage=stage,
        reason=reason,
        since_ms=moment_ms(since, now, option="--since") if since else 0,
        until_ms=moment_ms(until, now, option="--until") if until else None,
    )


def _topic(settings: Settings) -> Topic:
    Broker(settings.kafka).reach()
    return describe(settings.kafka, settings.kafka.dead_letters_topic)


def _catalog(settings: Settings, topic: Topic) -> Catalog:
    places = [(topic.name, partition) for partition in topic.partitions]
    # Of a group that has acknowledged nothing: all that the topic holds.
    total = sum(Broker(settings.kafka).lag(f"{settings.kafka.group}.reader", places).values())
    catalog = Catalog(known=known_topics(settings.kafka))
    with _progress(f"reading {topic.name}", total) as tick:
        catalog.read(read_to_end(settings.kafka, topic), tick)
    return catalog


def _positions(settings: Settings, group: str) -> Positions:
    broker = Broker(settings.kafka)
    ids = broker.topic_ids(i.topic for i in settings.kafka.inputs)
    places = [(name, partition) for name in ids for partition in broker.partitions(name)]
    return Positions(topic_ids=ids, committed=broker.committed(group, places) if places else {})


@contextmanager
def _fetcher(settings: Settings, topic: Topic) -> Iterator[Callable[[LetterPlace], Message]]:
    kafka = KafkaFetch(settings.kafka)

    def fetch(place: LetterPlace) -> Message:
        if place.partition not in topic.partitions:
            raise StartupError(f"{topic.name} has no partition {place.partition}, only {len(topic.partitions)}")
        try:
            return kafka(Coordinates(topic.name, topic.topic_id, place.partition, place.offset))
        except RecordExpired as error:
            raise StartupError(
                f"letter {place.partition}/{place.offset} is not in {topic.name} any more: {error}"
            ) from None
        except SinkUnavailable as error:
            raise StartupError(f"letter {place.partition}/{place.offset} of {topic.name}: {error}") from None

    with closing(kafka):
        yield fetch


def _write_raw(path: str, found: Found) -> None:
    """A new file that nobody else may read. Raises StartupError."""
    value = found.message.value or b""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(value)
    except OSError as error:
        raise StartupError(f"{path} cannot be written: {error.strerror}; name a file that does not exist") from None
    notes.print(
        f"wrote {len(value):,} bytes to {path}: not redacted, it may hold secrets; delete it after use", markup=False
    )


@contextmanager
def _progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, drawn a few times a second however often it is moved."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=notes, transient=True) as progress:
        task, done, drawn = progress.add_task(text, total=total), 0, 0.0

        def tick(more: int) -> None:
            nonlocal done, drawn
            done += more
            if (now := time.monotonic()) - drawn > REDRAW_S:
                drawn = now
                progress.update(task, completed=done)

        yield tick
        progress.update(task, completed=done)
