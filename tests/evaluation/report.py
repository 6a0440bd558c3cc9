"""Figures of a run, per group and in all. Pure."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.table import Table

from tests.evaluation.run import Asked

DEPTHS: Final = (1, 5, 10)
DEPTH: Final = 10


def figures(asked: Sequence[Asked]) -> dict[str, Any]:
    """Recall counts expectations; nDCG, MRR and `all met` count tasks that expect something."""
    placed = [rank for one in asked for rank in one.ranks]
    expecting = [one for one in asked if one.ranks]
    times = sorted(one.milliseconds for one in asked)
    return {
        "tasks": len(asked),
        "expectations": len(placed),
        **{f"recall@{depth}": _share(rank is not None and rank <= depth for rank in placed) for depth in DEPTHS},
        f"ndcg@{DEPTH}": _mean(ndcg(one) for one in expecting),
        "mrr": _mean(1 / min((r for r in one.ranks if r), default=math.inf) for one in expecting),
        f"all_met@{DEPTH}": _share(all(r and r <= DEPTH for r in one.ranks) for one in expecting),
        "forbidden": sum(len(one.forbidden) for one in asked),
        "abstained_right": sum(one.abstained and one.task.abstain for one in asked),
        "abstained_wrong": sum(one.abstained != one.task.abstain for one in asked),
        "repeated": _share(one.repeated for one in asked),
        "p50_ms": round(statistics.median(times), 1) if times else None,
        "p95_ms": round(times[math.ceil(0.95 * len(times)) - 1], 1) if times else None,
    }


def ndcg(one: Asked) -> float:
    """Each expectation gains 1 where it is first met; runbooks have a list of their own, with an ideal of its own."""
    gained, ideal = 0.0, 0.0
    for runbooks in (True, False):
        mine = [r for r, x in zip(one.ranks, one.task.expect, strict=True) if (x["kind"] == "runbook") is runbooks]
        gained += sum(1 / math.log2(rank + 1) for rank in mine if rank and rank <= DEPTH)
        ideal += sum(1 / math.log2(place + 1) for place in range(1, len(mine) + 1))
    return min(gained / ideal, 1.0)  # one piece may meet two expectations


def groups(asked: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """Figures by group, in the order of the tasks."""
    names = dict.fromkeys(one.task.group for one in asked)
    return {name or "(none)": figures([one for one in asked if one.task.group == name]) for name in names}


def tables(name: str, asked: Sequence[Asked]) -> list[Table]:
    """One row a task, then one row a group."""
    tasks = Table("task", "expected at", "forbidden", "abstained", "ms", "first piece of evidence", title=name)
    for one in asked:
        first = next((piece.text for piece in one.context.evidence if piece.kind != "runbook"), "")
        said = f"{'yes' if one.abstained else 'no'}{'' if one.abstained == one.task.abstain else ' (wrong)'}"
        places = ", ".join(str(rank or "-") for rank in one.ranks)
        tasks.add_row(one.task.id, places, str(len(one.forbidden)), said, f"{one.milliseconds:.0f}", _plain(first))
    rows = {**groups(asked), "all": figures(asked)}
    shown = (
        "tasks",
        "recall@1",
        "recall@5",
        "recall@10",
        "ndcg@10",
        "mrr",
        "all_met@10",
        "forbidden",
        "p50_ms",
        "p95_ms",
    )
    by_group = Table("group", *shown)
    for group, row in rows.items():
        by_group.add_row(group, *("-" if row[key] is None else str(row[key]) for key in shown))
    return [tasks, by_group]


def _plain(text: str) -> str:
    return " ".join(text.split())[:70].replace("[", "(")


def _share(values: Iterable[object]) -> float | None:
    return _mean(1.0 if value else 0.0 for value in values)


def _mean(values: Iterable[float]) -> float | None:
    """None for a mean of nothing."""
    found = list(values)
    return round(sum(found) / len(found), 3) if found else None
