"""The Spark session of a job, how far it has got, and its errors as one line."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pyspark.errors import PySparkException, PythonException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.classic.dataframe import DataFrame as ClassicDataFrame
from pyspark.sql.udf import UserDefinedFunction
from pyspark.util import PythonEvalType
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from schemas import errors
from schemas.errors import FreshetError, SinkUnavailable, StartupError

CHECKOUT: Final = Path(__file__).parents[1]
LOCAL: Final = {
    "spark.driver.memory": "1g",
    # Python does the work: what the second compiler would gain in the JVM, it costs (31 s of CPU became 13).
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.log.level": "FATAL",  # what fails is raised here as well, and said in one line
    "spark.executorEnv.PYTHONPATH": str(CHECKOUT),
}
EVERYWHERE: Final = {
    "spark.sql.execution.arrow.maxRecordsPerBatch": "2000",  # messages of a megabyte are nothing unusual
    "spark.python.worker.reuse": "true",  # its caches of templates and compiled rules outlive a task
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",  # a topic may be called 007
    "spark.ui.showConsoleProgress": "false",  # we have our own
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.compression.codec": "zstd",
}
LOOK_S: Final = 0.5
TELL_S: Final = 10.0
_RAISED: Final = re.compile(r"^schemas\.errors\.(\w+): (.*)", re.MULTILINE | re.DOTALL)


def start(name: str, master: str, *, submitted: bool) -> SparkSession:
    """`submitted`: spark-submit has started the JVM and knows the cluster. Raises StartupError without a Java."""
    builder = SparkSession.builder.appName(name)
    if not submitted:
        os.environ["PYSPARK_PYTHON"] = sys.executable  # what Spark reads; its default is whatever `python3` is
    for key, value in ({} if submitted else LOCAL | {"spark.master": master}).items():
        builder = builder.config(key, value)
    for key, value in EVERYWHERE.items():
        builder = builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except PySparkException as error:
        if error.getCondition() != "JAVA_GATEWAY_EXITED":
            raise
        raise StartupError(
            "Spark could not start Java. It needs 17 to 25: install one (`apt-get install default-jre-headless`) or "
            "set JAVA_HOME; what Java itself said is above."
        ) from None
    # What is shuffled is small: parts of documents, coordinates, texts.
    spark.conf.set("spark.sql.shuffle.partitions", spark.sparkContext.defaultParallelism * 2)
    return spark


@contextmanager
def one_line() -> Iterator[None]:
    """What a task raised on purpose, raised here; anything else stays as it is: a defect."""
    try:
        yield
    except PythonException as error:
        if found := _RAISED.search(str(error)):
            kind = getattr(errors, found[1], None)
            said = found[2].split("\n")[0].strip()
            if isinstance(kind, type) and issubclass(kind, FreshetError) and kind is not errors.InvalidRecord:
                raise kind(said) from None
            raise SinkUnavailable(said) from None
        raise


def map_arrow(rows: DataFrame, function: Callable[[Iterator[Any]], Iterator[Any]], schema: str) -> DataFrame:
    """`DataFrame.mapInArrow`, which asks for pandas to be installed and then makes no use of it (Spark 4.3)."""
    mapped = UserDefinedFunction(function, schema, evalType=PythonEvalType.SQL_MAP_ARROW_ITER_UDF)
    column: Any = mapped(*(rows[name] for name in rows.columns))
    java: Any = rows
    return ClassicDataFrame(java._jdf.mapInArrow(column._jc, False, None), rows.sparkSession)


@contextmanager
def progress(spark: SparkSession, what: str, out: Console) -> Iterator[None]:
    """Show how many tasks of the stages that run are done; on a terminal a bar, otherwise a line now and then."""
    done = threading.Event()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("tasks"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=out, disable=not out.is_terminal,
        transient=True,
    )  # fmt: skip
    watcher = threading.Thread(target=_watch, args=(spark, what, out, bar, done), daemon=True)
    began = time.monotonic()
    with bar:
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
    out.print(f"{what}: {time.monotonic() - began:.1f} s", style="dim")


def _watch(spark: SparkSession, what: str, out: Console, bar: Progress, done: threading.Event) -> None:
    tracker, shown = spark.sparkContext.statusTracker(), bar.add_task(what, total=None)
    began = told = time.monotonic()
    while not done.wait(LOOK_S):
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        total = sum(stage.numTasks for stage in stages if stage)
        finished = sum(stage.numCompletedTasks for stage in stages if stage)
        if total:
            bar.update(shown, total=total, completed=finished)
        now = time.monotonic()
        if not out.is_terminal and total and now - told >= TELL_S:
            told = now
            left = f", about {(now - began) * (total - finished) / finished:.0f} s left" if finished else ""
            out.print(f"{what}: {finished} of {total} tasks{left}")
