"""Freshness while the reference load is sent, and catching up with a backlog while it goes on.

The load is sent by a process of its own, its messages made before. Marked lines, each of them a new pattern, are sent
beside it; their age is counted from their event time to the first search that finds them.
"""

import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from deploy.shop.delivery import publish
from tests.benchmarks import corpus, series
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.dialogue import Dialogue
from tests.benchmarks.drain import Drain, Figures, draining
from tests.benchmarks.freshness import POLL_S, Probe, at
from tests.benchmarks.machine import WorkerProcess

SHARES: Final = {"half": 0.5, "full": 1.0}  # of the rate of a backlog that is drained
GOALS_S: Final = {"half": 2.0, "full": 5.0}  # p99
LIVE: Final = 0.25  # of it: the live rate
CATCHES_UP: Final = 3.0  # times the live rate
PHASE_S: Final = 20.0
REFERENCE_S: Final = 40.0
MARKS_PER_S: Final = 5.0
DRAIN_S: Final = 8.0
STARTS_S: Final = 20.0  # a worker, at most
BEHIND_S: Final = 10.0  # of live lines not found yet: level with them, as updated counts may follow that much later


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    rate: str
    lines_per_s: int
    marks: int
    lost: int
    p50_s: float
    p99_s: float
    max_s: float
    behind: int  # lines not found yet when the last was sent
    sender_cpu: float  # share of a core
    sender_late_s: float
    ages_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    minutes: float
    live_per_s: int
    backlog: int
    wall_s: float  # from the first line that is found until the worker is level with the live lines
    found: int  # lines meanwhile, live ones included
    level: bool  # while live lines were still being sent

    @property
    def ratio(self) -> float:
        """What was found, against the live rate."""
        return self.found / self.wall_s / self.live_per_s

    @property
    def net_ratio(self) -> float:
        """By which the backlog shrank: 3 is the limit where the live rate is a quarter of what one worker can."""
        return self.ratio - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference load in real time, without marked lines."""

    lines: int
    documents: int
    writes: int


def freshness(drain: Drain, sender: Dialogue, rate: str, full: float) -> Freshness:
    lines_per_s, probe = full * SHARES[rate], Probe(drain.installation, drain.reads, random.Random(time.time_ns()))
    drain.draws += 1
    sender.ask({"prepare": [lines_per_s, PHASE_S, drain.draws]})
    sender.tell({"send": PHASE_S})
    began, marks = time.monotonic(), 0
    while (passed := time.monotonic() - began) < PHASE_S:
        if passed >= marks / MARKS_PER_S:
            probe.send()
            marks += 1
        probe.look()
        time.sleep(POLL_S)
    sent = sender.answer()
    drain.sent += sent["lines"] + marks
    behind = drain.sent - drain.reads.counted()
    probe.finish()
    drain.all_found()
    ages = sorted(probe.ages_s)
    return Freshness(
        rate=rate,
        lines_per_s=round(sent["lines"] / sent["wall_s"]),
        marks=marks,
        lost=probe.outstanding,
        p50_s=at(ages, 0.50),
        p99_s=at(ages, 0.99),
        max_s=round(ages[-1], 2),
        behind=behind,
        sender_cpu=sent["cpu_share"],
        sender_late_s=sent["late_s"],
        ages_s=tuple(round(age, 3) for age in ages),
    )


def reference(drain: Drain, sender: Dialogue) -> Reference:
    drain.draws += 1
    sender.ask({"prepare": [corpus.EVENT_RATE, REFERENCE_S, drain.draws]})
    before = drain.reads.refreshed().totals()
    lines = sender.ask({"send": REFERENCE_S})["lines"]
    drain.sent += lines
    drain.all_found()
    after = drain.reads.refreshed().totals()
    return Reference(lines=lines, documents=after.documents - before.documents, writes=after.writes - before.writes)


def catch_up(drain: Drain, sender: Dialogue, full: float, minutes: float) -> tuple[CatchUp, list[tuple[float, int]]]:
    """The worker was down for `minutes`; live lines go on while it catches up."""
    installation, live = drain.installation, full * LIVE
    backlog = round(live * minutes * 60 / corpus.BATCH) * corpus.BATCH
    lasts_s = STARTS_S + 2 * minutes * 60 / CATCHES_UP
    drain.draws += 2
    sender.ask({"prepare": [live, lasts_s, drain.draws]})
    installation.stop("worker-1")
    messages = corpus.by_the_hundred(backlog, time.time(), keyed=True, draw=drain.draws - 1, per_second=live)
    publish(messages, installation.endpoints.kafka, topics=installation.topics)
    had, samples = drain.reads.counted(), list[tuple[float, int]]()
    sender.tell({"send": lasts_s})
    sending = time.monotonic()
    installation.start_worker(1, "--only", "logs")
    drain.worker = WorkerProcess.of(installation)

    def level() -> bool:
        """Sample once."""
        sent, found = live * min(time.monotonic() - sending, lasts_s), drain.reads.counted() - had
        if found:
            samples.append((round(time.monotonic() - sending, 2), found))
        return backlog + sent - found <= live * BEHIND_S

    installation.wait(level, "the worker to catch up", "worker-1", 600)
    (first_s, first), (last_s, last) = samples[0], samples[-1]
    drain.sent += backlog + sender.answer()["lines"]
    drain.all_found()
    done = CatchUp(
        minutes=minutes,
        live_per_s=round(live),
        backlog=backlog,
        wall_s=round(last_s - first_s, 2),
        found=last - first,
        level=last_s < lasts_s,
    )
    return done, samples


def lines_of(cold: Figures) -> int:
    """Of a backlog that takes about as long as it should."""
    return round(cold.lines_per_s * DRAIN_S / corpus.BATCH) * corpus.BATCH


def show(fresh: Sequence[Freshness], caught: CatchUp, still: Reference, out: Console) -> None:
    table = Table("rate", "lines/s", "marks", "p50", "p99", "max", "goal", "behind", "sender")
    for each in fresh:
        ages = (f"{age:.2f} s" for age in (each.p50_s, each.p99_s, each.max_s))
        table.add_row(
            each.rate, f"{each.lines_per_s:,}", str(each.marks), *ages, f"{GOALS_S[each.rate]:g} s",
            f"{each.behind:,}", f"{each.sender_cpu:.0%}",
        )  # fmt: skip
    out.print(table)
    out.print("behind: lines not found yet when the last was sent; sender: its share of a core")
    out.print(
        f"caught up with {caught.minutes:g} minutes at {caught.live_per_s:,} lines/s in {caught.wall_s:.1f} s while "
        f"they went on: {caught.ratio:.1f} times the live rate, {caught.net_ratio:.1f} of it from the backlog"
    )
    out.print(
        f"at {corpus.EVENT_RATE:,.0f} lines/s in real time: {still.lines / still.documents:,.0f} lines a document, "
        f"{still.lines / still.writes:,.0f} lines a write"
    )


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"load: {corpus.STATED}, here at the rates below; {corpus.BATCH} lines a message, "
        f"{bench.partitions} partitions keyed by pod, one worker; {PHASE_S:g} s a phase, "
        f"{MARKS_PER_S:g} marked lines/s; a backlog of {bench.minutes:g} minutes (`--minutes 10` for the whole)"
    )
    with bench.installed("load", insights=True) as installation, draining(installation) as drain:
        full = drain.backlog("hundred", lines_of(drain.backlog("hundred", bench.lines))).lines_per_s
        bench.out.print(f"  a backlog is drained at {full:,.0f} lines/s", style="dim")
        topic = installation.topics["logs"]
        sending = Dialogue.with_ours(
            "tests.benchmarks.sender", installation.endpoints.kafka, topic, log=installation.log("sender")
        )
        with closing(sending) as sender:
            sender.answer()
            still = reference(drain, sender)
            fresh = [freshness(drain, sender, rate, full) for rate in SHARES]
            caught, samples = catch_up(drain, sender, full, bench.minutes)
        surplus = drain.surplus()
    show(fresh, caught, still, bench.out)
    series.keep("load", ages_s={each.rate: each.ages_s for each in fresh}, catch_up=samples)
    guards = {
        "conserved": surplus == 0,
        "nothing_lost": all(each.lost == 0 for each in fresh),
        "level_with_live": caught.level,
        "freshness": all(each.p99_s <= GOALS_S[each.rate] for each in fresh),
        "catches_up": caught.ratio >= CATCHES_UP,
    }
    ages = [f"p99 {each.p99_s:.2f} s at {each.rate} rate, goal {GOALS_S[each.rate]:g} s" for each in fresh]
    return {
        "name": "load",
        "ok": all(guards.values()),
        "headline": ", ".join((*ages, f"catches up at {caught.ratio:.1f} times, goal {CATCHES_UP:g}")),
        "ratio": round(caught.ratio, 2),
        "guards": guards,
        "drained_per_s": round(full),
        "freshness": [{k: v for k, v in asdict(each).items() if k != "ages_s"} for each in fresh],
        "catch_up": asdict(caught) | {"ratio": round(caught.ratio, 2), "net_ratio": round(caught.net_ratio, 2)},
        "reference": asdict(still),
    }
