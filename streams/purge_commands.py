"""`python -m streams purge --regex`: remove a secret that slipped through, and say what Kafka still holds."""

import datetime as dt
import json
import sys
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from cag.rewrite import rewrite
from schemas.errors import StartupError
from schemas.records import Coordinates
from schemas.settings import Settings, linear
from streams.purge import PURGED, Documents, Purge, labels, pattern_of
from streams.topics import Broker, Described

MOST_OFFSETS: Final = 20  # that are listed for a partition
SEGMENT_MS: Final = 7 * 86_400_000  # Kafka's own, where the topic says nothing
notes = Console(stderr=True, highlight=False, soft_wrap=True)


def purge(
    regex: Annotated[str, typer.Option(help="What to remove, in Python's syntax, such as 'hunter2'.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts; asks nothing: add --yes.")] = False,
) -> None:
    """Remove a secret that slipped through, from all documents of all generations and from served runbooks.

    Each match becomes <redacted:purged>; ids and counts stay; workers may run. Vectors of changed patterns are computed
    again. Runbooks in Redis are changed until their next rebuild: mend them where they are published.

    Questions are not logged, so no log of them holds it. Not covered: Kafka (what it holds and until when is printed),
    backups and snapshots of the stores, logs of other programs.

    A replay writes it again unless a rule of your own keeps it out: the rule to set is printed.
    """
    pattern = pattern_of(regex)
    if not (dry_run or yes) and (as_json or not sys.stdin.isatty()):
        raise StartupError("nobody can be asked here: add --yes to purge, or --dry-run to see what would change")
    settings = Settings.load()
    broker = Broker(settings.kafka)
    broker.reach()
    found = Purge(pattern)
    holding = _look(settings, found)
    changed = False
    if not as_json:
        _show(found)
    if found.kinds and not dry_run and (yes or typer.confirm(f"Replace all of it by {PURGED}?")):
        for documents, targets in holding:
            documents.rewrite(targets, found)
        rewrite(settings.redis, Purge(pattern).runbook)
        changed = True
    kafka = _kept(settings, broker, found) if found.kinds else []
    rule = _rule(regex)
    if as_json:
        counts = dict(sorted(found.kinds.items()))
        typer.echo(json.dumps({"found": counts, "purged": changed, "example": found.example, "kafka": kafka} | rule))
        return
    if changed:
        typer.echo(f"purged {sum(found.kinds.values())} documents")
    for topic in kafka:
        typer.echo(_told(topic))
    if found.kinds:
        typer.echo("What Kafka holds comes back with a replay, or with a redelivery. To keep it out from now on:")
        typer.echo(f"  {rule['setting'] or rule['refused']}")
        typer.echo("then build the generation that this makes, and switch to it:")
        typer.echo("  python -m streams replay --shadow purged; python -m streams replay promote purged")


def _look(settings: Settings, found: Purge) -> list[tuple[Documents, list[Any]]]:
    """Every document and runbook that holds it; `found` counts them."""
    holding = []
    shape = (SpinnerColumn(), TextColumn("{task.description} {task.completed} documents"), TimeElapsedColumn())
    with Progress(*shape, console=notes, transient=True) as progress:
        for label in labels(settings):
            documents = Documents(settings, label)
            bar = progress.add_task(f"looking through {label}:", total=None)
            holding.append((documents, documents.holding(found, partial(progress.advance, bar))))
    dry = Purge(found.pattern)

    def count(runbook: Any) -> Any:
        dry.runbook(runbook)
        return runbook

    rewrite(settings.redis, count)
    found.kinds += dry.kinds
    found.example = found.example or dry.example
    return holding


def _show(found: Purge) -> None:
    if not found.kinds:
        typer.echo("nothing matches")
        return
    typer.echo("documents that hold it: " + ", ".join(f"{kind} {n}" for kind, n in sorted(found.kinds.items())))
    typer.echo(f"for example: ...{' '.join(found.example.split())}...")


def _kept(settings: Settings, broker: Broker, found: Purge) -> list[dict[str, Any]]:
    """Of each topic: what is known to hold it, and when Kafka lets go of it."""
    inputs = [i.topic for i in settings.kafka.inputs]
    told = settings.insights
    others = {
        settings.kafka.dead_letters_topic: "dead letters",
        settings.kafka.runbooks_topic: "runbooks",
        **dict.fromkeys((told.summaries_topic, told.topic, told.state_topic), "insights"),
    }
    described = broker.describe([*inputs, *others])
    known = _by_topic(found.records)
    kept = []
    for name, topic in described.items():
        role = others.get(name, "input")
        if role == "input" and topic.topic_id not in found.topic_ids and name not in known:
            continue
        if role == "runbooks" and not found.kinds["runbooks"]:
            continue
        kept.append({"topic": name, "role": role, "known": known.get(name, {}), **_until(topic, found.newest_ms)})
    return kept


def _by_topic(records: Iterable[str]) -> dict[str, dict[int, list[int]]]:
    """Offsets by topic and partition."""
    found: dict[str, dict[int, set[int]]] = {}
    for at in map(Coordinates.parse, records):
        found.setdefault(at.topic, {}).setdefault(at.partition, set()).add(at.offset)
    return {topic: {p: sorted(offsets) for p, offsets in sorted(of.items())} for topic, of in sorted(found.items())}


def _until(topic: Described, newest_ms: int) -> dict[str, Any]:
    """Kafka drops whole segments: first a segment ends, by age or size, and then its newest record has to be old."""
    retention, segment = int(topic.config.get("retention.ms", -1)), int(topic.config.get("segment.ms", SEGMENT_MS))
    if "compact" in topic.config.get("cleanup.policy", ""):
        return {"retention_ms": retention, "gone_from": None, "gone_by": None, "compacted": True}
    if retention < 0 or not newest_ms:
        return {"retention_ms": retention, "gone_from": None, "gone_by": None, "compacted": False}
    return {
        "retention_ms": retention,
        "gone_from": _moment(newest_ms + retention),
        "gone_by": _moment(newest_ms + retention + segment),
        "compacted": False,
    }


def _moment(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _told(kept: dict[str, Any]) -> str:
    """One topic in words."""
    where = "; ".join(
        f"partition {p} offsets {', '.join(map(str, offsets[:MOST_OFFSETS]))}{' ...' * (len(offsets) > MOST_OFFSETS)}"
        for p, offsets in kept["known"].items()
    )
    if kept["role"] == "dead letters":
        return f"Kafka, {kept['topic']}: letters hold original bytes and may hold it too, {_kept_until(kept, 'each')}"
    if kept["role"] == "insights":
        until = "until its keys are written again" if kept["retention_ms"] < 0 else _kept_until(kept, "each")
        return f"Kafka, {kept['topic']}: samples of lines and what is told of them may hold it too, {until}"
    if kept["compacted"]:
        return f"Kafka, {kept['topic']}: holds it until the runbook is published without it (python -m cag publish)"
    known = f"known records: {where} (there may be more)" if where else "holds records of these documents"
    return f"Kafka, {kept['topic']}: {known}, {_kept_until(kept, 'the newest')}"


def _kept_until(kept: dict[str, Any], which: str) -> str:
    if kept["retention_ms"] < 0:
        return "kept for ever: only kafka-delete-records, or a retention.ms, removes it"
    days = f"{kept['retention_ms'] / 86_400_000:g} days"
    if kept["gone_from"] is None or which == "each":
        return f"kept {days} and until its segment is closed"
    return f"kept {days}: {which} goes between {kept['gone_from']} and {kept['gone_by']}, with its segment"


def _rule(regex: str) -> dict[str, str]:
    """The setting that keeps the text out from now on, or why this expression cannot be one."""
    try:
        linear(regex)
    except ValueError as error:
        return {"setting": "", "refused": f"as FRESHET_REDACTION__EXTRA this expression is refused: {error}"}
    rule = orjson.dumps([{"name": "purged", "regex": regex}]).decode()
    return {"setting": f"FRESHET_REDACTION__EXTRA='{rule}'", "refused": ""}
