"""`python -m tests.evaluation.insights.points`: metric points that one core judges in a second, over many series."""

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import typer

from processors.insights.series import SeriesBands
from schemas.documents import MINUTE_MS
from schemas.insight_settings import Detection
from schemas.records import Resource
from schemas.summaries import Point, Sampled
from tests.benchmarks.machine import hardware

GOAL: Final = 20_000
SERIES: Final = 10_000
MINUTES: Final = 60
START_MS: Final = 1_790_000_040_000


def minute_of(number: int, series: int, seed: int = 7) -> Iterator[Sampled]:
    """One minute of a fleet: gauges with noise and a daily wave, counters, constants, counts that are mostly zero."""
    rng = random.Random(f"{seed}:{number}")
    at = START_MS + number * MINUTE_MS
    wave = math.sin(number * 2 * math.pi / 1440)
    for i in range(series):
        kind = i % 4
        if kind == 0:
            value = 100.0 + 20 * wave + rng.gauss(0, 5)
        elif kind == 1:
            value = number * 600.0 + rng.random() * 50
        elif kind == 2:
            value = 3.0
        else:
            value = float(rng.random() < 0.02)
        who = Resource("c1", f"ns{i % 10}", f"w{i % 500}", f"w{i % 500}-{i % 2000}", "", f"node{i % 40}")
        labels = {"handler": f"/path/{i % 7}", "peer": f"w{(i + 1) % 500}"}
        yield Sampled(who, f"{i:020x}", f"metric_{i % 50}", labels, "", kind == 1, (Point(at, value, value, value),))


def points_per_second(series: int = SERIES, minutes: int = MINUTES) -> dict[str, Any]:
    """Through `SeriesBands.see` and `advance`; the making of the summaries is not counted, nor is a first hour."""
    bands, spent, told = SeriesBands(Detection()), 0.0, 0
    for number in range(2 * minutes):
        summaries = list(minute_of(number, series))
        now_ms = START_MS + number * MINUTE_MS
        began = time.process_time()
        for summary in summaries:
            told += len(list(bands.see(summary, now_ms)))
        told += len(list(bands.advance(now_ms)))
        spent = spent + time.process_time() - began if number >= minutes else 0.0
    rate = series * minutes / spent
    return {
        "ok": rate >= GOAL,
        "points_per_second": round(rate),
        "goal": GOAL,
        "series": series,
        "minutes": minutes,
        "symptoms": told,
        "hardware": hardware(),
    }


def main(series: int = SERIES, minutes: int = MINUTES) -> None:
    figures = points_per_second(series, minutes)
    typer.echo(json.dumps(figures))
    sys.exit(0 if figures["ok"] else 1)


if __name__ == "__main__":
    typer.run(main)
