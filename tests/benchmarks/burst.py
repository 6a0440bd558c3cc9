"""A burst of lines that are all different, beside the reference load: what it costs, and who has to wait.

Every line of the burst is a new pattern of one workload. Backlogs of both are drained in turn; then both come live, and
another workload says something new twice a second: how soon is it found by its words, and when is it embedded? The
budget keeps the embedding model free for it.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Final

from rich.table import Table

from deploy.demo import free_port
from deploy.shop.delivery import KafkaDelivery
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import HOME, build_estate
from schemas import telemetry
from schemas.settings import Worker
from tests.benchmarks import corpus
from tests.benchmarks import drain as drained
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.drain import Drain, draining
from tests.benchmarks.freshness import GIVE_UP_S, PER_SECOND, POLL_S, Probe, at
from tests.benchmarks.machine import WorkerProcess

PAIRS: Final = 3
LINES: Final = 10_000  # of each backlog
LIVE_S: Final = 15.0
LIVE_PER_S: Final = 400  # lines, of either load, while marked lines are waited for
NOISY: Final = "search"  # the workload of the burst; the probe speaks for the gateway
WORDS: Final = 8  # a line
LATE_S: Final = 15.0  # over which the rate of late embedding is measured
TARGET_FOUND_S: Final = 5.0
TARGET_EMBEDDED_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds from the event time of another workload's new line."""

    lines: int
    found_p50_s: float  # by its words
    found_p99_s: float
    embedded_p50_s: float
    embedded_p99_s: float

    @classmethod
    def of(cls, probe: "EmbeddedProbe") -> "Waits":
        found, embedded = sorted(probe.ages_s) or [GIVE_UP_S], sorted(probe.embedded_s) or [GIVE_UP_S]
        return cls(
            lines=len(found),
            found_p50_s=at(found, 0.5),
            found_p99_s=at(found, 0.99),
            embedded_p50_s=at(embedded, 0.5),
            embedded_p99_s=at(embedded, 0.99),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of backlogs the medians over the pairs, and the worst of them."""

    reference_lines_per_s: int
    burst_lines_per_s: int
    ratio: float
    worst: float
    burst_documents_per_line: float
    burst_bytes_per_line: int
    calm: Waits  # beside the reference load
    stormy: Waits  # beside as many lines of a burst
    deferred: int
    embedded: int
    left: int  # patterns without a vector when all of the bursts was found
    late_per_s: float  # embedded from then on
    left_takes_s: int
    calm_mb: int  # of memory, before the first burst
    peak_mb: int


def unique(rng: random.Random, count: int, end_s: float) -> Iterator[Message]:
    """Lines of random words, a hundred of one pod in a message."""
    pods = build_estate((HOME,), seed=corpus.SEED).pods_of(HOME, NOISY)
    for start in range(0, count, corpus.BATCH):
        pod = pods[start // corpus.BATCH % len(pods)]
        stamps = (end_s - (count - n) / corpus.EVENT_RATE for n in range(start, min(count, start + corpus.BATCH)))
        logs = [Log(at_s=at_s, pod=pod, level="info", text=" ".join(words(rng))) for at_s in stamps]
        stamp_ms = int(logs[-1].at_s * 1000) + 100
        yield Message(topic="logs", key=pod.name.encode(), value=corpus.otlp_json(logs), timestamp_ms=stamp_ms)


def words(rng: random.Random) -> list[str]:
    return ["".join(rng.choice("klmnprstv") + rng.choice("aeiou") for _ in range(4)) for _ in range(WORDS)]


class EmbeddedProbe(Probe):
    """Looks for the vectors of its marked lines too."""

    def __init__(self, drain: Drain, rng: random.Random) -> None:
        super().__init__(drain.installation, drain.reads, rng)
        self._waiting: dict[str, float] = {}
        self.embedded_s: list[float] = []

    def send(self) -> None:
        known = set(self._sent_s)
        super().send()
        self._waiting |= {mark: at_s for mark, at_s in self._sent_s.items() if mark not in known}

    def look(self) -> None:
        super().look()
        for mark in self._reads.pattern_ids(self._waiting, embedded=True) if self._waiting else ():
            self.embedded_s.append(time.time() - self._waiting.pop(mark))

    @property
    def outstanding(self) -> int:
        return len(self._sent_s.keys() | self._waiting.keys())


def backlog(drain: Drain, rng: random.Random) -> drained.Figures:
    drain.send(unique(rng, LINES, time.time()), LINES)
    return drain.figures(drain.all_found())


def live(drain: Drain, say: Callable[[int, float], Iterable[Message]], rng: random.Random) -> EmbeddedProbe:
    """Lines come in at a steady rate, and another workload's marked ones among them. Blocks until these are found."""
    probe, began, batches, marked = EmbeddedProbe(drain, rng), time.monotonic(), 0, 0
    delivery = KafkaDelivery(drain.installation.endpoints.kafka, topics=drain.installation.topics)
    while (passed := time.monotonic() - began) < LIVE_S:
        if passed * LIVE_PER_S >= batches * corpus.BATCH:
            for message in say(corpus.BATCH, time.time()):
                delivery.send(message)
            batches += 1
        if passed * PER_SECOND >= marked:
            probe.send()
            marked += 1
        probe.look()
        time.sleep(POLL_S)
    delivery.finish()
    probe.finish()
    drain.sent += batches * corpus.BATCH + marked
    drain.all_found()
    return probe


def measure(drain: Drain, worker: WorkerProcess) -> tuple[Figures, Mapping[str, bool]]:
    rng = random.Random(time.time_ns())
    calm = live(
        drain, lambda count, at_s: corpus.by_the_hundred(count, at_s, keyed=True, draw=rng.getrandbits(60)), rng
    )
    calm_mb = worker.peak_mb()
    stormy = live(drain, lambda count, at_s: unique(rng, count, at_s), rng)
    pairs = [(drain.backlog("hundred", LINES), backlog(drain, rng)) for _ in range(PAIRS)]
    left, began = drain.reads.unembedded(), time.monotonic()
    time.sleep(LATE_S)
    late_per_s = (left - drain.reads.unembedded()) / (time.monotonic() - began)
    ratios = sorted(mine.lines_per_s / reference.lines_per_s for reference, mine in pairs)
    figures = Figures(
        reference_lines_per_s=round(median(reference.lines_per_s for reference, _ in pairs)),
        burst_lines_per_s=round(median(mine.lines_per_s for _, mine in pairs)),
        ratio=round(median(ratios), 3),
        worst=round(ratios[0], 3),
        burst_documents_per_line=round(median(mine.documents / mine.lines for _, mine in pairs), 2),
        burst_bytes_per_line=round(median(mine.size_bytes / mine.lines for _, mine in pairs)),
        calm=Waits.of(calm),
        stormy=Waits.of(stormy),
        deferred=round(worker.total(telemetry.PATTERNS_DEFERRED.name)),
        embedded=round(worker.total(telemetry.PATTERNS_EMBEDDED.name)),
        left=left,
        late_per_s=round(late_per_s, 1),
        left_takes_s=round(left / late_per_s) if late_per_s > 0 else -1,
        calm_mb=calm_mb,
        peak_mb=worker.peak_mb(),
    )
    guards = {
        "conserved": drain.conserved(),
        "none_lost": not calm.outstanding + stormy.outstanding,
        "found_in_time": figures.stormy.found_p99_s <= TARGET_FOUND_S,
        "embedded_in_time": figures.stormy.embedded_p99_s <= TARGET_EMBEDDED_S,
        "rest_is_embedded": late_per_s > 0,
    }
    return figures, guards


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"burst: {PAIRS} times {LINES:,} lines of {WORDS} random words of one workload, each after as many of the "
        f"reference load ({corpus.STATED}); {bench.partitions} partitions; "
        f"{Worker().new_patterns_per_minute} new patterns of a workload are embedded at once in a minute"
    )
    port = free_port(0)
    with bench.installed("burst") as installation:
        installation.extra["FRESHET_WORKER__METRICS_PORT"] = str(port)
        with draining(installation) as drain:
            figures, guards = measure(drain, WorkerProcess.of(installation, port))
    table = Table("", "")
    for name, value in asdict(figures).items():
        table.add_row(name.replace("_", " "), str(value) if isinstance(value, dict) else f"{value:,}")
    for name, held in guards.items():
        table.add_row(name.replace("_", " "), "[green]yes[/]" if held else "[red]no[/]")
    bench.out.print(table)
    headline = (
        f"{figures.burst_lines_per_s:,} lines/s, {figures.ratio:.0%} of the reference load; another workload's new "
        f"line beside it: found p99 {figures.stormy.found_p99_s} s, embedded p99 {figures.stormy.embedded_p99_s} s"
    )
    return {"name": "burst", "ok": all(guards.values()), "headline": headline, "guards": guards, **asdict(figures)}
