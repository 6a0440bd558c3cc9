"""`python -m spark_jobs.tell_insights`: the incidents of history, told from summaries as the workers would have."""

import json
from typing import Annotated, Final

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from rich.console import Console

from processors.logs import without_credentials
from processors.terminal import run_command
from schemas.errors import StartupError
from schemas.settings import Settings
from spark_jobs import archives, ranges, telling
from spark_jobs.folder import Folder
from spark_jobs.kafka_source import read_kafka
from spark_jobs.session import map_arrow, one_line, progress, start
from spark_jobs.telling import Telling

HELP: Final = """Tell incidents from summaries, with Spark: the topic as Kafka holds it, or archives of it.

python -m spark_jobs.tell_insights --into told

python -m spark_jobs.archive freshet.summaries.v1 --into s3a://bucket/archive

python -m spark_jobs.tell_insights --archive s3a://bucket/archive --into told

Each partition is read from its first message on: what is usual is learned from what came before. The result is a new
folder of JSON lines, one insight each, every revision in order of its partition. It is never sent to a topic: history
pages nobody.
"""
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
notes = Console(stderr=True, highlight=False)
submitted = __spec__ is None  # run by path, which is what spark-submit does


@app.command(help=HELP)
def tell_insights(
    into: Annotated[str, typer.Option(metavar="PATH", help="New folder, of any kind that Spark can write.")],
    archive: Annotated[
        list[str] | None, typer.Option(help="An archive that holds the summaries topic, instead of Kafka.")
    ] = None,
    end: Annotated[str, typer.Option("--to", help="Before this offset or ISO 8601 moment; else all there is.")] = "",
    last: Annotated[bool, typer.Option("--last", help="Only the last revision of each incident.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    master: Annotated[str, typer.Option(help="Spark master, unless spark-submit says it.")] = "local[*]",
) -> None:
    settings = Settings.load()
    if archive and end:
        raise typer.BadParameter("for Kafka only; name the files or folders of an archive instead", param_hint="--to")
    plan = None if archive else _plan(settings, end)
    spark = start("freshet tell_insights", master, submitted=submitted)
    try:
        if Folder(spark, into).exists():
            raise StartupError(f"{without_credentials(into)} is there already: choose another folder, or remove it")
        with one_line():
            topic = settings.insights.summaries_topic
            messages = _of_archive(spark, archive, topic) if archive else _of_kafka(spark, settings, plan)
            report = _tell(spark, messages, settings, into, last=last)
    finally:
        spark.stop()
    if as_json:
        typer.echo(json.dumps(report))
    else:
        typer.echo(
            f"{report['insights']:,} revisions of {report['incidents']:,} incidents in {without_credentials(into)}"
        )


def _plan(settings: Settings, end: str) -> ranges.Plan:
    """The whole topic. Raises BadParameter, StartupError, SinkUnavailable."""
    plan = ranges.plan(
        ranges.hold(settings.kafka, [settings.insights.summaries_topic], None, ranges.option(end, "--to"), "")
    )
    for note in plan.notes:
        notes.print(note, markup=False)
    return plan


def _of_kafka(spark: SparkSession, settings: Settings, plan: ranges.Plan | None) -> DataFrame:
    """A task for each partition."""
    return read_kafka(spark, settings.kafka, [[each] for each in plan.ranges] if plan else [])


def _of_archive(spark: SparkSession, paths: list[str], topic: str) -> DataFrame:
    found = archives.read(spark, paths)
    if found.separate:
        raise StartupError("the archive lacks topic id, partition and offset: write it with `spark_jobs.archive`")
    return found.messages.filter(f.col("topic") == topic).dropDuplicates(["topic_id", "partition", "offset"])


def _tell(spark: SparkSession, messages: DataFrame, settings: Settings, into: str, *, last: bool) -> dict[str, int]:
    order = ("topic_id", "partition", "offset")
    placed = messages.repartition("topic_id", "partition").sortWithinPartitions(*order)
    task = Telling(detection=settings.detection, correlation=settings.correlation)
    told = map_arrow(placed, task.run, telling.SPARK_SCHEMA).persist()
    try:
        with progress(spark, "telling incidents", notes):
            report = {"insights": told.count(), "incidents": told.select("id").distinct().count()}
        chosen = told
        if last:
            newest = told.groupBy("id").agg(f.max("revision").alias("revision"))
            chosen = told.join(newest, ["id", "revision"])
        # One file for each partition, its lines in order.
        chosen.repartition("partition").sortWithinPartitions("partition", "offset", "revision").select(
            "value"
        ).write.text(into)
    finally:
        told.unpersist()
    return report


if __name__ == "__main__":
    run_command(app)
