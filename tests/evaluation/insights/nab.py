"""`python -m tests.evaluation.insights.nab`: the band that the product runs, on the Numenta Anomaly Benchmark.

One threshold for all series, fitted on the series that are scored, as NAB does; beside it, each category scored with
the threshold fitted on the others. A second set, labelled by others and never fitted on, is judged with the first
set's threshold. Baselines run beside, over the same points.
"""

import csv
import gzip
import json
import math
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer
from rich.console import Console

from processors.insights.band import Band
from processors.insights.series import SeriesBands
from schemas.documents import DAY_MS
from schemas.insight_settings import Detection
from schemas.records import Resource
from schemas.summaries import Point, Sampled
from tests.benchmarks.machine import hardware
from tests.evaluation.folders import SHARED
from tests.evaluation.insights.nab_score import File, Row, Weights, best_threshold, normalised, probation, rows, total
from tests.evaluation.insights.report import Goal, Part, table

GOAL: Final = 60.0
NAB: Final = SHARED / "metrics" / "nab"
CLOUD: Final = SHARED / "metrics" / "cloud-monitoring"
GAUSSIAN_WINDOW: Final = 6_400  # points: that of NAB's own windowed Gaussian
THREE: Final = 3.0
NEAR: Final = 10  # points: labels and alarms no further apart are one event, and so late an alarm still tells it
Detector = Callable[[int, float], float]


class Labelled(NamedTuple):
    """A series; windows are of rows, first and last."""

    name: str
    times: Sequence[int]
    values: Sequence[float]
    windows: Sequence[tuple[int, int]]

    @property
    def days(self) -> float:
        """Those that are judged."""
        return (self.times[-1] - self.times[probation(len(self.times))]) / DAY_MS


def nab_series(folder: Path = NAB) -> list[Labelled]:
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text())
    found = []
    for path in sorted((folder / "data").glob("*/*.csv")):
        name = f"{path.parent.name}/{path.name}"
        times, values, _ = _read(path)
        at = {time_ms: i for i, time_ms in reversed(list(enumerate(times)))}
        found.append(Labelled(name, times, values, [(at[_ms(a)], at[_ms(b)]) for a, b in windows[name]]))
    return found


def cloud_series(folder: Path = CLOUD) -> list[Labelled]:
    """Labelled points no further apart than `NEAR` are one event."""
    found = []
    for path in sorted([*folder.glob("*/*.csv"), *folder.glob("*/*.csv.gz")]):
        times, values, labels = _read(path)
        events = list(runs([i for i, label in enumerate(labels) if label]))
        found.append(Labelled(f"{path.parent.name}/{path.name}", times, values, events))
    return found


def _read(path: Path) -> tuple[list[int], list[float], list[bool]]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    table = list(csv.reader(text.decode().splitlines()))[1:]
    table = [row for row in table if row[1]]  # some values are missing
    labels = [len(row) > 2 and float(row[2]) > 0 for row in table]
    return [_ms(row[0]) for row in table], [float(row[1]) for row in table], labels


def _ms(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of those that lie near each other."""
    start = None
    for i, place in enumerate(places):
        start = place if start is None else start
        if i + 1 == len(places) or places[i + 1] - place > NEAR:
            yield start, place
            start = None


def product() -> Detector:
    band = Band()
    return lambda time_ms, value: band.update(time_ms, value).likelihood


def windowed_gaussian() -> Detector:
    """How far out a value is in a normal distribution of the values before it."""
    window: deque[float] = deque()
    summed = squares = 0.0

    def score(_: int, value: float) -> float:
        nonlocal summed, squares
        unlikely = 0.0
        if window:
            mean = summed / len(window)
            spread = math.sqrt(max(0.0, squares / len(window) - mean * mean)) or 1e-6
            unlikely = 1.0 - 0.5 * math.erfc(abs(value - mean) / spread / math.sqrt(2.0))
        for each, sign in [(value, 1)] + ([(window.popleft(), -1)] if len(window) == GAUSSIAN_WINDOW else []):
            summed += sign * each
            squares += sign * each * each
        window.append(value)
        return unlikely

    return score


def three_sigma() -> Detector:
    """Three standard deviations or more from the mean of all values before, or not."""
    count, mean, squares = 0, 0.0, 0.0

    def score(_: int, value: float) -> float:
        nonlocal count, mean, squares
        spread = math.sqrt(squares / count) if count else 0.0
        far = abs(value - mean) / spread if spread else 0.0
        count += 1
        away = value - mean
        mean += away / count
        squares += away * (value - mean)
        return float(far >= THREE)

    return score


DETECTORS: Final[Mapping[str, Callable[[], Detector]]] = {
    "freshet band": product,
    "windowed Gaussian": windowed_gaussian,
    "three-sigma": three_sigma,
}
FIXED: Final = {"three-sigma": 1.0}  # thresholds that are not fitted


def scored(make: Callable[[], Detector], series: Sequence[Labelled]) -> list[File]:
    files = []
    for each in series:
        detector = make()
        scores = [detector(time_ms, value) for time_ms, value in zip(each.times, each.values, strict=True)]
        files.append(File(each.name, scores, each.windows))
    return files


def nab_figures(name: str, files: Sequence[File], series: Sequence[Labelled], weights: Weights) -> dict[str, Any]:
    judged = [rows(file, weights) for file in files]
    fixed = FIXED.get(name)
    threshold = best_threshold(judged, weights) if fixed is None else fixed
    found = total(judged, threshold, weights)
    days = sum(each.days for each in series)
    return {
        "standard": round(found.standard, 2),
        "held_out": round(found.standard if fixed is not None else _left_out(files, judged, weights), 2),
        "threshold": threshold,
        "windows": found.windows,
        "hits": found.hits,
        "false": found.false,
        "false_per_series_day": round(found.false / days, 3),
    }


def _left_out(files: Sequence[File], judged: Sequence[Sequence[Row]], weights: Weights) -> float:
    """Each category scored with the threshold that is best for the others."""
    categories = [file.name.partition("/")[0] for file in files]
    raw, windows = 0.0, 0
    for category in dict.fromkeys(categories):
        others = [some for some, of in zip(judged, categories, strict=True) if of != category]
        own = [some for some, of in zip(judged, categories, strict=True) if of == category]
        found = total(own, best_threshold(others, weights), weights)
        raw, windows = raw + found.raw, windows + found.windows
    return normalised(raw, windows, weights)


def event_figures(files: Sequence[File], series: Sequence[Labelled], threshold: float) -> dict[str, Any]:
    """By event, after the probation: an event is told by an alarm in it or up to `NEAR` points later."""
    events = told = alarms = right = 0
    for file in files:
        start = probation(len(file.scores))
        raised = list(runs([i for i, score in enumerate(file.scores) if i >= start and score >= threshold]))
        wanted = [window for window in file.windows if window[1] >= start]
        events += len(wanted)
        told += sum(any(a <= last + NEAR and first <= b for a, b in raised) for first, last in wanted)
        alarms += len(raised)
        right += sum(any(a <= last + NEAR and first <= b for first, last in wanted) for a, b in raised)
    precision, recall = right / alarms if alarms else 0.0, told / events if events else 0.0
    both = precision + recall
    return {
        "events": events,
        "told": told,
        "alarms": alarms,
        "precision": round(precision, 3),
        "recall": round(recall, 3),
        "f1": round(2 * precision * recall / both if both else 0.0, 3),
        "false_per_series_day": round((alarms - right) / sum(each.days for each in series), 3),
    }


def symptoms(series: Sequence[Labelled]) -> dict[str, Any]:
    """What `SeriesBands` tells of the same series, and what of it would open an incident by itself."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in series:
        bands = SeriesBands(Detection())
        start_ms = each.times[probation(len(each.times))]
        windows = [(each.times[first], each.times[last]) for first, last in each.windows]
        for time_ms, value in zip(each.times, each.values, strict=True):
            point = Point(time_ms, value, value, value)
            summary = Sampled(Resource("c1", "", each.name), each.name, each.name, {}, "", False, (point,))
            for sign in bands.see(summary, time_ms):
                if sign.seen_ms < start_ms:
                    continue
                where = [a for a, b in windows if a <= sign.seen_ms <= b]
                for kind in ["told", "opening"] if sign.opens else ["told"]:
                    found[kind].add(sign.id)
                    if where:
                        found[f"windows_{kind}"].add(f"{each.name} {where[0]}")
                    else:
                        found[f"false_{kind}"].add(sign.id)
    days = sum(each.days for each in series)
    shown = ("told", "windows_told", "false_told", "opening", "windows_opening", "false_opening")
    return {name: len(found[name]) for name in shown} | {
        "series_days": round(days),
        "false_told_per_series_day": round(len(found["false_told"]) / days, 4),
        "false_opening_per_series_day": round(len(found["false_opening"]) / days, 4),
    }


def run(say: Callable[[str], None]) -> Part:
    """All detectors on both sets; about twenty seconds."""
    profile = json.loads((NAB / "profiles.json").read_text())["standard"]["CostMatrix"]
    weights = Weights(profile["tpWeight"], profile["fnWeight"], profile["fpWeight"])
    published = json.loads((NAB / "published_baselines_this_half.json").read_text())["detectors"]
    nab, cloud = nab_series(), cloud_series()
    of_nab, of_cloud = {}, {}
    for name, make in DETECTORS.items():
        say(f"{name} over {len(nab)} series of NAB and {len(cloud)} others")
        of_nab[name] = nab_figures(name, scored(make, nab), nab, weights)
        of_cloud[name] = event_figures(scored(make, cloud), cloud, of_nab[name]["threshold"])
    told = {"NAB": symptoms(nab), "cloud monitoring": symptoms(cloud)}
    others = {name: of["standard"] for name, of in published.items() if of["files"] == len(nab)}
    ours = of_nab["freshet band"]["standard"]
    known = ", ".join(f"{name} {score:.1f}" for name, score in sorted(others.items(), key=lambda each: -each[1]))
    return Part(
        tables=[
            table(f"NAB, {len(nab)} series; published on these: {known}", of_nab, list(of_nab["freshet band"])),
            table(
                f"cloud monitoring, {len(cloud)} series by event, NAB's threshold", of_cloud,
                list(of_cloud["freshet band"]),
            ),
            table("symptoms that are told of them", told, list(told["NAB"])),
        ],
        figures={"nab": of_nab, "published": others, "cloud_monitoring": of_cloud, "symptoms": told},
        goals=[Goal(name="NAB standard score", value=ours, limit=GOAL, at_least=True)],
    )  # fmt: skip


def main() -> None:
    part = run(lambda text: typer.echo(text, err=True))
    out = Console(highlight=False, width=max(Console().width, 140))
    for shown in part.tables:
        out.print(shown)
    ok = all(goal.met for goal in part.goals)
    typer.echo(json.dumps({"ok": ok, **part.figures, "hardware": hardware()}))
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
