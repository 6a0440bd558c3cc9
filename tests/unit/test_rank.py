"""What comes first, and that more of the same does not crowd out the rest, whatever the weights are tuned to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag import rank
from cag.evidence import Candidate
from cag.rank import (
    HOPS,
    PARTS,
    Focus,
    entity_part,
    focus_of,
    fused,
    mentioned,
    relevance,
    reordered,
    rescored,
    scored,
    select,
)
from schemas.answer_settings import Ranking
from schemas.context import Evidence, Plan, Span

END = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
RANKING = Ranking()
KNOWN = frozenset({"front", "cart", "payments", "payments-db", "disk"})


def plan(**asked: Any) -> Plan:
    return Plan(question="?", span=Span(start=END - timedelta(minutes=30), end=END), **asked)


def candidate(
    identity: str = "a",
    text: str = "boom",
    *,
    kind: str = "log",
    workload: str = "cart",
    entity: str = "",
    count: int = 50,
    age_s: float = 60,
    **more: Any,
) -> Candidate:
    said = {"kind": kind, "text": text, "title": text, "workload": workload, "entity": entity or f"pod/{workload}-0"}
    evidence = Evidence(id=identity, count=count, last=END - timedelta(seconds=age_s), **said)
    return Candidate(**{"evidence": evidence, "severity": 0.9, "novel": 0.9, "words": frozenset(text.split())} | more)


def score(one: Candidate, focus: Focus = Focus()) -> float:  # noqa: B008
    return scored(one, plan(), focus, RANKING).evidence.score


def test_the_weights_make_a_whole() -> None:
    assert sum(getattr(RANKING, name) for name in PARTS) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"severity": 0.9}, {"severity": 0.2}),
        ({"novel": 0.9}, {"novel": 0.1}),
        ({"places": (1, 1)}, {"places": (9, 9)}),
        ({"count": 500}, {"count": 50}),
        ({"age_s": 0}, {"age_s": 1_500}),
        ({"kind": "log"}, {"kind": "metric"}),
    ],
)
def test_each_part_counts(more: dict[str, Any], less: dict[str, Any]) -> None:
    assert score(candidate(**more)) > score(candidate(**less))


FOCUS = Focus(
    workloads=frozenset({"cart"}),
    pods=frozenset({"cart-0"}),
    nodes=frozenset({"n1"}),
    related_workloads=frozenset({"payments", "disk"}),
    related_nodes=frozenset({"n2"}),
    complaining=frozenset({"payments"}),
)


def test_the_thing_itself_comes_before_what_it_leans_on_before_the_rest() -> None:
    node = {"kind": "event", "workload": ""}
    ordered = [
        candidate(pod="cart-0"), candidate(), candidate(workload="payments"), candidate(workload="disk"),
        candidate(workload="front"),
    ]  # fmt: skip
    parts = [entity_part(c, FOCUS, RANKING)[0] for c in ordered]
    assert parts == sorted(parts, reverse=True)
    assert len(set(parts)) == len(parts)
    nodes = [entity_part(candidate(entity=f"node/{n}", **node), FOCUS, RANKING)[0] for n in ("n1", "n2", "n3")]
    assert nodes == sorted(nodes, reverse=True)
    assert len({entity_part(candidate(workload=w), Focus(), RANKING) for w in KNOWN}) == 1  # nothing was named


def test_focus_follows_complaints_two_hops_and_no_chatter() -> None:
    chain = [
        candidate("1", "POST http://cart:8080 failed", workload="front"),
        candidate("2", "payments refused", workload="cart"),
        candidate("3", "payments-db timeout", workload="payments", node="n7"),
        candidate("4", "disk full", workload="payments-db"),
        candidate("5", "disk ok", workload="front", severity=0.2),
    ]
    focus = focus_of(plan(workloads=("front",)), chain, KNOWN)
    assert HOPS == 2
    assert focus.related_workloads == {"cart", "payments"}
    assert focus.complaining == {"front", "cart", "payments", "payments-db"}
    assert not focus_of(plan(), chain, KNOWN).named


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("http://payments:8080/charge", {"payments"}),
        ("payments-db is down", {"payments-db"}),
        ("PAYMENTS", {"payments"}),
        ("repayments and payments_x", {"payments"}),
        ("a cartel", set()),
    ],
)
def test_names_are_found_as_whole_words(text: str, names: set[str]) -> None:
    assert mentioned(text, KNOWN) == names


def test_an_echo_comes_after_its_source() -> None:
    focus = Focus(complaining=frozenset({"payments"}))
    assert score(candidate(text="payments refused"), focus) < score(candidate(text="pool exhausted"), focus)
    assert score(candidate(text="payments refused", workload="payments"), focus) == score(
        candidate(text="x", workload="payments"), focus
    )


def test_what_was_pasted_is_what_is_looked_for() -> None:
    pasted = candidate("z", "request 4bf92f3577b34da6 failed", severity=0.05, novel=0.0)
    focus = Focus(identifiers=("4bf92f3577b34da6",))
    assert select([candidate("a"), pasted], plan(), focus, RANKING, 2)[0].evidence.id == "z"


@pytest.mark.parametrize(
    ("question", "asked"), [("?", {"alerts": ("CartDown",)}), ("see https://runbooks.example/cart.", {})]
)
def test_an_alert_that_is_named_comes_first_and_its_copies_give_way(question: str, asked: dict[str, Any]) -> None:
    def down(identity: str, workload: str) -> Candidate:
        made = candidate(identity, "CartDown", kind="alert", workload=workload, severity=0.2, novel=0.1)
        return replace(made, evidence=made.evidence.model_copy(update={"url": "https://runbooks.example/cart"}))

    found = [candidate("worse", severity=1.0, novel=1.0), *(down(f"a{n}", f"w{n}") for n in range(8))]
    named = plan(**asked).model_copy(update={"question": question})
    chosen = [c.evidence.id for c in select(found, named, Focus(), RANKING, 9)]
    assert chosen[0].startswith("a")
    assert "worse" in chosen[:6]
    assert [c.evidence.id for c in select(found, plan(), Focus(), RANKING, 1)] == ["worse"]


def test_a_metric_that_is_named_comes_first_where_it_is_about_what_was_asked() -> None:
    named = plan(workloads=("cart",), metrics=("queue",))
    mine, other, loud = (
        candidate(identity, "queue", kind=kind, workload=workload, severity=severity)
        for identity, kind, workload, severity in (
            ("mine", "metric", "cart", 0.0), ("other", "metric", "front", 0.6), ("loud", "log", "cart", 1.0),
        )
    )  # fmt: skip
    chosen = select([mine, other, loud], named, Focus(workloads=frozenset({"cart"})), RANKING, 3)
    assert [c.evidence.id for c in chosen] == ["mine", "loud", "other"]


def test_a_change_is_worth_more_when_changes_are_asked_for() -> None:
    change = candidate("a", kind="event", severity=0.45, novel=0.3, reason="ScalingReplicaSet")
    scores = [scored(change, plan(intent=i), Focus(), RANKING).evidence.score for i in ("why", "change")]
    assert scores[1] > scores[0] + 0.2


def test_places_are_fused_and_equal_ones_are_in_the_order_of_their_ids() -> None:
    found = fused(["a", "b", "b", "c"], ["d", "b", "a"], RANKING, 9)
    assert list(found.items()) == [("a", (1, 3)), ("b", (2, 2)), ("d", (0, 1)), ("c", (3, 0))]
    assert list(fused(["b"], ["a"], RANKING, 9)) == ["a", "b"]
    assert list(fused(["b", "a", "c"], [], RANKING, 2)) == ["b", "a"]
    assert list(fused(["a"], ["b"], Ranking(meaning=2), 9)) == ["b", "a"]
    assert list(fused(["a", "b"], ["c", "b"], Ranking(rank_constant=1, words=3), 9)) == ["a", "b", "c"]


def test_what_the_searches_found_first_is_most_relevant() -> None:
    places = [(1, 1), (1, 9), (9, 9), (9, 0), (0, 0)]
    shares = [relevance(each, RANKING) for each in places]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0], shares[-1], len(set(shares))) == (1.0, 0.0, len(shares))
    assert relevance((1, 1), Ranking(words=0, meaning=0)) == 0.0


def ids(*candidates: Candidate, limit: int = 12) -> list[str]:
    return [c.evidence.id for c in select(candidates, plan(), Focus(), RANKING, limit)]


def test_near_duplicates_are_shown_once_and_others_get_their_turn() -> None:
    words = "one two three four five six seven eight nine"
    same = [candidate(f"s{n}", f"{words} {n}", severity=0.9 - n / 100) for n in range(5)]
    assert ids(*same) == ["s0"]
    assert len(ids(same[0], candidate("w", f"{words} 1", workload="front"))) == 2  # somebody else says it
    crowd = [candidate(f"c{n}", f"problem{n}", severity=0.9 - n / 1000) for n in range(9)]
    other = candidate("m", "other", kind="alert", workload="front", severity=0.75)
    assert "m" in ids(*crowd, other, limit=5)


@pytest.mark.parametrize("name", [name for name in Ranking.model_fields if name not in PARTS])
def test_a_score_is_told_from_its_parts_by_any_settings(name: str) -> None:
    """Of evidence that was scored by others: so settings are measured on answers that are there."""
    other = Ranking.model_validate({name: getattr(RANKING, name) / 2 if name != "rank_constant" else 30})
    found = [
        candidate("1", "payments refused"), candidate("2", "x", workload="payments", count=2, novel=0.1),
        candidate("3", "y", workload="disk", severity=0.2, places=(3, 9)), candidate("4", "z", kind="metric"),
    ]  # fmt: skip
    for one in found:
        mine, theirs = (scored(one, plan(), FOCUS, ranking).evidence for ranking in (RANKING, other))
        if name != "recent_s":
            assert rescored(mine, other) == theirs.score
    changed = [rescored(scored(one, plan(), FOCUS, RANKING).evidence, other) for one in found]
    as_is = [scored(one, plan(), FOCUS, RANKING).evidence.score for one in found]
    assert (changed != as_is) == (
        name
        in ("upstream", "related", "symptom", "numbers_only", "chatter", "news", "rank_constant", "words", "meaning")
    )


CANDIDATES = st.lists(
    st.builds(
        candidate,
        st.uuids().map(str),
        st.sampled_from(["a b c", "a b d", "x", "y z"]),
        kind=st.sampled_from(["log", "event", "alert", "metric"]),
        workload=st.sampled_from(["cart", "front"]),
        severity=st.floats(0, 1),
        novel=st.floats(0, 1),
        count=st.integers(0, 10**9),
    ),
    max_size=20,
    unique_by=lambda c: c.evidence.id,
)


@given(CANDIDATES, st.integers(0, 12), st.randoms())
def test_the_order_of_arrival_changes_nothing_and_the_limit_holds(
    found: list[Candidate], limit: int, chance: Any
) -> None:
    chosen = select(found, plan(), Focus(), RANKING, limit)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert select(shuffled, plan(), Focus(), RANKING, limit) == chosen
    assert len(chosen) <= limit
    assert chosen == plainly(found, limit)
    shown = [c.evidence for c in chosen]
    assert len({e.id for e in shown}) == len(shown)
    assert all(sum(e.parts[name] * getattr(RANKING, name) for name in PARTS) <= 1.001 for e in shown)
    assert reordered(shown, RANKING, limit) == shown
    if found and limit:
        assert shown[0].score == max(scored(c, plan(), Focus(), RANKING).evidence.score for c in found)


def plainly(found: list[Candidate], limit: int) -> list[Candidate]:
    """The same choice, each candidate weighed against all that were chosen, each time."""
    left, chosen = [scored(c, plan(), Focus(), RANKING) for c in found], list[Candidate]()

    def damped(one: Candidate) -> tuple[float, str]:
        alike = [c for c in chosen if c.evidence.kind == one.evidence.kind]
        near = sum(c.evidence.workload == one.evidence.workload for c in alike)
        again = sum(rank._repeats(one.evidence, c.evidence) for c in alike) if one.evidence.kind == "event" else 0
        damping = RANKING.kind_damping ** len(alike), RANKING.place_damping**near, RANKING.object_damping**again
        return one.evidence.score * damping[0] * damping[1] * damping[2], one.evidence.id

    while left and len(chosen) < limit:
        left.remove(best := max(left, key=damped))
        if not any(rank._same(best, other) for other in chosen):
            chosen.append(best)
    return chosen
