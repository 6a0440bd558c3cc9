"""`python -m streams replay TOPICS`, and `replay diff | promote | discard | list` for shadow generations."""

import datetime as dt
import json
import os
import sys
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from schemas.settings import Settings
from streams.replay import run as replay_run
from streams.replay import shadow_run, switch
from streams.replay.stretches import bound

DEFAULT: Final = "run"
WIDTH: Final = 200  # of tables that go to a file
NICE: Final = 10  # the live workers come first
RUN_HELP: Final = """Read a range again and write what is missing. The default command: `replay logs --from 2h`.

Into the live generation nothing changes that is complete: writing is a join, a record is counted once however
often it is read, and a dead letter that exists is not written again. What is missing comes back: documents or day
indices that were deleted, counts that an index restored from a snapshot no longer has.

Counts are exact from the start of a block of 2^20 offsets of a partition. So reading starts at the block's start,
also when --from lies within it, and ends where the live group has committed. Then:

- lost, and live is done with it (its minute is over): comes back identical;

- lost while live still writes into it: live may hold it with a part of its count until it is done with it. The
  report names how many documents this concerns; run the same command once more a minute later;

- the beginning of the block is gone from Kafka: counting goes on from what is stored. A document that was lost as
  well comes back without the records that are gone, and one that live has made anew since keeps live's count. The
  report says so beforehand, --dry-run too;

- records that are in a dead letter stay there, also when they could be read by now: `dead-letters replay` counts
  them, under the letter's own coordinates. What it had counted and was lost comes back by running it again.

Positions are kept in a consumer group of its own. When interrupted, the same command goes on where it was; what
was stored meanwhile is then taken as it is.

With --shadow NAME the present settings (another embedding model, redaction, template) build indices of their own,
from the earliest record or --from on, and follow live until `replay promote NAME`; workers go on with the old
settings. `replay diff NAME` compares.

Exit codes: 0 done (a shadow: stopped, promoted or caught up), 1 could not start, 72 too many dead letters,
75 interrupted.
"""


class DefaultGroup(TyperGroup):
    """`replay logs` is `replay run logs`: what is no subcommand is given to the default one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = not args or args[0] in self.commands or args[0] in ("--help", "-h")
        return super().parse_args(ctx, args if own else [DEFAULT, *args])


app = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    help="Read topics again: `replay TOPICS` into the live generation, `replay --shadow NAME` into a new one beside "
    "it. `replay run --help` says what can be repaired and what cannot.",
)
notes = Console(stderr=True, highlight=False, soft_wrap=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@app.command(DEFAULT, help=RUN_HELP)
def run(
    topics: Annotated[list[str] | None, typer.Argument(help="Input topics; with --shadow always all of them.")] = None,
    since: Annotated[str, typer.Option("--from", help="A moment (2026-11-20T14:05Z) or how long ago (2h, 3d).")] = "",
    until: Annotated[str, typer.Option("--to", help="The same; without it up to where the live group is.")] = "",
    from_offset: Annotated[
        list[str] | None, typer.Option(help="First offset, or PARTITION:OFFSET (then only partitions that are named).")
    ] = None,
    to_offset: Annotated[list[str] | None, typer.Option(help="First offset that is not read any more.")] = None,
    shadow: Annotated[str, typer.Option(help="Build this shadow generation with the present settings.")] = "",
    exit_when_caught_up: Annotated[
        bool, typer.Option("--exit-when-caught-up", help="With --shadow: do not follow live any further.")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=1, help="Records a second at most.")] = None,
    max_live_lag: Annotated[
        int, typer.Option(min=1, help="Wait while the live group is more records behind than this.")
    ] = 2_000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read, write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    os.nice(NICE)
    now = dt.datetime.now(dt.UTC)
    options = replay_run.Options(
        topics=tuple(dict.fromkeys(topics or ())),
        since=bound(since, from_offset or (), now, option="--from"),
        until=bound(until, to_offset or (), now, option="--to"),
        identity=repr((since, until, from_offset, to_offset)),
        shadow=shadow,
        exit_when_caught_up=exit_when_caught_up,
        rate=rate,
        max_live_lag=max_live_lag,
        dry_run=dry_run,
    )
    report, code = (shadow_run if shadow else replay_run).run(Settings.load(), options, notes)
    typer.echo(json.dumps(report.as_json()) if as_json else "\n".join(report.lines()))
    raise typer.Exit(code)


@app.command("diff")
def show_diff(
    name: Annotated[str, typer.Argument(help="A shadow.")],
    queries: Annotated[int, typer.Option(min=0, help="Pattern texts to ask both as questions.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Compare a shadow with the live generation: documents added, changed and gone, and what questions find.

    Compared are the documents that lie wholly in the time that both have read. A shadow that was built with another
    embedding model is asked with its own vectors.
    """
    found = switch.diff(Settings.load(), name, queries=queries)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    typer.echo(f"{found.live} (live) and {found.shadow}, documents {found.compared}")
    for kind, counts in found.kinds.items():
        typer.echo(
            f"{kind}: {counts.same:,} the same, {counts.added:,} added, {counts.changed:,} changed, "
            f"{counts.gone:,} gone, {counts.open:,} not compared"
        )
        for how, examples in counts.examples.items():
            for each in examples:
                said = " -> ".join(text for text in (each.before, each.after) if text)
                typer.echo(f"  {how} {each.day}/{each.id}: {said}")
    words = f", {found.recall.words_only} of them by words only" if found.recall.words_only else ""
    typer.echo(f"overlap@10 {found.recall.overlap_at_10:.3f} over {found.recall.queries} questions{words}")


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="A shadow, or a label that was live before.")],
    force: Annotated[bool, typer.Option("--force", help="Although it is behind: what it lacks comes later.")] = False,
) -> None:
    """Make a shadow the live generation, in one step for readers.

    Refused while it is behind the live group. All aliases switch in one call; workers of the old label notice and
    leave, workers with the new settings go on from the shadow's own positions, so nothing is lost. Run again after a
    crash, it completes. The old generation stays and may be promoted again: with --force if it is behind; its workers
    then read on from where they were.
    """
    settings = Settings.load()
    label = switch.promote(settings, name, force=force, say=lambda text: notes.print(text, markup=False))
    typer.echo(f"{label} is live: start workers with its settings; the old ones leave by themselves")


@app.command()
def discard(name: Annotated[str, typer.Argument(help="A shadow, or a label that is not live any more.")]) -> None:
    """Remove the indices, the templates and the consumer group of a label; never the live one."""
    label = switch.discard(Settings.load(), name)
    typer.echo(f"{label} is gone")


@app.command("list")
def list_labels(as_json: AsJson = False) -> None:
    """Show every generation and shadow: which is live, what it holds, how far it has read."""
    rows = switch.overview(Settings.load())
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("label", "", "documents", "MB", "without vector", "behind live", "group", "differs in", box=None)
    for row in rows:
        table.add_row(
            row["label"],
            "live" if row["live"] else "",
            f"{row['documents']:,}",
            f"{row['size_bytes'] / 1e6:.1f}",
            f"{row['without_vectors']:,}",
            f"{row['behind']:,}",
            row["group"],
            ", ".join(row["differs"]),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH).print(table)
