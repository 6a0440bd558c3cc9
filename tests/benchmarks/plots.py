"""`python -m tests.benchmarks.plots`: pictures for the README from what the benchmarks left in `.bench/`.

The backgrounds are transparent, and the colours lie between black and white, so that they read well on both.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import matplotlib as mpl
import numpy as np
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from rich.console import Console

from schemas.errors import StartupError
from tests.benchmarks.machine import hardware
from tests.benchmarks.series import FOLDER

INK, FAINT = "#768390", "#76839044"
OURS, THEIRS, THIRD, FOURTH, FIFTH = "#2f81d8", "#d9772b", "#2f9e68", "#a86fd0", "#b08a1e"
STYLE: Final = {
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6,
    "axes.axisbelow": True, "font.family": "DejaVu Sans", "font.size": 10, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "lines.linewidth": 2.0, "lines.solid_capstyle": "round",
}  # fmt: skip
SIZE_IN, DPI = (8.0, 4.2), 150
Points = Sequence[Sequence[float]]
Draw = Callable[[Axes, dict[str, Any]], str]  # draws into the axes; returns the title: what is seen
out = Console(highlight=False, soft_wrap=True)


def throughput(axes: Axes, rate: dict[str, Any]) -> str:
    """Lines that can be found since the start, both sides; the middle round of each stands out."""
    said = []
    for side, name, color in (("ours", "one worker", OURS), ("naive", "the naive pipeline", THEIRS)):
        rounds = sorted(rate[side], key=lambda points: points[-1][1] / points[-1][0])
        for nth, points in enumerate(rounds):
            middle = nth == len(rounds) // 2
            seconds, lines = zip(*((s, n) for s, n in points if n), strict=True)
            axes.step(
                seconds, lines, where="post", color=color, alpha=1 if middle else 0.35, linewidth=2.2 if middle else 1
            )
            if middle:
                axes.plot(seconds[-1], lines[-1], "o", color=color, markersize=6)
                axes.annotate(f"{name}\n", (seconds[-1], lines[-1]), color=color, ha="right", fontweight="bold")
                said.append(f"{lines[-1]:,.0f} in {seconds[-1]:.1f} s")
    axes.set(xlabel="seconds since the start", ylabel="lines that can be found", yscale="log", xlim=(0, None))
    axes.set_ylim(10, axes.get_ylim()[1] * 3)
    axes.yaxis.set_major_formatter(FuncFormatter(_count))
    return f"Lines searchable: {said[0]}, the naive pipeline {said[1]}"


def freshness(axes: Axes, load: dict[str, Any]) -> str:
    """From event time to the first hit, of every marked line, at two rates."""
    ages = {name: np.array(load["ages_s"][name]) for name in ("full", "half")}
    bins = np.linspace(0, max(float(each.max()) for each in ages.values()), 60)
    p99 = {name: float(np.quantile(each, 0.99)) for name, each in ages.items()}
    for height, (name, color) in enumerate((("half", OURS), ("full", THEIRS))):
        axes.hist(ages[name], bins=bins, color=color, alpha=0.6)
        axes.axvline(p99[name], color=color, linewidth=1.4, linestyle=(0, (4, 2)))
        axes.annotate(
            f"{name} rate: p99 {p99[name]:.1f} s", (0.99, 0.96 - 0.08 * height), color=color, fontweight="bold",
            xycoords="axes fraction", ha="right", va="top",
        )  # fmt: skip
    axes.set(xlabel="seconds from a line's event time to the first search that finds it", ylabel="marked lines")
    axes.set_xlim(0, bins[-1] * 1.35)
    return f"Found within {p99['half']:.1f} s at half of the full rate, {p99['full']:.1f} s at the full rate (p99)"


def cost(axes: Axes, growth: dict[str, Any]) -> str:
    """Processor time of a line, by how many lines there were before it."""
    points = growth["cost"]
    lines = [point["lines"] for point in points]
    parts = (
        ("the whole worker", "worker_us", OURS),
        ("decode to fold", "fold_us", THIRD),
        ("write the fold", "write_us", FOURTH),
    )
    for _, key, color in parts:
        axes.plot(lines, [point[key] for point in points], color=color, marker="o", markersize=5)
    axes.set(xlabel="lines", ylabel="processor time of a line, µs", xscale="log", ylim=(0, None))
    axes.set_xlim(lines[0] / 1.5, lines[-1] * 6)
    axes.xaxis.set_major_formatter(FuncFormatter(_count))
    _name(axes, {f"  {name}": (lines[-1], points[-1][key], color) for name, key, color in parts})
    first, last = points[0]["worker_us"], points[-1]["worker_us"]
    return f"A line costs {last:.0f} µs of one core at {_count(lines[-1])} lines, {first:.0f} µs at {_count(lines[0])}"


def memory(axes: Axes, growth: dict[str, Any]) -> str:
    """Resident memory as lines come that no worker has seen before."""
    runs = [(name, run["points"]) for name, run in growth["memory"].items() if run["unit"] == "lines"]
    ends: dict[str, tuple[float, float, str]] = {}
    for (name, points), color in zip(runs, (THIRD, THEIRS, FOURTH, FIFTH, OURS), strict=False):
        lines, mb = (np.array(axis) for axis in zip(*((p[0], p[1]) for p in points), strict=True))
        axes.plot(lines / lines[-1] * 100, mb, color=color)
        ends[name] = (99.5, float(mb[-1]), color)
    axes.set(xlabel="percent of the run's lines", ylabel="resident memory, MB", xlim=(0, 100))
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    _name(axes, ends, ha="right", above=0.04)
    return "A worker's memory levels off, whatever the lines say"


def _name(axes: Axes, ends: dict[str, tuple[float, float, str]], *, ha: str = "left", above: float = 0.0) -> None:
    """Names at the ends of lines, in their colours, pushed apart where they would meet.

    `above`: by this share of the axis, or below where the next line is near.
    """
    height, least = axes.get_ylim()[1], float("-inf")
    ordered = sorted(ends.items(), key=lambda end: end[1][1])
    following = [*(y for _, (_, y, _) in ordered[1:]), float("inf")]
    for (name, (x, y, color)), next_y in zip(ordered, following, strict=True):
        beside = above if next_y - y > 3 * above * height else -above
        least = max(y + beside * height, least + 0.06 * height)
        axes.text(x, least, name, color=color, ha=ha, va="center", fontweight="bold", fontsize=9)


# The picture, the benchmark that leaves its figures, and how it is drawn.
PICTURES: Final[dict[str, tuple[str, Draw]]] = {
    "throughput": ("rate", throughput),
    "freshness": ("load", freshness),
    "cost": ("growth", cost),
    "memory": ("growth", memory),
}


def _count(value: float, _: object = None) -> str:
    for unit, size in ((" M", 1e6), (" k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def draw(name: str, source: Path, folder: Path) -> Path:
    """One picture. Raises StartupError when its figures are missing or of an older form."""
    benchmark, into = PICTURES[name]
    file = source / f"{benchmark}.json"
    if not file.is_file():
        raise StartupError(f"{file} is missing: run `make bench NAME={benchmark}`, then `make bench-plots` again")
    figure = Figure(figsize=SIZE_IN, layout="constrained")
    axes = figure.subplots()
    try:
        title = into(axes, json.loads(file.read_text()))
    except (KeyError, IndexError, ValueError) as error:
        raise StartupError(
            f"{file} does not hold what {name} shows ({error!r}): run `make bench NAME={benchmark}`"
        ) from None
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=12)
    figure.text(1, -0.02, hardware().partition(", load")[0], ha="right", va="top", fontsize=7.5)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = folder / f"{name}.png"
    figure.savefig(drawn, dpi=DPI, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return drawn


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(PICTURES)}; all without one")] = None,
    source: Annotated[Path, typer.Option(help="folder of the figures")] = FOLDER,
    folder: Annotated[Path, typer.Option(help="folder of the pictures")] = Path("deploy/plots"),
) -> None:
    """Draw. Exit code 1 when figures are missing, after all others are drawn."""
    if unknown := set(names or ()) - set(PICTURES):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(PICTURES)}")
    missing = 0
    with mpl.rc_context(STYLE):
        for name in names or PICTURES:
            try:
                drawn = draw(name, source, folder)
                out.print(f"{drawn} ({drawn.stat().st_size / 1000:.0f} kB)")
            except StartupError as error:
                missing += 1
                out.print(f"[red]error:[/] {error}")
    raise typer.Exit(1 if missing else 0)


if __name__ == "__main__":
    typer.run(main)
