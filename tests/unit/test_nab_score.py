"""Our own NAB scoring has the properties of the published one."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.insights.nab_score import (
    File,
    Weights,
    best_threshold,
    normalised,
    probation,
    rows,
    sigmoid,
    total,
)

ROWS = 1_000
WINDOWS = ((300, 399), (600, 699))


def standard(told: set[int], weights: Weights | None = None) -> float:
    file = File("series", [float(i in told) for i in range(ROWS)], WINDOWS)
    return total([rows(file, weights or Weights())], 1.0, weights or Weights()).standard


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [
        ({300, 600}, 100.0, 100.0),  # perfect: the first row of each window
        (set(), 0.0, 0.0),  # null
        ({300, 301, 350, 600}, 100.0, 100.0),  # more rows of a window count for nothing
        ({399, 699}, 50.0, 55.0),  # at the last moment: found, and hardly worth more than not to be charged
        ({300}, 50.0, 50.0),
        ({300, 600, *range(100)}, 100.0, 100.0),  # the probation is not judged
        ({300, 600, 200}, 100.0 - 11.0 / 4, 100.0 - 11.0 / 4),  # before any window: all of its weight
        ({300, 600, 400}, 99.0, 100.0),  # just after a window: next to nothing
        ({300, 600, 999}, 97.2, 97.3),  # three windows later: all of it
    ],
)
def test_score_of_what_is_told(told: set[int], least: float, most: float) -> None:
    assert least - 1e-9 <= standard(told) <= most + 1e-9


def test_published_constants() -> None:
    assert sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert sigmoid(0.0) == 0.0
    assert sigmoid(3.1) == -1.0
    assert (probation(4_032), probation(15_902)) == (604, 750)
    # Raw scores and standard scores as published for these 31 series, of 57 windows.
    for raw, published in ((24.174, 71.21), (2.276, 52.0), (-15.15, 36.71), (-57.0, 0.0)):
        assert normalised(raw, 57, Weights()) == pytest.approx(published, abs=0.005)


@given(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=30, max_size=120))
def test_fitted_threshold_is_the_best_of_all(scores: list[float]) -> None:
    third = len(scores) // 3
    files = [rows(File("series", scores, ((third, 2 * third),)), Weights())]
    best = total(files, best_threshold(files, Weights()), Weights()).raw
    every = [total(files, threshold, Weights()).raw for threshold in (0.1, 0.3, 0.5, 0.7, 0.9, math.inf)]
    assert best == pytest.approx(max(every))
