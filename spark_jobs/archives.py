"""Archives as messages: JSON or Parquet, from any path that Spark can read.

With topic id, partition and offset they join the live documents. Others are *separate*: each line gets coordinates of
its own, made of the file's path and the line's number, so that they count beside whatever came through Kafka.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson
import pyarrow as pa
from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from cag.source_records import ARCHIVE
from processors.logs import without_credentials
from schemas.documents import BLOCK_BITS, digest, slice_key
from schemas.errors import StartupError
from schemas.records import Message
from spark_jobs.messages import SPARK_SCHEMA, batch_of
from spark_jobs.session import map_arrow

TEXT_SUFFIXES: Final = (".json", ".jsonl", ".ndjson", ".log", ".txt")
COMPRESSED: Final = (".gz", ".zst", ".bz2", ".lz4", ".snappy")
COORDINATES: Final = ("topic_id", "partition", "offset")
NEVER_SPLIT: Final = str(1 << 40)  # bytes: lines can only be numbered from a file's beginning
BLOCK: Final = 1 << BLOCK_BITS
_JSON_LINE: Final = (
    "topic string, topic_id string, partition int, offset bigint, timestamp_ms bigint, key string, value string, "
    "headers array<struct<name:string,value:string>>, broken string"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    messages: DataFrame
    separate: bool
    dated: bool  # each message has a time of Kafka's


def read(spark: SparkSession, paths: Sequence[str]) -> Archive:
    """Nothing but the first lines is read yet. Raises StartupError for paths without files and for missing columns."""
    try:
        if not _is_text(paths):
            return _parquet(spark, paths)
        first = spark.read.text(list(paths)).filter("length(value) > 0").head()
        if first is None:
            raise StartupError(f"{_names(paths)}: no file there, or all are empty")
        return _json(spark, paths) if _has_coordinates(first[0]) else _lines(spark, paths)
    except AnalysisException as error:
        if error.getCondition() == "PATH_NOT_FOUND":
            raise StartupError(f"{_names(paths)}: there is no such file or folder") from None
        if error.getCondition() == "UNABLE_TO_INFER_SCHEMA":
            raise StartupError(f"{_names(paths)}: no Parquet file there") from None
        raise
    except Py4JJavaError as error:
        if "is not a Parquet file" not in str(error):
            raise
        raise StartupError(
            f"{_names(paths)}: holds something that is not Parquet; text ends in {', '.join(TEXT_SUFFIXES)}"
        ) from None


def _names(paths: Iterable[str]) -> str:
    return without_credentials(", ".join(paths))


def _is_text(paths: Iterable[str]) -> bool:
    def plain(path: str) -> str:
        return next((path.removesuffix(each) for each in COMPRESSED if path.endswith(each)), path)

    kinds = {plain(path).endswith(TEXT_SUFFIXES) for path in paths}
    if len(kinds) > 1:
        raise StartupError(f"{_names(paths)}: text and Parquet in one run; index them one after the other")
    return kinds.pop()


def _has_coordinates(line: str) -> bool:
    try:
        read = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(read, dict) and {*COORDINATES, "value"} <= read.keys()


def _json(spark: SparkSession, paths: Sequence[str]) -> Archive:
    """Lines that hold a message each: topic, topic_id, partition, offset, timestamp_ms, key, value, headers."""
    rows = spark.read.schema(_JSON_LINE).option("columnNameOfCorruptRecord", "broken").json(list(paths)).cache()
    bad = rows.filter("broken is not null or topic_id is null or partition is null or offset is null").count()
    if bad:
        raise StartupError(f"{_names(paths)}: {bad} lines have no topic_id, partition and offset like the first")
    return _joined(rows, paths)


def _parquet(spark: SparkSession, paths: Sequence[str]) -> Archive:
    # A folder below `topic=.../` is read as what it is a part of, otherwise its messages had no topic.
    bases = {path.partition("/topic=")[0] for path in paths}
    options = {"basePath": bases.pop()} if len(bases) == 1 and any("/topic=" in path for path in paths) else {}
    rows = spark.read.options(**options).parquet(*paths)
    if "value" not in rows.columns:
        raise StartupError(f"{_names(paths)}: no column `value`, only {', '.join(rows.columns)}")
    if set(COORDINATES) <= set(rows.columns):
        return _joined(rows, paths)
    return Archive(
        messages=_separate(rows, f.col("_metadata.file_path"), f.col("_metadata.row_index"), _time(rows)),
        separate=True,
        dated=_time(rows) is not None,
    )


def _joined(rows: DataFrame, paths: Sequence[str]) -> Archive:
    if lacking := [name for name in ("topic",) if name not in rows.columns]:
        raise StartupError(f"{_names(paths)}: has coordinates, but no column {', '.join(lacking)}")
    time = _time(rows)
    if time is None:
        raise StartupError(
            f"{_names(paths)}: has coordinates, but no `timestamp_ms` or `timestamp`: records without their own time "
            "would land elsewhere than their live documents"
        )
    return Archive(
        messages=rows.select(
            f.col("topic").cast("string"),
            f.col("topic_id").cast("string"),
            f.col("partition").cast("int"),
            f.col("offset").cast("bigint"),
            f.coalesce(time, f.lit(0)).alias("timestamp_ms"),
            _bytes(rows, "key"),
            _bytes(rows, "value"),
            _headers(rows),
        ),
        separate=False,
        dated=True,
    )


def _time(rows: DataFrame) -> Column | None:
    if "timestamp_ms" in rows.columns:
        return f.col("timestamp_ms").cast("bigint")
    return f.unix_millis("timestamp") if "timestamp" in rows.columns else None


def _bytes(rows: DataFrame, name: str) -> Column:
    return (f.col(name) if name in rows.columns else f.lit(None)).cast("binary").alias(name)


def _headers(rows: DataFrame) -> Column:
    """Ours say `name`, those of Spark's Kafka connector `key`."""
    none = f.array().cast("array<struct<name:string,value:binary>>")
    if "headers" not in rows.columns:
        return none.alias("headers")
    element = rows.schema["headers"].dataType.elementType  # type: ignore[attr-defined]
    name = "name" if "name" in element.fieldNames() else "key"
    each = f.transform("headers", lambda h: f.struct(h[name].alias("name"), h["value"].cast("binary").alias("value")))
    return f.coalesce(each, none).alias("headers")


def _lines(spark: SparkSession, paths: Sequence[str]) -> Archive:
    """Any other text: a message a line, as it stands."""
    spark.conf.set("spark.sql.files.maxPartitionBytes", NEVER_SPLIT)
    spark.conf.set("spark.sql.files.openCostInBytes", NEVER_SPLIT)
    lines = spark.read.option("lineSep", "\n").text(list(paths))
    written = f.unix_millis("_metadata.file_modification_time")
    rows = lines.select(
        f.col("_metadata.file_path").alias("file"),
        written.alias("written_ms"),
        f.col("value").cast("binary").alias("value"),
    )
    return Archive(messages=map_arrow(rows, number_lines, SPARK_SCHEMA), separate=True, dated=False)


def number_lines(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Coordinates for the lines of whole files, which come one after the other."""
    reached: dict[str, int] = {}
    for batch in batches:
        made = []
        for row in batch.to_pylist():
            file, number = row["file"], reached.get(row["file"], 0)
            reached[file] = number + 1
            if not row["value"]:
                continue  # an empty line says nothing; it only counts
            made.append(
                Message(
                    topic=topic_of(file), topic_id=digest(file), partition=0, offset=number,
                    timestamp_ms=row["written_ms"], key=None, value=row["value"],
                )
            )  # fmt: skip
        yield batch_of(made)


def topic_of(file: str) -> str:
    """The path in the place of a topic: without the slashes that divide coordinates, and without credentials."""
    return ARCHIVE + quote(without_credentials(file), safe=":")


def _separate(rows: DataFrame, file: Column, number: Column, time: Column | None) -> DataFrame:
    written = f.unix_millis("_metadata.file_modification_time")
    return rows.select(
        f.udf(topic_of, "string")(file).alias("topic"),
        f.udf(lambda path: digest(path), "string")(file).alias("topic_id"),
        f.lit(0).alias("partition"),
        number.cast("bigint").alias("offset"),
        f.coalesce(time, written).alias("timestamp_ms") if time is not None else written.alias("timestamp_ms"),
        _bytes(rows, "key"),
        _bytes(rows, "value"),
        _headers(rows),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What an archive holds of one block of offsets."""

    topic: str
    topic_id: str
    partition: int
    block: int
    first: int
    last: int
    rows: int
    offsets: int

    @property
    def lacking(self) -> str:
        """Which offsets are not there, '' when the block is there from its start to `last`."""
        if self.first > self.block * BLOCK:
            return f"{self.topic}/{self.partition}: {self.block * BLOCK} to {self.first - 1}"
        holes = self.last - self.first + 1 - self.offsets
        return f"{self.topic}/{self.partition}: {holes} between {self.first} and {self.last}" if holes else ""


def coverage(messages: DataFrame) -> list[Covered]:
    """Of an archive with coordinates, by block; reads those columns only."""
    by_block = messages.withColumn("block", f.shiftright("offset", BLOCK_BITS))
    found = by_block.groupBy("topic", "topic_id", "partition", "block").agg(
        f.min("offset").alias("first"),
        f.max("offset").alias("last"),
        f.count("*").alias("rows"),
        f.countDistinct("offset").alias("offsets"),
    )
    return [Covered(**row.asDict()) for row in found.collect()]


def whole(covered: Sequence[Covered], inputs: Collection[str], *, incomplete: bool) -> frozenset[str]:
    """The slices that must go on from what the index holds. Raises StartupError unless such may be.

    A count is exact from the start of a block or not at all. So what an archive lacks must be in the index already, or
    be gone for good (retention, compaction), and that only an operator knows.
    """
    if strange := sorted({each.topic for each in covered} - set(inputs)):
        raise StartupError(f"{', '.join(strange[:5])}: none of the inputs (FRESHET_KAFKA__INPUTS)")
    parts = [each for each in covered if each.lacking]
    if parts and not incomplete:
        raise StartupError(
            "the archive lacks offsets, and counts start at a block's first:\n  "
            + "\n  ".join(each.lacking for each in parts[:10])
            + "\nAdd the files that hold them. If they are indexed already or gone for good, say --incomplete."
        )
    return frozenset(slice_key(each.topic_id, each.partition, each.first) for each in parts)


def distinct(messages: DataFrame, covered: Sequence[Covered]) -> DataFrame:
    """Each message once, should the archive hold some twice; only then is it worth a shuffle."""
    if all(each.rows == each.offsets for each in covered):
        return messages
    return messages.dropDuplicates([*COORDINATES])
