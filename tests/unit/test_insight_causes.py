"""Which cause comes first, and why: each rule in one small incident, the same in whatever order it is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.insights.causes import MOST_CAUSES, WEIGHTS, ranked
from processors.insights.topology import Topology
from schemas.insights import Cause, Change, Symptom
from schemas.records import Resource
from tests.unit.test_insight_topology import learned, said, who

AT = 1_763_733_730_000  # 2025-11-21 14:02:10 UTC
S = 1_000


def symptom(workload: str, after_s: float = 0, **told: Any) -> Symptom:
    pod, node = told.pop("pod", ""), told.pop("node", "")
    start = AT + int(after_s * S)
    fields = {
        "kind": "pattern-burst", "strength": 0.5, "name": "errors", "text": "more errors than usual",
        "resource": Resource("prod", "" if not workload else "shop", workload, pod, "", node),
    } | told  # fmt: skip
    identity = f"{fields['kind']}-{workload}-{pod}-{node}-{after_s}-{fields['name']}"
    return Symptom(
        id=identity, fingerprint=identity, start_ms=start, seen_ms=start, last_ms=start, opens=True, severity=17,
        evidence=f"ev-{identity}", **fields,
    )  # fmt: skip


def change(workload: str, before_s: float) -> Change:
    time = AT - int(before_s * S)
    return Change(id="c", resource=who(workload), time_ms=time, text="rollout", evidence="ev-c")


def shop() -> Topology:
    return learned(
        said(who("redis", "redis-0", "n1"), "ready"),
        said(who("search", "search-0", "n2"), "ready"),
        said(who("cart", "cart-0", "n2"), "redis:6379 refused"),
        said(who("cart", "cart-1", "n1"), "redis:6379 refused"),
        said(who("checkout", "checkout-0", "n2"), "http://cart/ failed"),
        said(who("mail", "mail-0", "n1"), "ready"),
        said(who("mail", "mail-1", "n3"), "ready"),
    )


def first(symptoms: list[Symptom], *changes: Change) -> Cause:
    return ranked(symptoms, changes, shop())[0]


def test_the_fixed_form_of_why() -> None:
    refused = {"text": "redis:6379 refused", "mentions": ("redis:6379",)}
    oom = symptom("redis", kind="event", name="OOMKilling", text="memory", pod="redis-0", strength=1.0)
    causes = ranked([oom, symptom("cart", 35, **refused), symptom("checkout", 40)], [change("redis", 120)], shop())
    assert [cause.name for cause in causes] == ["redis", "cart", "checkout"]
    assert causes[0].kind == "workload"
    assert causes[0].why == (
        "first symptom (14:02:10 UTC, 35 s before the next), cart and checkout depend on it, "
        "OOMKilling of pod/redis-0; rollout 2 min before"
    )
    assert causes[0].evidence == (oom.evidence, "ev-c")
    assert causes[1].why == (
        "symptoms since 14:02:45 UTC, 35 s after the first, checkout depends on it, “errors” of workload/cart, "
        "depends on redis"
    )


@pytest.mark.parametrize(
    ("symptoms", "name"),
    [
        ([symptom("search", 0), symptom("mail", 90)], "search"),  # the earlier
        ([symptom("checkout", 0), symptom("cart", 20), symptom("redis", 30)], "redis"),  # the most upstream
        ([symptom("checkout", 0), symptom("cart", 20, mentions=("redis",))], "redis"),  # named, with none of its own
        ([symptom("mail", kind="metric-shift", name="http_latency_seconds"),
          symptom("search", kind="metric-shift", name="container_memory_bytes")], "search"),
        ([symptom("mail"), symptom("search", kind="restart", name="restarts")], "search"),
        ([symptom("mail", strength=0.4), symptom("search", strength=0.9)], "search"),
        ([symptom("search"), symptom("mail")], "mail"),  # all the same: by name
    ],
)  # fmt: skip
def test_what_comes_first(symptoms: list[Symptom], name: str) -> None:
    assert first(symptoms).name == name


def test_labels_name_callers_too_and_that_blames_nobody() -> None:
    asked = symptom("redis", kind="metric-shift", name="latency_seconds", mentions=("cart", "destination"))
    causes = ranked([asked, symptom("search", 1)], (), shop())
    assert "cart" not in {cause.name for cause in causes}
    assert first([asked, symptom("cart", kind="metric-shift", name="latency_seconds")]).name == "redis"


def test_what_was_changed_just_before() -> None:
    assert first([symptom("mail"), symptom("search")], change("search", 60)).name == "search"
    assert first([symptom("mail"), symptom("search")], change("search", 7_200)).name == "mail"
    assert first([symptom("mail"), symptom("search")], change("search", -60)).name == "mail"
    causes = ranked([symptom("cart", 5), symptom("mail", 9)], [change("redis", 600)], shop())
    assert [cause.name for cause in causes] == ["cart", "mail", "redis"]  # changed, and well
    assert causes[2].why == "no symptom of its own, cart depends on it; rollout 10 min before"


@pytest.mark.parametrize(
    ("symptoms", "kind", "name"),
    [
        ([symptom("mail", pod="mail-1")], "pod", "mail-1"),
        ([symptom("mail", pod="mail-0"), symptom("mail", 1, pod="mail-1")], "workload", "mail"),
        ([symptom("redis", pod="redis-0")], "workload", "redis"),  # all there is of it
        ([symptom("mail")], "workload", "mail"),
        ([symptom("", node="n1", kind="event", name="NodeNotReady"), symptom("mail", 9, pod="mail-0")], "node", "n1"),
        ([symptom("redis", pod="redis-0"), symptom("mail", 1, pod="mail-0"), symptom("cart", 2, pod="cart-1")],
         "node", "n1"),
    ],
)  # fmt: skip
def test_the_most_specific(symptoms: list[Symptom], kind: str, name: str) -> None:
    cause = first(symptoms)
    assert (cause.kind, cause.name) == (kind, name)


names = st.sampled_from(("redis", "cart", "checkout", "search", "mail"))
told = st.builds(
    lambda name, pod, after, kind, strength, mention: symptom(
        name, after, kind=kind, strength=strength, pod=f"{name}-{pod}", mentions=(mention,)
    ),
    names, st.integers(0, 2), st.integers(0, 300), st.sampled_from(("restart", "metric-shift", "pattern-new")),
    st.floats(0, 1), names,
)  # fmt: skip


@given(st.lists(told, min_size=1, max_size=12).flatmap(lambda each: st.tuples(st.just(each), st.permutations(each))))
def test_order_says_nothing(both: tuple[list[Symptom], list[Symptom]]) -> None:
    one, other = both
    changes = [change("cart", 30), change("redis", 600)]
    causes = ranked(one, changes, shop())
    assert causes == ranked(other, changes[::-1], shop())
    assert 0 < len(causes) <= MOST_CAUSES
    assert all(0 <= cause.score <= 1 for cause in causes)


def test_a_thousand_pods_are_one_question() -> None:
    many = [symptom(f"svc-{i}", i % 60, pod=f"svc-{i}-0", kind="restart") for i in range(1_000)]
    assert len(ranked(many, (), shop())) == MOST_CAUSES
    assert ranked((), (), shop()) == ()
    assert sum(WEIGHTS.values()) == pytest.approx(1)
