"""`python -m tests.faults.insights [--full]`: kill workers while incidents happen; each is told once.

    telemetry in real time -> two real workers, killed at random and at named points -> the topic of insights
    afterwards: every copy byte-identical, no revision left out, the same as an undisturbed fold, all that was planted

Then a worker that is broken on purpose must be caught.
"""

import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from deploy.local import services
from deploy.local.services import Endpoints
from schemas.errors import FreshetError
from tests.benchmarks.machine import hardware
from tests.faults.crew import SESSION_S
from tests.faults.insight_check import Outcome, check
from tests.faults.insight_site import WORKERS, InsightSite, insight_site
from tests.faults.insight_traffic import plant, play, schedule
from tests.faults.insight_worker import BROKEN, CRASH

notes = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
TAIL_S: Final = 45.0  # of traffic after the last incident: what was begun is told to its end
FREEZE_S: Final = 4.0  # beyond the session
START_S: Final = 8.0  # until workers have joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    incidents: int
    kills: int
    every_s: float  # from one incident to the next
    calm: float  # share of the incidents before the first kill
    away_s: float  # of the registry, once
    freezes: int = 0  # of a worker, for longer than its session: another one goes on meanwhile
    tail_s: float = TAIL_S
    controls: tuple[str, ...] = ()


SMALL: Final = Size(
    incidents=20, kills=5, every_s=0.8, calm=0.3, away_s=3.0, tail_s=12.0, controls=("snapshot-before-publishing",)
)
FULL: Final = Size(incidents=200, kills=50, every_s=1.5, calm=0.2, away_s=8.0, freezes=3, controls=tuple(BROKEN))
# Where a worker must die, so that its defect shows for certain.
REVEALED_AT: Final = {"snapshot-before-publishing": "before_publishing"}
CONTROL: Final = Size(incidents=12, kills=3, every_s=0.8, calm=0.2, away_s=0.0, tail_s=10.0)


@dataclass(slots=True, kw_only=True)
class Trial:
    """One run over one site. `tell` shows a line of the timeline."""

    site: InsightSite
    size: Size
    seed: int
    tell: Callable[[str], None]
    crash: str = ""  # whoever is started again dies here, the first time; otherwise at all points in turn
    kills: int = 0
    recovery_s: float = 0.0
    began: float = 0.0

    def note(self, what: str) -> None:
        self.tell(f"{time.monotonic() - self.began:7.1f} s  {what}")

    def run(self) -> Outcome:
        self.began = time.monotonic()
        site, size = self.site, self.size
        site.wanted |= set(range(1, WORKERS + 1))
        start_s = time.time() + START_S
        planted = plant(size.incidents, start_s=start_s, every_s=size.every_s, seed=self.seed)
        end_s = planted[-1].at_s + size.tail_s
        calm_until_s = planted[int(size.calm * len(planted))].at_s
        stop = threading.Event()
        due = schedule(planted, start_s=start_s, end_s=end_s)
        sending = threading.Thread(
            target=play, args=(due, site.endpoints.kafka, site.topics, lambda: not stop.is_set()), daemon=True
        )
        sending.start()
        try:
            self._disturb(calm_until_s + 2, end_s - size.tail_s / 2)
            sending.join()
        finally:
            stop.set()
        self.note(f"{len(due)} messages sent")
        site.crashes = iter(())
        site.wait_until_read()
        site.wanted.clear()
        site.stop(grace_s=20)
        insights, summaries = site.read("incident-insights"), site.read("summaries")
        return check(
            site.settings(), summaries=summaries, insights=insights, planted=planted, calm_until_s=calm_until_s - 3
        )

    def _disturb(self, from_s: float, to_s: float) -> None:
        """Half of the kills from outside at any moment, half at named points; the registry is away once."""
        rng = Random(self.seed)
        points = list(CRASH)
        rng.shuffle(points)
        time.sleep(max(0.0, from_s - time.time()))
        plan = zip(itertools.cycle([self.crash] if self.crash else points), itertools.repeat(1 if self.crash else 2))
        self.site.crashes = itertools.islice(plan, self.size.kills)
        kills = self.size.kills
        freezing = {kills * n // (self.size.freezes + 1) for n in range(1, self.size.freezes + 1)}
        for turn in range(kills):
            if turn == kills // 2 + 1 and self.size.away_s:
                self.site.registry.shut = True
                threading.Timer(self.size.away_s, self._let_in).start()
                self.note(f"the registry is away for {self.size.away_s:g} s")
            if turn in freezing:
                self._freeze(turn % WORKERS + 1)
            pause_s = max(0.0, to_s - time.time()) / (kills - turn)
            self._kill(turn % WORKERS + 1, time.time() + 2 * pause_s * rng.random())

    def _freeze(self, number: int) -> None:
        while not self.site.lives(number):
            time.sleep(0.05)
        starts = self.site.starts
        self.site.signal(number, signal.SIGSTOP)
        time.sleep(SESSION_S + FREEZE_S)
        self.site.signal(number, signal.SIGCONT)
        self.note(f"worker {number} was frozen for {SESSION_S + FREEZE_S:g} s")
        while self.site.starts == starts:  # it leaves by itself
            time.sleep(0.05)

    def _let_in(self) -> None:
        self.site.registry.shut = False

    def _kill(self, number: int, at_s: float) -> None:
        """Killed at that moment, unless one died of its own before: that counts, too."""
        starts = self.site.starts
        while time.time() < at_s or not self.site.lives(number):
            if self.site.starts > starts:
                self.kills += 1
                self.note("a worker died at its crash point")
                return
            time.sleep(0.05)
        self.site.kill(f"worker-{number}")
        while self.site.starts == starts:
            time.sleep(0.05)
        self.kills += 1
        self.note(f"worker {number} killed")


def everything(
    size: Size, *, seed: int, state: Path, endpoints: Endpoints, tell: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trial, then those that must be caught: summary, and what explains it."""
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=1) as beside:
        controls = beside.submit(control_all, size, seed=seed, state=state, endpoints=endpoints, tell=tell)
        with insight_site("insight-faults", state, endpoints) as site:
            trial = Trial(site=site, size=size, seed=seed, tell=tell)
            sound = trial.run()
        caught = controls.result()
    summary = {
        "name": "insight-faults",
        "ok": sound.findings.ok and all(caught.values()) and trial.kills >= size.kills,
        "seed": seed,
        "kills": trial.kills,
        "starts": trial.site.starts,
        **sound.figures,
        "breaches": dict(sound.findings.counts),
        "broken_caught": f"{sum(map(bool, caught.values()))}/{len(caught)}",
        "seconds": round(time.monotonic() - began),
    }
    return summary, {"findings": sound.findings.shown, "controls": caught}


def control_all(
    size: Size, *, seed: int, state: Path, endpoints: Endpoints, tell: Callable[[str], None]
) -> dict[str, dict[str, int]]:
    """What gives each broken worker away."""
    caught: dict[str, dict[str, int]] = {}
    for name in size.controls:
        with insight_site("insight-control", state, endpoints, broken=name) as site:
            trial = Trial(site=site, size=CONTROL, seed=seed, tell=tell, crash=REVEALED_AT.get(name, ""))
            outcome = trial.run()
        caught[name] = dict(outcome.findings.counts)
    return caught


def main(
    full: Annotated[bool, typer.Option("--full", help="200 incidents and 50 kills, some eight minutes.")] = False,
    seed: Annotated[int, typer.Option(help="Decides incidents and kills.")] = 1,
    state: Annotated[Path | None, typer.Option(help="Use these services; own ones otherwise.")] = None,
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """Kill workers while incidents happen, and account for every revision that subscribers read."""
    size = FULL if full else SMALL
    machine = hardware()
    notes.print(f"{machine}; seed {seed}; {size}")
    try:
        with _services(state, cache) as (home, endpoints):
            summary, more = everything(
                size, seed=seed, state=home, endpoints=endpoints, tell=lambda line: notes.print(line, markup=False)
            )
    except (FreshetError, TimeoutError) as error:
        notes.print(f"seed {seed}: {error}", markup=False)
        raise typer.Exit(1) from None
    show(summary, more)
    typer.echo(json.dumps(summary | {"hardware": machine}))
    if not summary["ok"]:
        raise typer.Exit(1)


def show(summary: dict[str, Any], more: dict[str, Any]) -> None:
    table = Table("what", "figure", box=None)
    for name, value in summary.items():
        table.add_row(name, str(value))
    out.print(table)
    for name, counts in more["controls"].items():
        told = ", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing found"
        out.print(f"broken: {name}: {told}", markup=False)
    for line in more["findings"]:
        out.print(line, markup=False, style="red")


@contextmanager
def _services(state: Path | None, cache: Path) -> Iterator[tuple[Path, Endpoints]]:
    """The services of that folder, which stay; without one our own, which go."""
    if state is not None:
        yield state, services.up(state, cache)
        return
    with tempfile.TemporaryDirectory(prefix="freshet-insights-") as folder:
        home = Path(folder)
        try:
            yield home, services.up(home, cache, until_pid=os.getpid())
        finally:
            services.down(home, wipe=True)


if __name__ == "__main__":
    typer.run(main)
