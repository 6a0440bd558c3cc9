"""One series against its own past."""

import math
import random
from collections.abc import Callable, Iterable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.insights.band import MOST, YOUNG, Band, Score
from schemas.documents import DAY_MS, HOUR_MS, MINUTE_MS

START_MS = 1_790_000_000_000 // DAY_MS * DAY_MS
VALUES = st.floats(-1e12, 1e12) | st.sampled_from([0.0, 1.0, 3.0])


def noise(number: int) -> float:
    return 50.0 + random.Random(number).gauss(0, 2)


def followed(values: Iterable[float], step_ms: int = MINUTE_MS, band: Band | None = None) -> list[Score]:
    band = band or Band()
    first = band.time_ms + step_ms if band.points else START_MS
    return [band.update(first + i * step_ms, value) for i, value in enumerate(values)]


def surprised(scores: Iterable[Score]) -> bool:
    return any(score.surprise >= 4.0 and score.outside for score in scores)


@pytest.mark.parametrize("step_ms", [15_000, MINUTE_MS, HOUR_MS])
@pytest.mark.parametrize(
    ("after", "kind", "up"),
    [
        (lambda i: 90.0 + noise(i), "shift", True),
        (lambda i: 0.0, "shift", False),
        (lambda i: noise(i) + (200.0 if i == 0 else 0.0), "spike", True),
        (lambda i: noise(i) + 1.0 * i, "trend", True),
    ],
)
def test_change_is_told_with_its_kind_and_direction(
    step_ms: int, after: Callable[[int], float], kind: str, up: bool
) -> None:
    band = Band()
    followed((noise(i) for i in range(600)), step_ms, band)
    scores = [score for score in followed((after(i) for i in range(60)), step_ms, band) if score.outside]
    assert surprised(scores)
    latest = max(scores, key=lambda score: abs(score.run))
    assert (latest.kind, latest.run > 0) == (kind, up)


@pytest.mark.parametrize(
    "ordinary",
    [
        lambda i: 3.0,
        lambda i: 0.0,
        noise,
        lambda i: float(random.Random(i).random() < 0.02),
        lambda i: random.Random(i).expovariate(1.0),
        lambda i: random.Random(i).paretovariate(2.5),
        lambda i: float(random.Random(i).randrange(3)),
    ],
    ids=["constant", "zero", "normal", "rare ones", "exponential", "heavy tail", "small integers"],
)
def test_ordinary_series_are_no_surprise(ordinary: Callable[[int], float]) -> None:
    told = [s for s in followed(ordinary(i) for i in range(5_000)) if s.surprise >= 6.0 and abs(s.run) >= 3]
    assert told == []


def test_hour_of_the_day_is_expected_once_it_is_known() -> None:
    def wave(i: int) -> float:
        return 100.0 * math.sin(i * 5 * MINUTE_MS * 2 * math.pi / DAY_MS) + random.Random(i).gauss(0, 3)

    band, day = Band(), DAY_MS // (5 * MINUTE_MS)
    followed((wave(i) for i in range(5 * day)), 5 * MINUTE_MS, band)
    assert not surprised(followed((wave(i) for i in range(5 * day, 6 * day)), 5 * MINUTE_MS, band))
    # The wave's own height, at the hour of its depth: ordinary for the level, not for the hour.
    depth = [100.0 if 0.6 < (i % day) / day < 0.9 else wave(i) for i in range(6 * day, 7 * day)]
    assert surprised(followed(depth, 5 * MINUTE_MS, band))


def test_young_series_tells_no_news() -> None:
    values = [random.Random(i).choice([0.0, 1e6]) for i in range(YOUNG)]
    assert all(score.likelihood == 0.0 for score in followed(values))


def test_one_change_is_news_once() -> None:
    band = Band()
    followed((noise(i) for i in range(1000)), band=band)
    scores = followed((noise(i) + 40.0 for i in range(200)), band=band)
    assert sum(score.likelihood > 0.99 for score in scores) <= 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200])
def test_what_is_no_number_is_refused_and_teaches_nothing(value: float) -> None:
    band = Band()
    followed(map(noise, range(100)), band=band)
    before = band.dump()
    for judge in (band.update, band.judge):
        with pytest.raises(ValueError, match="finite"):
            judge(band.time_ms + MINUTE_MS, value)
    assert band.dump() == before


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3 * HOUR_MS), VALUES), max_size=150),
    st.lists(st.tuples(st.integers(1, 3 * HOUR_MS), VALUES), max_size=50),
)
def test_loaded_band_goes_on_exactly(before: list[tuple[int, float]], after: list[tuple[int, float]]) -> None:
    band, at = Band(), START_MS
    for passed, value in before:
        at += passed
        peeked = band.judge(at, value)
        score = band.update(at, value)
        assert score == peeked
        assert 0.0 <= score.likelihood <= 1.0
        assert 0.0 <= score.surprise <= MOST
        assert score.low <= score.high
    loaded = Band.load(orjson.loads(orjson.dumps(band.dump())))
    for passed, value in after:
        at += passed
        assert loaded.update(at, value) == band.update(at, value)
    assert loaded.dump() == band.dump()
    assert len(orjson.dumps(band.dump())) < 1_500
