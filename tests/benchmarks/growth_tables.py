"""The tables of `growth.py`, and the slope of a memory over lines or seconds."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tests.benchmarks.growth_worker import Stage

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


def memory_table(runs: Mapping[str, tuple[float, Points, str]]) -> Table:
    table = Table("resident memory of one process", "at start", "half way", "end", "slope, second half", "drift")
    for name, (started_mb, points, unit) in runs.items():
        half = min(points, key=lambda point: abs(point[0] - points[-1][0] / 2))[1]
        scale, per = (1e6, "million lines") if unit == "lines" else (3_600, "hour")
        table.add_row(
            name, f"{started_mb:.0f} MB", f"{half:.0f} MB", f"{points[-1][1]:.0f} MB",
            f"{slope(points) * scale:+.1f} MB per {per}", f"{drift(points):+.1%}",
        )  # fmt: skip
    return table


def size_table(upto: Sequence[int], pure: Sequence[tuple[float, float]], stages: Sequence[Stage]) -> Table:
    table = Table(
        "lines", "pure path: fold", "write", "whole worker", "documents per line", "writes per line",
        "index bytes per line", "lines/s",
    )  # fmt: skip
    for size, (fold_us, write_us), stage in zip(upto, pure, stages, strict=True):
        table.add_row(
            f"{size:,}", f"{fold_us:.1f} µs", f"{write_us:.1f} µs", f"{stage.cpu_us:.1f} µs",
            f"1/{stage.lines / stage.documents:,.0f}", f"1/{stage.lines / stage.writes:,.0f}",
            f"{stage.index_bytes / stage.lines:,.1f}", f"{stage.lines_per_s:,}",
        )  # fmt: skip
    return table


def cell_table(every: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "pods", "patterns", "lines per CPU second", "documents per line", "writes per line", "memory above start"
    )
    for cell in every:
        table.add_row(
            f"{cell['pods']:,}", f"{cell['patterns']:,}", f"{1e6 / cell['cpu_us']:,.0f}",
            f"1/{cell['lines'] / cell['documents']:,.0f}", f"1/{cell['lines'] / cell['writes']:,.1f}",
            f"{cell['grown_mb']:.0f} MB",
        )  # fmt: skip
    return table


def spread_table(every: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        "24 partitions", "workers", "lines per CPU second", "documents per line", "writes per line",
        "bytes sent per line", "slices of a document: median, most", "bytes of a document, of its slices",
    )  # fmt: skip
    for one in every:
        count = one["count"]
        table.add_row(
            "keyed by pod" if one["keyed"] else "unkeyed", str(one["workers"]), f"{1e6 / one['cpu_us']:,.0f}",
            f"1/{one['lines'] / count:,.0f}", f"1/{one['lines'] / one['writes']:,.1f}",
            f"{one['bulk_bytes'] / one['lines']:,.0f}",
            f"{one['slices_median']}, {one['slices_most']}",
            f"{one['bytes'] / count:,.0f}, {one['slice_bytes'] / count:,.0f}",
        )  # fmt: skip
    return table
