"""Tuning finds what was planted, and says so only where it holds on what it was not chosen on."""

from datetime import UTC, datetime

import numpy as np

from cag.rank import PARTS
from schemas.answer_settings import Ranking
from schemas.context import Context, Evidence, Freshness, Plan, Span
from tests.evaluation.tune import GAIN, Recorded, goal, judged, report, search, varied

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CONTEXT = Context(
    plan=Plan(question="?", span=Span(start=NOW, end=NOW)), evidence=(), freshness=Freshness(asked_at=NOW)
)
RIGHT = {"kind": "evidence", "regex": "^right$"}


def answer(name: str, *, telling: str) -> Recorded:
    """The right piece is high in one part, and fifteen wrong ones in all the others."""
    parts = {part: {"right": 0.9 if part == telling else 0.2} for part in PARTS}
    pieces = [
        Evidence(id=text, kind="log", text=text, workload=text, parts={p: parts[p].get(text, 0.35) for p in PARTS})
        for text in ("right", *(f"wrong-{n}" for n in range(15)))
    ]
    return Recorded(
        name=name, expect=(RIGHT,), abstain=False, context=CONTEXT.model_copy(update={"evidence": tuple(pieces)})
    )


def test_a_part_that_tells_in_every_family_gets_more_weight() -> None:
    answers = [answer(f"{family}-1", telling="volume") for family in ("a", "b", "c")]
    pool = search(answers, 40, np.random.default_rng(1))
    found = report(pool)
    assert goal(pool[0][1]) < max(goal(tried) for _, tried in pool)
    assert found["gain"] > GAIN
    assert found["best"]["volume"] > Ranking().volume


def test_what_one_family_alone_likes_is_not_better() -> None:
    answers = [answer("a-1", telling="volume"), answer("b-1", telling="severity"), answer("c-1", telling="novelty")]
    assert not report(search(answers, 20, np.random.default_rng(1)))["better"]


def test_seeds_are_one_family_and_weights_keep_their_sum() -> None:
    assert {one.family for one in judged([answer("shop-1", telling="volume")], Ranking())} == {"shop"}
    moved = varied(Ranking(), 0.5, np.random.default_rng(2))
    before, after = (sum(getattr(ranking, part) for part in PARTS) for ranking in (Ranking(), moved))
    assert abs(before - after) < 0.01
