"""Symptoms become incidents: who belongs together, what is told of them, and the laws of revisions."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.insights.correlate import Correlator
from processors.insights.reader import Present
from processors.insights.topology import Topology
from schemas.insight_settings import Correlation
from schemas.insights import Change, Entity, Insight, Sign, Symptom
from schemas.records import FATAL, INFO, WARN, Resource
from schemas.summaries import Feedback

T = 1_700_000_000_000
SHOP = [("frontend", "checkout"), ("frontend", "catalog"), ("checkout", "payment"), ("catalog", "inventory")]


def at(workload: str = "checkout", pod: str = "", namespace: str = "shop", node: str = "") -> Resource:
    return Resource("c", namespace, workload, pod, "", node)


def symptom(resource: Resource, start_s: float = 0, last_s: float | None = None, **told: Any) -> Symptom:
    told = {"kind": "event", "name": "BackOff", "strength": 0.9, "opens": True, "severity": WARN} | told
    start_ms, last_ms = T + int(1000 * start_s), T + int(1000 * (start_s if last_s is None else last_s))
    identity = f"{told['kind']} {told['name']} {'/'.join(resource)} {start_s}"
    return Symptom(
        id=identity, fingerprint="f", resource=resource, start_ms=start_ms, seen_ms=start_ms, last_ms=last_ms,
        text="it is said", evidence="event-1", **told,
    )  # fmt: skip


def weak(resource: Resource, start_s: float = 0, **told: Any) -> Symptom:
    weak = {"kind": "metric-shift", "name": "latency", "strength": 0.7, "opens": False}
    return symptom(resource, start_s, **weak | told)


def load(resource: Resource, start_s: float = 0, **told: Any) -> Symptom:
    return weak(resource, start_s, **{"name": "cpu", "severity": INFO} | told)


def topology(calls: Iterable[tuple[str, str]] = SHOP) -> Topology:
    known = Topology()
    for caller, callee in calls:
        known.connect(Entity("workload", caller, "shop"), Entity("workload", callee, "shop"))
    return known


def play(signs: Sequence[Sign], until_s: int = 0, known: Topology | None = None, **set_to: Any) -> list[Insight]:
    """Each sign by itself when it could be told, and a look each five seconds."""
    correlator = Correlator("c", known or topology(), Correlation(**set_to))
    told: list[Insight] = []
    now_ms = T
    for sign in [*signs, None]:
        then_ms = T + 1000 * until_s if sign is None else sign.last_ms if isinstance(sign, Symptom) else sign.time_ms
        for between_ms in range(now_ms, then_ms, 5_000):
            told += correlator.advance(between_ms)
        if sign is not None:
            now_ms = max(now_ms, then_ms)
            correlator.add(sign, now_ms)
            told += correlator.advance(now_ms)
    return told


def present(told: Iterable[Insight]) -> Present:
    reader = Present()
    for each in told:
        reader.see(each)
    return reader


NODE_DOWN = [
    symptom(at(f"app{i}", f"app{i}-1", f"ns{i}", "n1"), i, name=("Unhealthy", "BackOff", "Failed")[i % 3])
    for i in range(10)
]
NODE = symptom(Resource("c", node="n1"), 5, name="NodeNotReady")
TOGETHER: dict[str, tuple[list[Symptom], int]] = {
    "pods of one workload": ([symptom(at(pod=f"checkout-{i}"), i) for i in range(50)], 1),
    "a caller after its callee": ([symptom(at("payment")), symptom(at("checkout"), 60)], 1),
    "a caller before its callee": ([symptom(at("checkout")), symptom(at("payment"), 60)], 1),
    "a chain of calls": ([symptom(at("frontend")), symptom(at("payment"), 9), symptom(at("checkout"), 20)], 1),
    "neighbours in a namespace": ([symptom(at("payment")), symptom(at("inventory"), 5)], 2),
    "two callees of one gateway": (
        [symptom(at("checkout")), symptom(at("catalog"), 5), symptom(at("frontend"), 9)], 2
    ),
    "a callee long before": ([symptom(at("payment")), symptom(at("checkout"), 700)], 2),
    "a workload of that name elsewhere": ([symptom(at()), symptom(at(namespace="staging"), 1)], 2),
    "who names a peer that is in trouble": ([symptom(at("adyen")), symptom(at("batch"), 9, mentions=("adyen",))], 1),
    "pods of one node, which is down": ([*NODE_DOWN, NODE], 1),
    "the node first": ([NODE, *NODE_DOWN], 1),
    "pods of one node, and nobody says that it is down": (NODE_DOWN, 1),
    "pods of two nodes": ([symptom(at(f"app{i}", f"app{i}-1", f"ns{i}", f"n{i}")) for i in range(7)], 7),
    "a workload on many nodes, one of which is down": (
        [symptom(at(pod=f"checkout-{i}", node=f"n{i}"), i) for i in range(9)] + [NODE], 2
    ),
    "the same everywhere at once": ([symptom(at(f"app{i}", f"app{i}-1", f"ns{i}")) for i in range(100)], 1),
    "the same here and there": ([symptom(at(f"app{i}", "", f"ns{i}"), 90 * i) for i in range(20)], 20),
    "what is said of a namespace that has one": ([symptom(at()), symptom(at(""), 5, kind="alert", name="Errors")], 1),
    "load": ([load(at(each), name=name) for each in ("payment", "checkout") for name in ("cpu", "memory", "rate")], 0),
    "load that hurts somebody": ([load(at()), load(at(), 3, name="requests"), weak(at("payment"), 5)], 1),
    "slow at once, called by the same": ([weak(at(each), strength=0.8) for each in ("checkout", "catalog")], 1),
    "hardly slow at once": ([weak(at(each), strength=0.72) for each in ("checkout", "catalog")], 0),
    "slow at once, unrelated": ([weak(at(each), strength=0.8) for each in ("payment", "inventory")], 0),
    "slow long apart": ([weak(at(each), at_s, strength=0.8) for each, at_s in (("checkout", 0), ("catalog", 150))], 0),
    "one slow percentile": ([weak(at()), load(at(), 5, strength=0.3)], 0),
    "slow percentiles of one place": ([weak(at(), name=f"latency_p{each}") for each in (50, 90, 99, 100)], 1),
    "weak signs of two kinds": ([weak(at()), weak(at(), 5, kind="pattern-burst")], 1),
    "weak signs of caller and callee": ([weak(at("payment")), weak(at("checkout"), 5)], 1),
    "weak signs of neighbours": ([weak(at("payment")), weak(at("inventory"), 5)], 0),
    "weak signs long apart": ([weak(at()), weak(at(), 900, kind="pattern-burst")], 0),
    "very weak signs": ([weak(at(), i, kind=kind, strength=0.3) for i, kind in enumerate(["alert", "restart"])], 0),
    "a weak sign before a strong one": ([weak(at("payment")), symptom(at(), 5)], 1),
    "what ended before it was heard of": ([symptom(at(), 0, 60, ended=True)], 1),
    "what is of the past": ([symptom(at("other"), 9000), symptom(at(), 0)], 1),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER)
def test_who_belongs_together(case: str) -> None:
    signs, incidents = TOGETHER[case]
    known = topology([*SHOP, ("unheard", "adyen"), ("unheard", "batch")])
    told_all_s = max(each.last_ms - T for each in signs) // 1000 + 40
    reader = present(play(signs, told_all_s, known))
    found = [each for each in reader if each.state != "merged"]
    assert len(found) == incidents
    if incidents == 1 and case != "what is of the past":
        assert found[0].symptom_count == len(signs)


def test_an_incident_from_its_opening_to_its_end() -> None:
    pods = [symptom(at(pod=f"checkout-{i}"), 2 * i) for i in range(20)]
    rollout = Change(id="r", resource=at(), time_ms=T - 120_000, text="rolled out shop/checkout:2", evidence="event-0")
    told = play([rollout, *pods, symptom(at("frontend"), 50, kind="alert", severity=FATAL)], 20_000)
    assert [(each.state, each.revision) for each in told] == [
        ("opened", 1), ("updated", 2), ("updated", 3), ("resolved", 4),
    ]  # fmt: skip
    first, more, alert, last = told
    assert first.title == "checkout in shop: BackOff, 2 min after “rolled out shop/checkout:2”"
    assert more.title.startswith("checkout in shop: BackOff of 16 pods, ")  # after `update_s`
    assert alert.severity == "critical"
    assert (alert.updated - first.updated).total_seconds() == 50  # at once
    assert {each.name for each in last.entities} >= {"checkout", "frontend"}
    assert last.symptom_count == 21
    assert last.resolved == alert.symptoms[0].last
    assert len({each.fingerprint for each in told}) == 1


def test_nothing_is_told_when_nothing_is_new() -> None:
    one = symptom(at())
    assert len(play([one] * 50, 300)) == 1
    goes_on = [symptom(at(), 0, second) for second in range(0, 300, 5)]
    assert len(play(goes_on)) == pytest.approx(300 / 30, abs=1)


@pytest.mark.parametrize(
    ("kind", "over_s"), [("pattern-burst", 300), ("event", 420), ("alert", 15_000), ("metric-missing", 3_660)], ids=str
)  # fmt: skip
def test_silence_ends_it_as_soon_as_that_kind_would_be_heard_again(kind: str, over_s: int) -> None:
    told = play([symptom(at(), kind=kind)], 16_000)
    assert [each.state for each in told] == ["opened", "resolved"]
    assert (told[1].updated - told[0].updated).total_seconds() == pytest.approx(over_s, abs=5)


def test_weak_signs_neither_keep_it_open_nor_make_it_older() -> None:
    noise = [weak(at(), 30 * i, kind="pattern-new", name=f"{i}") for i in range(-60, 60)]
    trouble = [symptom(at(), 5), symptom(at(), 5, 65, ended=True)]
    told = play(sorted([*noise, *trouble], key=lambda each: each.last_ms))
    assert {each.id for each in told if each.state == "resolved"} == {told[0].id}
    (over,) = (each for each in told if each.state == "resolved")
    assert (over.updated - told[0].updated).total_seconds() < 180
    assert (told[0].detected - over.started).total_seconds() <= 610


def test_two_incidents_that_turn_out_to_be_one() -> None:
    known = topology([])
    known.connect(Entity("workload", "a", "x"), Entity("workload", "b", "x"))
    known.connect(Entity("workload", "c", "x"), Entity("workload", "d", "x"))
    correlator = Correlator("c", known, Correlation())
    told = []
    for second, workload in enumerate("bd"):
        correlator.add(symptom(at(workload, namespace="x"), second), T + 1000 * second)
        told += correlator.advance(T + 1000 * second)
    known.connect(Entity("workload", "d", "x"), Entity("workload", "b", "x"))
    told += correlator.advance(T + 40_000)
    assert [each.state for each in told] == ["opened", "opened", "merged", "updated"]
    older, younger, merged, goes_on = told
    assert merged.id == younger.id
    assert merged.revision == 2
    assert merged.merged_into == older.id
    assert goes_on.id == older.id
    assert {each.name for each in goes_on.entities} == {"b", "d"}
    assert goes_on.symptom_count == 2


def test_one_that_comes_back_is_the_same_and_must_be_quiet_for_longer() -> None:
    rounds = [symptom(at(pod=f"p{i}"), 150 * i, 150 * i + j, ended=bool(j)) for i in range(4) for j in (0, 1)]
    for_good = play(rounds, 20_000)
    assert len({each.id for each in for_good}) == 1
    assert for_good[-1].state == "resolved"
    assert for_good[-1].reopened >= 1
    assert sum(each.state == "resolved" for each in for_good) < 4
    much_later = play([symptom(at(), ended=True), symptom(at(), 8_000, ended=True)], 20_000)
    assert len({each.id for each in much_later}) == 2
    assert len({each.fingerprint for each in much_later}) == 1


def test_a_symptom_that_goes_on_after_its_incident_was_forgotten_opens_another_one() -> None:
    correlator = Correlator("c", topology(), Correlation())
    told = []
    for second in [0, *range(10, 6_000, 10)]:
        if second in (0, 5_000):
            correlator.add(symptom(at(), 0, second), T + 1000 * second)
        told += correlator.advance(T + 1000 * second)
    first, second_one = (each.id for each in told if each.state == "opened")
    assert first != second_one


def test_a_copy_of_what_is_over_opens_nothing() -> None:
    over = [symptom(at()), symptom(at(), 0, 5, ended=True)]
    told = play([*over, symptom(at("other"), 500), *over, *over], 1_000)
    assert [each.state for each in told if "checkout" in each.title] == ["opened", "resolved"]


def test_a_rejected_incident_is_over_and_muted_until_it_says() -> None:
    correlator = Correlator("c", topology(), Correlation())
    told: list[Insight] = []

    def see(sign: Sign | None, second: int) -> list[Insight]:
        if sign:
            correlator.add(sign, T + 1000 * second)
        told.extend(correlator.advance(T + 1000 * second))
        return told

    opened = see(symptom(at()), 0)[0]
    word = Feedback("1", opened.id, opened.fingerprint, "rejected", "me", T, T + 3_600_000)
    assert not Correlator("other", topology(), Correlation()).judge(word)
    assert correlator.judge(word)
    assert see(None, 1)[-1].state == "resolved"
    assert correlator.judge(word)  # a copy
    assert len(see(symptom(at(), 0, 30), 30)) == 2  # it goes on
    assert len(see(symptom(at(pod="p"), 60), 60)) == 2  # it comes back
    assert correlator.dropped == {"hushed": 1, "muted": 1}
    assert see(symptom(at(), 90, name="OOMKilling", kind="restart"), 90)[-1].state == "opened"  # something else
    assert [see(None, second)[-1].state for second in range(100, 3_600, 50)][-1] == "resolved"
    assert see(symptom(at(), 3_700), 3_700)[-1].state == "opened"  # the mute is over
    confirmed = Feedback("2", opened.id, opened.fingerprint, "confirmed", "me", T, 0)
    assert correlator.judge(confirmed)


@pytest.mark.parametrize("workloads", [1, 10_000])
def test_a_storm_is_one_incident_in_bounded_memory(workloads: int) -> None:
    storm = [symptom(at(f"app{i % workloads}", f"pod{i}", f"ns{i % workloads % 97}"), i / 1000) for i in range(10_000)]
    correlator = Correlator("c", topology(), Correlation())
    for sign in storm:
        correlator.add(sign, sign.last_ms)
    (opened,) = correlator.advance(T + 10_000)
    assert opened.symptom_count == 10_000
    assert sum(correlator.dropped.values()) > 0
    assert len(opened.symptoms) == 20
    assert len(opened.entities) <= 50
    assert len(orjson.dumps(correlator.dump())) < 2_000_000


def test_a_clock_that_is_an_hour_ahead_ends_nothing() -> None:
    correlator = Correlator("c", topology(), Correlation())
    told = []
    for sign in (symptom(at("inventory")), symptom(at("payment"), 3_600), symptom(at("inventory"), 0, 20)):
        correlator.add(sign, sign.last_ms)
        told += correlator.advance(sign.last_ms)
    assert [each.state for each in told] == ["opened", "opened", "updated"]


# Laws

RESOURCES = [
    at(), at("frontend"), at("payment", "payment-1", node="n1"), at("inventory", "inventory-1", node="n1"),
    at("", "", "", "n1"), at("", "", "shop"), at("", "", ""), at("solo", "solo-1", "other", "n2"),
]  # fmt: skip
SMALL = Correlation(most_open=3, most_symptoms=4, most_waiting=3, alike=3, quiet_s=60, settle_s=10, flap_s=200)


@st.composite
def signs(draw: st.DrawFn) -> Symptom | Change | str:
    what = draw(st.integers(0, 19))
    if what == 0:
        return draw(st.sampled_from(["confirmed", "rejected"]))
    resource, start_s = draw(st.sampled_from(RESOURCES)), draw(st.integers(0, 12)) * 50
    if what == 1:
        return Change(id=f"change {start_s}", resource=resource, time_ms=T + 1000 * start_s, text="x", evidence="e")
    opens = draw(st.booleans())
    return symptom(
        resource, start_s, start_s + draw(st.integers(0, 20)),
        kind=draw(st.sampled_from(["event", "alert", "metric-shift"])), name=draw(st.sampled_from("ab")),
        opens=opens, strength=0.9 if opens else 0.7, ended=draw(st.booleans()), severity=draw(st.sampled_from([9, 21])),
        mentions=draw(st.sampled_from([(), ("payment",)])),
    )  # fmt: skip


STORIES = st.lists(st.tuples(st.lists(signs(), max_size=4), st.sampled_from([0, 1, 10, 60, 3_600])), max_size=30)
Story = list[tuple[list[Symptom | Change | str], int]]


def tell(story: Story, reloaded: frozenset[int]) -> list[Insight]:
    """`reloaded`: before which signs everything goes through a snapshot."""
    known = topology()
    correlator = Correlator("c", known, SMALL)
    told: list[Insight] = []
    now_ms, number = T, itertools.count()
    for batch, step_s in [*story, *([([], 60)] * 3)]:
        now_ms += 1000 * step_s
        for sign in [*batch, None]:
            if next(number) in reloaded:
                known = Topology.load(orjson.loads(orjson.dumps(known.dump())))
                correlator = Correlator.load(orjson.loads(orjson.dumps(correlator.dump())), "c", known, SMALL)
            if isinstance(sign, str):
                if told:
                    last = told[-1]
                    until_ms = now_ms + 200_000
                    correlator.judge(Feedback(f"f{now_ms}", last.id, last.fingerprint, sign, "me", now_ms, until_ms))
            elif sign is not None:
                correlator.add(sign, now_ms)
        told += correlator.advance(now_ms)
        places = [place for each in correlator._groups.open.values() for place in each.places]
        assert len(places) == len(set(places)), "a place is in two incidents"
    return told


def in_bytes(told: Iterable[Insight]) -> list[bytes]:
    return [orjson.dumps(each.model_dump(mode="json")) for each in told]


@settings(max_examples=150, deadline=None)
@given(STORIES, st.frozensets(st.integers(0, 60)))
def test_the_same_signs_tell_the_same_whenever_it_was_restarted(story: Story, reloaded: frozenset[int]) -> None:
    assert in_bytes(tell(story, reloaded)) == in_bytes(tell(story, frozenset()))


@settings(max_examples=150, deadline=None)
@given(STORIES)
def test_revisions_follow_each_other_and_an_end_is_an_end(story: Story) -> None:
    told = tell(story, frozenset())
    histories: dict[str, list[Insight]] = {}
    for each in told:
        histories.setdefault(each.id, []).append(each)
    for history in histories.values():
        assert [each.revision for each in history] == list(range(1, len(history) + 1))
        assert [each.state for each in history].count("opened") == 1
        assert history[0].state == "opened"
        assert [each.state for each in history[:-1]].count("merged") == 0
        for before, after in itertools.pairwise(history):
            assert before.updated <= after.updated
            if before.state == "resolved":
                assert after.reopened == before.reopened + 1
    reader = present(reversed([*told, *told]))
    assert len(reader) == len(histories)
    assert all(reader[each].revision == len(history) for each, history in histories.items())
    for each in reader:
        if each.state == "merged":
            assert each.merged_into in histories
