"""From the event time of a line to the first search that finds it, while the shop plays in real time.

Each marked line holds a word of its own, so it makes a pattern and an occurrence of its own; it is found when both are.
Only letters: a word with a digit in it would be masked.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from deploy.demo import free_port
from deploy.installation import CHECKOUT, Installation
from deploy.shop import formats
from deploy.shop.delivery import KafkaDelivery
from deploy.shop.player import DEFAULT_RATE, SHIPPED_AFTER_S
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import HOME, Pod, build_estate
from schemas import telemetry
from schemas.errors import StartupError
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.machine import WorkerProcess
from tests.benchmarks.reads import Reads

TARGET_P99_S: Final = 5.0
PER_SECOND: Final = 2.0
POLL_S: Final = 0.05
GIVE_UP_S: Final = 60.0  # a line that is not found for so long is lost
SETTLE_S: Final = 10.0
LETTERS: Final = "gjkmpqrtvwxz"  # no words, no hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    lines: int  # marked ones
    lost: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float
    records_per_s: float  # of all kinds, through the worker meanwhile
    worker_cpu_share: float  # of one core

    @property
    def ok(self) -> bool:
        return self.lost == 0 and self.p99_s <= TARGET_P99_S


class Probe:
    """Sends marked lines and looks for them."""

    def __init__(self, installation: Installation, reads: Reads, rng: random.Random) -> None:
        self._reads, self._rng = reads, rng
        self._delivery = KafkaDelivery(installation.endpoints.kafka, topics=installation.topics)
        self._pods = build_estate((HOME,), seed=3).pods_of(HOME, "gateway")
        self._sent_s: dict[str, float] = {}  # event time by mark, of those not found yet
        self._pattern_ids: dict[str, str] = {}
        self.ages_s: list[float] = []

    @property
    def outstanding(self) -> int:
        return len(self._sent_s)

    def send(self) -> None:
        mark = "".join(self._rng.choices(LETTERS, k=10))
        pod: Pod = self._rng.choice(self._pods)
        at_s = time.time()
        value = formats.fluent_bit(Log(at_s=at_s, pod=pod, level="info", text=f"freshness probe {mark} was here"))
        stamp_ms = int((at_s + SHIPPED_AFTER_S) * 1000) + 1
        self._delivery.send(Message(topic="logs", key=None, value=value, timestamp_ms=stamp_ms))
        self._sent_s[mark] = at_s

    def look(self) -> None:
        """Ask once for everything that is not found yet."""
        if unknown := self._sent_s.keys() - self._pattern_ids:
            self._pattern_ids |= self._reads.pattern_ids(unknown)
        if not self._pattern_ids:
            return
        there = self._reads.occurring(self._pattern_ids.values())
        now_s = time.time()
        for mark in [mark for mark, pattern_id in self._pattern_ids.items() if pattern_id in there]:
            del self._pattern_ids[mark]
            self.ages_s.append(now_s - self._sent_s.pop(mark))

    def finish(self) -> None:
        """Look until all are found, or given up."""
        deadline = time.monotonic() + GIVE_UP_S
        while self.outstanding and time.monotonic() < deadline:
            self.look()
            time.sleep(POLL_S)
        self._delivery.finish()


@contextmanager
def playing(installation: Installation, rate: float) -> Iterator[None]:
    """The shop in real time, after its last minute, in a process of its own."""
    command = ["deploy.shop", "play", "--realtime", "--minutes", "1", "--rate", str(rate)]
    options = ["--bootstrap", installation.endpoints.kafka, "--prefix", f"{installation.name}."]
    with installation.log("shop").open("wb") as log:
        shop = subprocess.Popen(
            [sys.executable, "-m", *command, *options],
            cwd=CHECKOUT,
            env={"PATH": os.environ["PATH"]},
            stdout=log,
            stderr=log,
        )
    try:
        yield
        if shop.poll() is not None:
            raise StartupError(f"the shop stopped playing: see {installation.log('shop')}")
    finally:
        shop.send_signal(signal.SIGINT)
        shop.wait(30)


def measure(installation: Installation, *, seconds: float, rate: float = DEFAULT_RATE) -> Figures:
    """Blocks for about `seconds` and half a minute. Services are up; the installation's topics exist."""
    port = free_port(0)
    installation.extra["FRESHET_WORKER__METRICS_PORT"] = str(port)
    installation.start_worker()
    with closing(Reads(installation)) as reads, playing(installation, rate):
        warm_up(installation, reads)
        worker = WorkerProcess.of(installation, port)
        probe = Probe(installation, reads, random.Random(time.time_ns()))
        records, cpu_s = worker.total(telemetry.WORKER_RECORDS.name), worker.cpu_s()
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < seconds:
            if passed >= sent / PER_SECOND:
                probe.send()
                sent += 1
            probe.look()
            time.sleep(POLL_S)
        records, cpu_s = worker.total(telemetry.WORKER_RECORDS.name) - records, worker.cpu_s() - cpu_s
        probe.finish()
    ages = sorted(probe.ages_s) or [GIVE_UP_S]
    return Figures(
        lines=sent,
        lost=probe.outstanding,
        p50_s=at(ages, 0.50),
        p95_s=at(ages, 0.95),
        p99_s=at(ages, 0.99),
        max_s=round(ages[-1], 2),
        records_per_s=round(records / seconds, 1),
        worker_cpu_share=round(cpu_s / seconds, 2),
    )


def warm_up(installation: Installation, reads: Reads) -> None:
    """Until the worker runs, its model is loaded, and it has caught up with the shop's past."""
    probe = Probe(installation, reads, random.Random(time.time_ns()))
    probe.send()

    def found() -> bool:
        probe.look()
        return not probe.outstanding

    installation.wait(found, "the worker to catch up", "worker-1", 120)
    time.sleep(SETTLE_S)


def at(ordered: list[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed (nearest rank)."""
    return round(ordered[max(0, -int(-share * len(ordered) // 1) - 1)], 2)


def show(figures: Figures, out: Console) -> None:
    table = Table("marked lines", "lost", "p50", "p95", "p99", "max", "records/s", "worker CPU")
    table.add_row(
        str(figures.lines),
        str(figures.lost),
        *(f"{each:.2f} s" for each in (figures.p50_s, figures.p95_s, figures.p99_s, figures.max_s)),
        f"{figures.records_per_s:.0f}",
        f"{figures.worker_cpu_share:.0%} of a core",
    )
    out.print(table)


def run(bench: Bench) -> Summary:
    bench.out.print(f"freshness: the shop at {bench.per_second:g} lines/s and its metrics, events and alerts")
    with bench.installed("freshness") as installation:
        figures = measure(installation, seconds=bench.seconds, rate=bench.per_second)
    show(figures, bench.out)
    headline = f"p99 {figures.p99_s:.2f} s, goal {TARGET_P99_S:g} s"
    return {
        "name": "freshness", "ok": figures.ok, "headline": headline, "target_p99_s": TARGET_P99_S, **asdict(figures)
    }  # fmt: skip
