"""Archives: which offsets one lacks, what separate lines are called, and what is still to be archived."""

from pathlib import Path

import pyarrow as pa
import pytest

from cag.source_records import ARCHIVE, SourceRecords
from schemas.documents import slice_key
from schemas.errors import StartupError
from schemas.records import Coordinates
from schemas.settings import Settings
from spark_jobs import archives
from spark_jobs.archive import RANGE_OFFSETS, pieces
from spark_jobs.archives import Covered
from spark_jobs.kafka_source import Range
from spark_jobs.messages import messages_of

BLOCK = 1 << 20


def covered(block: int, first: int, last: int, *, lacking: int = 0, topic: str = "logs") -> Covered:
    offsets = last - first + 1 - lacking
    return Covered(
        topic=topic, topic_id="i", partition=0, block=block, first=first, last=last, rows=offsets, offsets=offsets
    )


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (covered(0, 0, 99), ""),
        (covered(1, BLOCK, BLOCK + 5), ""),
        (covered(0, 10, 99), "logs/0: 0 to 9"),
        (covered(0, 0, 99, lacking=3), "logs/0: 3 between 0 and 99"),
    ],
)
def test_what_an_archive_lacks_stops_it_unless_that_is_known(found: Covered, told: str) -> None:
    continued = archives.whole([found], ["logs"], incomplete=True)
    assert continued == ({slice_key("i", 0, found.first)} if told else set())
    if told:
        with pytest.raises(StartupError, match=told):
            archives.whole([found], ["logs"], incomplete=False)


def test_an_unknown_topic_in_an_archive_is_named() -> None:
    with pytest.raises(StartupError, match="payroll: none of the inputs"):
        archives.whole([covered(0, 0, 1, topic="payroll")], ["logs"], incomplete=False)


def test_lines_are_numbered_by_file_over_batches() -> None:
    lines = [("file:/a/x.log", b"one"), ("file:/a/x.log", b""), ("file:/a/x.log", b"three"), ("file:/b.log", b"one")]
    rows = [{"file": file, "written_ms": 5, "value": value} for file, value in lines]
    batches = [pa.RecordBatch.from_pylist(part) for part in (rows[:2], rows[2:])]
    found = [message for batch in archives.number_lines(batches) for message in messages_of(batch)]
    assert [(m.topic_id, m.offset, m.value) for m in found] == [
        (found[0].topic_id, 0, b"one"), (found[0].topic_id, 2, b"three"), (found[2].topic_id, 0, b"one"),
    ]  # fmt: skip
    assert found[0].topic_id != found[2].topic_id


def test_the_evidence_of_an_archived_line_says_where_it_lies() -> None:
    at = Coordinates(archives.topic_of("s3a://key:secret@bucket/a b/x.json"), "d", 0, 16)
    assert Coordinates.parse(str(at)) == at
    assert at.topic.startswith(ARCHIVE)
    record = SourceRecords(Settings()).read(at)
    assert record.status == "unavailable"
    assert record.reason.startswith("archived: s3a://bucket/a b/x.json, line 17")


def test_a_first_line_tells_whether_there_are_coordinates() -> None:
    assert archives._has_coordinates('{"topic_id": "i", "partition": 0, "offset": 1, "value": "x"}')
    for other in ("plain words", "7", '{"log": "x"}', "[1]", ""):
        assert not archives._has_coordinates(other)


@pytest.mark.parametrize(("paths", "text"), [(["a.json.gz"], True), (["a/", "b.parquet"], False), (["x.log"], True)])
def test_suffixes_tell_text_from_parquet(paths: list[str], text: bool) -> None:
    assert archives._is_text(paths) is text


def test_text_and_parquet_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="one after the other"):
        archives._is_text([str(tmp_path), "b.json"])


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ([], [(0, RANGE_OFFSETS), (RANGE_OFFSETS, RANGE_OFFSETS + 9)]),
        ([(0, RANGE_OFFSETS)], [(RANGE_OFFSETS, RANGE_OFFSETS + 9)]),
        ([(0, 50)], [(50, RANGE_OFFSETS), (RANGE_OFFSETS, RANGE_OFFSETS + 9)]),
        ([(50, 70), (0, 20)], [(20, 50), (70, RANGE_OFFSETS), (RANGE_OFFSETS, RANGE_OFFSETS + 9)]),
        ([(0, RANGE_OFFSETS + 9)], []),
        ([(0, 2 * RANGE_OFFSETS)], []),
    ],
)
def test_only_what_is_missing_is_archived(done: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
    names = [f"-i-d_-3-{start:012d}-{end:012d}" for start, end in done] + ["-i-d_-4-0-999999999"]
    wanted = [Range("logs", "-i-d_", 3, 0, RANGE_OFFSETS + 9)]
    assert [(each.start, each.end) for each in pieces(wanted, names)] == left
