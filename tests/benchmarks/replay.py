"""What a replay costs the live workers: freshness with and without one, in pairs, under the shop's load."""

import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from deploy.installation import CHECKOUT, Installation
from deploy.shop.delivery import publish
from deploy.shop.player import DEFAULT_RATE
from schemas.errors import StartupError
from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.freshness import POLL_S, Probe, at, playing, warm_up
from tests.benchmarks.reads import Reads

WORSE_BY_S: Final = 1.0  # at most, the median over the pairs
PAIR_S: Final = 20.0  # each half of a pair
PAIRS: Final = 5
PER_SECOND: Final = 5.0  # marked lines
BACKLOG: Final = 150_000  # lines to read again, one a message
PATIENCE_S: Final = 300.0
STARTS_S: Final = 3.0  # until a replay reads


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    without_p99_s: float
    with_p99_s: float
    replayed: int  # messages read again meanwhile

    @property
    def worse_by_s(self) -> float:
        return round(self.with_p99_s - self.without_p99_s, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    backlog: int
    lost: int  # marked lines that were not found
    pairs: tuple[Pair, ...]

    @property
    def worse_by_s(self) -> float:
        return round(statistics.median(pair.worse_by_s for pair in self.pairs), 2)

    @property
    def ok(self) -> bool:
        """A replay that did not run costs nothing and shows nothing."""
        ran = all(pair.replayed for pair in self.pairs)
        return ran and self.lost == 0 and self.worse_by_s <= WORSE_BY_S


class Replays:
    """One replay of all lines after the other."""

    def __init__(self, installation: Installation) -> None:
        self._installation, self._log = installation, installation.log("replay").open("wb")
        self.messages = 0
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "streams", "replay", self._installation.topics["logs"], "--json"]
        environment = self._installation.environment
        self._running = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=self._log
        )

    def go_on(self) -> None:
        """Start the next one when the last one has ended. Raises StartupError when it failed."""
        code = self._running.poll()
        if code is not None:
            if code:
                raise StartupError(f"the replay failed: see {self._installation.log('replay')}")
            self._count()
            self._start()

    def close(self) -> None:
        """Interrupted, it commits; the next pair goes on from there."""
        self._running.terminate()
        self._count()
        self._log.close()

    def _count(self) -> None:
        said, _ = self._running.communicate(timeout=60)
        self.messages += json.loads(said)["messages"] if said else 0


def phase(installation: Installation, reads: Reads, seconds: float, replays: Replays | None) -> tuple[list[float], int]:
    """Ages of marked lines, in order, and how many were lost."""
    probe, sent, began = Probe(installation, reads, random.Random(time.time_ns())), 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if passed >= sent / PER_SECOND:
            probe.send()
            sent += 1
        probe.look()
        if replays:
            replays.go_on()
        time.sleep(POLL_S)
    probe.finish()
    return sorted(probe.ages_s), probe.outstanding


def measure(installation: Installation, *, seconds: float, rate: float = DEFAULT_RATE) -> Figures:
    """Blocks for ten times `seconds` and some minutes. Services are up; the installation's topics exist."""
    lines = corpus.one_by_one(BACKLOG, time.time(), keyed=False)
    publish(lines, installation.endpoints.kafka, topics=installation.topics)
    installation.start_worker()
    pairs, lost = [], 0
    with closing(Reads(installation)) as reads:
        installation.wait(lambda: reads.counted() >= BACKLOG, "the backlog", "worker-1", PATIENCE_S)
        with playing(installation, rate):
            warm_up(installation, reads)
            for number in range(PAIRS):
                p99, replayed = {}, 0
                for replay in (False, True) if number % 2 == 0 else (True, False):
                    if replay:
                        with closing(Replays(installation)) as replays:
                            time.sleep(STARTS_S)
                            ages, missing = phase(installation, reads, seconds, replays)
                        replayed = replays.messages
                    else:
                        ages, missing = phase(installation, reads, seconds, None)
                    p99[replay], lost = at(ages, 0.99), lost + missing
                pairs.append(Pair(without_p99_s=p99[False], with_p99_s=p99[True], replayed=replayed))
    return Figures(backlog=BACKLOG, lost=lost, pairs=tuple(pairs))


def show(figures: Figures, out: Console) -> None:
    table = Table("pair", "p99 without", "p99 with a replay", "difference", "messages replayed")
    for number, pair in enumerate(figures.pairs, 1):
        p99 = (f"{each:.2f} s" for each in (pair.without_p99_s, pair.with_p99_s, pair.worse_by_s))
        table.add_row(str(number), *p99, f"{pair.replayed:,}")
    out.print(table)
    out.print(f"median difference {figures.worse_by_s:.2f} s, {figures.lost} lines lost")


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"replay: {PAIRS} pairs of {PAIR_S:g} s with and without a replay of {BACKLOG:,} lines, "
        f"under the shop at {bench.per_second:g} lines/s, {bench.partitions} partitions"
    )
    with bench.installed("replay") as installation:
        figures = measure(installation, seconds=PAIR_S, rate=bench.per_second)
    show(figures, bench.out)
    return {
        "name": "replay",
        "ok": figures.ok,
        "headline": f"freshness p99 {figures.worse_by_s:+.2f} s, goal {WORSE_BY_S:+g} s",
        "target_worse_by_s": WORSE_BY_S,
        "worse_by_s": figures.worse_by_s,
        **asdict(figures),
    }
