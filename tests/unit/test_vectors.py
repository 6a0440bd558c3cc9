"""The budget for new patterns and the order in which the model serves them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from processors.budget import Budget, Turns, Why
from processors.index import FakeIndex, WithoutVector, Write
from processors.vectors import BATCH, LATE_BATCH, LATE_SHARE, SHOWN_AFTER_S, SWEEP_EVERY_S, TURN_S, Embedded, Vectorizer
from schemas.documents import Target
from schemas.errors import SinkUnavailable

DAY = "2026.11.21"


def test_workloads_take_turns_and_each_is_served_in_its_own_order() -> None:
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        turns.put(item[0], item)
    assert turns.take(4) == ["a1", "b1", "c1", "a2"]
    turns.put("b", "b2")
    assert turns.take(9) == ["c2", "a3", "b2"]
    assert (turns.take(1), len(turns)) == ([], 0)


@pytest.mark.parametrize(
    ("offers", "refused"),
    [
        ([("a", 0.0)] * 3, [None, None, Why.WORKLOAD]),
        ([("a", 0.0), ("a", 59.0), ("b", 59.0), ("a", 59.9)], [None, None, None, Why.WORKLOAD]),
        ([("a", 0.0), ("a", 1.0), ("a", 60.0)], [None, None, None]),  # the next minute
        ([("a", 0.0), ("a", 1.0), ("b", 1.0), ("c", 2.0)], [None, None, None, Why.TOTAL]),  # three workloads
        ([("a", 0.0), ("b", 0.0), ("c", 0.0), ("b", 9.0), ("a", 60.0)], [None, None, None, None, Why.TOTAL]),  # waiting
    ],
)
def test_a_budget(offers: Sequence[tuple[str, float]], refused: Sequence[Why | None]) -> None:
    budget: Budget[int] = Budget(2, most_waiting=4, most_workloads=2 if ("c", 2.0) in offers else 9)
    assert [budget.offer(workload, n, now_s) for n, (workload, now_s) in enumerate(offers)] == refused


def test_a_million_workloads_take_no_more_room_than_allowed() -> None:
    budget: Budget[int] = Budget(5, most_waiting=100, most_workloads=50)
    reasons = [budget.offer(n, n, 0.0) for n in range(10_000)]
    assert reasons.count(None) == len(budget) == 50
    assert len(budget._spent) == 50


class Model:
    """Takes time, and remembers what it was asked; away when told so."""

    def __init__(self, each_s: float = 0.0) -> None:
        self.now_s, self.each_s, self.asked, self.away = 0.0, each_s, list[str](), False

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self.away:
            raise SinkUnavailable("away")
        self.now_s += self.each_s * len(texts)
        self.asked += texts
        return [[float(len(text))] for text in texts]


class Site:
    """A vectorizer over the fake index, and its clock."""

    def __init__(self, per_minute: int = 10, each_s: float = 0.0) -> None:
        self.index, self.model = CountingIndex(), Model(each_s)
        self.vectors = Vectorizer(self.index, self.model, per_minute, clock=lambda: self.model.now_s)  # type: ignore[arg-type]

    def run(self) -> Embedded:
        self.vectors.run()
        return self.vectors.report()

    def create(self, workload: str, count: int, *, offered: bool = True) -> None:
        for n in range(count):
            target = Target("patterns", DAY, f"{workload}-{n}")
            fixed = {"workload": workload, "template": f"{workload} says {n}"}
            self.index.bulk([Write(target=target, fixed=fixed, delta=None)])
            if offered:
                self.vectors.offer(target, fixed)

    def asked(self, workload: str) -> int:
        return sum(text.startswith(workload) for text in self.model.asked)


class CountingIndex(FakeIndex):
    looks = 0

    def without_vector(self, page: Mapping[str, Any] | None = None) -> WithoutVector:
        self.looks += 1
        return super().without_vector(dict(page) if page else None)


def test_what_is_within_the_budget_is_embedded_first_and_the_rest_follows() -> None:
    site = Site(per_minute=10, each_s=TURN_S / 40)
    site.create("burst", 500)
    site.create("quiet", 1)
    done = site.run()
    assert (done.new, done.deferred) == (11, {Why.WORKLOAD: 490})
    assert "quiet says 0" in site.model.asked[:BATCH]
    assert done.late < 3 * LATE_BATCH  # a turn ends when its time is up
    while site.run().late:
        site.model.now_s += 1
    assert site.index.without_vector().total == 0
    assert len(site.model.asked) == len(set(site.model.asked)) == 501
    assert site.run().without == 0


def test_deferred_patterns_are_served_while_new_ones_never_end() -> None:
    site = Site(per_minute=10_000, each_s=TURN_S / BATCH)
    site.create("late", 100, offered=False)
    for _ in range(100):
        site.create("new", BATCH)
        site.index.documents = {t: d for t, d in site.index.documents.items() if "vector" not in d or "late" in t.id}
        site.run()
        site.model.now_s += 1
    assert site.asked("late") == 100


def test_a_large_backlog_does_not_starve_a_small_one() -> None:
    site = Site()
    site.create("burst", 5_000, offered=False)
    site.create("zzz", 1, offered=False)
    site.model.each_s = TURN_S / LATE_SHARE
    site.run()
    assert site.asked("zzz") == 1


@pytest.mark.parametrize(("waited_s", "looks"), [(SWEEP_EVERY_S - 1, 1), (SWEEP_EVERY_S, 2)])
def test_an_index_that_misses_nothing_is_asked_rarely(waited_s: float, looks: int) -> None:
    site = Site()
    site.run()
    site.model.now_s += waited_s
    site.run()
    assert site.index.looks == looks


def test_a_model_that_was_away_loses_nothing() -> None:
    site = Site()
    site.create("quiet", 3)
    site.model.away = True
    with pytest.raises(SinkUnavailable):
        site.run()
    assert site.vectors.report().without == 3
    site.model.away = False
    assert site.run().late == 3
    assert site.index.without_vector().total == 0


def test_a_vector_that_was_taken_away_comes_again() -> None:
    """A purge writes the document anew, without its vector."""
    site = Site()
    site.create("quiet", 1)
    site.run()
    del site.index.documents[Target("patterns", DAY, "quiet-0")]["vector"]
    site.model.now_s += SWEEP_EVERY_S + SHOWN_AFTER_S
    assert site.run().late == 1
