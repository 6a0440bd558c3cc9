"""The campaign: send, break, look, again; then let it settle and account for every record."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from cag.topic import describe
from deploy.local import services
from deploy.local.services import Endpoints
from schemas.errors import FreshetError, SinkUnavailable
from schemas.settings import Settings
from streams.topics import Broker
from tests.faults.check import Expected, Findings, audit, expect, read_letters
from tests.faults.crew import ANSWER_S, SESSION_S, Crew, crew
from tests.faults.ledger import Ledger, Place
from tests.faults.proxy import Fault, Proxy
from tests.faults.sampler import Sampler, Watch
from tests.faults.traffic import Traffic
from tests.faults.worker_with import CRASH

WEATHER: Final[Mapping[Fault, float]] = {
    Fault.LATENCY: 0.10,
    Fault.RESET: 0.03,
    Fault.LOST_REPLY: 0.05,
    Fault.CUT_REPLY: 0.03,
    Fault.ITEM_429: 0.08,
    Fault.ITEM_503: 0.08,
    Fault.ITEM_409: 0.08,
    Fault.OVERLOAD: 0.02,
    Fault.UNAVAILABLE: 0.02,
    Fault.HTML: 0.02,
}
OUTAGES: Final = (Fault.UNAUTHORIZED, Fault.READ_ONLY, Fault.FORBIDDEN, Fault.HTML)
OUTAGE_S: Final = 4.0
PATIENCE_S: Final = 120.0  # without any progress
# Measured: 180 MB and 40 descriptors after an hour's work; a leak passes these within one long run.
MOST_MB, MOST_FILES = 700, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    records: int
    partitions: int  # of each input topic
    workers: int
    batch: int  # most records in a message
    random_kills: int
    rounds: int  # of every crash point
    broker_kills: int
    outages: int


SMALL: Final = Size(
    records=50_000, partitions=4, workers=2, batch=20, random_kills=3, rounds=1, broker_kills=1, outages=2
)
FULL: Final = Size(
    records=1_000_000, partitions=24, workers=4, batch=100, random_kills=20, rounds=3, broker_kills=2, outages=4
)


@dataclass(slots=True, kw_only=True)
class Campaign:
    """One run over one installation. `tell` shows a line of the timeline; `advance` a share of the work, 0 to 1."""

    size: Size
    seed: int
    crew: Crew
    ledger: Ledger
    proxy: Proxy
    findings: Findings
    tell: Callable[[str], None]
    advance: Callable[[float], None]
    settings: Settings
    broker: Broker
    places: list[Place]
    watch: Watch
    sampler: Sampler
    rng: Random
    began: float = field(default_factory=time.monotonic)
    timeline: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)  # seconds
    down: set[int] = field(default_factory=set)  # workers that are dead because we wanted it
    kills: int = 0
    exits: int = 0  # workers that ended by themselves

    def note(self, what: str) -> None:
        line = f"{time.monotonic() - self.began:7.1f} s  {what}"
        self.timeline.append(line)
        self.tell(line)

    # -- steps --------------------------------------------------------------------------------------------------------

    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Everything that will happen, in an order that the seed decides."""
        size, made = self.size, list[tuple[str, Callable[[], None]]]()
        for _ in range(size.rounds):
            made += [(f"crash {point}", lambda point=point: self.crash(point)) for point in CRASH]  # type: ignore[misc]
        made += [("random kill", self.random_kill)] * size.random_kills
        made += [("freeze", self.freeze), ("join and leave", self.join_and_leave)] * size.rounds
        made += [(f"outage {f}", lambda f=f: self.outage(f)) for f in OUTAGES[: size.outages]]  # type: ignore[misc]
        made += [("broker kill", self.broker_kill)] * size.broker_kills
        self.rng.shuffle(made)
        return made

    def work(self) -> None:
        for number in range(1, self.size.workers + 1):
            self.start(number)
        self.note(f"{self.size.workers} workers started")
        steps = self.steps()
        share = self.size.records // (len(steps) + 1) + 1
        self.ledger.send(share)
        self.until(lambda: sum(self.committed().values()) > 0, "the first records")
        self.proxy.weather = WEATHER
        for done, (name, step) in enumerate(steps):
            self.advance(done / len(steps))
            self.ledger.send(share)
            if not name.startswith("crash"):  # that starts its victim itself
                self.revive()
            self.note(name)
            step()
        self.settle()
        self.advance(1.0)

    def crash(self, point: str) -> None:
        """Some worker is started anew with its death built in; records come until it has died."""
        victim = self.rng.randint(1, self.size.workers)
        if self.crew.pid(victim):
            self.kill(victim, "to be armed")
        self.start(victim, crash=point, nth=self.rng.randint(1, 3))
        self.until(lambda: not self.crew.pid(victim), f"death at {point}", trickle=20, but=victim)
        self.dead(victim, f"at {point}")

    def random_kill(self) -> None:
        number = self.rng.randint(1, self.size.workers)
        time.sleep(self.rng.uniform(0.2, 2.0))
        self.kill(number, "at random")
        killed = time.monotonic()
        self.start(number)
        self.until(lambda: self.watch.recovered_s(killed) is not None, f"worker-{number}'s partitions")
        self.recovered(f"worker-{number}", killed)

    def freeze(self) -> None:
        """A zombie: it stands past its session, others take over, then it goes on where it stood."""
        number = self.rng.randint(1, self.size.workers)
        self.crew.signal(number, signal.SIGSTOP)
        time.sleep(SESSION_S + 3)
        self.ledger.send(200)
        self.sampler.sample()
        self.crew.signal(number, signal.SIGCONT)
        self.note(f"worker-{number} thawed")
        time.sleep(2)
        self.sampler.sample()

    def join_and_leave(self) -> None:
        extra = self.size.workers + 1
        self.start(extra)
        member = f"{self.crew.name}-{extra}"
        self.until(lambda: member in self.broker.group(self.settings.kafka.group).instances, "a new member", trickle=20)
        self.note(f"worker-{extra} joined")
        time.sleep(2)
        self.crew.stop(f"worker-{extra}")
        self.note(f"worker-{extra} left")
        self.sampler.sample()

    def outage(self, fault: Fault) -> None:
        """OpenSearch refuses everything: no position moves, no letter is written, nobody gives up."""
        began = time.monotonic()
        self.proxy.outage = fault
        before = self.quiet()
        letters = sum(1 for _ in read_letters(self.settings))
        time.sleep(OUTAGE_S)
        after = self.committed()
        moved = {place: after[place] - before.get(place, 0) for place in after if after[place] != before.get(place)}
        self.findings.add("acknowledged in an outage", len(moved), f"{fault}: {moved}")
        more = sum(1 for _ in read_letters(self.settings)) - letters
        self.findings.add("letters in an outage", more, f"{fault}: {more} dead letters")
        self.proxy.outage = None
        self.watch.pauses.append((began, time.monotonic() + 10))
        self.until(lambda: self.committed() != after or not self.behind(), f"work after {fault}")

    def broker_kill(self) -> None:
        services.kill(self.crew.state, "kafka")
        began = time.monotonic()
        self.ledger.send(200)
        time.sleep(self.rng.uniform(1, 4))
        services.start(self.crew.state, "kafka")
        self.watch.pauses.append((began, time.monotonic()))
        back = time.monotonic()
        self.note("Kafka is back")
        self.until(lambda: self.watch.recovered_s(back) is not None, "work after Kafka's restart")
        self.recovered("Kafka", back)
        self.sampler.sample()

    def settle(self) -> None:
        """Calm weather, everybody at work, until every record that Kafka holds is committed."""
        self.note("settling")
        self.proxy.weather = {}
        self.ledger.top_up(self.size.records)
        self.until(lambda: not self.behind(), "the rest")
        self.watch.stop()
        self.sampler.sample()
        for number in range(1, self.size.workers + 1):
            if not self.crew.pid(number):
                continue
            for what, value, most in (
                ("MB", self.crew.resident_mb(number), MOST_MB),
                ("open files", self.crew.open_files(number), MOST_FILES),
            ):
                self.findings.add("resources", int(value > most), f"worker-{number} has {value} {what}")
        self.crew.stop()
        left = self.crew.alive()
        self.findings.add("resources", len(left), f"still running: {left}")
        self.note("settled")

    # -- what they are made of ----------------------------------------------------------------------------------------

    def kill(self, number: int, why: str) -> None:
        self.crew.kill(f"worker-{number}")
        self.dead(number, why)

    def dead(self, number: int, why: str) -> None:
        """Look at what the dead one has promised, before anybody goes on in its place."""
        self.kills += 1
        self.down.add(number)
        self.sampler.sample()
        self.note(f"killed: worker-{number} {why}")

    def start(self, number: int, *, crash: str = "", nth: int = 1) -> None:
        self.down.discard(number)
        self.crew.start(number, crash=crash, nth=nth)

    def revive(self, but: int = 0) -> None:
        """What a supervisor does: start whoever has ended."""
        for number in range(1, self.size.workers + 1):
            if number != but and not self.crew.pid(number):
                if number not in self.down:
                    self.exits += 1
                    self.note(f"worker-{number} ended by itself: {self.crew.last_words(number)}")
                self.start(number)

    def recovered(self, who: str, since_s: float) -> None:
        took = self.watch.recovered_s(since_s) or 0.0
        self.recoveries.append(took)
        self.note(f"all partitions move again {took:.1f} s after {who}")

    def until(self, done: Callable[[], bool], what: str, *, trickle: int = 0, but: int = 0) -> None:
        """Wait, sending a few records meanwhile; raises Stuck when no position moves for too long."""
        moved, before = time.monotonic(), self.committed()
        while not done():
            self.ledger.send(trickle)
            self.revive(but)
            time.sleep(0.2)
            now = self.committed()
            if now != before:
                moved, before = time.monotonic(), now
            if time.monotonic() - moved > PATIENCE_S:
                raise Stuck(f"no position moved for {PATIENCE_S:.0f} s while waiting for {what}; {self.diagnosis()}")

    def diagnosis(self) -> str:
        """Where the group stands, for whoever has to find out why it does not move."""
        kafka = self.settings.kafka
        behind = {place: lag for place, lag in self.lags().items() if lag}
        group = self.broker.group(kafka.group)
        misplaced = self.broker.misplaced(group, [i.topic for i in kafka.inputs])
        state = "stable" if group.stable else "rebalancing"
        return f"behind: {behind}; {state}, members {sorted(group.instances)}, misplaced: {misplaced}"

    def quiet(self) -> dict[Place, int]:
        """The positions, once they have stood for two seconds."""
        while True:
            before = self.committed()
            time.sleep(2)
            if self.committed() == before:
                return before

    def committed(self) -> dict[Place, int]:
        return self.broker.committed(self.settings.kafka.group, self.places)

    def lags(self) -> dict[Place, int]:
        return self.broker.lag(self.settings.kafka.group, self.places)

    def behind(self) -> bool:
        try:
            return any(self.lags().values())
        except SinkUnavailable:  # Kafka may just have been restarted: not known means not done
            return True


class Stuck(FreshetError):
    """Nothing moves any more although everything is there."""


@contextmanager
def campaign(
    size: Size,
    *,
    seed: int,
    name: str,
    state: Path,
    endpoints: Endpoints,
    file: Path,
    tell: Callable[[str], None],
    advance: Callable[[float], None] = lambda _: None,
) -> Iterator[Campaign]:
    """Everything that a run needs; nothing of it is left behind but the ledger."""
    proxy = Proxy(endpoints.opensearch, seed).start()
    made = crew(name, state, endpoints, partitions=size.partitions, extra={"FRESHET_OPENSEARCH__URL": proxy.url})
    settings = made.settings()
    traffic = Traffic.of(size.records, seed=seed, now_s=time.time(), batch=size.batch)
    ledger = Ledger(file, traffic, endpoints.kafka, made.topics)
    findings = Findings()
    ids = {i.topic: describe(settings.kafka, i.topic).topic_id for i in settings.kafka.inputs}
    try:
        yield Campaign(
            size=size,
            seed=seed,
            crew=made,
            ledger=ledger,
            proxy=proxy,
            findings=findings,
            tell=tell,
            advance=advance,
            settings=settings,
            broker=Broker(settings.kafka, ANSWER_S),
            places=[(topic, partition) for topic in ids for partition in range(size.partitions)],
            watch=Watch(ledger.book, settings).start(),
            sampler=Sampler(ledger.book, settings, ids, findings, seed),
            rng=Random(f"{seed}/campaign"),
        )
    finally:
        made.stop(grace_s=0)
        ledger.close()
        made.remove()
        proxy.stop()


def account(run: Campaign) -> Expected:
    """The full scan."""
    expected = expect(run.ledger.book, run.settings, run.findings)
    run.note(f"{expected.records} records in {expected.messages} messages, {len(expected.documents)} documents")
    committed = run.broker.committed(run.settings.kafka.group, expected.ends)
    audit(expected, run.ledger.book, run.settings, committed, run.findings)
    run.note("accounted for")
    return expected
