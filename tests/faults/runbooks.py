"""Runbooks under faults: `python -m tests.faults.runbooks`. Laws: `runbook_ledger.py`; what is broken: `FAULTS` below.

Thousands of edits, deletions and re-creations go to a real compacted topic while workers are killed, frozen, handed
over and sent back to the beginning, Redis is lost in every way, and the topic is made again. A reader looks all the
time, as the API does.
"""

import json
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress

from deploy.local import services
from schemas.errors import FreshetError
from tests.benchmarks.installed import stack
from tests.benchmarks.machine import hardware
from tests.faults import runbook_rebuild
from tests.faults.runbook_ledger import NEVER, Ledger, Observer, Sent, State
from tests.faults.runbook_site import PATIENCE_S, SESSION_S, Site, runbook_site
from tests.faults.runbook_traffic import Author, Look, topic_holds
from tests.faults.runbook_worker import BROKEN, broken_scripts

GOAL_S: Final = 5.0  # from the send of an edit to the first reading that shows it, p99 of the quiet phases
AGAIN_WITHIN_S: Final = 15.0  # the promise after a kill; what takes longer does not excuse an edit
SMALL: Final = 2_000  # below this many edits the faults are a handful

out = Console(highlight=False, soft_wrap=True)


# -- faults ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Run:
    site: Site
    author: Author
    ledger: Ledger
    look: Look
    random: Random
    current: int = 1
    began_s: float = field(default_factory=time.monotonic)
    timeline: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    disturbed: list[tuple[float, float]] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.timeline.append(f"{time.monotonic() - self.began_s:7.2f} s  {text}")

    def fault(self, name: str) -> None:
        """Do it, mend it, and wait until edits are served again."""
        started = time.monotonic()
        self.say(name)
        FAULTS[name][0](self)
        mended = time.monotonic()
        while not self._served_since(mended):
            if self.look.error or time.monotonic() > mended + PATIENCE_S:
                self.troubles.append(f"{name}: no edit was served within {PATIENCE_S:g} s")
                break
            time.sleep(0.02)
        again = time.monotonic()
        self.done[name] += 1
        self.recoveries.setdefault(name, []).append(again - mended)
        self.disturbed.append((started, min(again, mended + AGAIN_WITHIN_S)))
        self.say(f"{name}: edits are served again")

    def _served_since(self, at_s: float) -> bool:
        with self.ledger.lock:
            return any(s.served_s != NEVER for s in self.ledger.by_number.values() if s.at_s > at_s)

    def quiet(self, sent: Sent) -> bool:
        """Neither sent nor waited for while anything was broken."""
        return not any(sent.at_s < end and sent.served_s > start for start, end in self.disturbed)


def kill(run: Run) -> None:
    run.site.kill(f"worker-{run.current}")


def hand_over(run: Run) -> None:
    """A second worker joins, the first one goes: in good order, or not."""
    old, run.current = run.current, 3 - run.current
    run.site.wanted.add(run.current)
    run.site.wait_for_member(run.current)
    time.sleep(run.random.uniform(0, 3))
    run.site.wanted.discard(old)
    run.site.stop(f"worker-{old}", grace_s=run.random.choice([0.0, 15.0]))


def zombie(run: Run) -> None:
    """Frozen with work in hand until another worker has its partitions, then thawed."""
    old, run.current = run.current, 3 - run.current
    run.site.wanted.add(run.current)
    run.site.wait_for_member(run.current)
    run.site.signal(old, signal.SIGSTOP)
    time.sleep(SESSION_S + 3)
    run.site.signal(old, signal.SIGCONT)
    time.sleep(2)
    run.site.wanted.discard(old)
    run.site.stop(f"worker-{old}", grace_s=15)


def rewind(run: Run) -> None:
    """The group reads everything again from the beginning."""
    run.site.wanted.clear()
    run.site.stop("worker-1", "worker-2", grace_s=0)
    run.site.rewind_group()
    run.site.wanted.add(run.current)


def make_topic_again(run: Run) -> None:
    with run.author.halt:
        run.author.flush()
        run.ledger.new_topic()
        run.site.make_topic_again()
        run.author.open()


def evict(run: Run) -> None:
    namespace = f"{{{run.site.name}}}:runbooks"
    run.site.store._redis.delete(f"{namespace}:{run.random.choice(['live:entries', 'live:marks', 'meta'])}")


def hang_redis(run: Run) -> None:
    services.pause(run.site.redis_state, "redis")
    time.sleep(3)
    services.resume(run.site.redis_state, "redis")


def crash_redis(run: Run) -> None:
    services.kill(run.site.redis_state, "redis")
    time.sleep(run.random.uniform(0, 2))
    services.start(run.site.redis_state, "redis")


def flush_and_kill(run: Run) -> None:
    """The rebuild itself is killed."""
    run.site.flush()
    time.sleep(run.random.uniform(0, 1.5))
    kill(run)


FAULTS: Final[dict[str, tuple[Callable[[Run], object], int]]] = {  # and how often a whole run meets it
    "worker killed": (kill, 12),
    "Redis back to an older copy": (lambda run: run.site.back_to_an_older_copy(run.random.uniform(1, 3)), 3),
    "offsets reset": (rewind, 3),
    "Redis flushed, worker killed": (flush_and_kill, 2),
    "topic made again": (make_topic_again, 1),
    "workers hand over": (hand_over, 3),
    "zombie": (zombie, 1),
    "Redis flushed": (lambda run: run.site.flush(), 3),
    "Redis lost one key": (evict, 3),
    "Redis hangs": (hang_redis, 1),
    "Redis restarted": (lambda run: services.restart(run.site.redis_state, "redis"), 2),
    "Redis killed": (crash_redis, 2),
}
HANDFUL: Final = 5  # of a small run: the first of the table
BEFORE: Final = 120  # changes before the first fault


def planned(edits: int, broken: str, random: Random) -> list[str]:
    if broken:
        return [BROKEN[broken].fault]
    if edits < SMALL:
        return list(FAULTS)[:HANDFUL]
    names = [name for name, (_, times) in FAULTS.items() for _ in range(times)]
    random.shuffle(names)
    return names


# -- the run -----------------------------------------------------------------------------------------------------------


def check(
    site: Site, *, edits: int, paths: int, rate: float, seed: int, tick: Callable[[int], None]
) -> tuple[Run, Observer]:
    random = Random(seed)
    ledger = Ledger()
    observer = Observer(ledger)
    names = [f"team-{n % 7}/runbook-{n}.md" for n in range(paths)]
    with site.registry_client() as registry, Look(site, observer) as look:
        author = Author(site, registry, ledger, Random(random.random()), names, rate)
        author.open()
        run = Run(site, author, ledger, look, random)
        site.wanted.add(run.current)
        until(lambda: look.numbers is not None, "the first build", run)
        faults = planned(edits, site.broken, random)
        breaking = threading.Thread(target=lambda: _break(run, faults), name="faults", daemon=True)
        breaking.start()
        author.write(edits, breaking.is_alive, tick)
        breaking.join()
        run.say("all is sent")
        settle(run, "the last edit")
        run.say("Redis flushed for the last comparison")
        old, flushed = look.incarnation, time.monotonic()
        site.flush()
        until(lambda: look.incarnation != old, "a new build", run)
        settle(run, "the rebuild after the last flush")
        run.recoveries.setdefault("last flush", []).append(time.monotonic() - flushed)
    held = topic_holds(site)
    final = {path: number for path, number in (look.numbers or {}).items() if number}
    if held != final:
        run.troubles.append(f"served and topic differ: {sorted(set(held.items()) ^ set(final.items()))[:6]}")
    if look.error is not None:
        run.troubles.append(f"the reader ended: {look.error!r}")
    return run, observer


def _break(run: Run, faults: Sequence[str]) -> None:
    while len(run.ledger.by_number) < BEFORE:
        time.sleep(0.05)
    for name in faults:
        time.sleep(run.random.uniform(0.5, 4.0))
        try:
            run.fault(name)
        except Exception as error:
            run.troubles.append(f"{name} could not be done: {error!r}")
            raise


def until(done: Callable[[], bool], what: str, run: Run) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if run.look.error or time.monotonic() > deadline:
            run.troubles.append(f"waited {PATIENCE_S:g} s for {what}")
            return False
        time.sleep(0.02)
    return True


def settle(run: Run, what: str) -> None:
    """Until exactly the ledger's content is served."""
    final = run.ledger.final()

    def wrong() -> dict[str, int]:
        numbers = run.look.numbers
        if numbers is None:
            return {"nothing is served": 0}
        return {path: numbers.get(path, 0) for path, may in final.items() if numbers.get(path, 0) not in may}

    if not until(lambda: not wrong(), what, run):
        some = dict(list(wrong().items())[:5])
        run.troubles.append(f"{what}: served {some}, sent {[(p, final.get(p)) for p in some]}")


# -- the report --------------------------------------------------------------------------------------------------------


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    if len(latencies) < 2:
        return {"n": len(latencies), "p50_s": 0.0, "p99_s": 0.0, "max_s": 0.0}
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {
        "n": len(latencies),
        "p50_s": round(cuts[49], 3),
        "p99_s": round(cuts[98], 3),
        "max_s": round(max(latencies), 2),
    }


def figures(run: Run, observer: Observer, seed: int) -> dict[str, Any]:
    sends = list(run.ledger.by_number.values())
    measured = [s for s in sends if s.served_s != NEVER and s.visible]
    quiet = percentiles([s.served_s - s.at_s for s in measured if run.quiet(s)])
    laws = Counter(breach.law for breach in observer.breaches)
    return {
        "seed": seed,
        "sent": len(sends),
        "deletions": sum(s.deletes for s in sends),
        "unknown": sum(s.state is not State.OK for s in sends),
        "readings": observer.readings,
        "faults": dict(run.done),
        "worker_starts": run.site.starts,
        "breaches": dict(laws),
        "troubles": run.troubles,
        "quiet": quiet,
        "all": percentiles([s.served_s - s.at_s for s in measured]),
        "recovery_max_s": {name: round(max(each), 1) for name, each in run.recoveries.items()},
        "reader_s": {state: round(seconds, 1) for state, seconds in run.look.seconds.items()},
        "reader_longest_s": {state: round(seconds, 1) for state, seconds in run.look.longest.items()},
        "ok": not laws and not run.troubles and quiet["p99_s"] <= GOAL_S and quiet["n"] > 0,
    }


def show(run: Run, observer: Observer, found: dict[str, Any]) -> None:
    out.print(
        f"{found['sent']} sent, {found['deletions']} of them deletions; {found['readings']} readings; faults: "
        + ", ".join(f"{times} x {name}" for name, times in found["faults"].items())
    )
    for name, title in (("quiet", "edit to served, quiet phases"), ("all", "edit to served, faults included")):
        p = found[name]
        out.print(f"{title}: p50 {p['p50_s']} s, p99 {p['p99_s']} s, max {p['max_s']} s over {p['n']}")
    out.print(f"reader: {found['reader_s']} s, longest {found['reader_longest_s']} s")
    out.print(f"edits served again after (worst, s): {found['recovery_max_s']}")
    if not found["ok"]:
        out.print(f"[red]seed {found['seed']}: {found['breaches'] or ''} {found['troubles'] or ''}[/]")
        for breach in observer.breaches[:10]:
            out.print(
                f"  {breach.at_s - run.began_s:.2f} s {breach.path} {breach.law}: {breach.seen}; sent {breach.sent}"
            )
        out.print("timeline:\n  " + "\n  ".join(run.timeline), markup=False)


def _runs(edits: int, broken: str, *, every: bool) -> Iterator[tuple[int, str]]:
    yield edits, broken
    if every and not broken:
        yield from ((SMALL // 10, kind) for kind in BROKEN)


def main(
    edits: Annotated[int, typer.Option(min=50, help=f"changes; below {SMALL} only a handful of faults")] = 5_000,
    paths: Annotated[int, typer.Option(min=2)] = 200,
    rate: Annotated[float, typer.Option(min=1, help="changes a second")] = 20.0,
    seed: Annotated[int, typer.Option()] = 1,
    broken: Annotated[str, typer.Option(help=f"work with a defect, which must be caught: {', '.join(BROKEN)}")] = "",
    defects: Annotated[bool, typer.Option(help="after the run, see that each defect is caught")] = True,
    rebuild: Annotated[int, typer.Option(help="instead: lose Redis with so many runbooks, time the rebuild")] = 0,
    state: Annotated[Path, typer.Option(help="folder of the services")] = Path(".local"),
    cache: Annotated[Path, typer.Option(envvar="FRESHET_CACHE")] = Path("~/.cache/freshet"),
) -> None:
    """Exit code 1 when a law is broken, a goal is missed, or a defect is not caught. The last line is JSON."""
    if broken not in ("", *BROKEN):
        raise typer.BadParameter(f"choose from {', '.join(BROKEN)}", param_hint="--broken")
    out.print(hardware())
    result: dict[str, Any] = {}
    caught: dict[str, dict[str, int]] = {}
    try:
        with stack(state, cache) as endpoints:
            if rebuild:
                with runbook_site("faults-rb-rebuild", state, endpoints, cache) as site:
                    result = runbook_rebuild.measure(site, rebuild, out)
                typer.echo(json.dumps(result))
                raise typer.Exit(0 if result["ok"] else 1)
            for size, kind in _runs(edits, broken, every=defects):
                out.print(f"runbooks under faults: {size} edits, {paths} paths, seed {seed}, defect: {kind or 'none'}")
                with (
                    broken_scripts(kind),
                    runbook_site("faults-rb", state, endpoints, cache, kind) as site,
                    Progress(console=out) as bar,
                ):
                    advance = partial(bar.update, bar.add_task("edits", total=size))
                    run, observer = check(
                        site,
                        edits=size,
                        paths=BEFORE // 3 if kind else paths,  # several versions of each, some deleted
                        rate=rate,
                        seed=seed,
                        tick=lambda done, advance=advance: advance(completed=done),
                    )
                    found = figures(run, observer, seed)
                if kind:
                    caught[kind] = found["breaches"]
                    out.print(f"{kind}: {'caught' if found['breaches'] else 'NOT CAUGHT'} {found['breaches']}")
                else:
                    show(run, observer, found)
                    result = found
    except FreshetError as error:
        out.print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from None
    result["caught"] = caught
    result["ok"] = result.get("ok", True) and all(caught.values())
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
