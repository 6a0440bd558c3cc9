"""All cases through the pipeline by itself, one by one: who is wrong, what is slow, what takes room."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from processors.decode import MOST_RECORDS
from tests.bad_input import runbooks
from tests.bad_input.case import World
from tests.bad_input.families import FAMILIES, cases
from tests.bad_input.verdict import Verdict, judge, pipeline

RUNBOOKS: Final = "runbooks in Avro"
NAMES: Final = (*FAMILIES, RUNBOOKS)
# One message may cost this and no more, whatever is in it: the worker's other partitions and its heartbeat wait for it.
MOST_MS: Final = 2_000.0
# What does not fit the first bound by its size: a record of one line, a large one, a crowd of small ones.
MS_PER_MB: Final = 250.0
MS_PER_RECORD: Final = 0.08
LEAST_MS: Final = 50.0
MOST_MB: Final = 512.0  # of memory for one message, above what the process holds already


@dataclass(slots=True, kw_only=True)
class Row:
    """One family."""

    family: str
    cases: int = 0
    counted: int = 0
    letters: int = 0
    filtered: int = 0
    wrong: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of what is wrong without a verdict
    slowest: Verdict | None = None
    peak_mb: float = 0.0
    over: list[Verdict] = field(default_factory=list)  # beyond the bounds of time or memory

    @property
    def bad(self) -> int:
        return len(self.wrong) + len(self.notes)


def run(
    world: World,
    families: Iterable[str] = NAMES,
    *,
    most_bytes: int | None = None,
    measure: bool = False,
    advance: Callable[[Row], None] = lambda _: None,
) -> list[Row]:
    """`most_bytes`: leave out larger messages; `measure`: memory, too, which takes its time."""
    made = pipeline()
    rows = []
    for family in families:
        row = Row(family=family)
        if family == RUNBOOKS:
            _decode_runbooks(row)
        else:
            for case in cases(family, world):
                if most_bytes is None or len(case.value or b"") <= most_bytes:
                    _count(row, judge(case, world, made, measure=measure))
        rows.append(row)
        advance(row)
    return rows


def _count(row: Row, verdict: Verdict) -> None:
    expect = verdict.case.expect
    row.cases += 1
    row.counted += sum(expect.counted.values())
    row.letters += verdict.letters
    row.filtered += sum(expect.filtered.values())
    if verdict.wrong:
        row.wrong.append(verdict)
    if verdict.ms > bound_ms(verdict) or verdict.peak_mb > MOST_MB:
        row.over.append(verdict)
    if row.slowest is None or verdict.ms > row.slowest.ms:
        row.slowest = verdict
    row.peak_mb = max(row.peak_mb, verdict.peak_mb)


def bound_ms(verdict: Verdict) -> float:
    """Processor time that one message may take."""
    value = verdict.case.value or b""
    # Too many records are told by reading as many as may be.
    records = max(verdict.case.expect.records, min(MOST_RECORDS, value.count(b"\n") + value.count(b"},{")))
    return min(MOST_MS, LEAST_MS + MS_PER_MB * len(value) / 1e6 + MS_PER_RECORD * records)


def _decode_runbooks(row: Row) -> None:
    for each in runbooks.values():
        row.cases += 1
        row.letters += bool(each.reasons)
        row.counted += not each.reasons
        if why := runbooks.wrong(each):
            row.notes.append(f"{each.name}: {why}")
