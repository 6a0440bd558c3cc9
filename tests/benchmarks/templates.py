"""Templates of lines: ours, compiled and pure, beside Drain3 with and without its example masks, and a digit-token key.

Every side gets the same lines, system by system in turn, after as many others for it to learn from or to fill its
caches with. Rates are lines per processor second of one core, harmonic mean over the systems. How well lines are
grouped is measured in the same run, on labels.
"""

import os
import re
import runpy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from operator import lt
from pathlib import Path
from statistics import fmean, harmonic_mean, median
from typing import Any, Final

from rich.table import Table

from processors.template import template, template_pure
from schemas.errors import StartupError
from tests.benchmarks import loghub
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.dialogue import Dialogue

ROUNDS: Final = 5
MASKS: Final = "drain3+masks"
PLAIN: Final = "drain3"
OURS: Final = "ours"
PURE: Final = "ours, pure"
KEY: Final = "digit-token key"
GOALS: Final = {MASKS: 10.0, PLAIN: 5.0}
QUALITY: Final = 0.90
IN_PART: Final = "BGL"  # half of its lines are there: shown, not in the mean
SCORER: Final = loghub.SHARED / "tools" / "score_templates.py"
_DIGIT: Final = re.compile(r"\d")

Group = Callable[[Sequence[str], Sequence[str]], tuple[float, list[Any]]]  # -> processor seconds, a key for each line
Scores = Mapping[str, tuple[float, float]]  # GA and FGA by system


def digit_token_key(line: str) -> str:
    """The plainest that groups at all: each token with a digit in it is a variable."""
    return " ".join(["*" if _DIGIT.search(token) else token for token in line.split()])


def by(function: Callable[[str], str], before: Sequence[str], lines: Sequence[str]) -> tuple[float, list[Any]]:
    for line in before:
        function(line)
    began = time.process_time()
    keys = [function(line) for line in lines]
    return time.process_time() - began, keys


def by_drain(drain: Dialogue, masks: bool, before: Sequence[str], lines: Sequence[str]) -> tuple[float, list[Any]]:
    said = drain.ask({"masks": masks, "before": before, "lines": lines})
    return said["cpu_s"], said["clusters"]


def run(bench: Bench) -> Summary:
    if not SCORER.is_file():
        raise StartupError(f"templates: needs {SCORER} and the labelled logs in {loghub.FOLDER}")
    with one_core(), tempfile.TemporaryDirectory() as folder:
        drain = Dialogue.with_peer("drain3", bench.cache, str(SCORER), log=Path(folder) / "drain3")
        with closing(drain):
            drain.answer()
            sides: Mapping[str, Group] = {
                MASKS: partial(by_drain, drain, True),
                PLAIN: partial(by_drain, drain, False),
                KEY: partial(by, digit_token_key),
                PURE: partial(by, template_pure),
                OURS: partial(by, template),
            }
            count = max(1, bench.lines // len(loghub.systems()))
            rounds = [timed(sides, count, seed) for seed in range(ROUNDS)]
            scores = {name: scored(side) for name, side in sides.items() if name != PURE}
    return summary(bench, count, rounds, scores)


@contextmanager
def one_core() -> Iterator[None]:
    """For this process and those that it starts."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def timed(sides: Mapping[str, Group], count: int, seed: int) -> dict[str, dict[str, float]]:
    """Lines per second by side and system."""
    rates: dict[str, dict[str, float]] = {name: {} for name in sides}
    for system in loghub.systems():
        lines = list(loghub.lines(system, 2 * count, seed))
        keys = {}
        for name, side in sides.items():
            cpu_s, keys[name] = side(lines[:count], lines[count:])
            rates[name][system] = count / cpu_s
        if keys[OURS] != keys[PURE]:
            raise StartupError(f"templates: the compiled kernel and the pure template differ on lines of {system}")
    return rates


def scored(side: Group) -> Scores:
    grouping = runpy.run_path(str(SCORER))["grouping"]
    found = {}
    for system in loghub.systems():
        lines, truth = zip(*loghub.labelled(system), strict=True)
        found[system] = grouping(side((), lines)[1], truth)
    return found


def summary(
    bench: Bench, count: int, rounds: Sequence[Mapping[str, Mapping[str, float]]], scores: Mapping[str, Scores]
) -> Summary:
    overall = {name: [harmonic_mean(each[name].values()) for each in rounds] for name in rounds[0]}
    whole = [system for system in loghub.systems() if system != IN_PART]
    means = {name: tuple(fmean(each[system][i] for system in whole) for i in (0, 1)) for name, each in scores.items()}
    speeds = Table("1,000 lines per CPU s", *overall)
    for system in loghub.systems():
        rates = (median(each[name][system] for each in rounds) for name in overall)
        speeds.add_row(system, *(f"{rate / 1_000:,.0f}" for rate in rates))
    speeds.add_row("harmonic mean", *(f"{median(rates) / 1_000:,.0f}" for rates in overall.values()), style="bold")
    bench.out.print(speeds)
    groups = Table("GA/FGA", *scores)
    for system in loghub.systems():
        groups.add_row(system, *("{:.3f}/{:.3f}".format(*each[system]) for each in scores.values()))
    groups.add_row("mean of whole", *("{:.3f}/{:.3f}".format(*mean) for mean in means.values()), style="bold")
    bench.out.print(groups)

    ratios = {peer: [a / b for a, b in zip(overall[OURS], overall[peer], strict=True)] for peer in GOALS}
    ratio = {peer: round(median(each), 1) for peer, each in ratios.items()}
    below = [system for system in loghub.systems() if any(map(lt, scores[OURS][system], scores[KEY][system]))]
    good = min(means[OURS]) >= QUALITY and not below
    speed = " and ".join(f"{ratio[peer]:.0f}x {peer} (goal {goal:.0f})" for peer, goal in GOALS.items())
    quality = "; ".join("{} GA {:.3f} FGA {:.3f}".format(name, *means[name]) for name in (OURS, MASKS))
    return {
        "name": "templates",
        "ok": good and all(ratio[peer] >= goal for peer, goal in GOALS.items()),
        "headline": f"{speed}; {quality} (goal {QUALITY})",
        "ratio": ratio,
        "worst": {peer: round(min(each), 1) for peer, each in ratios.items()},
        "lines_per_s": {name: round(median(each)) for name, each in overall.items()},
        "guards": {
            "quality": good,
            "below_digit_token_key": below,
            "GA_FGA": {name: [round(value, 3) for value in mean] for name, mean in means.items()},
        },
        "systems": len(loghub.systems()),
        "lines_a_system": count,
        "rounds": len(rounds),
    }
