"""Spark on two cores beside one streaming worker, over the same topic: folding alone, and with index writes.

Both are warm: a first pass of each is left out, as a worker that streams has started long ago. The worker's side is its
pipeline and fold in one process behind the quicker of the two Kafka clients, so that it is never flattered. What is
counted of Spark ends where its documents are complete: read, folded, shuffled, joined.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final, NamedTuple

import pyarrow as pa
import pytest
from confluent_kafka import Consumer
from rich.console import Console
from rich.table import Table

from deploy.installation import Installation
from processors.fold import Fold
from processors.generation import generation, generation_parts
from processors.pipeline import Pipeline
from processors.sink import Sink
from schemas.settings import Settings
from spark_jobs import ranges
from spark_jobs.folding import Folding
from spark_jobs.history import History
from spark_jobs.kafka_source import Range, client_options, messages, read_kafka
from spark_jobs.partials import folds, parts_of
from spark_jobs.session import map_arrow, start
from tests.benchmarks import corpus, drain
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.machine import PROC

CORES: Final = 2
LEAST_LINES: Final = 300_000  # a few seconds of two cores
GOAL: Final = 1.5  # times one worker
PASSES: Final = 3  # of each side, in turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    lines: int
    fold_s: tuple[float, ...]  # passes of the worker's fold path
    spark_s: tuple[float, ...]
    fold_cpu_s: tuple[float, ...]  # processor time of the same passes: what a busy machine does not stretch so much
    spark_cpu_s: tuple[float, ...]
    cold_s: float  # Spark's first pass: Python starts, nothing is compiled or cached
    session_s: float  # until the JVM is there
    worker_written_s: float  # a real worker, index writes included
    spark_written_s: float
    documents: int
    complete: bool  # both sides saw every line

    @property
    def ratio(self) -> float:
        return median(self.fold_s) / median(self.spark_s)


def measure(installation: Installation, *, count: int, out: Console) -> Figures:
    """Blocks. The installation's topics exist and are empty."""
    installation.extra["FRESHET_EMBEDDER__KIND"] = "hashing"  # models are measured by `rate`
    with drain.draining(installation) as worker_drain:
        worker = worker_drain.backlog("hundred", count)
        conserved = worker_drain.conserved()
    installation.stop()
    settings = settings_of(installation)
    held = ranges.hold(settings.kafka, [installation.topics["logs"]], None, None, "")
    plan = ranges.plan(held)
    began = time.monotonic()
    spark = start("freshet benchmark", f"local[{CORES}]", submitted=False)
    session_s = time.monotonic() - began
    try:
        tasks = ranges.tasks(plan.ranges, CORES)
        job = History(
            spark=spark,
            settings=settings,
            label=generation(generation_parts(settings)),
            messages=read_kafka(spark, settings.kafka, tasks),
            folding=Folding(settings=settings),
            out=out,
        )
        cold = spark_pass(job)
        passes: list[tuple[Pass, Pass]] = []
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            first = pool.submit(fold_pass, settings, plan.ranges).result()
            for _ in range(PASSES):
                passes.append((pool.submit(fold_pass, settings, plan.ranges).result(), spark_pass(job)))
                out.print(f"fold path {passes[-1][0].wall_s:.1f} s, Spark {passes[-1][1].wall_s:.1f} s", style="dim")
        installation.extra["FRESHET_OPENSEARCH__PREFIX"] = f"{installation.name}-history"
        settings = settings_of(installation)
        Sink.from_settings(settings, label=job.label).prepare()
        began = time.monotonic()
        report = History(
            spark=spark, settings=settings, label=job.label, messages=job.messages, folding=job.folding, out=out
        ).run(embed=False)
        written_s = time.monotonic() - began
    finally:
        spark.stop()
    everything = count + drain.WARM_UP
    return Figures(
        lines=everything,
        fold_s=tuple(round(each.wall_s, 2) for each, _ in passes),
        spark_s=tuple(round(each.wall_s, 2) for _, each in passes),
        fold_cpu_s=tuple(round(each.cpu_s, 2) for each, _ in passes),
        spark_cpu_s=tuple(round(each.cpu_s, 2) for _, each in passes),
        cold_s=round(cold.wall_s, 2),
        session_s=round(session_s, 2),
        worker_written_s=worker.wall_s,
        spark_written_s=round(written_s, 2),
        documents=report.documents,
        complete=conserved and first.records == cold.records == report.records == everything,
    )


class Pass(NamedTuple):
    wall_s: float
    cpu_s: float
    records: int


def fold_pass(settings: Settings, wanted: tuple[Range, ...]) -> Pass:
    """What a worker does with each message until it is folded; a new fold whenever it would flush."""
    pipeline, consumer = Pipeline.from_settings(settings), Consumer(client_options(settings.kafka))
    fold, records = Fold(), 0
    began, cpu_s = time.monotonic(), time.process_time()
    for message in messages(consumer, wanted):
        pipeline.run(message, fold)
        if fold.records >= settings.worker.flush_records:
            records, fold = records + fold.records, Fold()
    spent = Pass(time.monotonic() - began, time.process_time() - cpu_s, records + fold.records)
    consumer.close()
    return spent


def spark_pass(job: History) -> Pass:
    began, cpu_s = time.monotonic(), children_cpu_s()
    parts = job.fold(job.folding)
    try:
        rows = map_arrow(
            job.joined(parts.filter("kind not in ('letter', 'seen')")), complete, "records bigint"
        ).collect()
        return Pass(time.monotonic() - began, children_cpu_s() - cpu_s, sum(row.records for row in rows))
    finally:
        parts.unpersist(blocking=True)


def complete(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join the parts of each document, as before writing; gives the records that are counted in them."""
    for fold in folds(parts_of(batches)):
        counted = sum(part.records for change in fold for part in change.whole.values())
        yield pa.RecordBatch.from_pydict({"records": [counted]})


def children_cpu_s() -> float:
    """Of all processes below this one, with those that they have waited for: the JVM and its Python workers."""
    spent: dict[int, float] = {}
    parents: dict[int, int] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            after_name = stat.read_text().rpartition(")")[2].split()
            parents[int(stat.parent.name)] = int(after_name[1])
            spent[int(stat.parent.name)] = sum(map(int, after_name[11:15])) / os.sysconf("SC_CLK_TCK")
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(spent.get(pid, 0.0) for pid in below - {os.getpid()})


def settings_of(installation: Installation) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment.items():
            patch.setenv(name, value)
        return Settings.load()


def show(figures: Figures, out: Console) -> None:
    table = Table("", "one worker", f"Spark local[{CORES}]", "times")
    fold_s, spark_s = median(figures.fold_s), median(figures.spark_s)
    table.add_row("lines a second, index writes excluded", *_rates(figures.lines, fold_s, spark_s))
    table.add_row("with index writes", *_rates(figures.lines, figures.worker_written_s, figures.spark_written_s))
    out.print(table)
    cpu = f"{median(figures.fold_cpu_s):.1f} s of CPU a pass, Spark's {median(figures.spark_cpu_s):.1f} s"
    out.print(f"The worker's fold path spent {cpu}.")
    out.print(f"Spark's first pass {figures.cold_s:.1f} s, its session before that {figures.session_s:.1f} s")


def _rates(lines: int, one_s: float, other_s: float) -> tuple[str, str, str]:
    return f"{lines / one_s:,.0f}", f"{lines / other_s:,.0f}", f"{one_s / other_s:.2f}"


def run(bench: Bench) -> Summary:
    count = max(bench.lines, LEAST_LINES)
    bench.out.print(
        f"spark: {count:,} lines of the shop, 100 a message, seed {corpus.SEED}, {bench.partitions} partitions"
    )
    with bench.installed("spark") as installation:
        figures = measure(installation, count=count, out=bench.out)
    show(figures, bench.out)
    return {
        "name": "spark",
        "ok": figures.complete and figures.ratio >= GOAL,
        "headline": f"{figures.ratio:.2f} times one worker, goal {GOAL:g}",
        "ratio": round(figures.ratio, 2),
        "goal": GOAL,
        # What the processor time of both would give with nothing else on the cores.
        "cpu_ratio": round(CORES * median(figures.fold_cpu_s) / median(figures.spark_cpu_s), 2),
        "written_ratio": round(figures.worker_written_s / figures.spark_written_s, 2),
        "guards": {"complete": figures.complete},
        **asdict(figures),
    }
