"""`python -m spark_jobs.index_history`: index what Kafka or an archive holds, as the workers would have."""

import json
from dataclasses import replace
from typing import Annotated, Final

import typer
from pyspark.sql import DataFrame, SparkSession
from rich.console import Console

from cag.known_letters import KnownLetters
from processors.generation import generation, generation_parts, group_of, label_of
from processors.sink import Sink, live_label
from processors.terminal import run_command
from schemas.errors import StartupError
from schemas.settings import Settings
from spark_jobs import archives, ranges
from spark_jobs.folder import Folder
from spark_jobs.folding import Folding
from spark_jobs.history import History, Report
from spark_jobs.kafka_source import read_kafka
from spark_jobs.session import one_line, progress, start

HELP: Final = """Index history with Spark: Kafka topics, or archives of them. Running it again changes nothing.

python -m spark_jobs.index_history logs --from 2026-11-01
python -m spark_jobs.index_history --archive s3a://bucket/archive --shadow blue
python -m spark_jobs.index_history --archive old.jsonl.gz --as logs --rejects rejected

Kafka: reads from the beginning of a block of 2^20 offsets (counts are exact from there or not at all) to where the
live workers have got to. Archives that carry topic id, partition and offset join the documents of Kafka; any other
text counts separately, by file and line. Watermarks are the live workers' and stay as they are.

On a cluster, whose Python must hold the packages of uv.lock and see the FRESHET_* settings:

git archive -o freshet.zip HEAD schemas processors cag spark_jobs
spark-submit --master yarn --py-files freshet.zip --conf spark.pyspark.python=/opt/freshet/bin/python \\
spark_jobs/index_history.py logs --from 2026-11-01
"""
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
notes = Console(stderr=True, highlight=False)
submitted = __spec__ is None  # run by path, which is what spark-submit does; it has chosen master and memory then


@app.command(help=HELP)
def index_history(
    topics: Annotated[list[str] | None, typer.Argument(help="Input topics; without any and no --archive: all.")] = None,
    begin: Annotated[str, typer.Option("--from", help="Offset or ISO 8601 moment; else all there is.")] = "",
    end: Annotated[str, typer.Option("--to", help="Before this offset or moment; else all there is.")] = "",
    archive: Annotated[
        list[str] | None, typer.Option(help="JSON lines, text or Parquet instead of Kafka: a path that Spark can read.")
    ] = None,
    read_as: Annotated[str, typer.Option("--as", metavar="TOPIC", help="Read an archive as this input topic.")] = "",
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="What the archive lacks is indexed already, or gone for good.")
    ] = False,
    shadow: Annotated[str, typer.Option(metavar="NAME", help="Into this shadow, not into what is live.")] = "",
    rejects: Annotated[
        str, typer.Option(metavar="PATH", help="Rejected records go to this new folder as Parquet, not to Kafka. They "
                          "are the original bytes: guard it like the topics.")
    ] = "",
    no_embed: Annotated[bool, typer.Option("--no-embed", help="Leave vectors to the workers' sweep.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    master: Annotated[str, typer.Option(help="Spark master, unless spark-submit says it.")] = "local[*]",
) -> None:  # fmt: skip
    settings = Settings.load()
    names = _inputs(settings, topics or [], archive or [], read_as)
    label = label_of(generation(generation_parts(settings)), shadow) if shadow else live_label(settings)
    if not dry_run:
        Sink.from_settings(settings, label=label, live=not shadow).prepare()
    known = KnownLetters(settings.kafka, label)
    if not (archive and rejects):  # an archive with its rejects in a folder needs no Kafka
        known.read()
    if archive and (begin or end):
        raise typer.BadParameter("for Kafka only; name the files or folders of an archive instead", param_hint="--from")
    plan = None if archive else _plan(settings, names, begin, end, label=label, shadow=bool(shadow))
    if plan and not plan.ranges:
        _tell(Report(), dry_run=dry_run, as_json=as_json, label=label, separate=False)
        return
    spark = start("freshet index_history", master, submitted=submitted)
    try:
        with one_line():
            if rejects and Folder(spark, rejects).exists():
                raise StartupError(f"{rejects} is there already: choose another folder for rejects, or remove it")
            if plan:
                messages, folding = _of_kafka(spark, settings, plan)
            else:
                messages, folding = _of_archive(spark, settings, archive or [], read_as, incomplete)
            if folding.read_as and not (rejects or dry_run):
                raise StartupError(
                    "dead letters are about records of Kafka: say --rejects PATH, a new folder for these"
                )
        folding = replace(folding, known=known)
        job = History(spark=spark, settings=settings, label=label, messages=messages, folding=folding, out=notes)
        report = job.count() if dry_run else job.run(rejects=rejects, embed=not no_embed)
    finally:
        spark.stop()
    _tell(report, dry_run=dry_run, as_json=as_json, label=label, separate=folding.read_as is not None)


def _inputs(settings: Settings, topics: list[str], archive: list[str], read_as: str) -> list[str]:
    """The input topics to read, or to read an archive as. Raises BadParameter, StartupError."""
    declared = {each.topic for each in settings.kafka.declared_inputs()}
    if archive and topics:
        raise typer.BadParameter("either topics or --archive", param_hint="TOPICS")
    if read_as and not archive:
        raise typer.BadParameter("goes with --archive", param_hint="--as")
    if unknown := {*topics, *filter(None, [read_as])} - declared:
        raise StartupError(
            f"{', '.join(sorted(unknown))}: none of the input topics {', '.join(sorted(declared))} "
            "(FRESHET_KAFKA__INPUTS says which there are)"
        )
    return topics or sorted(declared)


def _plan(settings: Settings, names: list[str], begin: str, end: str, *, label: str, shadow: bool) -> ranges.Plan:
    """What to read of Kafka. Raises BadParameter, StartupError, SinkUnavailable."""
    group = "" if shadow else group_of(settings.kafka.group, label)
    plan = ranges.plan(
        ranges.hold(settings.kafka, names, ranges.option(begin, "--from"), ranges.option(end, "--to"), group)
    )
    for note in plan.notes:
        notes.print(note, markup=False)
    notes.print(f"{plan.offsets:,} offsets of {len(plan.ranges)} partitions into {label}")
    return plan


def _of_kafka(spark: SparkSession, settings: Settings, plan: ranges.Plan) -> tuple[DataFrame, Folding]:
    tasks = ranges.tasks(plan.ranges, spark.sparkContext.defaultParallelism)
    return read_kafka(spark, settings.kafka, tasks), Folding(settings=settings, continued=plan.continued)


def _of_archive(
    spark: SparkSession, settings: Settings, paths: list[str], read_as: str, incomplete: bool
) -> tuple[DataFrame, Folding]:
    inputs = {each.topic: each for each in settings.kafka.declared_inputs()}
    archive = archives.read(spark, paths)
    if archive.separate:
        if not read_as:
            raise StartupError(
                f"the archive does not say which topic its lines are of: --as {' | '.join(inputs)}. They carry no "
                "topic id, partition and offset, so they are counted separately from what came through Kafka."
            )
        notes.print("no coordinates in the archive: its records are counted separately, by file and line")
        return archive.messages, Folding(settings=settings, read_as=inputs[read_as], undated=not archive.dated)
    if read_as:
        raise StartupError("the archive says itself which topics its messages are of: leave out --as")
    with progress(spark, "looking at the archive's offsets", notes):
        covered = archives.coverage(archive.messages)
    continued = archives.whole(covered, inputs, incomplete=incomplete)
    notes.print(f"{sum(each.offsets for each in covered):,} messages with coordinates")
    return archives.distinct(archive.messages, covered), Folding(settings=settings, continued=continued)


def _tell(report: Report, *, dry_run: bool, as_json: bool, label: str, separate: bool) -> None:
    refused = sorted({f"{target.kind}: {reason}" for target, reason in report.refused.items()})
    if as_json:
        figures = {name: getattr(report, name) for name in Report.__slots__ if name != "refused"}
        typer.echo(
            json.dumps({"label": label, "separate": separate, "dry_run": dry_run, **figures, "refused": refused})
        )
        return
    would = "would be " if dry_run else ""
    typer.echo(f"{report.messages:,} messages with {report.records:,} records read")
    typer.echo(f"{report.documents:,} documents {would}written or confirmed in {label}")
    typer.echo(f"{report.letters:,} records rejected, beside those that are in a dead letter already")
    if report.refused:
        typer.echo(f"{len(report.refused):,} documents refused by the index: {'; '.join(refused[:5])}")
    if not dry_run:
        typer.echo(f"{report.patterns:,} patterns given a vector, {report.texts:,} texts embedded for them")


if __name__ == "__main__":
    run_command(app)
