"""`python -m spark_jobs.archive`: topics to Parquet by date, to be indexed when Kafka has forgotten them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final

import typer
from pyspark.sql import Observation, SparkSession
from pyspark.sql import functions as f
from rich.console import Console

from processors.logs import without_credentials
from processors.terminal import run_command
from schemas.settings import Settings
from spark_jobs import ranges
from spark_jobs.folder import Folder
from spark_jobs.kafka_source import Range, read_kafka
from spark_jobs.session import one_line, progress, start

HELP: Final = """Write topics to Parquet: INTO/topic=NAME/date=YYYY-MM-DD/range=.../*.parquet, by Kafka's time in UTC.

python -m spark_jobs.archive logs alerts --into s3a://bucket/archive

python -m spark_jobs.index_history --archive s3a://bucket/archive

Columns: topic, topic_id, partition, offset, timestamp_ms, key, value, headers. VALUES ARE THE ORIGINAL BYTES, NOT
REDACTED: an archive is as sensitive as the topics. Guard it as they are guarded. (Redacted bytes would not decode to
the same documents and could not prove a dead letter.)

Run it again at any time: it writes what the archive does not hold yet. What an interrupted run has not finished is
not seen by readers, or whole, and is written anew in its place.
"""
RANGE_OFFSETS: Final = 1 << 17  # in one folder: what an interruption costs, and how large files become
AT_ONCE: Final = 32  # ranges that one Spark job writes, and that are done together
DONE: Final = "_done"  # the underscore hides it from Spark's readers

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
notes = Console(stderr=True, highlight=False)
submitted = __spec__ is None  # run by path, which is what spark-submit does


@app.command(help=HELP)
def archive(
    into: Annotated[str, typer.Option(metavar="PATH", help="Folder, of any kind that Spark can write.")],
    topics: Annotated[list[str] | None, typer.Argument(help="Topics; without any: all inputs.")] = None,
    begin: Annotated[str, typer.Option("--from", help="Offset or ISO 8601 moment; else all there is.")] = "",
    end: Annotated[str, typer.Option("--to", help="Before this offset or moment; else all there is.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    master: Annotated[str, typer.Option(help="Spark master, unless spark-submit says it.")] = "local[*]",
) -> None:
    settings = Settings.load()
    names = topics or [each.topic for each in settings.kafka.declared_inputs()]
    bounds = ranges.option(begin, "--from"), ranges.option(end, "--to")
    plan = ranges.plan(ranges.hold(settings.kafka, names, *bounds, ""))
    for note in plan.notes:
        notes.print(note, markup=False)
    notes.print("values are the original bytes: the archive is as sensitive as the topics")
    spark = start("freshet archive", master, submitted=submitted)
    try:
        folder = Folder(spark, into)
        todo = list(pieces(plan.ranges, folder.names(DONE)))
        written = 0 if dry_run else _write(spark, settings, folder, into, todo)
    finally:
        spark.stop()
    missing = sum(map(len, todo))
    held = plan.offsets - missing
    if as_json:
        typer.echo(json.dumps({"offsets": missing, "held": held, "messages": written, "dry_run": dry_run}))
    elif dry_run:
        typer.echo(f"{missing:,} offsets would be archived, {held:,} are already")
    else:
        typer.echo(f"{written:,} messages written to {without_credentials(into)}; {held:,} offsets were there already")


def _write(spark: SparkSession, settings: Settings, folder: Folder, into: str, todo: Sequence[Range]) -> int:
    written = 0
    for first in range(0, len(todo), AT_ONCE):
        some = todo[first : first + AT_ONCE]
        seen = Observation()
        with progress(spark, f"archiving ranges {first + 1} to {first + len(some)} of {len(todo)}", notes), one_line():
            # A task for each range writes its folders alone. Where an interrupted run has left them, they are replaced.
            rows = read_kafka(spark, settings.kafka, [[each] for each in some]).withColumns(
                {
                    "date": f.date_format(f.timestamp_millis("timestamp_ms"), "yyyy-MM-dd"),
                    "chunk": f.floor(f.col("offset") / RANGE_OFFSETS),
                }
            )
            named = [(each.topic_id, each.partition, each.start // RANGE_OFFSETS, _name(each)) for each in some]
            folders = spark.createDataFrame(named, "topic_id string, partition int, chunk bigint, range string")
            placed = rows.join(f.broadcast(folders), ["topic_id", "partition", "chunk"]).drop("chunk")
            writer = placed.observe(seen, f.count(f.lit(1)).alias("messages")).write.mode("overwrite")
            writer.option("partitionOverwriteMode", "dynamic").partitionBy("topic", "date", "range").parquet(into)
        for each in some:
            folder.touch(f"{DONE}/{_name(each)}-{each.end:012d}")
        written += seen.get["messages"]
    return written


def _name(each: Range) -> str:
    """The same for whatever a run writes from this offset on, so that what it replaces is found."""
    return f"{each.topic_id}-{each.partition}-{each.start:012d}"


def pieces(wanted: Iterable[Range], done: Iterable[str]) -> Iterator[Range]:
    """What of these ranges is not done yet, cut at multiples of RANGE_OFFSETS."""
    held: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for name in done:
        topic_id, partition, *bounds = name.rsplit("-", 3)
        held[topic_id, int(partition)].append((int(bounds[0]), int(bounds[1])))
    for each in wanted:
        at = each.start
        for first, last in (*sorted(held[each.topic_id, each.partition]), (each.end, each.end)):
            stop = min(first, each.end)
            while at < stop:
                cut = min(stop, at - at % RANGE_OFFSETS + RANGE_OFFSETS)
                yield Range(each.topic, each.topic_id, each.partition, at, cut)
                at = cut
            at = max(at, last)


if __name__ == "__main__":
    run_command(app)
