"""A confirmed incident as an evaluation case: the slice of the inputs around it, a question, what must be found.

Nothing raw leaves: each record of the slice is decoded, redacted as the worker would, and written anew from what is
left. What the topics have lost to retention meanwhile is said, in the case and on the screen.
"""

import gzip
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Annotated, Any, Final

import orjson
import typer
from confluent_kafka import OFFSET_END
from pydantic import ValidationError
from rich.console import Console

from cag.store import RunbookStore
from cag.topic import Topic, describe, read_to_end
from processors.decode import decode
from processors.redact_records import RecordRedactor
from processors.registry import address, registry_client
from schemas.errors import InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.insights import Cause, Insight, SymptomSummary
from schemas.records import Filtered, Message, Record, Rejected
from schemas.runbooks import Runbook
from schemas.settings import Settings
from schemas.topics import DEFAULT_INPUTS, Input
from streams.insights.feedback import feedback_of
from streams.insights.reading import Reader, Revisions
from streams.insights.recorded import SIGNALS, redacted, value_of
from streams.insights.records import RecordDecoder, revision_of
from streams.topics import Broker

BEFORE, AFTER = timedelta(minutes=30), timedelta(minutes=5)
LATE_MS: Final = 120_000  # what is written so much later than the slice's end is past it, in whatever order
ASKED_AFTER: Final = timedelta(minutes=2)  # it could be told: what else it does is seen by then
MOST_EXPECTED: Final = 3
_FILES: Final = {each.signal: each.topic for each in DEFAULT_INPUTS}
_WORDS: Final = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)+")
notes = Console(stderr=True, highlight=False)


@dataclass(slots=True, kw_only=True)
class Slice:
    """What of the inputs belongs to a case."""

    start: datetime
    end: datetime
    records: Counter[str] = field(default_factory=Counter)  # written, by file
    lost: list[str] = field(default_factory=list)  # one sentence each
    unread: int = 0  # records that no decoder could read

    def holds(self, record: Record, message: Message, insight: Insight) -> bool:
        who = record.resource
        time_ms = record.time_ms if record.time_ms is not None else message.timestamp_ms
        near = self.start.timestamp() <= time_ms / 1000 <= self.end.timestamp()
        return near and who.cluster == insight.cluster and (not who.namespace or who.namespace in insight.namespaces)


def export(
    incident: Annotated[str, typer.Argument(metavar="ID", help="Incident id.")],
    to: Annotated[Path, typer.Option(help="Folder of the case; made where it is missing.")],
    unconfirmed: Annotated[bool, typer.Option("--unconfirmed", help="Though nobody has confirmed it.")] = False,
) -> None:
    """Write a confirmed incident as an evaluation case: `make eval SET=FOLDER`, `make eval-insights SET=FOLDER`.

    The inputs are read from Kafka, half an hour before it until five minutes after it, of its cluster and namespaces.
    Values are redacted. The last line is JSON: what was written, and what was lost to retention.
    """
    settings = Settings.load()
    if to.exists() and any(to.iterdir()):
        raise StartupError(f"{to} is not empty: name a folder that is new")
    insight = newest(settings, incident)
    verdict = verdict_on(settings, incident)
    if verdict != "confirmed" and not unconfirmed:
        said = f"was {verdict}" if verdict else "has no feedback"
        raise StartupError(
            f"incident {incident} {said}: confirm it (POST /v1/insights/{incident}/feedback), or say --unconfirmed"
        )
    ended = insight.resolved or insight.updated
    cut = Slice(start=insight.started - BEFORE, end=ended + AFTER)
    to.mkdir(parents=True, exist_ok=True)
    _inputs(settings, insight, cut, to)
    runbooks = _runbooks(settings, insight, to)
    asked = max(min(ended, insight.started + 2 * ASKED_AFTER), insight.detected + ASKED_AFTER)
    (to / "tasks.jsonl").write_bytes(orjson.dumps(task_of(insight, asked, runbooks)) + b"\n")
    (to / "incidents.jsonl").write_bytes(orjson.dumps(truth_of(insight, ended)) + b"\n")
    described = {
        "name": f"incident-{insight.id}"[:40],
        "now": asked.isoformat(),
        "inputs": [{"file": f"{name}.jsonl.gz", "topic": name, "format": "auto"} for name in sorted(cut.records)],
        **({"runbooks": "runbooks/"} if runbooks else {}),
        "confirmed": verdict == "confirmed",
        "redacted": True,
        "lost": cut.lost,
    }
    (to / "set.json").write_bytes(orjson.dumps(described, option=orjson.OPT_INDENT_2) + b"\n")
    for sentence in cut.lost:
        notes.print(sentence, style="yellow", markup=False)
    summary = {"ok": bool(cut.records), "folder": str(to), "confirmed": verdict == "confirmed", "lost": cut.lost}
    typer.echo(orjson.dumps(summary | {"records": dict(cut.records), "unread": cut.unread}).decode())
    if not cut.records:
        raise StartupError(f"nothing of incident {incident} is left in the input topics: the case has no inputs")


def newest(settings: Settings, incident: str) -> Insight:
    """The newest revision on the topic. Raises StartupError when there is none."""
    topic, seen = describe(settings.kafka, settings.insights.topic), Revisions()
    found: Message | None = None
    for record in read_to_end(settings.kafka, topic):
        if isinstance(record, Message) and record.key == incident.encode():
            try:
                found = record if seen.news(*revision_of(record)) else found
            except InvalidRecord:
                continue
    if found is None:
        raise StartupError(f"{topic.name} holds no incident {incident}: `streams insights tail --since beginning`")
    return RecordDecoder(registry_client(settings.registry), address(settings.registry))(found)


def verdict_on(settings: Settings, incident: str) -> str:
    """What was said last, by whomever; '' when nothing was."""
    said: tuple[int, str] = (-1, "")
    for record in read_to_end(settings.kafka, describe(settings.kafka, settings.insights.feedback_topic)):
        if isinstance(record, Message) and record.key == incident.encode():
            try:
                feedback = feedback_of(record)
            except (InvalidRecord, ValidationError):
                continue
            if feedback.incident_id == incident:
                said = max(said, (feedback.time_ms, feedback.verdict))
    return said[1]


def task_of(insight: Insight, asked: datetime, runbooks: tuple[str, ...]) -> dict[str, Any]:
    """Asked about what suffers, not about what is at fault, where those are two."""
    cause = insight.causes[0] if insight.causes else None
    others = [e for e in insight.entities if cause is None or (e.kind, e.name) != (cause.kind, cause.name)]
    about = next((e for e in others if e.kind == "workload"), None) or cause
    subject = f"{about.name} in {about.namespace}" if about and about.namespace else about.name if about else "this"
    expect = ([{"kind": "object", "name": cause.name}] if cause else []) + _evidence(insight, cause)
    expect += [{"kind": "runbook", "path": path} for path in runbooks[:1]]
    return {
        "id": insight.id,
        "group": "confirmed incidents",
        "question": f"why does {subject} have trouble?",
        "now": asked.isoformat(),
        "expect": expect,
    }


def _evidence(insight: Insight, cause: Cause | None) -> list[dict[str, str]]:
    """What the first symptom at the cause said, in words that its evidence says too."""
    here = [s for s in insight.symptoms if cause is None or s.entity == f"{cause.kind}/{cause.name}"]
    for symptom in sorted(here, key=lambda s: s.first)[:MOST_EXPECTED]:
        if regex := _regex(symptom):
            signal = symptom.evidence.partition("-")[0]
            return [{"kind": "evidence", "regex": regex, **({"signal": signal} if signal in _FILES else {})}]
    return []


def _regex(symptom: SymptomSummary) -> str:
    """Its name; of a pattern, whose variable parts are masked, the longest run of words."""
    if not symptom.kind.startswith("pattern"):
        return re.escape(symptom.name)
    return re.escape(max(_WORDS.findall(symptom.name), key=len, default=""))


def truth_of(insight: Insight, ended: datetime) -> dict[str, Any]:
    """A line of incidents.jsonl."""
    cause = insight.causes[0] if insight.causes else None
    entity = {"kind": cause.kind, "name": cause.name, "namespace": cause.namespace} if cause else None
    times = {"start": insight.started.isoformat(), "end": ended.isoformat()}
    return {"id": insight.id, **times, **({"entity": entity} if entity else {})}


# -- The slice ---------------------------------------------------------------------------------------------------------


def _inputs(settings: Settings, insight: Insight, cut: Slice, to: Path) -> None:
    """A file for each kind of record that there is."""
    redact = RecordRedactor(settings.redaction)
    with ExitStack() as stack:
        files: dict[str, gzip.GzipFile] = {}
        for source in settings.kafka.declared_inputs():
            notes.print(f"reading {source.topic}", style="dim", markup=False)
            for message in _messages(settings, source, cut):
                for record in decode(message, source):
                    if isinstance(record, Rejected | Filtered):
                        cut.unread += isinstance(record, Rejected)
                        continue
                    if not cut.holds(record, message, insight):
                        continue
                    name = _FILES[SIGNALS[type(record)]]
                    if name not in files:
                        files[name] = stack.enter_context(gzip.open(to / f"{name}.jsonl.gz", "wb"))
                    value = value_of(redacted(record, redact), message.timestamp_ms)
                    line = {"value": value, "timestamp_ms": message.timestamp_ms}
                    files[name].write(orjson.dumps(line) + b"\n")
                    cut.records[name] += 1


def _messages(settings: Settings, source: Input, cut: Slice) -> Iterator[Message]:
    """Written in the time of the slice. What retention has taken of it is noted."""
    topic = describe(settings.kafka, source.topic)
    start_ms, end_ms = (int(moment.timestamp() * 1000) for moment in (cut.start, cut.end))
    with closing(Reader(settings.kafka, topic, f"{settings.kafka.group}.insights-export")) as reader:
        starts = reader.since(start_ms)
        begins = _begins(settings, topic)
        left = {p for p, offset in starts.items() if offset != OFFSET_END}
        firsts: dict[int, int] = {}
        reader.start(starts)
        for message in reader.follow(Event(), to_end=True) if left else ():
            firsts.setdefault(message.partition, message.timestamp_ms)
            if message.timestamp_ms > end_ms + LATE_MS:
                left.discard(message.partition)
                if not left:
                    break
            elif message.timestamp_ms <= end_ms + LATE_MS:
                yield message
    for partition, first_ms in sorted(firsts.items()):
        if begins[partition] > 0 and starts[partition] <= begins[partition] and first_ms > start_ms:
            until = datetime.fromtimestamp(first_ms / 1000, UTC).isoformat(timespec="seconds")
            cut.lost.append(f"{topic.name}/{partition}: what was written before {until} is gone (retention)")


def _begins(settings: Settings, topic: Topic) -> dict[int, int]:
    places = [(topic.name, partition) for partition in topic.partitions]
    return {place[1]: log.start for place, log in Broker(settings.kafka).logs(places).items()}


# -- Runbooks ----------------------------------------------------------------------------------------------------------


def _runbooks(settings: Settings, insight: Insight, to: Path) -> tuple[str, ...]:
    """Those that the incident names, as Markdown that compiles to the same sections; returns their paths."""
    wanted = [reference.path for reference in insight.runbooks if reference.evidence]
    if not wanted:
        return ()
    try:
        with closing(RunbookStore(settings.redis)) as store:
            corpus = store.snapshot()
    except (SinkUnavailable, SinkMisconfigured) as error:
        notes.print(f"without runbooks: {error}", style="yellow", markup=False)
        return ()
    folder, written = (to / "runbooks").resolve(), list[str]()
    for runbook in corpus.runbooks if corpus else ():
        file = (folder / runbook.path).resolve()
        if runbook.path in wanted and file.is_relative_to(folder):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(markdown_of(runbook), encoding="utf-8")
            written.append(runbook.path)
    return tuple(sorted(written, key=wanted.index))


def markdown_of(runbook: Runbook) -> str:
    """Its title, alerts and sections. Restrictions stay behind: a case is loaded beside nothing else."""
    head = f"---\nalerts: {orjson.dumps(runbook.alerts).decode()}\n---\n" if runbook.alerts else ""
    parts = [f"{head}# {runbook.title}"]
    for section in runbook.sections:
        parts += ([] if section.heading == runbook.title else [f"## {section.heading}"]) + [section.text.strip()]
    return "\n\n".join(filter(None, parts)) + "\n"
