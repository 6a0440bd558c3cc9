"""The figures that the evaluation prints, and what it refuses to read."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from schemas.context import Context, Freshness, Plan, Span
from tests.evaluation.baselines import NAMES
from tests.evaluation.report import beside, figures, groups
from tests.evaluation.run import Asked, Found
from tests.evaluation.sets import Task

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
CONTEXT = Context(
    plan=Plan(question="?", span=Span(start=NOW, end=NOW)), evidence=(), freshness=Freshness(asked_at=NOW)
)
LOG, GUIDE = {"kind": "evidence", "regex": "."}, {"kind": "runbook", "path": "a.md"}


def asked(*found: int | None, expect: tuple[dict[str, str], ...] = (), ms: float = 10, abstain: bool = False) -> Asked:
    task = Task.model_validate(
        {"id": "t", "group": "g", "question": "?", "expect": expect or (LOG,) * len(found), "abstain": abstain}
    )
    list_ = Found(evidence=(), ranks=found, precision=0.2 if task.expect else None, milliseconds=ms)
    beside = {name: replace(list_, ranks=(None,) * len(found)) for name in NAMES}
    return Asked(
        task=task, context=CONTEXT, found=list_, forbidden=(), abstained=abstain, repeated=True, baselines=beside
    )


def test_figures_of_a_run() -> None:
    found = figures([asked(1, ms=30), asked(3, None, ms=20), asked(7, ms=10), asked(abstain=True, ms=40)])
    assert (found["recall@1"], found["recall@5"], found["recall@10"]) == (0.25, 0.5, 0.75)
    assert found["mrr"] == pytest.approx((1 + 1 / 3 + 1 / 7) / 3, abs=1e-3)
    assert found["all_met@10"] == pytest.approx(2 / 3, abs=1e-3)
    assert (found["abstained_right"], found["abstained_wrong"]) == (1, 0)
    assert (found["p50_ms"], found["p95_ms"]) == (25, 40)


def test_baselines_are_judged_by_the_same_expectations() -> None:
    found = beside([asked(1), asked(2)])
    assert {name: row["recall@10"] for name, row in found.items()} == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize(
    ("ranks", "expect", "value"),
    [
        ((1,), (LOG,), 1.0),
        ((3,), (LOG,), 0.5),
        ((11,), (LOG,), 0.0),
        ((None, 1), (LOG, LOG), 1 / (1 + 0.6309)),
        ((1, 1), (LOG, GUIDE), 1.0),  # two lists, both right
        ((1, 1), (LOG, LOG), 1.0),  # one piece for both
    ],
)
def test_ndcg(ranks: tuple[int | None, ...], expect: tuple[dict[str, str], ...], value: float) -> None:
    assert figures([asked(*ranks, expect=expect)])["ndcg@10"] == pytest.approx(value, abs=1e-3)


def test_a_group_that_expects_nothing_has_no_recall() -> None:
    assert groups([asked(abstain=True)])["g"]["recall@5"] is None
