"""A preloaded backlog, one worker, against the naive pipeline on the same cores, in turn; the guards run with it.

A round: the worker drains a backlog, then the naive pipeline has its turn over the same topic while the worker idles.
Beside it other loads: a message a line, messages without keys. In the last backlog the worker is killed in the middle
and started again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from deploy.installation import Installation
from tests.benchmarks import corpus, quality, series
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.dialogue import Dialogue
from tests.benchmarks.drain import Drain, Figures, draining
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.quality import Quality

GOAL: Final = 1_000.0  # times the lines a second of the naive pipeline
ROUNDS: Final = 3
NAIVE_S: Final = 6  # a turn
# Its default and one; the quicker counts: many threads wait for each other as soon as anything else runs.
NAIVE_THREADS: Final = (0, 1)
DRAIN_S: Final = 10.0  # a round's backlog takes about so long
# Of one backlog: at least a minute of event time, which is what documents are counted by.
LEAST_LINES, MOST_LINES = round(60 * corpus.EVENT_RATE), 2_000_000
# Limits per line: of model calls, of documents and writes, of bytes.
CALLS, DOCUMENTS, BYTES = 1 / 1_000, 1 / 100, 1 / 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Of the naive pipeline."""

    lines: int
    wall_s: float
    cpu_s: float
    found: Sequence[tuple[float, int]]

    @property
    def lines_per_s(self) -> float:
        return self.lines / self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    first: Figures  # cold: every pattern is new
    rounds: Sequence[tuple[Figures, Turn]]
    beside: Mapping[str, Figures]  # other loads
    killed: Figures  # not a figure of speed
    naive_bytes: float  # a line
    quality: Quality
    surplus: int  # lines counted more than sent
    found_s: float
    ready_s: float
    peak_mb: int

    @property
    def ratios(self) -> list[float]:
        return [ours.lines_per_s / naive.lines_per_s for ours, naive in self.rounds]

    @property
    def worst(self) -> float:
        """Our slowest round against its quickest."""
        return min(ours.lines_per_s for ours, _ in self.rounds) / max(naive.lines_per_s for _, naive in self.rounds)

    @property
    def steady(self) -> dict[str, float]:
        """Per line, over the rounds."""
        lines = sum(ours.lines for ours, _ in self.rounds)
        of = {"model_calls": "texts", "documents": "documents", "writes": "writes", "bytes": "size_bytes"}
        return {name: sum(getattr(ours, field) for ours, _ in self.rounds) / lines for name, field in of.items()}

    @property
    def guards(self) -> dict[str, bool]:
        per_line = self.steady
        return {
            "conserved": self.surplus == 0,
            "model_calls": per_line["model_calls"] <= CALLS,
            "documents": per_line["documents"] <= DOCUMENTS,
            "writes": per_line["writes"] <= DOCUMENTS,
            "bytes": per_line["bytes"] <= BYTES * self.naive_bytes,
            "quality": self.quality.ratio >= quality.GOAL,
        }


@contextmanager
def naive(bench: Bench, installation: Installation) -> Iterator[Dialogue]:
    """The peer, which reads the same topic in a group of its own. It has an answer when it is ready."""
    peer = Dialogue.with_peer(
        "naive", bench.cache, installation.endpoints.kafka, installation.topics["logs"], f"{installation.name}.naive",
        installation.endpoints.opensearch, naive_index(installation), log=installation.log("naive"),
    )  # fmt: skip
    with closing(peer):
        yield peer


def naive_index(installation: Installation) -> str:
    return f"naive-{installation.name}"  # another prefix than ours, whose bytes are told by it


def compare(bench: Bench, installation: Installation) -> Comparison:
    with naive(bench, installation) as peer, draining(installation) as drain:
        peer.answer()
        first = drain.backlog("hundred", bench.lines)
        count = backlog_of(first)
        rounds = []
        for _ in range(ROUNDS):
            ours = drain.backlog("hundred", count)
            # Of what lies in the topic still; our worker is idle.
            turns = [Turn(**peer.ask({"drain": [NAIVE_S, threads]})) for threads in NAIVE_THREADS]
            turn = max(turns, key=lambda turn: turn.lines_per_s)
            rounds.append((ours, turn))
            bench.out.print(f"  ours {ours.lines_per_s:,.0f} lines/s, naive {turn.lines_per_s:.1f}", style="dim")
        beside = {
            "a message a line": drain.backlog("one", bench.lines),
            "no keys": drain.backlog("hundred", count // 2, keyed=False),
        }
        peak_mb = drain.worker.peak_mb()
        before_kill = drain.surplus()
        killed = killed_within(drain, count // 2)
        surplus = drain.surplus()
        bench.out.print(
            f"  lines counted beyond those sent: {before_kill:,} before the kill, {surplus:,} after it", style="dim"
        )
        lines = sum(turn.lines for _, turn in rounds)
        return Comparison(
            first=first,
            rounds=rounds,
            beside=beside,
            killed=killed,
            naive_bytes=drain.reads.stored_bytes(naive_index(installation)) / lines,
            quality=quality.measure(installation, peer),
            surplus=surplus,
            found_s=drain.found_s,
            ready_s=drain.ready_s,
            peak_mb=peak_mb,
        )


def backlog_of(first: Figures) -> int:
    """Lines that take about as long as they should, in whole messages."""
    count = min(max(first.lines_per_s * DRAIN_S, LEAST_LINES), MOST_LINES)
    return round(count / corpus.BATCH) * corpus.BATCH


def killed_within(drain: Drain, count: int) -> Figures:
    """SIGKILL when a third of the backlog is found; then another start of the same worker."""
    installation = drain.installation
    drain.send(drain.draw("hundred", count), count)
    had = drain.sent - count
    installation.wait(lambda: drain.reads.counted() > had + count / 3, "a third", "worker-1", 120)
    installation.kill("worker-1")
    installation.start_worker(1, "--only", "logs")
    drain.worker = WorkerProcess.of(installation)
    return replace(drain.figures(drain.all_found()), cpu_s=0.0)


def show(found: Comparison, out: Console) -> None:
    columns = {"cold": found.first, **{f"round {n}": ours for n, (ours, _) in enumerate(found.rounds, 1)}}
    columns |= found.beside
    turns = {f"round {n}": turn for n, (_, turn) in enumerate(found.rounds, 1)}
    rows: dict[str, Callable[[str, Figures], str]] = {
        "lines": lambda _, f: f"{f.lines:,}",
        "wall": lambda _, f: f"{f.wall_s:.1f} s",
        "lines per second": lambda _, f: f"{f.lines_per_s:,.0f}",
        "lines per second of worker CPU": lambda _, f: f"{f.lines_per_cpu_s:,.0f}",
        "naive, lines per second": lambda name, _: f"{turns[name].lines_per_s:.1f}" if name in turns else "",
        "new texts (model calls)": lambda _, f: f"{f.texts:,}",
        "lines a document": lambda _, f: f"{f.lines / max(f.documents, 1):,.0f}",
        "lines a write": lambda _, f: f"{f.lines / max(f.writes, 1):,.0f}",
        "bytes a line": lambda _, f: f"{f.size_bytes / f.lines:,.1f}",
    }
    table = Table("", *columns)
    for name, cell in rows.items():
        table.add_row(name, *(cell(column, figures) for column, figures in columns.items()))
    out.print(table)
    out.print(
        f"naive: {found.naive_bytes:,.0f} bytes a line (segments on disk after a flush, both sides alike). "
        f"Worker: first hit {found.found_s:.1f} s and first vectors {found.ready_s:.1f} s after its start, "
        f"at most {found.peak_mb} MB"
    )
    asked = Table(f"right among ten hits, {found.quality.patterns} patterns", "ours", "naive")
    for kind, ours in found.quality.ours.items():
        asked.add_row(kind, f"{ours:.3f}", f"{found.quality.theirs[kind]:.3f}")
    out.print(asked)
    out.print(", ".join(f"{name} {'[green]ok[/]' if ok else '[red]missed[/]'}" for name, ok in found.guards.items()))


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"rate: {corpus.STATED}; {corpus.BATCH} lines a message, {bench.partitions} partitions keyed by pod, "
        f"one worker and the naive pipeline for {NAIVE_S:g} s with its default threads and with one (the quicker "
        f"counts), {ROUNDS} rounds, same cores"
    )
    with bench.installed("rate", insights=True) as installation:
        found = compare(bench, installation)
    show(found, bench.out)
    ratio = median(found.ratios)
    rate = median(ours.lines_per_s for ours, _ in found.rounds)
    series.keep(
        "rate", ours=[ours.found for ours, _ in found.rounds], naive=[turn.found for _, turn in found.rounds],
        killed=found.killed.found,
    )  # fmt: skip
    return {
        "name": "rate",
        "ok": ratio >= GOAL and all(found.guards.values()),
        "headline": f"{rate:,.0f} lines/s, {ratio:,.0f} times the naive pipeline, goal {GOAL:,.0f}",
        "ratio": round(ratio),
        "worst": round(found.worst),
        "goal": GOAL,
        "guards": found.guards | {"surplus_lines": found.surplus},
        "lines_per_s": [round(ours.lines_per_s) for ours, _ in found.rounds],
        "lines_per_cpu_s": [round(ours.lines_per_cpu_s) for ours, _ in found.rounds],
        "naive_lines_per_s": [round(turn.lines_per_s, 1) for _, turn in found.rounds],
        "per_line": {name: round(value, 6) for name, value in found.steady.items()},
        "naive_bytes_per_line": round(found.naive_bytes),
        "beside": {name: _brief(figures) for name, figures in {"cold": found.first, **found.beside}.items()},
        "quality": asdict(found.quality) | {"ratio": round(found.quality.ratio, 3)},
    }


def _brief(figures: Figures) -> dict[str, Any]:
    kept = {key: value for key, value in asdict(figures).items() if key != "found"}
    return kept | {"lines_per_s": round(figures.lines_per_s), "lines_per_cpu_s": round(figures.lines_per_cpu_s)}
