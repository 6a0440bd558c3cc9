"""Kubernetes events and alerts: what opens, what is ordinary, and that a thousand pods are one symptom."""

from collections.abc import Iterable, Sequence
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as laws
from hypothesis import strategies as st

from processors.insights import states
from processors.insights.states import States
from processors.insights.topology import Topology
from schemas.documents import Target, digest
from schemas.insight_settings import Detection
from schemas.insights import Change, Sign, Symptom
from schemas.records import ERROR, FATAL, INFO, UNKNOWN, WARN, Resource
from schemas.summaries import Fired, Happened, Notified, Seen

START_MS = 1_763_700_000_000 - 1_763_700_000_000 % 60_000
MINUTE_MS = 60_000
BACK_OFF = "Back-off restarting failed container pay in pod pay-1"


def happened(
    reason: str, seen: Sequence[tuple[float, int]], text: str = "", *, pod: str = "pay-1", workload: str = "pay",
    warning: bool = True, kind: str = "Pod", node: str = "",
) -> Happened:  # fmt: skip
    """An event that was seen after so many seconds for the so-manieth time."""
    who = Resource("c", "shop", workload, pod) if not node else Resource("c", node=node)
    uid = f"{reason}:{pod}:{node}:{text}"
    observed = tuple(Seen(START_MS + int(s * 1000), n, warning, text, f"k8s-events/t/0/{n}/0") for s, n in seen)
    return Happened(
        who, Target("events", "2025.11.21", digest(uid)), uid, kind, pod or node, reason, "kubelet", observed
    )


def fired(
    name: str, severity: int, notified: Sequence[tuple[float, bool]], *, start_s: float = 0.0, graded: bool = True
) -> Fired:
    """An alert, with the seconds at which it was sent and whether it was firing."""
    observed = tuple(
        Notified(START_MS + int((start_s if firing else sent) * 1000), firing, "it is down", "https://r/x",
                 START_MS + int(sent * 1000), f"alerts/t/0/{n}/0")
        for n, (sent, firing) in enumerate(notified)
    )  # fmt: skip
    labels = {"alertname": name} | ({"severity": "x"} if graded else {})
    target = Target("alerts", "2025.11.21", digest(name, str(start_s)))
    return Fired(Resource("c", "shop", "pay"), target, f"f-{name}", name, severity, labels, observed)


def tell(told: Iterable[Happened | Fired], until_s: float = 0, detector: States | None = None) -> list[Sign]:
    detector, now_ms, signs = detector or States(Detection()), START_MS, []
    for each in told:
        latest = [o.sent_ms if isinstance(o, Notified) else o.time_ms for o in each.observations]
        now_ms = max(now_ms, *latest)
        signs += [*detector.see(each, now_ms), *detector.advance(now_ms)]
    while now_ms < START_MS + until_s * 1000:
        now_ms += 5_000  # ticks
        signs += detector.advance(now_ms)
    return signs


def opened(signs: Iterable[Sign]) -> dict[str, bool]:
    """By name, whether it opens in the end."""
    return {each.name: each.opens for each in signs if isinstance(each, Symptom) and not each.ended}


def events(reason: str, times: int, every_s: float, text: str = "", **more: str | bool) -> list[Happened]:
    return [happened(reason, [(n * every_s, n + 1)], text, **more) for n in range(times)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (events("OOMKilling", 1, 0, node="n1"), {"OOMKilling": True}),
        (events("OOMKilling", 9, 30, "Memory cgroup out of memory", node="n1", kind="Node"), {"OOMKilling": False}),
        (events("OOMKilling", 1, 0, "Out of memory: Killed process 7", node="n1", kind="Node"), {"OOMKilling": True}),
        (events("NodeHasDiskPressure", 1, 0, node="n1", warning=False), {"NodeHasDiskPressure": True}),
        (events("BackOff", 1, 0, BACK_OFF), {"BackOff": False}),
        (events("BackOff", 3, 15, BACK_OFF), {"BackOff": True}),
        (events("FailedScheduling", 1, 0, "0/8 nodes are available"), {}),
        (events("FailedScheduling", 3, 3, "0/8 nodes are available"), {"FailedScheduling": False}),
        (events("FailedScheduling", 3, 20, "0/8 nodes are available"), {"FailedScheduling": True}),
        (events("FailedScheduling", 9, 20, "node.kubernetes.io/not-ready"), {"FailedScheduling": False}),
        (
            events("FailedScheduling", 9, 20, "0/3 nodes are available: 3 node(s) had taint {a: b}"),
            {"FailedScheduling": False},
        ),
        (
            events(
                "FailedScheduling", 3, 20, "0/3 nodes are available: 1 node(s) had taint {a: b}, 2 Insufficient cpu"
            ),
            {"FailedScheduling": True},
        ),
        (events("FailedMount", 4, 8, "secret not found"), {"FailedMount": False}),
        (events("FailedMount", 5, 70, "secret not found"), {"FailedMount": True}),
        (events("Failed", 3, 15, "Failed to pull image x"), {"Failed": True}),
        (events("Unhealthy", 2, 10, "Readiness probe failed: 503"), {}),
        (events("Unhealthy", 9, 10, "Startup probe failed: 503"), {}),
        (events("Unhealthy", 14, 10, "Readiness probe failed: 503"), {"Unhealthy": True}),
        (
            [one for pod in ("a", "b") for one in events("Unhealthy", 7, 30, "Readiness probe failed: 503", pod=pod)],
            {"Unhealthy": False},
        ),
        (events("Unhealthy", 8, 10, "Liveness probe failed: 503"), {"Unhealthy": True}),
        (events("Killing", 2, 30, "Container pay failed liveness probe, will be restarted"), {"Killing": True}),
        (events("Whatever", 60, 30), {"Whatever": False}),  # some controllers warn of everything
        (events("Pulled", 5, 30, warning=False), {}),
    ],
)
def test_which_reasons_open(told: list[Happened], expected: dict[str, bool]) -> None:
    assert opened(tell(told)) == expected


def test_a_thousand_pods_are_one_symptom() -> None:
    told = [
        happened("BackOff", [(30 * turn + n / 100, turn + 1)], BACK_OFF, pod=f"pay-{n}")
        for turn in range(3) for n in range(1_000)
    ]  # fmt: skip
    detector = States(Detection())
    symptoms = [each for each in tell(told, 120, detector) if isinstance(each, Symptom)]
    assert len({each.id for each in symptoms}) == 1
    assert len(symptoms) <= 6  # it opens, and every half minute
    assert (symptoms[-1].kind, symptoms[-1].opens, symptoms[-1].resource.pod) == ("restart", True, "")
    pods = int(symptoms[-1].text.split(" ")[0])
    assert 600 < pods < 1_600  # from a sample of 64
    assert len(orjson.dumps(detector.dump())) < 40_000
    assert symptoms[-1].strength > symptoms[0].strength


def test_a_trouble_says_how_much_and_ends_once() -> None:
    told = [happened("BackOff", [(20 * n, n + 1)], BACK_OFF, pod=f"pay-{n % 3}") for n in range(12)]
    symptoms = [each for each in tell(told, until_s=1_000) if isinstance(each, Symptom)]
    assert symptoms[-2].text.startswith("3 pods of pay in shop restarted (BackOff), 30 times since ")
    assert [each.ended for each in symptoms] == [False] * (len(symptoms) - 1) + [True]
    assert symptoms[-1].evidence == symptoms[0].evidence
    assert len({each.id for each in symptoms}) == 1
    assert symptoms[0].evidence.startswith("event-20251121-")


def test_one_clock_that_is_ahead_ends_nothing() -> None:
    detector = States(Detection())
    told = events("BackOff", 6, 15, BACK_OFF)
    tell(told, detector=detector)
    assert not [each for each in detector.advance(START_MS + 3_600_000) if isinstance(each, Symptom)]


@pytest.mark.parametrize(
    ("name", "severity", "graded", "notified", "expected"),
    [
        ("Down", FATAL, True, [(30, True)], {"Down": True}),
        ("Slow", WARN, True, [(30, True)], {"Slow": False}),
        ("Slow", WARN, True, [(30, True), (350, True)], {"Slow": True}),
        ("Slow", UNKNOWN, False, [(30, True), (350, True)], {"Slow": True}),
        ("Nothing", UNKNOWN, True, [(30, True), (350, True)], {"Nothing": False}),
        ("Note", INFO, True, [(30, True), (350, True)], {"Note": False}),
        ("Watchdog", FATAL, True, [(30, True), (350, True)], {}),
    ],
)
def test_which_alerts_open(
    name: str, severity: int, graded: bool, notified: list[tuple[float, bool]], expected: dict[str, bool]
) -> None:
    assert opened(tell([fired(name, severity, notified, graded=graded)])) == expected


def test_a_warning_opens_when_it_has_lasted_whether_it_is_repeated_or_not() -> None:
    assert opened(tell([fired("Slow", WARN, [(30, True)])], until_s=290)) == {"Slow": False}
    assert opened(tell([fired("Slow", WARN, [(30, True)])], until_s=310)) == {"Slow": True}
    passed = tell([fired("Slow", WARN, [(30, True)]), fired("Slow", WARN, [(30, True), (200, False)])], until_s=900)
    assert [(each.opens, each.ended) for each in passed if isinstance(each, Symptom)] == [(False, False), (False, True)]


def test_an_alert_that_fired_before_we_listened_says_nothing() -> None:
    since = happened("Pulled", [(0, 1)], warning=False)
    assert tell([since, fired("Old", FATAL, [(30, True), (350, True)], start_s=-3_600)]) == []


def test_an_alert_is_over_when_it_is_resolved_or_never_repeated() -> None:
    resolved = tell([fired("Down", ERROR + 1, [(30, True), (400, False)]), fired("Down", ERROR + 1, [(30, True)])])
    symptoms = [each for each in resolved if isinstance(each, Symptom)]
    assert [each.ended for each in symptoms] == [False, True]
    assert symptoms[0].start_ms == START_MS
    assert (symptoms[0].seen_ms, symptoms[0].runbook_url) == (START_MS + 30_000, "https://r/x")
    forgotten = tell([fired("Down", FATAL, [(30, True)])], until_s=5 * 3_600)
    assert [each.ended for each in forgotten if isinstance(each, Symptom)] == [False, True]


def test_changes_are_told_once_for_a_workload_and_minute() -> None:
    told = [
        happened("ScalingReplicaSet", [(0, 1)], "Scaled up replica set pay-2 to 3", kind="Deployment", warning=False),
        happened("Killing", [(4, 1)], "Stopping container pay", warning=False),
        happened("Pulling", [(5, 1)], 'Pulling image "r/pay:1"', pod="pay-1", warning=False),
        happened("Pulling", [(70, 1)], 'Pulling image "r/pay:1"', pod="pay-2", warning=False),
        happened("Pulling", [(130, 1)], 'Pulling image "r/pay:2"', pod="pay-3", warning=False),
        happened("Killing", [(200, 1)], "Container pay failed liveness probe, will be restarted"),
    ]
    changes = [each for each in tell(told) if isinstance(each, Change)]
    assert [each.text.split(" ")[0] for each in changes] == ["ScalingReplicaSet", "Pulling"]
    assert '"r/pay:2"' in changes[1].text


def mixed() -> list[Happened | Fired]:
    told: list[Happened | Fired] = [*events("BackOff", 8, 15, BACK_OFF), *events("OOMKilling", 2, 60, node="n1")]
    told += [
        fired("Down", FATAL, [(30, True), (350, True)]),
        fired("Slow", WARN, [(60, True), (200, False)], start_s=9),
    ]
    return told


@given(st.randoms(use_true_random=False))
@laws(max_examples=20, deadline=None)
def test_repeated_and_reordered_summaries_tell_the_same(random: Random) -> None:
    torn = [*mixed(), *mixed()]
    random.shuffle(torn)
    expected, found = ({(s.fingerprint, s.opens) for s in tell(some) if isinstance(s, Symptom) and s.opens}
                       for some in (mixed(), torn))  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("cut", [1, 5, 9, 11])
def test_a_snapshot_goes_on_exactly(cut: int) -> None:
    whole, first = States(Detection()), States(Detection())
    expected = tell(mixed(), 900, whole)
    before = tell(mixed()[:cut], detector=first)
    second = States.load(orjson.loads(orjson.dumps(first.dump())), Detection())
    assert before + tell(mixed()[cut:], 900, second) == expected
    assert second.dump() == whole.dump()


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_TROUBLES", "MOST_ALARMS", "MOST_OWNERS"):
        monkeypatch.setattr(states, name, 50)
    detector = States(Detection())
    for n in range(200):
        told = [
            happened("BackOff", [(n, 1)], BACK_OFF, workload=f"w{n}", pod=f"w{n}-1"),
            fired(f"A{n}", FATAL, [(n, True)]),
        ]
        told.append(happened("ScalingReplicaSet", [(n, 1)], "up", workload=f"w{n}", kind="Deployment", warning=False))
        tell(told, detector=detector)
    assert detector.dropped == {"troubles": 150, "alerts": 150, "owners": 150}
    assert len(orjson.dumps(detector.dump())) < 200_000


def test_what_is_wrong_with_something_young_is_told_when_it_lasts() -> None:
    topology = Topology()
    detector = States(Detection(), topology.births)
    born = happened("Scheduled", [(0, 1)], "Successfully assigned shop/pay-1 to worker-1", warning=False)
    told = [born, *events("BackOff", 25, 30, BACK_OFF), happened("Evicted", [(60, 1)])]
    told.sort(key=lambda each: each.observations[0].time_ms)
    signs: list[Symptom] = []
    for each in told:
        topology.see(each)
        signs += [sign for sign in tell([each], detector=detector) if isinstance(sign, Symptom)]
    assert {sign.name for sign in signs if sign.seen_ms < START_MS + 9 * MINUTE_MS} == {"Evicted"}
    assert opened(signs)["BackOff"]
