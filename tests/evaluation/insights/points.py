"""`python -m tests.evaluation.insights.points`: metric points that one core judges in a second, over many series."""

import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import typer

from processors.insights.series import SeriesBands
from schemas.documents import MINUTE_MS
from schemas.insight_settings import Detection
from schemas.records import Resource
from schemas.summaries import Point, Sampled
from tests.benchmarks.machine import hardware
from tests.evaluation.insights.report import Goal, Part, table

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
    bands, spent, told, opening = SeriesBands(Detection()), 0.0, 0, 0
    for number in range(2 * minutes):
        summaries = list(minute_of(number, series))
        now_ms = START_MS + number * MINUTE_MS
        began = time.process_time()
        signs = [sign for summary in summaries for sign in bands.see(summary, now_ms)]
        signs += bands.advance(now_ms)
        told += len(signs)
        opening += sum(sign.opens for sign in signs)
        spent = spent + time.process_time() - began if number >= minutes else 0.0
    return {
        "points_per_second": round(series * minutes / spent),
        "series": series,
        "minutes": minutes,
        "symptoms": told,
        "opening": opening,
    }


def run(say: Callable[[str], None]) -> Part:
    say(f"{SERIES} series, {2 * MINUTES} minutes")
    found = points_per_second()
    goal = Goal(name="points per second of one core", value=found["points_per_second"], limit=GOAL, at_least=True)
    return Part(tables=[table("metric series, one core", {"": found}, list(found))], figures=found, goals=[goal])


def main(series: int = SERIES, minutes: int = MINUTES) -> None:
    found = points_per_second(series, minutes)
    ok = found["points_per_second"] >= GOAL
    typer.echo(json.dumps({"ok": ok, **found, "goal": GOAL, "hardware": hardware()}))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
