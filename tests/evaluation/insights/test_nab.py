"""The band keeps its score, and our scoring agrees with what was published for a detector that everybody can build."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.insights.nab import (
    GOAL,
    Detector,
    cloud_series,
    nab_figures,
    nab_series,
    product,
    scored,
    windowed_gaussian,
)
from tests.evaluation.insights.nab_score import Weights

PUBLISHED_GAUSSIAN = 36.71  # with a window that moves by a hundred points at a time; ours moves by one


@pytest.mark.parametrize(
    ("make", "least", "most"),
    [(product, GOAL, 100.0), (windowed_gaussian, PUBLISHED_GAUSSIAN - 1.0, PUBLISHED_GAUSSIAN + 1.0)],
)
def test_standard_score(make: Callable[[], Detector], least: float, most: float, shared_data: Path) -> None:
    series = nab_series(shared_data / "metrics" / "nab")
    found = nab_figures("", scored(make, series), series, Weights())
    assert (len(series), found["windows"]) == (31, 57)
    assert least <= found["standard"] <= most


def test_events_of_the_second_set_lie_within_their_series(shared_data: Path) -> None:
    series = cloud_series(shared_data / "metrics" / "cloud-monitoring")
    assert len(series) == 30
    assert all(0 <= first <= last < len(each.times) for each in series for first, last in each.windows)
    assert all(a[1] < b[0] for each in series for a, b in zip(each.windows, each.windows[1:], strict=False))
