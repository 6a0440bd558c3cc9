"""What root causes are compared with: the methods of RCAEval in an environment of their own, and two simple ones.

They are told when the fault began and are given all metrics of the time before and after; ours has to notice by itself.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Final

import orjson

from tests.benchmarks import peers

PEER: Final = "rcaeval"
CACHE: Final = Path("~/.cache/freshet")
LEAST: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All metrics around one fault. Gaps hold the value before them, or 0: the methods know no gaps."""

    times: Sequence[float]
    inject: float
    columns: Mapping[str, Sequence[float]]  # by `service|metric`

    def services(self, columns: Iterable[str]) -> list[str]:
        """Of columns, the most suspect first: each service once."""
        return list(dict.fromkeys(column.split("|", 1)[0] for column in columns))


def filled(values: Sequence[float | None]) -> list[float]:
    last, found = 0.0, []
    for value in values:
        last = last if value is None or math.isnan(value) else value
        found.append(last)
    return found


def rankings(tables: Sequence[Table], cache: Path = CACHE) -> dict[str, list[list[str]]]:
    """Services of each table, the most suspect first, by method. Raises StartupError when the peer does not run."""
    cases = [{"time": list(t.times), "inject": t.inject, "columns": dict(t.columns)} for t in tables]
    answers = peers.run(PEER, cache, stdin=b"".join(orjson.dumps(case) + b"\n" for case in cases))["answers"]
    found = {
        name: [table.services(answer[name]) for table, answer in zip(tables, answers, strict=True)]
        for name in (answers[0] if answers else {})
    }
    found["maximum |z|"] = [table.services(by_largest_z(table)) for table in tables]
    found["random"] = [table.services(_shuffled(table)) for table in tables]
    return found


def by_largest_z(table: Table) -> list[str]:
    """Largest distance from the mean of before, in standard deviations of before."""
    return sorted(table.columns, key=lambda name: (-_largest_z(table, table.columns[name]), name))


def _largest_z(table: Table, values: Sequence[float]) -> float:
    before = [value for time, value in zip(table.times, values, strict=True) if time < table.inject]
    after = [value for time, value in zip(table.times, values, strict=True) if time >= table.inject]
    if not before or not after:
        return 0.0
    mean, deviation = fmean(before), pstdev(before)
    if deviation <= LEAST:
        return 0.0  # as RCAEval's: a column that never changed before has no scale
    return max(abs(value - mean) for value in after) / deviation


def _shuffled(table: Table) -> list[str]:
    """One column of each service, so that one with many metrics is not likelier."""
    services = sorted(table.services(table.columns))
    random.Random(table.inject).shuffle(services)
    return services
