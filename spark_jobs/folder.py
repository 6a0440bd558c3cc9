"""A folder wherever Spark's paths lead (local, HDFS, object stores), through Hadoop's own file systems."""

from typing import Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from processors.logs import without_credentials
from schemas.errors import SinkUnavailable


class Folder:
    """Every call blocks and raises SinkUnavailable when the store does not answer, or knows no such address."""

    def __init__(self, spark: SparkSession, path: str) -> None:
        context: Any = spark.sparkContext
        self._jvm, self._configuration, self._path = context._jvm, context._jsc.hadoopConfiguration(), path

    def exists(self) -> bool:
        return bool(self._call(lambda files, path: files.exists(path), self._path))

    def names(self, below: str) -> list[str]:
        """What lies in the folder `below`; nothing when there is no such folder."""

        def listed(files: Any, path: Any) -> list[str]:
            return [status.getPath().getName() for status in files.listStatus(path)] if files.exists(path) else []

        found: list[str] = self._call(listed, f"{self._path}/{below}")
        return found

    def touch(self, below: str) -> None:
        """An empty file: there or not there, never half."""
        self._call(lambda files, path: files.create(path, True).close(), f"{self._path}/{below}")

    def _call(self, step: Any, path: str) -> Any:
        try:
            where = self._jvm.org.apache.hadoop.fs.Path(path)
            return step(where.getFileSystem(self._configuration), where)
        except Py4JJavaError as error:
            said = str(error.java_exception.getMessage()).splitlines()[0]
            raise SinkUnavailable(without_credentials(f"{path}: {said}")) from None
