"""What a line costs, and what a worker holds, as lines, patterns, pods and partitions grow.

The pure path (`growth_path.py`) shows what grows in the product, quietly; a real worker (`growth_worker.py`) shows that
Kafka's and Faust's side of it does not either. `--lines 10000000` goes on to ten million, `--minutes 60` watches the
steady worker for an hour.

ok: no memory grows in the second half of a run, every memory has a limit, a line of the last decade costs no more than
1.5 times a line of the first, a document holds no more slices than a topic has partitions, and every line is counted.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.table import Table

from schemas.settings import Settings
from tests.benchmarks import growth_path, growth_worker, series
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.growth_bounds import bounds, listed
from tests.benchmarks.growth_load import EVENT_RATE, Load, messages
from tests.benchmarks.growth_path import Options

LINES: Final = 1_000_000
FIRST: Final = 10_000
CELL: Final = 100_000  # lines
PODS, PATTERNS = (10, 100, 1_000), (200, 1_000, 10_000)
FOLD: Final = 10_000  # lines: what a backlog brings in the half second between two flushes
LIVE_FOLD: Final = int(EVENT_RATE / 2)
SMALL_CACHE: Final = 20_000  # slices, a tenth of the default, so that it is full before the run's second half
STEADY_PER_SECOND: Final = 500.0
MOST_GROWTH: Final = 0.03  # of resident memory, over the second half of a run
MOST_RATIO: Final = 1.5
Points = Sequence[Sequence[float]]


def slope(points: Points) -> float:
    """Least squares over the second half: change of the second coordinate for one of the first."""
    half = [(p[0], p[1]) for p in points if p[0] >= points[-1][0] / 2]
    x, y = (sum(axis) / len(half) for axis in zip(*half, strict=True))
    spread = sum((at - x) ** 2 for at, _ in half)
    return sum((at - x) * (value - y) for at, value in half) / spread if spread else 0.0


def drift(points: Points) -> float:
    """That slope times the second half, as a share of what is resident in the end."""
    return slope(points) * points[-1][0] / 2 / points[-1][1]


def _path(load: Load, **options: Any) -> dict[str, Any]:
    return growth_path.measure(messages(load, time.time()), Options(lines=load.lines, **options))


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


def memory_table(runs: dict[str, tuple[float, Points, str]]) -> Table:
    table = Table("resident memory of one process", "at start", "half way", "end", "slope, second half", "drift")
    for name, (started_mb, points, unit) in runs.items():
        half = min(points, key=lambda point: abs(point[0] - points[-1][0] / 2))[1]
        scale, per = (1e6, "million lines") if unit == "lines" else (3600, "hour")
        table.add_row(
            name, f"{started_mb:.0f} MB", f"{half:.0f} MB", f"{points[-1][1]:.0f} MB",
            f"{slope(points) * scale:+.1f} MB per {per}", f"{drift(points):+.1%}",
        )  # fmt: skip
    return table


def cells() -> list[dict[str, Any]]:
    """Each is a minute of the reference rate in event time, cut short: the beginning of a minute folds worst."""
    found = []
    for pods in PODS:
        for patterns in PATTERNS:
            one = _path(Load(lines=CELL, pods=pods, patterns=patterns), keep=True)
            live = _path(Load(lines=CELL, pods=pods, patterns=patterns), flush_lines=LIVE_FOLD)
            found.append(
                {
                    "pods": pods, "patterns": patterns, "cpu_us": _cpu_us(one), "live_cpu_us": _cpu_us(live),
                    "documents": one["documents"]["count"], "writes": one["writes"], "writes_live": live["writes"],
                    "grown_mb": round(live["samples"][-1][1] - live["started_mb"], 1),
                }
            )  # fmt: skip
    return found


def cell_table(every: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "pods", "patterns", "lines per CPU second", "... live", "documents per line", "writes per line", "... live",
        "memory above start",
    )  # fmt: skip
    for cell in every:
        table.add_row(
            f"{cell['pods']:,}", f"{cell['patterns']:,}", f"{1e6 / cell['cpu_us']:,.0f}",
            f"{1e6 / cell['live_cpu_us']:,.0f}", f"1/{CELL / cell['documents']:,.0f}",
            f"1/{CELL / cell['writes']:,.1f}", f"1/{CELL / cell['writes_live']:,.1f}", f"{cell['grown_mb']:.0f} MB",
        )  # fmt: skip
    return table


def spread() -> list[dict[str, Any]]:
    """Keyed against unkeyed, live, by one worker and by four that share the partitions."""
    found = []
    for keyed in (True, False):
        for workers in (1, 4):
            one = _path(Load(lines=CELL, keyed=keyed), flush_lines=LIVE_FOLD, workers=workers, keep=True)
            documents = one["documents"]
            found.append(
                {
                    "keyed": keyed, "workers": workers, "writes": one["writes"], "bulk_bytes": one["bulk_bytes"],
                    "cpu_us": _cpu_us(one), **documents,
                }
            )  # fmt: skip
    return found


def spread_table(every: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "24 partitions", "workers", "lines per CPU second", "documents per line", "writes per line",
        "bytes sent per line", "slices of a document: median, most", "bytes of a document, of its slices",
    )  # fmt: skip
    for one in every:
        count = one["count"]
        table.add_row(
            "keyed by pod" if one["keyed"] else "unkeyed", str(one["workers"]), f"{1e6 / one['cpu_us']:,.0f}",
            f"1/{CELL / count:,.0f}", f"1/{CELL / one['writes']:,.1f}", f"{one['bulk_bytes'] / CELL:,.0f}",
            f"{one['slices_median']}, {one['slices_most']}",
            f"{one['bytes'] / count:,.0f}, {one['slice_bytes'] / count:,.0f}",
        )  # fmt: skip
    return table


def size_table(upto: Sequence[int], pure: Sequence[tuple[float, float]], stages: Sequence[Any]) -> Table:
    table = Table(
        "lines", "pure path: fold", "write", "whole worker", "documents per line", "writes per line",
        "index bytes per line", "lines/s",
    )  # fmt: skip
    for size, (fold_us, write_us), stage in zip(upto, pure, stages, strict=False):
        table.add_row(
            f"{size:,}", f"{fold_us:.1f} µs", f"{write_us:.1f} µs", f"{stage.cpu_us:.1f} µs",
            f"1/{stage.lines / stage.documents:,.0f}", f"1/{stage.lines / stage.writes:,.0f}",
            f"{stage.index_bytes / stage.lines:,.1f}", f"{stage.lines_per_s:,}",
        )  # fmt: skip
    return table


def run(bench: Bench) -> Summary:
    lines, limits = max(bench.lines, LINES), listed(Settings.model_construct())
    bench.out.print(
        f"growth: 40 pods, 200 patterns (Zipf), {EVENT_RATE:,.0f} lines/s of event time, {bench.partitions} "
        f"partitions, a hundred lines a message, no two lines alike; pure path: folds of {FOLD:,} lines, live "
        f"{LIVE_FOLD:,}; at 1,000 pods a hundred lines of one span several seconds; memory runs with "
        f"FRESHET_WORKER__CACHED_SLICES={SMALL_CACHE} where the load fills it"
    )
    upto = sizes(lines)
    digits = _path(Load(lines=lines), flush_lines=FOLD)
    fresh = _path(Load(lines=lines // 2, fresh=0.2), flush_lines=FOLD, cached_slices=SMALL_CACHE)
    pods = _path(Load(lines=lines // 5, new_pods=True), flush_lines=FOLD, cached_slices=SMALL_CACHE)
    every, sides = cells(), spread()
    loads = {f"{size:,}": Load(lines=size, seed=seed) for seed, size in enumerate(upto)}
    loads |= {"unkeyed": Load(lines=CELL, keyed=False, seed=99)}
    with bench.installed("growth") as installation:
        real = growth_worker.watch(installation, loads, bench.minutes * 60, STEADY_PER_SECOND)
    stages, unkeyed = real["stages"][:-1], real["stages"][-1]
    memory: dict[str, tuple[float, Points, str]] = {
        f"pure path, {lines:,} lines, numbers and ids differ": (digits["started_mb"], digits["samples"], "lines"),
        f"pure path, {lines // 2:,} lines, every fifth a new pattern": (fresh["started_mb"], fresh["samples"], "lines"),
        f"pure path, {lines // 5:,} lines, each of a new pod": (pods["started_mb"], pods["samples"], "lines"),
        f"real worker, {lines:,} lines, numbers and ids differ": (real["started_mb"], stages[-1].memory, "lines"),
        f"then {bench.minutes:g} min at {STEADY_PER_SECOND:.0f} lines/s": (real["started_mb"], real["steady"], "time"),
    }
    pure = costs(digits["samples"], upto)
    bench.out.print(memory_table(memory), size_table(upto, pure, stages), cell_table(every), spread_table(sides))
    keyed = next(stage for stage in stages if stage.lines == CELL)
    bench.out.print(
        f"real worker, {CELL:,} lines: keyed {keyed.lines_per_s:,} lines/s, {keyed.cpu_us:.0f} µs, "
        f"1/{CELL / keyed.writes:.0f} writes; unkeyed {unkeyed.lines_per_s:,} lines/s, {unkeyed.cpu_us:.0f} µs, "
        f"1/{CELL / unkeyed.writes:.0f} writes per line"
    )
    memories = [*digits["memories"], *fresh["memories"], *pods["memories"]]
    bench.out.print(bounds(limits, memories))
    drifts = {name: round(drift(points), 4) for name, (_, points, _) in memory.items()}
    first, last = sum(pure[0]), sum(pure[-1])
    guards = {
        "conserved": all(s.conserved for s in real["stages"]) and not any(r["rejected"] for r in (digits, fresh, pods)),
        "memory_flat": max(drifts.values()) <= MOST_GROWTH,
        "memories_bounded": all(memory["most"] is not None for memory in memories),
        "cost_flat": last <= MOST_RATIO * first and stages[-1].cpu_us <= MOST_RATIO * stages[0].cpu_us,
        "slices_bounded": all(one["slices_most"] <= 24 for one in sides),
    }
    series.keep(
        "growth", memory={n: {"unit": u, "points": p} for n, (_, p, u) in memory.items()},
        cost=[{"lines": s, "fold_us": f, "write_us": w, "worker_us": g.cpu_us}
              for s, (f, w), g in zip(upto, pure, stages, strict=False)],
        cells=every, spread=sides, stages=[asdict(stage) for stage in real["stages"]],
    )  # fmt: skip
    return {
        "name": "growth", "ok": all(guards.values()), "ratio": round(last / first, 2), "worst": max(drifts.values()),
        "headline": f"memory drifts {max(drifts.values()):+.1%} at most over the second half of a run; a line costs "
        f" {last:.1f} µs at {lines:,}, {first:.1f} µs at {FIRST:,}",
        "guards": guards, "drift": drifts, "minutes": bench.minutes,
        "worker_us": {stage.name: stage.cpu_us for stage in real["stages"]},
    }  # fmt: skip
