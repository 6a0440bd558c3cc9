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
OURS, THEIRS, THIRD, FOURTH = "#2f81d8", "#d9772b", "#2f9e68", "#a86fd0"
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


def freshness(axes: Axes, ages: dict[str, Any]) -> str:
    """From event time to the first hit, of every marked line."""
    every = np.sort(np.array(ages["ages_s"]))
    p50, p99 = (float(np.quantile(every, q)) for q in (0.5, 0.99))
    axes.hist(every, bins=40, color=OURS, alpha=0.85)
    for value, name in ((p50, "p50"), (p99, "p99")):
        axes.axvline(value, color=THEIRS, linewidth=1.4)
        axes.text(value, axes.get_ylim()[1], f" {name} {value:.2f} s", color=THEIRS, va="top", fontweight="bold")
    axes.set(xlabel="seconds from a line's event time to the first search that finds it", ylabel="marked lines")
    axes.set_xlim(0, None)
    return f"Half of all lines are found within {p50:.1f} s, 99 of 100 within {p99:.1f} s"


def cost(axes: Axes, growth: dict[str, Any]) -> str:
    """Processor time of a line, by how many lines there were before it."""
    points = growth["cost"]
    lines = [point["lines"] for point in points]
    parts = (
        ("the whole worker", "worker_us", OURS),
        ("decode to fold", "fold_us", THIRD),
        ("write the fold", "write_us", FOURTH),
    )
    for name, key, color in parts:
        values = [point[key] for point in points]
        axes.plot(lines, values, color=color, marker="o", markersize=5)
        axes.annotate(f"  {name}", (lines[-1], values[-1]), color=color, va="center", fontweight="bold")
    axes.set(xlabel="lines", ylabel="processor time of a line, µs", xscale="log", ylim=(0, None))
    axes.set_xlim(lines[0] / 1.5, lines[-1] * 6)
    axes.xaxis.set_major_formatter(FuncFormatter(_count))
    first, last = points[0]["worker_us"], points[-1]["worker_us"]
    return f"A line costs {last:.0f} µs of one core at {_count(lines[-1])} lines, {first:.0f} µs at {_count(lines[0])}"


def memory(axes: Axes, growth: dict[str, Any]) -> str:
    """Resident memory as lines come that no worker has seen before."""
    runs = [(name, run["points"]) for name, run in growth["memory"].items() if run["unit"] == "lines"]
    for (name, points), color in zip(runs, (THIRD, THEIRS, FOURTH, OURS), strict=False):
        lines, mb = (np.array(axis) for axis in zip(*((p[0], p[1]) for p in points), strict=True))
        axes.plot(lines / lines[-1] * 100, mb, color=color, label=name)
    axes.set(xlabel="percent of the run's lines", ylabel="resident memory, MB", ylim=(0, None), xlim=(0, 100))
    axes.legend(frameon=False, loc="lower right", labelcolor="linecolor", fontsize=9)
    return "Memory stays where it is, whatever the lines say"


# The picture, the benchmark that leaves its figures, and how it is drawn.
PICTURES: Final[dict[str, tuple[str, Draw]]] = {
    "throughput": ("rate", throughput),
    "freshness": ("freshness", freshness),
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
