"""NAB's standard scoring, our own: a hit is worth more the earlier it comes in its window, a false alarm costs.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (2015). Pure.
"""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

PROBATION: Final = 0.15  # of a file, that nobody is judged on; of its first 5,000 rows at most
PROBATION_ROWS: Final = 5_000
CERTAIN: Final = 3.0  # windows past a window, from where a false alarm costs all of its weight


class Weights(NamedTuple):
    hit: float = 1.0
    miss: float = 1.0
    false: float = 0.11  # the standard profile


class File(NamedTuple):
    """Scores of one series, and the windows (first and last row) in which an anomaly may be told."""

    name: str
    scores: Sequence[float]
    windows: Sequence[tuple[int, int]]


class Total(NamedTuple):
    raw: float
    standard: float  # 0: the null detector; 100: each window told at its first row, nothing else
    hits: int
    windows: int
    false: int  # rows outside of windows that are told


def probation(rows: int) -> int:
    return math.floor(min(PROBATION * rows, PROBATION * PROBATION_ROWS))


def sigmoid(position: float) -> float:
    """Of a position in windows: -1 is a window's first row, 0 its end; what comes after is below zero."""
    return -1.0 if position > CERTAIN else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


class Row(NamedTuple):
    score: float
    worth: float
    window: int  # -1: outside


def rows(file: File, weights: Weights) -> list[Row]:
    """What it is worth to tell each row that is judged."""
    judged: list[Row] = []
    start, best = probation(len(file.scores)), sigmoid(-1.0)
    coming = list(enumerate(file.windows))
    past: tuple[int, int] | None = None
    for i, score in enumerate(file.scores):
        if coming and i > coming[0][1][1]:
            past = coming.pop(0)[1]
        if coming and i >= coming[0][1][0]:
            number, (first, last) = coming[0]
            worth, window = sigmoid(-(last - i + 1) / (last - first + 1)) / best * weights.hit, number
        else:
            position = CERTAIN + 1 if past is None else (i - past[1]) / max(past[1] - past[0], 1)
            worth, window = sigmoid(position) * weights.false, -1
        if i >= start:
            judged.append(Row(score, worth, window))
    return judged


def total(files: Sequence[Sequence[Row]], threshold: float, weights: Weights) -> Total:
    raw, hits, windows, false = 0.0, 0, 0, 0
    for judged in files:
        best: dict[int, float] = {}
        windows += len({row.window for row in judged} - {-1})
        for row in judged:
            if row.score >= threshold:
                if row.window < 0:
                    raw += row.worth
                    false += 1
                else:
                    best[row.window] = max(best.get(row.window, -math.inf), row.worth)
        raw += sum(best.values())
        hits += len(best)
    raw -= (windows - hits) * weights.miss
    return Total(raw, normalised(raw, windows, weights), hits, windows, false)


def normalised(raw: float, windows: int, weights: Weights) -> float:
    null, perfect = -weights.miss * windows, weights.hit * windows
    return 100.0 * (raw - null) / (perfect - null) if windows else 0.0


def best_threshold(files: Sequence[Sequence[Row]], weights: Weights) -> float:
    """The one threshold for all files that scores highest: NAB fits it on what it scores, and so do we, and say so."""
    ordered = sorted(((row, i) for i, judged in enumerate(files) for row in judged), key=lambda each: -each[0].score)
    raw = best = 0.0  # above the null detector
    threshold = math.inf
    told: dict[tuple[int, int], float] = {}
    for place, (row, i) in enumerate(ordered):
        if row.window < 0:
            raw += row.worth
        else:
            before = told.get((i, row.window), -weights.miss)
            told[i, row.window] = max(before, row.worth)
            raw += max(0.0, row.worth - before)
        last = place + 1 == len(ordered) or ordered[place + 1][0].score < row.score
        if last and raw > best:
            best, threshold = raw, row.score
    return threshold
