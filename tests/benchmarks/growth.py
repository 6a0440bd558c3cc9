"""What a line costs, and what a worker holds, as lines, patterns, pods and partitions grow.

The pure path (`growth_path.py`) shows what grows in the product, quietly; a real worker (`growth_worker.py`) shows that
Kafka's and Faust's side of it does not either. `--lines 10000000` goes on to ten million, `--minutes 60` watches the
steady worker for an hour.

ok: no memory grows in the second half of a run, every memory has a limit, a line of the last decade costs no more than
1.5 times a line of the first, a document holds no more slices than a topic has partitions, and every line is counted.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Final

from rich.console import Console

from schemas.settings import Settings
from tests.benchmarks import growth_path, growth_worker, series
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.growth_bounds import bounds, listed
from tests.benchmarks.growth_load import EVENT_RATE, Load, messages
from tests.benchmarks.growth_path import Options
from tests.benchmarks.growth_tables import Points, cell_table, drift, memory_table, size_table, spread_table

LINES: Final = 1_000_000
FIRST: Final = 10_000
CELL: Final = 100_000  # lines
SMALL_FOLD: Final = 10_000  # lines, where nearly each makes a document: else the folds are all that is seen
PARTITIONS: Final = 24
PODS, PATTERNS = (10, 100, 1_000), (200, 1_000, 10_000)
SMALL_CACHE: Final = 1_000  # slices, and patterns known to exist: full before the run's second half
STEADY_PER_SECOND: Final = 500.0
LONG_MIN, SLOW = 100, 100  # minutes of event time, lines a second: what is remembered by the minute fills in an hour
MOST_GROWTH: Final = 0.04  # of resident memory, over the second half of a run: one step of the allocator is 2 to 3 %
MOST_RATIO: Final = 1.5


def _path(load: Load, **options: Any) -> dict[str, Any]:
    return growth_path.measure(messages(load), Options(lines=load.lines, **options))


def _cpu_us(result: dict[str, Any]) -> float:
    """Of the whole path, a line."""
    return round((result["fold_s"] + result["write_s"]) / result["lines"] * 1e6, 1)


def sizes(lines: int) -> list[int]:
    """Decades from the first up to what was asked for."""
    found = [FIRST]
    while found[-1] * 10 < lines:
        found.append(found[-1] * 10)
    return [*found, lines]


def costs(samples: Points, upto: Sequence[int]) -> list[tuple[float, float]]:
    """Microseconds of folding and of writing for a line, in each decade."""
    found, before = [], (0.0, 0.0, 0.0, 0.0)
    for size in upto:
        at = min(samples, key=lambda sample: abs(sample[0] - size))
        lines = at[0] - before[0]
        found.append((round((at[2] - before[2]) / lines * 1e6, 2), round((at[3] - before[3]) / lines * 1e6, 2)))
        before = tuple(at)  # type: ignore[assignment]
    return found


def cells() -> list[dict[str, Any]]:
    """The first twenty seconds of a minute at the reference rate: a minute folds worst at its beginning."""

    def cell(pods: int, patterns: int) -> dict[str, Any]:
        one = _path(Load(lines=CELL, pods=pods, patterns=patterns), count=True)
        return {
            "lines": CELL, "pods": pods, "patterns": patterns, "cpu_us": _cpu_us(one), "documents": one["documents"],
            "writes": one["writes"], "grown_mb": max(sample[1] for sample in one["samples"]) - one["started_mb"],
        }  # fmt: skip

    with ThreadPoolExecutor(2) as two:
        return list(two.map(lambda each: cell(*each), product(PODS, PATTERNS)))


def spread() -> list[dict[str, Any]]:
    """Keyed against unkeyed, by one worker and by four that share the partitions."""

    def side(keyed: bool, workers: int) -> dict[str, Any]:
        one = _path(Load(lines=CELL, keyed=keyed), workers=workers, keep=True)
        return {
            "lines": CELL, "keyed": keyed, "workers": workers, "writes": one["writes"], "bulk_bytes": one["bulk_bytes"],
            "cpu_us": _cpu_us(one), **one["kept"],
        }  # fmt: skip

    with ThreadPoolExecutor(2) as two:
        return list(two.map(lambda each: side(*each), product((True, False), (1, 4))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    lines: int
    minutes: float
    digits: dict[str, Any]  # the pure path's runs
    fresh: dict[str, Any]
    pods: dict[str, Any]
    slow: dict[str, Any]
    cells: list[dict[str, Any]]
    spread: list[dict[str, Any]]
    worker: growth_worker.Watched

    @property
    def stages(self) -> list[growth_worker.Stage]:
        """Of the keyed lines, by size."""
        return self.worker.stages[:-1]

    @property
    def unkeyed(self) -> growth_worker.Stage:
        return self.worker.stages[-1]

    @property
    def costs(self) -> list[tuple[float, float]]:
        return costs(self.digits["samples"], sizes(self.lines))

    @property
    def memory(self) -> dict[str, tuple[float, Points, str]]:
        """By run: MB at its start, MB over lines or seconds."""
        steady = f"then {self.minutes:g} min at {STEADY_PER_SECOND:.0f} lines/s"
        return {
            f"pure path, {self.lines:,} lines, numbers and ids differ": _samples(self.digits),
            f"pure path, {self.fresh['lines']:,} lines, every second a new pattern": _samples(self.fresh),
            f"pure path, {self.pods['lines']:,} lines, each of a new pod": _samples(self.pods),
            f"pure path, {LONG_MIN} minutes of event time at {SLOW} lines/s": _samples(self.slow),
            f"real worker, {self.lines:,} lines, numbers and ids differ": (
                self.worker.started_mb, self.stages[-1].memory, "lines",
            ),
            steady: (self.worker.started_mb, self.worker.quiet, "seconds"),
        }  # fmt: skip

    @property
    def memories(self) -> list[dict[str, Any]]:
        return [memory for run in (self.digits, self.fresh, self.pods, self.slow) for memory in run["memories"]]

    def guards(self) -> dict[str, bool]:
        first, last = self.costs[0], self.costs[-1]
        runs = (self.digits, self.fresh, self.pods, self.slow)
        return {
            "conserved": all(s.conserved for s in self.worker.stages) and not any(run["rejected"] for run in runs),
            "memory_flat": all(drift(points) <= MOST_GROWTH for _, points, _ in self.memory.values()),
            "memories_bounded": all(memory["most"] is not None for memory in self.memories),
            "cost_flat": sum(last) <= MOST_RATIO * sum(first)
            and self.stages[-1].cpu_us <= MOST_RATIO * self.stages[0].cpu_us,
            "slices_bounded": all(one["slices_most"] <= PARTITIONS for one in self.spread),
        }


def _samples(run: dict[str, Any]) -> tuple[float, Points, str]:
    return run["started_mb"], run["samples"], "lines"


def measured(bench: Bench, lines: int) -> Figures:
    """Blocks for some minutes."""
    digits = _path(Load(lines=lines), cached_slices=SMALL_CACHE)
    loads = (
        Load(lines=lines * 3 // 10, fresh=0.5),
        Load(lines=lines // 4, new_pods=True),
        Load(lines=LONG_MIN * 60 * SLOW, rate=SLOW),
    )
    with ThreadPoolExecutor(2) as two:
        fresh, pods, slow = two.map(lambda load: _path(load, cached_slices=SMALL_CACHE, fold_lines=SMALL_FOLD), loads)
    stages = {f"{size:,}": Load(lines=size, seed=seed) for seed, size in enumerate(sizes(lines))}
    stages["unkeyed"] = Load(lines=CELL, keyed=False, seed=99)
    every, sides = cells(), spread()
    with bench.installed("growth", PARTITIONS) as installation:
        worker = growth_worker.watch(installation, stages, bench.minutes * 60, STEADY_PER_SECOND)
    return Figures(
        lines=lines, minutes=bench.minutes, digits=digits, fresh=fresh, pods=pods, slow=slow, cells=every, spread=sides,
        worker=worker,
    )  # fmt: skip


def show(found: Figures, out: Console) -> None:
    keyed, unkeyed = next(stage for stage in found.stages if stage.lines == CELL), found.unkeyed
    out.print(
        memory_table(found.memory), size_table(sizes(found.lines), found.costs, found.stages),
        cell_table(found.cells), spread_table(found.spread),
    )  # fmt: skip
    out.print(
        f"real worker, {CELL:,} lines: keyed {keyed.lines_per_s:,} lines/s, {keyed.cpu_us:.0f} µs, "
        f"1/{CELL / keyed.writes:.0f} writes; unkeyed {unkeyed.lines_per_s:,} lines/s, {unkeyed.cpu_us:.0f} µs, "
        f"1/{CELL / unkeyed.writes:.0f} writes per line"
    )


def run(bench: Bench) -> Summary:
    lines, limits = max(bench.lines, LINES), listed(Settings.model_construct())
    bench.out.print(
        f"growth: 40 pods, 200 patterns (Zipf), {EVENT_RATE:,.0f} lines/s of event time, {PARTITIONS} partitions, a "
        "hundred lines a message, no two lines alike. Pure path: folds of ten seconds, urgent documents twice a "
        f"second; FRESHET_WORKER__CACHED_SLICES={SMALL_CACHE:,} where memory is watched"
    )
    found = measured(bench, lines)
    show(found, bench.out)
    bench.out.print(bounds(limits, found.memories))
    drifts = {name: round(drift(points), 4) for name, (_, points, _) in found.memory.items()}
    first, last, guards = sum(found.costs[0]), sum(found.costs[-1]), found.guards()
    series.keep(
        "growth", memory={name: {"unit": unit, "points": points} for name, (_, points, unit) in found.memory.items()},
        cost=[{"lines": stage.lines, "fold_us": fold_us, "write_us": write_us, "worker_us": stage.cpu_us}
              for stage, (fold_us, write_us) in zip(found.stages, found.costs, strict=True)],
        cells=found.cells, spread=found.spread, stages=[asdict(stage) for stage in found.worker.stages],
    )  # fmt: skip
    return {
        "name": "growth", "ok": all(guards.values()), "ratio": round(last / first, 2), "worst": max(drifts.values()),
        "headline": f"memory drifts {max(drifts.values()):+.1%} at most over the second half of a run; a line costs "
        f"{last:.1f} µs at {lines:,}, {first:.1f} µs at {FIRST:,}",
        "guards": guards, "drift": drifts, "minutes": bench.minutes,
        "worker_us": {stage.name: stage.cpu_us for stage in found.worker.stages},
    }  # fmt: skip
