"""`python -m cag publish PATH` and `python -m cag list`."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cag.publish import Folder, Plan, held_by, plan_changes, read_folder, send, suspicious
from cag.registry import ValueDecoder, ValueEncoder
from cag.runbooks import normalise_path
from cag.store import RunbookStore, redis_address
from cag.topic import describe, read_to_end
from processors.registry import address, registry_client
from processors.terminal import run_command
from schemas.errors import InvalidRecord, StartupError
from schemas.settings import Settings

FAILED, SKIPPED = 1, 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Runbooks: publish them, see what is served.",
)
notes = Console(stderr=True)


@app.command()
def publish(
    path: Annotated[Path, typer.Argument(help="folder or git checkout of Markdown")],
    prefix: Annotated[str, typer.Option(help="put the files below this path; only what is below it is deleted")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be sent, send nothing")] = False,
    force: Annotated[bool, typer.Option("--force", help="delete even most of what is there")] = False,
    source_url: Annotated[str, typer.Option(help="where people read the files: URL + path")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Send new and changed runbooks to the topic, and tombstones for deleted ones.

    Exit codes: 0 done, 1 failed (a second run sends the rest), 2 wrong usage, 3 done but some files were skipped.
    """
    settings = Settings.load()
    prefix = _prefix(prefix)
    folder = read_folder(path, prefix)
    topic = settings.kafka.runbooks_topic
    registry = registry_client(settings.registry)
    where = address(settings.registry)
    shape = describe(settings.kafka, topic)
    with notes.status(f"reading {topic} at {settings.kafka.bootstrap_servers}"):
        held = held_by(read_to_end(settings.kafka, shape), ValueDecoder(registry, where))
    plan = plan_changes(folder, held, prefix)
    if suspicious(plan, held, prefix) and not force and not dry_run:
        raise StartupError(
            f"this would delete {len(plan.deleted)} of {len(held)} runbooks in {topic}: is {path} the right folder? "
            "Look with --dry-run; --force does it; --prefix limits it to one part"
        )
    if not dry_run and plan.changes:
        encode = ValueEncoder(registry, topic, where)
        with _progress() as progress:
            task = progress.add_task("publishing", total=len(plan.changes))
            send(
                settings.kafka,
                topic,
                plan.changes,
                encode,
                revision=folder.revision,
                published_ms=int(time.time() * 1000),
                source_url=source_url,
                on_delivered=lambda: progress.advance(task),
            )
    _report(folder, plan, topic, dry_run=dry_run, as_json=as_json)
    if folder.skipped:
        raise typer.Exit(SKIPPED)


@app.command("list")
def list_runbooks(as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False) -> None:
    """Show what Redis serves now."""
    settings = Settings.load()
    store = RunbookStore(settings.redis)
    try:
        corpus = store.snapshot()
    finally:
        store.close()
    if corpus is None:
        raise StartupError(
            f"Redis at {redis_address(settings.redis)} serves no runbooks under {settings.redis.namespace!r}: "
            "start a worker (python -m streams worker), it builds them from the topic"
        )
    if as_json:
        rows = [
            {"path": r.path, "title": r.title, "alerts": r.alerts, "sections": len(r.sections), "version": r.version}
            for r in corpus.runbooks
        ]
        typer.echo(json.dumps({"version": corpus.version, "runbooks": rows}))
        return
    for r in corpus.runbooks:
        typer.echo(f"{r.path}  {len(r.sections)} sections  {r.version[:12]}  {', '.join(r.alerts)}")
    typer.echo(f"{len(corpus.runbooks)} runbooks, corpus version {corpus.version}")


def _prefix(raw: str) -> str:
    stripped = raw.strip("/")
    if not stripped:
        return ""
    try:
        return normalise_path(stripped)
    except InvalidRecord as error:
        raise typer.BadParameter(error.reason, param_hint="--prefix") from error


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=notes)


def _report(folder: Folder, plan: Plan, topic: str, *, dry_run: bool, as_json: bool) -> None:
    warnings = [(d.path, w) for d in folder.documents for w in d.warnings]
    if as_json:
        outcome = {
            "topic": topic,
            "dry_run": dry_run,
            "revision": folder.revision,
            "added": plan.added,
            "changed": plan.changed,
            "deleted": plan.deleted,
            "unchanged": plan.unchanged,
            "skipped": [{"path": p, "reason": r} for p, r in folder.skipped],
            "warnings": [{"path": p, "warning": w} for p, w in warnings],
        }
        typer.echo(json.dumps(outcome))
        return
    for path, reason in (*folder.skipped, *warnings):
        notes.print(f"{path}: {reason}", markup=False, style="yellow")
    if dry_run:
        for mark, paths in (("+", plan.added), ("~", plan.changed), ("-", plan.deleted)):
            for path in paths:
                typer.echo(f"{mark} {path}")
    verb = "would send" if dry_run else "sent"
    typer.echo(
        f"{topic}: {verb} {len(plan.added)} added, {len(plan.changed)} changed, {len(plan.deleted)} deleted; "
        f"{plan.unchanged} unchanged, {len(folder.skipped)} skipped"
    )


if __name__ == "__main__":
    run_command(app, FAILED)
