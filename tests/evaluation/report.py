"""Figures of a run, per group and in all, for the product and for the baselines beside it. Pure."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from schemas.context import Evidence
from tests.evaluation.baselines import NAMES as BASELINES
from tests.evaluation.run import Asked, Found

DEPTHS: Final = (1, 5, 10)
DEPTH: Final = 10
SHOWN: Final = (
    "tasks", "recall@1", "recall@5", "recall@10", "all_met@10", "ndcg@10", "mrr", "precision@5", "forbidden",
    "abstained_right", "abstained_wrong", "repeated", "p50_ms", "p95_ms",
)  # fmt: skip
Of = Callable[[Asked], Found]


def product(one: Asked) -> Found:
    return one.found


def figures(asked: Sequence[Asked]) -> dict[str, Any]:
    """What was found, and what only the product can be asked: leaks, abstention, repetition."""
    return {
        "tasks": len(asked),
        **ranked(asked, product),
        "forbidden": sum(len(one.forbidden) for one in asked),
        "abstained_right": sum(one.abstained and one.task.abstain for one in asked),
        # Nothing is called a cause although something was to be found, or the other way round.
        "abstained_wrong": sum(wrongly(one) for one in asked),
        "repeated": _share(one.repeated for one in asked),
    }


def wrongly(one: Asked) -> bool:
    """A task that expects runbooks only, or nothing, says nothing about whether something is wrong."""
    facts = any(x["kind"] != "runbook" for x in one.task.expect)
    return one.abstained != one.task.abstain and (one.task.abstain or facts)


def ranked(asked: Sequence[Asked], of: Of) -> dict[str, Any]:
    """Recall counts expectations; nDCG, MRR, precision and `all met` count tasks that expect something."""
    expecting = [one for one in asked if one.task.expect]
    placed = [rank for one in expecting for rank in of(one).ranks]
    times = sorted(of(one).milliseconds for one in asked)
    return {
        "expectations": len(placed),
        **{f"recall@{depth}": _share(rank is not None and rank <= depth for rank in placed) for depth in DEPTHS},
        f"all_met@{DEPTH}": _share(all(r and r <= DEPTH for r in of(one).ranks) for one in expecting),
        f"ndcg@{DEPTH}": _mean(ndcg(one, of) for one in expecting),
        "mrr": _mean(1 / min((r for r in of(one).ranks if r), default=math.inf) for one in expecting),
        "precision@5": _mean(of(one).precision or 0.0 for one in expecting),
        "p50_ms": round(statistics.median(times), 1) if times else None,
        "p95_ms": percentile(times, 0.95),
    }


def ndcg(one: Asked, of: Of = product) -> float:
    """Each expectation gains 1 where it is first met; runbooks have a list of their own, with an ideal of its own."""
    gained, ideal = 0.0, 0.0
    for runbooks in (True, False):
        placed = zip(of(one).ranks, one.task.expect, strict=True)
        mine = [rank for rank, x in placed if (x["kind"] == "runbook") is runbooks]
        gained += sum(1 / math.log2(rank + 1) for rank in mine if rank and rank <= DEPTH)
        ideal += sum(1 / math.log2(place + 1) for place in range(1, len(mine) + 1))
    return min(gained / ideal, 1.0)  # one piece may meet two expectations


def by_kind(asked: Sequence[Asked], of: Of = product) -> dict[str, float | None]:
    """Recall in the first five, by what is expected: the right object and what shows it are scored apart."""
    placed = [(x["kind"], rank) for one in asked for x, rank in zip(one.task.expect, of(one).ranks, strict=True)]
    kinds = dict.fromkeys(kind for kind, _ in placed)
    return {kind: _share(rank is not None and rank <= 5 for k, rank in placed if k == kind) for kind in kinds}


def stages(asked: Sequence[Asked]) -> dict[str, dict[str, float | None]]:
    """Milliseconds of each stage of the product's retrieval; some run beside others."""
    names = dict.fromkeys(name for one in asked for name in one.context.timings_ms)
    found = {name: sorted(one.context.timings_ms.get(name, 0.0) for one in asked) for name in names}
    return {
        name: {"p50_ms": round(statistics.median(times), 1), "p95_ms": percentile(times, 0.95)}
        for name, times in found.items()
    }


def groups(asked: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """Figures by group, in the order of the tasks."""
    names = dict.fromkeys(one.task.group for one in asked)
    return {name or "(none)": figures([one for one in asked if one.task.group == name]) for name in names}


def beside(asked: Sequence[Asked]) -> dict[str, dict[str, Any]]:
    """The baselines' figures, where they were asked."""
    names = [name for name in BASELINES if asked and name in asked[0].baselines]
    return {name: ranked(asked, lambda one, name=name: one.baselines[name]) for name in names}  # type: ignore[misc]


def summary(asked: Sequence[Asked]) -> dict[str, Any]:
    """Everything about some tasks, for a file."""
    kinds = {"product": by_kind(asked), **{n: by_kind(asked, lambda one, n=n: one.baselines[n]) for n in beside(asked)}}  # type: ignore[misc]
    return {
        **figures(asked), "baselines": beside(asked), "recall@5_by_kind": kinds, "groups": groups(asked),
        "stages": stages(asked),
    }  # fmt: skip


def recorded(everything: Mapping[str, Sequence[Asked]]) -> dict[str, Any]:
    """All that came back, by set, with what was expected: for a file."""
    return {
        name: {
            "summary": summary(asked),
            "tasks": [
                {
                    "id": one.task.id,
                    "group": one.task.group,
                    "expect": one.task.expect,
                    "abstain": one.task.abstain,
                    "ranks": one.found.ranks,
                    "baselines": {name: found.ranks for name, found in one.baselines.items()},
                    "forbidden": one.forbidden,
                    "abstained": one.abstained,
                    "milliseconds": one.found.milliseconds,
                    "context": one.context.model_dump(mode="json"),
                }
                for one in asked
            ],
        }
        for name, asked in everything.items()
    }


def tables(name: str, asked: Sequence[Asked], *, tasks: bool = True) -> list[Table]:
    """A row a task if wanted, then a row a group, all, and the baselines; stages last."""
    by_group = Table("group", *(column.replace("_", " ") for column in SHOWN), title=name)
    for group, row in groups(asked).items():
        by_group.add_row(group, *(_cell(row.get(key)) for key in SHOWN))
    by_group.add_section()
    by_group.add_row("all", *(_cell(figures(asked).get(key)) for key in SHOWN), style="bold")
    for baseline, row in beside(asked).items():
        by_group.add_row(f"{baseline} alone", *(_cell(row.get(key)) for key in SHOWN))
    kinds = Table("recall@5 of", *by_kind(asked), title=f"{name}: by what is expected")
    kinds.add_row("product", *(_cell(value) for value in by_kind(asked).values()))
    for baseline in beside(asked):
        found = by_kind(asked, lambda one, name=baseline: one.baselines[name])  # type: ignore[misc]
        kinds.add_row(f"{baseline} alone", *(_cell(value) for value in found.values()))
    spent = Table("stage", *stages(asked), title=f"{name}: milliseconds")
    for percent in ("p50_ms", "p95_ms"):
        spent.add_row(percent, *(_cell(times[percent]) for times in stages(asked).values()))
    return [*([_by_task(name, asked)] if tasks else []), by_group, *([kinds] if by_kind(asked) else []), spent]


def _by_task(name: str, asked: Sequence[Asked]) -> Table:
    table = Table("task", "expected at", "forbidden", "abstained", "ms", "first piece of evidence", title=name)
    for one in asked:
        first = next((piece.text for piece in one.context.evidence if piece.kind != "runbook"), "")
        said = f"{'yes' if one.abstained else 'no'}{' (wrong)' if wrongly(one) else ''}"
        places = ", ".join(str(rank or "-") for rank in one.found.ranks)
        spent = f"{one.found.milliseconds:.0f}"
        table.add_row(one.task.id, places, str(len(one.forbidden)), said, spent, plain(first))
    return table


def misses(asked: Sequence[Asked], shown: int = 5) -> list[str]:
    """What came instead, for everything that is not in the first five, and for what was named or kept back wrongly."""
    lines = []
    for one in asked:
        missed = [x for x, rank in zip(one.task.expect, one.found.ranks, strict=True) if not rank or rank > 5]
        if not missed and not wrongly(one) and not one.forbidden:
            continue
        plan = one.context.plan
        lines.append(f"{one.task.id} [{one.task.group}] {plain(one.task.asked, 160)}")
        about = {key: value for key, value in plan.model_dump().items() if value and key in _ENTITIES}
        lines.append(f"    plan {plan.span.start:%m-%d %H:%M:%S} to {plan.span.end:%H:%M:%S} {plan.intent} {about}")
        lines += [f"    missed {x}" for x in missed]
        lines += [f"    forbidden {plain(match, 160)}" for match in one.forbidden]
        if wrongly(one):
            lines.append("    abstained" if one.abstained else "    did not abstain")
        guides = bool(missed) and all(x["kind"] == "runbook" for x in missed)
        pieces = [piece for piece in one.context.evidence if (piece.kind == "runbook") is guides]
        lines += [_shown(n, piece) for n, piece in enumerate(pieces[:shown], 1)]
    return lines


_ENTITIES: Final = ("namespaces", "workloads", "pods", "nodes", "alerts", "metrics", "identifiers")


def _shown(number: int, piece: Evidence) -> str:
    text = plain(piece.title if piece.kind == "runbook" else piece.text, 110)
    parts = " ".join(f"{name[:4]}={value:.2f}" for name, value in piece.parts.items())
    return f"    {number}. {piece.score:.2f} {piece.kind} {piece.entity} {text} {parts}"


def plain(text: str, chars: int = 70) -> str:
    """A short form that a table cannot take for markup."""
    return " ".join(text.split())[:chars].replace("[", "(")


def percentile(ordered: Sequence[float], share: float) -> float | None:
    return round(ordered[math.ceil(share * len(ordered)) - 1], 1) if ordered else None


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _share(values: Iterable[object]) -> float | None:
    return _mean(1.0 if value else 0.0 for value in values)


def _mean(values: Iterable[float]) -> float | None:
    """None for a mean of nothing."""
    found = list(values)
    return round(sum(found) / len(found), 3) if found else None
