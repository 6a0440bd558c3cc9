"""Documents become evidence: what it says, when, how often, by whom, and where it came from."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.evidence import (
    Candidate,
    alert_candidate,
    event_candidate,
    log_candidates,
    moment,
    told,
)
from cag.scope import in_scope, visible_in
from cag.series import metric_candidate, within
from processors import shape
from processors.fold import Fold, delta_of
from processors.merge import join
from schemas.context import Grant, Scope, Span
from schemas.evidence_id import EvidenceId, dated_id, minutes_id
from schemas.records import Alert, Coordinates, KubernetesEvent, MetricSample, Resource

END = datetime(2026, 11, 20, 20, 15, 30, tzinfo=UTC)
SPAN = Span(start=END - timedelta(minutes=30), end=END)
END_MS = int(END.timestamp() * 1000)
MINUTE = 60_000
ID = "0123456789abcdef0123"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (minutes_id("log", ID, END_MS - MINUTE, END_MS), ("log", (ID, "29920094", "29920095"))),
        (minutes_id("metric", ID, END_MS, END_MS), ("metric", (ID, "29920095", "29920095"))),
        (dated_id("event", ID, END_MS), ("event", ("20261120", ID))),
        (dated_id("alert", ID, END_MS), ("alert", ("20261120", ID))),
        ("runbook-0a1b2c3d4e5f-how-to-fix", ("runbook", ("runbook-0a1b2c3d4e5f-how-to-fix",))),
    ],
)
def test_ids_are_read_back(text: str, parts: tuple[str, tuple[str, ...]]) -> None:
    assert EvidenceId.parse(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "", "log", "log-1", f"log-{ID}-1", f"log-{ID}-1-2-3", f"log-{ID}--1", f"log-{ID}-²-³", f"log-{ID}-१-२",
        f"log-{ID}-1-999999999", f"log-{ID}-1-2\n", f"log-{ID.upper()}-1-2", "log-*-1-2", "log-../../x-1-2",
        f"event-2026112-{ID}", f"event-20261120-{ID}-1", f"event-99991120-{ID}", f"event-２０２６１１２０-{ID}",
        "alert-20261120-é", f"logs-{ID}-1-2", "x" * 100_000,
    ],
)  # fmt: skip
def test_an_id_that_we_do_not_write_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an evidence id"):
        EvidenceId.parse(text)


def test_every_minute_of_an_id_is_in_the_calendar() -> None:
    _, (_, first, last) = EvidenceId.parse(f"log-{ID}-0-99999999")
    assert moment(int(first) * MINUTE).year == 1970
    assert moment((int(last) + 1) * MINUTE).year == 2160


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        (Scope(), True),
        (Scope(clusters=("prod",)), True),
        (Scope(clusters=("test",)), False),
        (Scope(namespaces=("shop",)), True),
        (Scope(namespaces=("pay", "shop")), True),
        (Scope(namespaces=("pay",)), False),
        (Scope(clusters=("prod",), namespaces=("pay",)), False),
        (Scope(clusters=("test",), namespaces=("shop",)), False),
    ],
)
def test_the_scope_on_what_came_back(scope: Scope, seen: bool) -> None:
    assert visible_in(scope, "prod", "shop") is seen
    assert visible_in(scope, "prod", "") is (not scope.namespaces and seen)  # a node is in no namespace


WHO = {
    "cluster": "prod",
    "namespace": "shop",
    "workload": "cart",
    "pod": "cart-0",
    "node": "node-a",
    "entity": "pod/cart-0",
}


def exemplar(t: int, text: str) -> dict[str, Any]:
    return {"at": f"logs/id/0/{t - END_MS}/0", "h": "0", "t": t, "text": text}


def bucket(
    key: str = ID,
    *,
    count: int = 5,
    first: int = END_MS - MINUTE,
    entities: int = 1,
    exemplars: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A bucket of the details, and in `newest` the source of its latest occurrence."""
    pods = [{"key": f"pod/cart-{n}"} for n in range(entities)]
    values = {name: {"value": value} for name, value in {"seen": count, "first": first}.items()}
    source = {**WHO, "pattern_id": key, "severity_number": 17, "last_ms": END_MS + 5_000, "exemplars": list(exemplars)}
    return {"key": key, **values, "entities": {"buckets": pods}, "newest": {"_source": source}}


def logs(
    *buckets: dict[str, Any],
    past: dict[str, float] | None = None,
    places: dict[str, tuple[int, int]] | None = None,
    heard_ms: float = 0,
) -> list[Any]:
    details = {"aggregations": {"patterns": {"buckets": list(buckets)}}}
    newest = {"hits": {"hits": [one["newest"] for one in buckets]}}
    return log_candidates(details, newest, past or {}, places or {}, SPAN, heard_ms=heard_ms)


def test_a_log_shows_what_was_said_by_the_end_and_leads_to_that_record() -> None:
    said = [
        exemplar(END_MS - 9_000, "first"),
        exemplar(END_MS - 1_000, "latest"),
        exemplar(END_MS + 2_000, "from later"),
    ]
    (made,) = logs(bucket(exemplars=said))
    assert (made.evidence.text, made.evidence.severity, made.evidence.count) == ("latest", "error", 5)
    assert made.evidence.coordinates[0] == "logs/id/0/-1000/0"
    assert made.evidence.entity == "pod/cart-0"
    assert logs(bucket(exemplars=said, entities=3))[0].evidence.entity == "workload/cart"
    assert EvidenceId.parse(made.evidence.id).parts[0] == ID
    assert logs() == []


def test_what_is_chosen_gets_a_name_and_leads_to_its_beginning_too() -> None:
    (made,) = logs(bucket(exemplars=[exemplar(END_MS - 1_000, "db timeout after 31")]))
    shown = told(made, {ID: [exemplar(END_MS - 60_000, "x"), exemplar(END_MS - 1_000, "x")]})
    assert shown.title == "cart: db timeout after *"
    assert shown.coordinates == ("logs/id/0/-1000/0", "logs/id/0/-60000/0")
    assert told(made, {}).coordinates == ("logs/id/0/-1000/0",)
    about = seen_event(event())
    assert told(about, {}) == about.evidence


def test_an_occurrence_that_came_between_two_searches_is_left_for_the_next_question() -> None:
    details = {"aggregations": {"patterns": {"buckets": [bucket()]}}}
    assert log_candidates(details, {"hits": {"hits": []}}, {}, {}, SPAN) == []


@pytest.mark.parametrize(
    ("late", "usual", "more"),
    [
        ({"first": END_MS - MINUTE}, {"first": END_MS - 25 * MINUTE}, {}),  # new at the end, or all along
        ({"count": 50}, {"count": 1}, {}),  # late and often, or once
        ({}, {}, {"past": {ID: 240.0}, "heard_ms": 1440 * MINUTE}),  # said ten times an hour before
    ],
)
def test_what_is_new_is_more_surprising(late: dict[str, Any], usual: dict[str, Any], more: dict[str, Any]) -> None:
    since = bucket("other", first=END_MS - 29 * MINUTE)
    (one, _), (two, _) = logs(bucket(**late), since), logs(bucket(**usual), since, **more)
    assert 1 >= one.novel > two.novel >= 0


@pytest.mark.parametrize(
    ("count", "before", "heard_minutes", "novel"),
    [
        (20, 20, 1440, 1.0),  # as many in twenty minutes as in the day before
        (20, 20, 20, 0.0),
        (20, 20, 1, 0.0),
        (14, 1, 5, 0.24),  # one in five minutes says little about what is usual
        (20, 0, 0, 0.0),  # all along, and nothing is known from before
        (20, 0, 20, 1.0),  # all along, and never before
        (1, 0, 1440, 0.62),
        (1, 0, 20, 0.1),
    ],
)
def test_usual_is_measured_over_what_was_heard(count: int, before: int, heard_minutes: int, novel: float) -> None:
    said = bucket(count=count, first=END_MS - 20 * MINUTE)
    (made,) = logs(said, past={ID: float(before)} if before else {}, heard_ms=heard_minutes * MINUTE)
    assert made.novel == pytest.approx(novel, abs=0.01)


@pytest.mark.parametrize(("then", "novel"), [(0, 1.0), (2, 1.0), (600, 0.35), (672, 0.0)])
def test_two_periods_are_compared_in_words_and_in_news(then: int, novel: float) -> None:
    """The other period is twice as long, so twice as often is as often."""
    other = Span(start=END - timedelta(days=1, hours=1), end=END - timedelta(days=1))
    details = {
        "aggregations": {"patterns": {"buckets": [said := bucket(count=336, exemplars=[exemplar(END_MS, "x")])]}}
    }
    newest = {"hits": {"hits": [said["newest"]]}}
    (made,) = log_candidates(details, newest, {ID: float(then)} if then else {}, {}, SPAN, other)
    assert made.evidence.text == f"x (336 times, {then} in the compared period)"
    assert made.novel == pytest.approx(novel, abs=0.01)


def test_a_series_is_compared_with_the_other_period() -> None:
    now, then = series([9.0] * 5), series([1.0, 2.0, 3.0])
    made = metric_candidate(now, SPAN, then)
    assert made is not None
    assert "now 9, 2 in the compared period, range 9 to 9 over 5 minutes" in made.evidence.text
    assert made.novel > 0.3
    kept = within(then, Span(start=END - timedelta(minutes=1, seconds=40), end=END))
    assert [len(hour["points"]) for hour in kept] == [2]


def event(*observed: tuple[int, int], **more: Any) -> dict[str, Any]:
    observed = observed or ((END_MS - 2 * MINUTE, 1),)
    seen = {
        f"{t:015d}/{n:010d}": {"t": t, "n": n, "at": f"k8s/id/0/{n}/0", "text": f"m{n}", "warning": True}
        for t, n in observed
    }
    latest = {"order": f"{max(observed)[0]:015d}/{max(observed)[1]:010d}/k8s/id/0/0/0"}
    given: dict[str, Any] = {
        "reason": "BackOff",
        "object_kind": "Pod",
        "object_name": "cart-0",
        "message": "m",
        "warning": True,
    }
    return {**WHO, **given, "observations": seen, "latest": latest, "first_ms": END_MS - 60 * MINUTE, **more}


def seen_event(document: dict[str, Any], place: int = 1) -> Candidate:
    made = event_candidate(document, place, SPAN, "2026.11.20", ID)
    assert made is not None
    return made


def test_an_event_is_told_as_it_stood_at_the_end_of_the_range() -> None:
    document = event((END_MS - 60 * MINUTE, 1), (END_MS - MINUTE, 7), (END_MS + MINUTE, 9))
    made = seen_event(document)
    assert (made.evidence.count, made.evidence.last, made.evidence.coordinates) == (
        7,
        moment(END_MS - MINUTE),
        ("k8s/id/0/7/0",),
    )
    assert made.evidence.text == "BackOff Pod/cart-0: m7"
    assert seen_event(event()).evidence.text == "BackOff Pod/cart-0: m"
    assert EvidenceId.parse(made.evidence.id) == ("event", ("20261120", ID))


@pytest.mark.parametrize(
    ("observed", "seen"),
    [
        ([(END_MS - MINUTE, 1)], True),
        ([(END_MS + MINUTE, 2)], False),  # not yet
        ([(END_MS - 60 * MINUTE, 1), (END_MS + MINUTE, 2)], False),  # before the range and after it
        ([(END_MS + n * MINUTE, n) for n in range(1, 61)], True),  # so often since that what was in range is forgotten
    ],
)
def test_an_event_counts_where_it_was_seen_in_the_range(observed: list[tuple[int, int]], seen: bool) -> None:
    made = event_candidate(event(*observed), 0, SPAN, "2026.11.20", ID)
    assert (made is not None) == seen
    assert made is None or "60" not in f"{made.evidence.text} {made.evidence.count} {made.evidence.coordinates}"


def test_reasons_that_name_a_cause_weigh_more_than_warnings_and_these_more_than_news() -> None:
    weights = [
        seen_event(event(reason=reason, warning=warning)).severity
        for reason, warning in (
            ("OOMKilling", False),
            ("Unhealthy", True),
            ("ScalingReplicaSet", False),
            ("Pulled", False),
        )
    ]
    assert weights == sorted(weights, reverse=True)
    assert len(set(weights)) == 4


def alert(*observed: tuple[int, str], **more: Any) -> Any:
    seen = {
        f"{t:015d}/{status}": {"t": t, "status": status, "at": f"a/id/0/{n}/0", "text": "then", "url": "https://then"}
        for n, (t, status) in enumerate(observed)
    }
    document = {
        **WHO, "name": "CartDown", "severity_number": 21, "annotations": {"summary": "no cart"}, "runbook_url": "https://r/x",
        "first_ms": END_MS - 60 * MINUTE, "observations": seen,
        "latest": {"order": f"{max(observed)[0]:015d}/{max(observed)[0]:015d}/x/a/id/0/0/0"}, **more,
    }  # fmt: skip
    return alert_candidate(document, SPAN, "2026.11.20", ID)


@pytest.mark.parametrize(
    ("observed", "text"),
    [
        ([(END_MS - MINUTE, "firing")], "Alert CartDown is firing: no cart"),
        ([(END_MS - 60 * MINUTE, "firing"), (END_MS - MINUTE, "resolved")], "Alert CartDown is resolved: no cart"),
        ([(END_MS - 60 * MINUTE, "firing"), (END_MS + MINUTE, "resolved")], "Alert CartDown is firing: then"),
        ([(END_MS - 60 * MINUTE, "firing"), (END_MS - 40 * MINUTE, "resolved")], None),  # over before the range
        ([(END_MS + MINUTE, "firing")], None),  # not yet
    ],
)
def test_an_alert_counts_while_it_fires(observed: list[tuple[int, str]], text: str | None) -> None:
    made = alert(*observed)
    assert (made.evidence.text if made else None) == text


def test_an_alert_is_told_in_the_words_of_then() -> None:
    """Alertmanager sends it again, with the same start and other words."""
    order = f"{END_MS - 60 * MINUTE:015d}/{END_MS + 1:015d}/firing/a/id/0/0/0"
    made = alert((END_MS - 60 * MINUTE, "firing"), latest={"order": order})
    assert (made.evidence.text, made.evidence.url) == ("Alert CartDown is firing: then", "https://then")


POD = Resource(cluster="prod", namespace="shop", workload="cart", pod="cart-0", node="node-a")
MOMENTS = st.lists(st.integers(-70, 70).map(lambda n: END_MS + n * MINUTE), min_size=1, max_size=12)


def stored(fold: Fold) -> dict[str, Any] | None:
    """The event or alert, as it lies in the index."""
    changes = [c for c in fold if c.target.kind in ("events", "alerts")]
    return join(changes[0].fixed, delta_of(changes[0], {})) if changes else None


def observed(times: Sequence[int]) -> dict[str, Any] | None:
    fold = Fold()
    for n, t in enumerate(times):
        said = KubernetesEvent(
            uid="u", time_ms=t, first_ms=None, resource=POD, object_kind="Pod", object_name="cart-0",
            reason="BackOff", message=f"said at {t}", warning=bool(t % 2), count=n,
        )  # fmt: skip
        shape.event(fold, Coordinates("k8s", "id", 0, n), said, (t, False), str, 0)
    return stored(fold)


def notified(times: Sequence[int]) -> dict[str, Any] | None:
    """One alert, told again and again in other words."""
    fold, start = Fold(), END_MS - 80 * MINUTE
    for n, t in enumerate(times):
        said = Alert(
            fingerprint="f", time_ms=start, starts_ms=start, ends_ms=None, resource=POD, name="Down",
            severity=17, labels={}, annotations={"summary": f"said at {t}", "runbook_url": f"https://r/{t}"},
        )  # fmt: skip
        shape.alert(fold, Coordinates("a", "id", 0, n), said, (start, False), str, 0, t)
    return stored(fold)


@given(MOMENTS)
def test_what_was_observed_after_the_end_changes_nothing(times: list[int]) -> None:
    """Text and times, status and count, relevance and weights: all of a candidate."""
    times = sorted(times)
    until = [t for t in times if t <= END_MS]
    now, then = observed(times), observed(until)
    assert now is not None
    made = event_candidate(now, 0, SPAN, "2026.11.20", ID)
    assert made == (event_candidate(then, 0, SPAN, "2026.11.20", ID) if then else None)
    now, then = notified(times), notified(until)
    assert now is not None
    fired = alert_candidate(now, SPAN, "2026.11.20", ID)
    before = alert_candidate(then, SPAN, "2026.11.20", ID) if then else None
    assert (fired is None) == (before is None) == (not until)
    assert fired is None or fired.evidence.text.removeprefix("Alert Down is firing: ") in {
        f"said at {t}" for t in until
    }


@given(st.lists(st.tuples(st.integers(-150, 30), st.floats(-1e6, 1e6)), min_size=1, max_size=40), st.booleans())
def test_what_was_measured_after_the_end_changes_nothing(samples: list[tuple[int, float]], monotonic: bool) -> None:
    """But for its own minute, of which only the last sample is kept."""

    def hours(seconds: Sequence[tuple[int, float]]) -> list[dict[str, Any]]:
        fold = Fold()
        for n, (at, value) in enumerate(seconds):
            t = END_MS + at * 20_000
            said = MetricSample(
                time_ms=t, resource=POD, name="queue", labels={}, value=value, unit="", monotonic=monotonic
            )
            shape.metric(fold, Coordinates("m", "id", 0, n), said, (t, False), str)
        found = [join(c.fixed, delta_of(c, {})) for c in fold if c.target.kind == "series"]
        return sorted(found, key=lambda hour: hour["hour_ms"])

    known = [(at, value) for at, value in samples if at <= 0 and at not in (0, -1)]
    later = [(at, value) for at, value in samples if at > 0]
    one, two = hours(known), hours([*known, *later])
    before = metric_candidate(one, SPAN) if one else None
    assert (metric_candidate(two, SPAN) if two else None) == before


def test_an_alert_without_a_summary_says_the_next_best() -> None:
    assert alert((END_MS, "firing"), annotations={"description": "d"}).evidence.text.endswith("firing: d")
    assert alert((END_MS, "firing"), annotations={}).evidence.text.endswith("firing: ")


def series(values: list[float], *, monotonic: bool = False, unit: str = "") -> list[dict[str, Any]]:
    first = END_MS - END_MS % MINUTE - (len(values) - 1) * MINUTE
    points = {}
    for n, value in enumerate(values):
        at = first + n * MINUTE
        points[f"{at:015d}"] = {"o": f"{at:015d}/metrics/id/0/{n}/0", "v": value, "lo": value, "hi": value}
    about = {"name": "mem", "labels": {"b": "2", "a": "1"}, "unit": unit, "monotonic": monotonic, "series_id": ID}
    return [{**WHO, **about, "points": points}]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (series([1, 1, 1, 1, 9]), "mem{a=1, b=2} of pod/cart-0: now 9, at first 1, range 1 to 9 over 5 minutes"),
        (
            series([60, 120, 180, 30], monotonic=True),
            "now 0.5/s, at first 1/s, range 0.5 to 1/s over 3 minutes",
        ),  # a reset
        (series([512 * 2**20, 3 * 2**34], unit=""), "now 48.0Gi, at first 512Mi"),
        (series([12_345.6, 0.00012345], unit="ms"), "now 0.0001234ms, at first 12,346ms"),
    ],
)
def test_a_series_says_now_at_first_and_its_range(given: list[dict[str, Any]], text: str) -> None:
    made = metric_candidate(given, SPAN)
    assert made is not None
    assert text in made.evidence.text
    assert made.evidence.coordinates == (f"metrics/id/0/{len(given[0]['points']) - 1}/0",)


@pytest.mark.parametrize(
    ("given", "span"),
    [
        (series([1, 2, 3]), Span(start=END - timedelta(days=2), end=END - timedelta(days=1))),
        (series([7], monotonic=True), SPAN),  # one value of a counter is no rate
    ],
)
def test_a_series_without_anything_to_say(given: list[dict[str, Any]], span: Span) -> None:
    assert metric_candidate(given, span) is None


def test_a_jump_is_severe_and_noise_is_not() -> None:
    jump, noise, short = (metric_candidate(series(v), SPAN) for v in ([5.0] * 8 + [50.0], [5.0, 5.1] * 5, [1.0, 99.0]))
    assert jump is not None
    assert noise is not None
    assert short is not None
    assert jump.severity > 0.5 > 0.05 > noise.severity
    assert short.severity == 0.0  # too short to know what is usual


@pytest.mark.parametrize("monotonic", [False, True])
def test_a_jump_before_the_range_is_over(monotonic: bool) -> None:
    steps = [1.0] * 20 + [90.0] * 3 + [1.0] * 20
    given = series(list(accumulate(steps)) if monotonic else steps, monotonic=monotonic)
    recent, whole = (
        metric_candidate(given, Span(start=END - timedelta(minutes=minutes), end=END)) for minutes in (10, 30)
    )
    assert recent is not None
    assert whole is not None
    assert recent.novel == 0.0
    assert whole.novel == 1.0


TEAM = Grant(clusters=("prod",), namespaces=("shop", "team-*"), cluster_objects=False)


@pytest.mark.parametrize(
    ("grants", "cluster", "namespace", "seen"),
    [
        ((), "prod", "shop", False),
        ((TEAM,), "prod", "shop", True),
        ((TEAM,), "prod", "team-a", True),
        ((TEAM,), "prod", "teams", False),
        ((TEAM,), "prod", "", False),  # a node
        ((TEAM,), "test", "shop", False),
        ((TEAM, Grant(clusters=("test",))), "test", "anything", True),
        ((TEAM, Grant(clusters=("test",))), "test", "", True),
        ((TEAM, Grant(clusters=("test",))), "prod", "anything", False),  # a union, never a product
    ],
)
def test_one_grant_must_hold(grants: tuple[Grant, ...], cluster: str, namespace: str, seen: bool) -> None:
    assert visible_in(Scope(grants=grants), cluster, namespace) is seen


def test_a_scope_without_grants_searches_nothing() -> None:
    assert in_scope(Scope(grants=())) == [{"match_none": {}}]
    assert in_scope(Scope()) == []
