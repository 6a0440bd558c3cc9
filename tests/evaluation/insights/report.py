"""Figures, tables and goals of the insights' evaluation. Pure."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from tests.evaluation.insights.truth import Judged, Verdict

WITHIN_S: Final = 60.0
RIGHT: Final = 0.9
FALSE_PER_HOUR: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    name: str
    value: float | None
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def text(self) -> str:
        return f"{self.name}: {number(self.value)}, goal {'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(slots=True, kw_only=True)
class Part:
    """What one part of the evaluation has to say."""

    tables: list[Table | str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)
    details: Any = None


def figures(judged: Sequence[Judged]) -> dict[str, Any]:
    """Of recordings together: incidents found, how soon, the right entity, false ones."""
    verdicts = [verdict for one in judged for verdict in one.verdicts]
    hours, false = sum(one.quiet_hours for one in judged), sum(len(one.false) for one in judged)
    found = [verdict for verdict in verdicts if verdict.found_ms is not None]
    return {
        "incidents": len(verdicts),
        "found": len(found),
        "within_60s": share(v.delay_s is not None and v.delay_s <= WITHIN_S for v in verdicts),
        **spread("delay", [v.delay_s for v in found if v.delay_s is not None]),
        **spread("delay_bad", [v.delay_bad_s for v in found if v.delay_bad_s is not None]),
        "top1": ranked(verdicts, 1, lambda v: v.last_rank),
        "top3": ranked(verdicts, 3, lambda v: v.last_rank),
        "top1_at_first": ranked(verdicts, 1, lambda v: v.first_rank),
        "insights_per_incident": mean(v.insights for v in found),
        "one_insight": share(v.insights == 1 for v in found),
        "resolved": share(v.resolved_s is not None for v in found),
        "resolved_after_s": median([v.resolved_s for v in found if v.resolved_s is not None]),
        "false": false,
        "quiet_hours": round(hours, 2),
        "false_per_hour": round(false / hours, 3) if hours else None,
    }


def ranked(verdicts: Sequence[Verdict], depth: int, of: Callable[[Verdict], int | None]) -> float | None:
    """Of all true incidents, those not found included."""
    return share((of(verdict) or math.inf) <= depth for verdict in verdicts)


def spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    return {
        f"{name}_p50_s": percentile(values, 0.5),
        f"{name}_p90_s": percentile(values, 0.9),
        f"{name}_max_s": percentile(values, 1.0),
    }


SHOWN: Final = (
    "incidents", "found", "within_60s", "delay_p50_s", "delay_p90_s", "delay_max_s", "top1", "top3", "top1_at_first",
    "insights_per_incident", "resolved", "resolved_after_s", "false", "quiet_hours", "false_per_hour",
)  # fmt: skip


def table(title: str, rows: Mapping[str, Mapping[str, Any]], columns: Sequence[str] = SHOWN, first: str = "") -> Table:
    shown = Table(first, *(column.replace("_", " ") for column in columns), title=title)
    for name, row in rows.items():
        shown.add_row(name, *(number(row.get(column)) for column in columns))
    return shown


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return "-" if value is None else str(value)


def percentile(values: Sequence[float], part: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[math.ceil(part * len(ordered)) - 1], 1) if ordered else None


def median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 1) if values else None


def share(values: Iterable[object]) -> float | None:
    return mean(1.0 if value else 0.0 for value in values)


def mean(values: Iterable[float]) -> float | None:
    """None for a mean of nothing."""
    found = list(values)
    return round(sum(found) / len(found), 3) if found else None
