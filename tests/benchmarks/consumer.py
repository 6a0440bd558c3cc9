"""One line a message through our consumer and through a stock Faust agent, in turn: with nothing behind, and whole.

Row by row: raw bytes and no sink; then decode, template, fold and index on both sides, where the stock agent runs our
own pipeline and sink for each event. Processor seconds of the consuming process decide: Kafka and OpenSearch take their
share of the same cores, and wall times tell about them, too.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from deploy.installation import Installation
from deploy.shop.delivery import publish
from deploy.shop.lines import write_line
from deploy.shop.telemetry import Message
from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.dialogue import Dialogue
from tests.benchmarks.drain import Drain, draining

PAIRS: Final = 5
GOALS: Final = {"no sink": 20.0, "whole": 5.0}
RAW: Final = 400_000  # records of ours, without a sink
RAW_STOCK: Final = 40_000
WHOLE: Final = 60_000
WHOLE_STOCK: Final = 15_000
NOWHERE: Final = {"FRESHET_EMBEDDER__KIND": "hashing"}  # the model is measured by others


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    records: int
    wall_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.records / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.records / self.cpu_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    ours: Side
    stock: Side

    @property
    def cpu_ratio(self) -> float:
        return self.ours.per_cpu_s / self.stock.per_cpu_s

    @property
    def wall_ratio(self) -> float:
        return self.ours.per_s / self.stock.per_s


def texts(count: int, end_s: float) -> Iterator[Message]:
    """The lines as their containers wrote them, and nothing around them."""
    for log in corpus.lines(count, end_s):
        key, stamp_ms = log.pod.name.encode(), int(end_s * 1000)
        yield Message(topic="logs", key=key, value=write_line(log).encode(), timestamp_ms=stamp_ms)


def side(turn: Dialogue) -> Side:
    with closing(turn):
        return Side(**turn.answer())


def ours_of(installation: Installation, which: str, group: str, count: int, folder: str) -> Side:
    """One of `agents`, in a group and with a prefix of its own, from the start of the topic."""
    env = {
        **installation.environment,
        **NOWHERE,
        "FRESHET_KAFKA__GROUP": f"{installation.name}.{group}",
        "FRESHET_OPENSEARCH__PREFIX": f"{installation.name}-{group}",
    }
    return side(
        Dialogue.with_ours(
            "tests.benchmarks.agents", which, installation.topics["logs"], str(count), folder,
            env=env, log=installation.log(group),
        )
    )  # fmt: skip


def raw(bench: Bench, installation: Installation, folder: str) -> list[Pair]:
    """No sink."""
    to: Any = {"bootstrap": installation.endpoints.kafka, "topics": installation.topics}
    publish(texts(RAW, time.time()), **to)
    pairs = []
    for number in range(PAIRS):
        stock = side(
            Dialogue.with_peer(
                "stock-faust", bench.cache, installation.endpoints.kafka, installation.topics["logs"],
                f"{installation.name}.stock-{number}", str(RAW_STOCK), folder, log=installation.log("stock"),
            )
        )  # fmt: skip
        # The last chunks may hold less than all of a partition.
        pairs.append(Pair(ours=ours_of(installation, "chunks", f"ours-{number}", RAW - 1_000, folder), stock=stock))
        bench.out.print(_line(pairs[-1]), style="dim")
    return pairs


def whole(bench: Bench, drain: Drain, folder: str) -> list[Pair]:
    """With decode, template, fold and index. The worker is the product's own process."""
    pairs = []
    for number in range(PAIRS):
        found = drain.backlog("one", WHOLE)
        stock = ours_of(drain.installation, "stock", f"stock-{number}", WHOLE_STOCK, folder)
        ours = Side(records=found.lines, wall_s=found.wall_s, cpu_s=found.cpu_s)
        pairs.append(Pair(ours=ours, stock=stock))
        bench.out.print(_line(pairs[-1]), style="dim")
    return pairs


def _line(pair: Pair) -> str:
    return (
        f"  per CPU second: ours {pair.ours.per_cpu_s:,.0f}, stock {pair.stock.per_cpu_s:,.0f}, "
        f"{pair.cpu_ratio:.1f} times; by wall time {pair.wall_ratio:.1f} times"
    )


def show(rows: Mapping[str, Sequence[Pair]], out: Console) -> None:
    table = Table(
        "records per CPU second, medians", "ours", "stock Faust", "times", "worst pair", "goal", "by wall time"
    )
    for name, pairs in rows.items():
        ours, stock = (median(getattr(pair, side).per_cpu_s for pair in pairs) for side in ("ours", "stock"))
        times = (median(pair.cpu_ratio for pair in pairs), min(pair.cpu_ratio for pair in pairs))
        table.add_row(
            name, f"{ours:,.0f}", f"{stock:,.0f}", *(f"{each:.1f}" for each in times), f"{GOALS[name]:g}",
            f"{median(pair.wall_ratio for pair in pairs):.1f}",
        )  # fmt: skip
    out.print(table)


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"consumer: {corpus.STATED}; one line a message, {bench.partitions} partitions keyed by pod, {PAIRS} pairs; "
        f"{RAW:,} and {WHOLE:,} records for ours, {RAW_STOCK:,} and {WHOLE_STOCK:,} for the stock agent"
    )
    with tempfile.TemporaryDirectory() as folder:
        with bench.installed("consumer-raw") as installation:
            rows = {"no sink": raw(bench, installation, folder)}
        with bench.installed("consumer") as installation:
            installation.extra |= NOWHERE
            with draining(installation) as drain:
                rows["whole"] = whole(bench, drain, folder)
                surplus = drain.surplus()
    show(rows, bench.out)
    ratios = {name: median(pair.cpu_ratio for pair in pairs) for name, pairs in rows.items()}
    return {
        "name": "consumer",
        "ok": surplus == 0 and all(ratio >= GOALS[name] for name, ratio in ratios.items()),
        "headline": ", ".join(f"{name} {ratio:.1f} times, goal {GOALS[name]:g}" for name, ratio in ratios.items()),
        "ratio": {name: round(ratio, 1) for name, ratio in ratios.items()},
        "worst": {name: round(min(pair.cpu_ratio for pair in pairs), 1) for name, pairs in rows.items()},
        "goal": GOALS,
        "guards": {"conserved": surplus == 0},
        "wall_ratio": {name: round(median(pair.wall_ratio for pair in pairs), 1) for name, pairs in rows.items()},
        "per_cpu_s": {
            name: {side: round(median(getattr(pair, side).per_cpu_s for pair in pairs)) for side in ("ours", "stock")}
            for name, pairs in rows.items()
        },
    }
