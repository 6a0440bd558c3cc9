"""Symptoms of metric series: few of ordinary noise, one of each change."""

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.insights.band import YOUNG
from processors.insights.series import BACK_MS, SeriesBands
from schemas.documents import DAY_MS, HOUR_MS, MINUTE_MS
from schemas.evidence_id import EvidenceId
from schemas.insight_settings import Detection
from schemas.insights import Symptom
from schemas.records import INFO, WARN, Resource
from schemas.summaries import Point, Sampled

START_MS = 1_790_000_000_000 // DAY_MS * DAY_MS
CART = Resource("c1", "shop", "cart", "", "", "")
AGED = 600  # minutes of history


def sampled(
    minute: float,
    value: float,
    series: str = "a1",
    *,
    who: Resource = CART,
    counter: bool = False,
    unit: str = "ms",
    name: str = "p99_latency_ms",
) -> Sampled:
    point = Point(START_MS + int(minute * MINUTE_MS), value, value, value)
    labels = {"peer": "payments", "code": "200"}
    return Sampled(who, series, name, labels, unit, counter, (point,))


def told(bands: SeriesBands, summaries: Iterable[Sampled]) -> list[Symptom]:
    signs: list[Symptom] = []
    for summary in summaries:
        now_ms = summary.points[-1].time_ms
        signs += bands.see(summary, now_ms)
        signs += bands.advance(now_ms)
    return signs


def noise(minute: int, series: int = 0) -> float:
    return 50.0 + random.Random(f"{series}/{minute}").gauss(0, 2)


def aged(minutes: int = AGED, value: Callable[[int], float] = noise, *, counter: bool = False) -> SeriesBands:
    bands = SeriesBands(Detection())
    assert told(bands, (sampled(i, value(i), counter=counter) for i in range(minutes))) == []
    return bands


def copied(bands: SeriesBands) -> SeriesBands:
    return SeriesBands.load(orjson.loads(orjson.dumps(bands.dump())), Detection())


def test_lasting_shift_is_told_at_once_each_minute_and_when_it_is_over() -> None:
    bands = aged()
    signs = told(bands, (sampled(i, 812.0 if i < AGED + 30 else noise(i)) for i in range(AGED, AGED + 60)))
    first, last = signs[0], signs[-1]
    assert {sign.id for sign in signs} == {first.id}
    assert first.start_ms == START_MS + AGED * MINUTE_MS
    assert first.seen_ms == first.start_ms
    assert not first.opens
    assert first.text.startswith("p99_latency_ms of workload/cart jumped to 812 ms, usually ")
    opening = next(sign for sign in signs if sign.opens)
    assert opening.kind == "metric-shift"
    assert opening.last_ms - opening.start_ms == 5 * MINUTE_MS
    assert all(b.last_ms - a.last_ms == MINUTE_MS for a, b in pairwise(signs[:-1]))
    assert [sign.ended for sign in signs] == [False] * 30 + [True]
    assert last.opens
    assert last.mentions == ("payments",)
    assert EvidenceId.parse(last.evidence).parts[0] == "a1"


@pytest.mark.parametrize(
    ("value", "kind", "opens"),
    [
        (lambda i: noise(i) + (500.0 if i == AGED else 0.0), "metric-spike", False),
        (lambda i: noise(i) + max(0, i - AGED) * 1.0, "metric-trend", False),
        (lambda i: noise(i) + 8.0 * (i >= AGED), "metric-shift", False),  # certain, and of a sixth: no reason to wake
    ],
)
def test_what_is_weak_joins_and_does_not_open(value: Callable[[int], float], kind: str, opens: bool) -> None:
    signs = told(aged(), (sampled(i, value(i)) for i in range(AGED, AGED + 90)))
    assert kind in {sign.kind for sign in signs}
    assert any(sign.opens for sign in signs) == opens


@pytest.mark.parametrize(
    ("name", "usual", "then", "strength", "severity", "opens"),
    [
        ("p99_latency_ms", 50.0, 900.0, 0.5, WARN, True),
        ("p99_latency_ms", 50.0, 0.5, 0.0, INFO, True),  # fast is odd, and hurts nobody
        ("cpu_usage_seconds", 50.0, 900.0, 0.0, INFO, False),
        ("http_requests", 50.0, 900.0, 0.0, INFO, False),
        ("http_requests", 50.0, 0.0, 0.0, INFO, True),  # nobody comes any more
        ("availability_percent", 99.99, 97.0, 0.5, WARN, True),  # three of a hundred fail
        ("availability_percent", 99.99, 99.5, 0.0, WARN, False),
        ("free_percent", 99.99, 97.0, 0.0, INFO, False),
    ],
)
def test_what_hurts_weighs_more_than_load(
    name: str, usual: float, then: float, strength: float, severity: int, opens: bool
) -> None:
    bands = SeriesBands(Detection())
    rng = random.Random(7)
    young = [sampled(i, usual + min(0.01, rng.gauss(0, 0.01)), name=name) for i in range(90)]
    assert told(bands, young) == []
    points = 2 if strength else 3  # what hurts is told one point earlier
    newest = told(bands, (sampled(90 + i, then, name=name) for i in range(points)))[-1]
    assert (newest.severity, newest.opens) == (severity, False)
    assert newest.strength >= strength if strength else newest.strength < 0.5
    aged = SeriesBands(Detection())
    told(aged, (sampled(i, usual + min(0.01, rng.gauss(0, 0.01)), name=name) for i in range(3000)))
    assert any(sign.opens for sign in told(aged, (sampled(3000 + i, then, name=name) for i in range(9)))) == opens


def test_trouble_that_comes_back_has_the_same_fingerprint_and_another_id() -> None:
    bands = aged(1500)
    down = [1500, 1501, 1502, 1503, 1504, 1505, 1600, 1601, 1602, 1603, 1604, 1605]
    signs = told(bands, (sampled(i, 900.0 if i in down else noise(i)) for i in range(1500, 1700)))
    assert len({sign.id for sign in signs}) == 2
    assert len({sign.fingerprint for sign in signs}) == 1


@pytest.mark.parametrize("again", [1, 3])
def test_what_is_sent_twice_changes_nothing(again: int) -> None:
    summaries = [sampled(i, noise(i) if i < 100 else 400.0) for i in range(130)]
    once, often = SeriesBands(Detection()), SeriesBands(Detection())
    signs = told(once, summaries)
    assert signs
    assert told(often, (each for each in summaries for _ in range(again))) == signs
    # and late: minutes that are over
    assert told(often, summaries[:-1]) == []
    assert often.late == len(summaries) - 1
    often.late = 0
    assert often.dump() == once.dump()


def test_later_summary_of_a_minute_replaces_the_first() -> None:
    first, later = SeriesBands(Detection()), SeriesBands(Detection())
    told(first, (sampled(i + part, noise(i) * part * 2) for i in range(20) for part in (0.25, 0.5)))
    told(later, (sampled(i + 0.5, noise(i)) for i in range(20)))
    assert first.dump()["young"][0][1] == later.dump()["young"][0][1]


def test_counter_is_judged_by_its_rate_and_a_reset_is_no_symptom() -> None:
    total = [0.0]
    for i in range(AGED * 3 - 1):
        total.append((0.0 if i % 97 == 96 else total[-1]) + 60.0 * noise(i))
    bands = aged(AGED * 2, lambda i: total[i], counter=True)
    assert bands.resets > 5
    assert told(bands, (sampled(i, total[i], counter=True) for i in range(AGED * 2, AGED * 3))) == []
    signs = told(bands, (sampled(AGED * 3 + i, total[-1] + (i + 1) * 60.0 * 500.0, counter=True) for i in range(9)))
    assert "jumped to 500 ms/s" in signs[0].text


def test_fresh_series_are_quiet() -> None:
    rng = random.Random(1)
    pods = [f"p{i}" for i in range(300)]
    bands = SeriesBands(Detection())
    starting = ((i, pod, 1000.0 / (i + 1) + rng.gauss(0, 20)) for i in range(YOUNG) for pod in pods)
    assert told(bands, (sampled(i, value, pod) for i, pod, value in starting)) == []


def test_ordinary_noise_of_many_series_opens_nothing() -> None:
    kinds: Sequence[Callable[[random.Random], float]] = (
        lambda rng: rng.gauss(50, 5),
        lambda rng: rng.expovariate(0.1),
        lambda rng: rng.paretovariate(3),
        lambda rng: float(rng.random() < 0.01),
        lambda rng: float(rng.randrange(4)),
    )
    rng = random.Random(3)
    bands = SeriesBands(Detection())
    signs = told(bands, (sampled(i, kinds[k % 5](rng), f"s{k}") for i in range(1440) for k in range(50)))
    assert not any(sign.opens for sign in signs)
    assert len({sign.id for sign in signs}) <= 20  # of 50 series in a day


class TestMissing:
    @staticmethod
    def fleet(minutes: range, pods: Iterable[str]) -> Iterable[Sampled]:
        names = tuple(pods)
        return (sampled(i, noise(i), pod, who=CART._replace(pod=pod, node="n1")) for i in minutes for pod in names)

    def test_series_that_stops_while_others_go_on(self) -> None:
        bands = SeriesBands(Detection())
        pods = [f"cart-{i}" for i in range(20)]
        assert told(bands, self.fleet(range(100), pods)) == []
        (sign,) = told(bands, self.fleet(range(100, 120), pods[1:]))
        assert (sign.kind, sign.resource.pod, sign.opens) == ("metric-missing", "cart-0", False)
        assert sign.start_ms <= START_MS + 101 * MINUTE_MS
        assert 104 * MINUTE_MS <= sign.seen_ms - START_MS <= 108 * MINUTE_MS
        (over,) = told(bands, self.fleet(range(120, 125), pods))
        assert (over.id, over.ended) == (sign.id, True)

    def test_what_falls_silent_together_is_one_symptom(self) -> None:
        bands = SeriesBands(Detection())
        pods = [f"cart-{i}" for i in range(400)]
        told(bands, self.fleet(range(100), pods))
        (sign,) = told(bands, self.fleet(range(100, 130), pods[:100]))
        assert sign.resource == CART._replace(node="n1")
        assert sign.text.startswith("300 series")

    @pytest.mark.parametrize("back", [100 + 8 * 60, 100 + 24 * 60])
    def test_nobody_is_missing_when_all_are_silent(self, back: int) -> None:
        bands = SeriesBands(Detection())
        pods = [f"cart-{i}" for i in range(20)]
        told(bands, self.fleet(range(100), pods))
        assert [sign for i in range(100, back) for sign in bands.advance(START_MS + i * MINUTE_MS)] == []
        assert told(bands, self.fleet(range(back, back + 20), pods)) == []

    def test_clock_that_is_ahead_makes_nobody_silent(self) -> None:
        bands = SeriesBands(Detection())
        pods = [f"cart-{i}" for i in range(20)]
        told(bands, self.fleet(range(100), pods))
        ahead = HOUR_MS // MINUTE_MS
        mixed = ((minute, pod) for i in range(100, 130) for pod in pods for minute in (i + ahead * (pod == "cart-0"),))
        signs = told(bands, (sampled(m, noise(m), pod, who=CART._replace(pod=pod)) for m, pod in mixed))
        assert signs == []

    def test_symptom_of_a_series_that_stops_is_over(self) -> None:
        bands = SeriesBands(Detection())
        pods = [f"cart-{i}" for i in range(20)]
        told(bands, self.fleet(range(200), pods))
        wild = (sampled(i, noise(i) if pod != "cart-0" else 900.0, pod) for i in range(200, 210) for pod in pods)
        told(bands, wild)
        signs = told(bands, self.fleet(range(210, 230), pods[1:]))
        assert ("metric-shift", True) in {(sign.kind, sign.ended) for sign in signs}


def test_explosion_of_labels_is_bounded_and_spares_those_with_a_history() -> None:
    bands = SeriesBands(Detection(most_series=100))
    old = [f"old{i}" for i in range(60)]
    told(bands, (sampled(i, noise(i), name) for i in range(YOUNG + 10) for name in old))
    told(bands, (sampled(100, 1.0, f"new{i}") for i in range(5_000)))
    assert len(bands) == 100
    assert bands.dropped == 5_000 - 40
    assert {name for name, *_ in bands.dump()["known"]} == set(old)


def test_one_place_is_enough() -> None:
    bands = SeriesBands(Detection(most_series=1))
    told(bands, (sampled(i + j, noise(i), f"s{i % 3}") for i in range(0, 200, 2) for j in (0, 1)))
    several = sampled(300, 1.0)._replace(
        points=tuple(Point(START_MS + i * MINUTE_MS, 1.0, 1.0, 1.0) for i in (300, 301))
    )
    assert told(bands, [several]) == []
    assert len(bands) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300])
def test_what_is_no_number_is_refused(value: float) -> None:
    bands = aged(60)
    before = bands.dump()
    assert told(bands, [sampled(60, value)]) == []
    assert bands.refused == 1
    bands.refused = 0
    assert bands.dump()["known"] == before["known"]


AGED_STATE = aged(80).dump()
MOVES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0.2, 20), st.sampled_from([0.0, 50.0, 900.0]), st.booleans()),
    max_size=40,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(MOVES, MOVES)
def test_loaded_state_goes_on_exactly(
    before: list[tuple[str, float, float, bool]], after: list[tuple[str, float, float, bool]]
) -> None:
    def moves(some: list[tuple[str, float, float, bool]], at: float) -> list[Sampled]:
        summaries = []
        for series, passed, value, counter in some:
            at += passed
            summaries.append(sampled(at, value, series + "c" * counter, counter=counter))
        return summaries

    bands = SeriesBands.load(AGED_STATE, Detection())
    told(bands, moves(before, 80.0))
    loaded = copied(bands)
    assert loaded.dump() == bands.dump()
    later = moves(after, 1000.0)
    assert told(loaded, later) == told(bands, later)
    assert orjson.dumps(loaded.dump()) == orjson.dumps(bands.dump())


def test_symptom_that_goes_on_survives_a_restart() -> None:
    bands = aged()
    told(bands, (sampled(i, 800.0) for i in range(AGED, AGED + 3)))
    loaded, rest = copied(bands), [sampled(i, noise(i)) for i in range(AGED + 3, AGED + 10)]
    (over,) = told(loaded, rest)
    assert over.ended
    assert [over] == told(bands, rest)
    assert over.last_ms + BACK_MS <= START_MS + (AGED + 7) * MINUTE_MS
