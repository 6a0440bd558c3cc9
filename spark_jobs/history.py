"""History into the index: fold, join the parts of each document, write, then letters and vectors.

    messages -> parts of changes -> (shuffle by document) -> documents, patterns before occurrences
                                                          -> tallies, without the records of refused documents
             -> dead letters                              -> Kafka, or a folder
             -> distinct texts without a vector           -> vectors

Every step may be repeated: documents merge, records in a dead letter are left to it, vectors are looked for first.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from rich.console import Console

from processors.sink import open_index
from schemas.documents import Target
from schemas.errors import SinkMisconfigured
from schemas.settings import Settings
from spark_jobs import partials, writing
from spark_jobs.folding import Folding, Refusal
from spark_jobs.partials import LETTER, SEEN
from spark_jobs.session import map_arrow, one_line, progress

TEXTS_PER_MODEL: Final = 2_000  # for so many a second process with a model of its own is worth its start


@dataclass(slots=True, kw_only=True)
class Report:
    """What was done, or would be."""

    messages: int = 0
    records: int = 0
    documents: int = 0
    refused: dict[Target, str] = field(default_factory=dict)
    letters: int = 0  # records that are rejected; those in a dead letter already are not among them
    patterns: int = 0  # that were given a vector
    texts: int = 0  # that the model was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One run over `messages` (see `messages.py`) into `label`."""

    spark: SparkSession
    settings: Settings
    label: str
    messages: DataFrame
    folding: Folding
    out: Console

    def run(self, *, rejects: str = "", embed: bool = True) -> Report:
        """Raises StartupError, SinkUnavailable, SinkMisconfigured; whatever it raises, starting again is safe."""
        report, parts, again = Report(), self.fold(self.folding), None
        try:
            self._seen(report, parts)
            letters = parts.filter(f.col("kind") == LETTER)
            documents = parts.filter(~f.col("kind").isin("tallies", LETTER, SEEN))
            tallies = parts.filter(f.col("kind") == "tallies")
            self._write("documents", documents, report)
            if report.refused:
                again = self.fold(replace(self.folding, refused=self._refusals(report)))
                tallies = again.filter(f.col("kind") == "tallies")
                letters = letters.union(again.filter(f.col("kind") == LETTER))
            known = len(report.refused)
            self._write("tallies", tallies, report)
            if len(report.refused) > known:
                raise SinkMisconfigured(f"OpenSearch refuses tallies: {list(report.refused.values())[-1]}")
            if report.letters or report.refused:
                report.letters = self._letters(letters, rejects)
            if embed:
                self._embed(parts.filter(f.col("kind") == "patterns"), report)
        finally:
            parts.unpersist()
            if again:
                again.unpersist()
        return report

    def count(self) -> Report:
        """What `run` would write, without writing."""
        report, parts = Report(), self.fold(self.folding)
        try:
            self._seen(report, parts)
            kinds = parts.filter(~f.col("kind").isin(LETTER, SEEN)).select("kind", "day", "id").distinct()
            with progress(self.spark, "counting documents", self.out), one_line():
                report.documents = kinds.count()
        finally:
            parts.unpersist()
        return report

    def fold(self, folding: Folding) -> DataFrame:
        """Parts of changes, computed once and kept: writing asks for them several times."""
        parts = map_arrow(self.messages, folding.run, partials.SPARK_SCHEMA)
        return parts.persist(StorageLevel.MEMORY_AND_DISK)

    def joined(self, parts: DataFrame) -> DataFrame:
        """All parts of a document side by side, a pattern before its occurrences."""
        number = self.spark.sparkContext.defaultParallelism * 2
        return parts.repartition(number, "home").sortWithinPartitions("home", f.desc("kind"), "day", "id")

    def _seen(self, report: Report, parts: DataFrame) -> None:
        with progress(self.spark, "reading and folding", self.out), one_line():
            for (body,) in parts.filter(f.col("kind") == SEEN).select("body").collect():
                seen = orjson.loads(bytes(body))
                report.messages += seen["messages"]
                report.records += seen["records"]
                report.letters += seen["letters"]

    def _write(self, what: str, parts: DataFrame, report: Report) -> None:
        task = writing.Writing(settings=self.settings, label=self.label)
        with progress(self.spark, f"writing {what}", self.out), one_line():
            for row in map_arrow(self.joined(parts), task.run, writing.WRITTEN_SCHEMA).collect():
                report.documents += row.documents
                if row.reason:
                    report.refused[Target(row.kind, row.day, row.id)] = row.reason

    def _refusals(self, report: Report) -> dict[Target, Refusal]:
        index, targets = open_index(self.settings, self.label), list(report.refused)
        stored: dict[Target, Any] = {}
        for start in range(0, len(targets), 1_000):
            stored |= index.slices(targets[start : start + 1_000])
        return {t: Refusal(reason=why, slices=stored.get(t, {})) for t, why in report.refused.items()}

    def _letters(self, letters: DataFrame, folder: str) -> int:
        if folder:
            with progress(self.spark, f"writing rejects to {folder}", self.out), one_line():
                map_arrow(letters, writing.rejects, writing.REJECT_SCHEMA).write.parquet(folder)
                return sum(row[0] for row in self.spark.read.parquet(folder).select(f.size("rejects")).collect())
        with progress(self.spark, "sending dead letters", self.out), one_line():
            task = writing.Sending(settings=self.settings, label=self.label)
            return _total(map_arrow(letters, task.run, writing.NUMBER_SCHEMA)).get("letters", 0)

    def _embed(self, patterns: DataFrame, report: Report) -> None:
        index = open_index(self.settings, self.label)
        index.request("POST", f"/{index.names.pattern('patterns')}/_refresh?ignore_unavailable=true")
        with progress(self.spark, "embedding", self.out), one_line():
            rows = map_arrow(patterns, writing.texts, "text string, id string").distinct().persist()
            number = -(-rows.select("text").distinct().count() // TEXTS_PER_MODEL)
            if number:
                number = min(number, self.spark.sparkContext.defaultParallelism)
                task = writing.Embedding(settings=self.settings, label=self.label)
                # All rows of a text in one partition, side by side: the model sees each text once.
                sorted_rows = rows.repartition(number, "text").sortWithinPartitions("text")
                given = _total(map_arrow(sorted_rows, task.run, writing.NUMBER_SCHEMA))
                report.patterns, report.texts = given.get("patterns", 0), given.get("texts", 0)
            rows.unpersist()


def _total(rows: DataFrame) -> dict[str, int]:
    summed = rows.groupBy("name").agg(f.sum("number").alias("number"))
    return {row["name"]: row["number"] for row in summed.collect()}
