"""A checker that cannot fail proves nothing: pipelines with one defect each, and the fault that brings it to light.

All of them read the same topics, under groups and into indices of their own; one without a defect must pass.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.services import Endpoints
from streams.topics import Broker
from tests.faults.check import Expected, Findings, audit, expect
from tests.faults.crew import ANSWER_S, Crew, crew
from tests.faults.ledger import Book, Ledger
from tests.faults.proxy import Fault, Proxy
from tests.faults.sampler import Sampler
from tests.faults.traffic import Traffic
from tests.faults.worker_with import BROKEN

RECORDS: Final = 3_000
PARTITIONS: Final = 2
SPAN_S: Final = 120.0  # few minutes, so that documents live through many flushes
CRASH_AT: Final = 6  # of about fifteen flushes: in the middle of some partition, whatever order they are read in
AT_ONCE: Final = 3
PATIENCE_S: Final = 90.0
BORROWED: Final = ("FRESHET_KAFKA__INPUTS",)
SOUND: Final = "sound"  # no defect


@dataclass(frozen=True, slots=True, kw_only=True)
class Provocation:
    """`weather` while it reads; with `restart` or `crash` it is killed, and started again in calm weather."""

    weather: Mapping[Fault, float] = field(default_factory=dict)
    crash: str = ""
    restart: bool = False
    flush_records: int = 200


PROVOCATIONS: Final = {
    SOUND: Provocation(
        weather={
            Fault.ITEM_429: 0.2,
            Fault.ITEM_503: 0.2,
            Fault.ITEM_409: 0.2,
            Fault.RESET: 0.2,
            Fault.LOST_REPLY: 0.2,
        },
        crash="after_bulk_before_ack",
    ),
    "commit-before-index": Provocation(weather={Fault.UNAVAILABLE: 1.0}, restart=True, flush_records=50_000),
    "acknowledge-on-exception": Provocation(weather={Fault.RESET: 0.3}),
    "200-is-success": Provocation(weather={Fault.ITEM_503: 0.5}),
    "swallow-429": Provocation(weather={Fault.ITEM_429: 0.5}),
    "409-on-update-is-done": Provocation(weather={Fault.ITEM_409: 0.5}),
    "random-ids": Provocation(crash="after_bulk_before_ack"),
    "no-mark-check": Provocation(crash="after_bulk_before_ack"),
    "lose-letters": Provocation(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    name: str
    findings: Findings

    @property
    def right(self) -> bool:
        """Found sound what is sound, and broken what is broken."""
        return self.findings.ok == (self.name == SOUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The records that all trials read."""

    book: Book
    expected: Expected
    seed: int


def hold(
    *, seed: int, name: str, state: Path, endpoints: Endpoints, file: Path, tell: Callable[[str], None]
) -> list[Verdict]:
    """All trials, a few at a time."""
    crews = [crew(name, state, endpoints, partitions=PARTITIONS, extra={})]
    source = crews[0]
    traffic = Traffic.of(RECORDS, seed=seed, now_s=time.time(), batch=10, span_s=SPAN_S)
    ledger = Ledger(file, traffic, endpoints.kafka, source.topics)
    try:
        ledger.send(RECORDS)
        ledger.settle()
        findings = Findings()
        expected = expect(ledger.book, source.settings(), findings)
        given = Range(book=ledger.book, expected=expected, seed=seed)
        assert findings.ok, findings.shown

        borrowed = {name: source.environment[name] for name in BORROWED}

        def told(numbered: tuple[int, str]) -> Verdict:
            number, defect = numbered
            made = crew(f"{name}-{number}", state, endpoints, partitions=PARTITIONS, extra=borrowed)
            crews.append(made)
            verdict = trial(given, made, defect)
            found = ", ".join(f"{count} {what}" for what, count in verdict.findings.counts.most_common()) or "nothing"
            tell(f"{verdict.name}: {'as it should be' if verdict.right else 'WRONG'}, found {found}")
            return verdict

        assert PROVOCATIONS.keys() == {SOUND, *BROKEN}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(told, enumerate(PROVOCATIONS)))
    finally:
        ledger.close()
        for made in crews:  # at the end: a static member stays in its group until its session has timed out
            made.remove()


def trial(given: Range, made: Crew, name: str) -> Verdict:
    """One pipeline over the range, and what the checker says of it."""
    provocation = PROVOCATIONS[name]
    proxy = Proxy(made.endpoints.opensearch, given.seed).start()
    made.extra["FRESHET_OPENSEARCH__URL"] = proxy.url
    made.extra["FRESHET_WORKER__FLUSH_RECORDS"] = str(provocation.flush_records)
    findings = Findings()
    sampler = Sampler(given.book, made.settings(), given.expected.ids, findings, given.seed)
    broken = "" if name == SOUND else name
    try:
        proxy.weather = provocation.weather
        made.start(1, broken=broken, crash=provocation.crash, nth=CRASH_AT)
        if provocation.crash:
            until(lambda: not made.pid(1), made, "its death")
        elif provocation.restart:
            until(lambda: any(positions(given, made).values()), made, "the first positions")
        else:
            until(lambda: finished(given, made), made, "the end of the records")
        if provocation.crash or provocation.restart:
            made.kill("worker-1")
            sampler.sample()
            proxy.weather = {}
            made.start(1, broken=broken)
            until(lambda: finished(given, made), made, "the end of the records")
        made.stop()
        audit(given.expected, given.book, made.settings(), positions(given, made), findings)
    finally:
        made.stop(grace_s=0)
        proxy.stop()
    return Verdict(name=name, findings=findings)


def finished(given: Range, made: Crew) -> bool:
    return positions(given, made) == given.expected.ends


def positions(given: Range, made: Crew) -> dict[tuple[str, int], int]:
    kafka = made.settings().kafka
    return Broker(kafka, ANSWER_S).committed(kafka.group, given.expected.ends)


def until(done: Callable[[], bool], made: Crew, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{made.name} waited {PATIENCE_S:.0f} s for {what}: {made.last_words(1)}")
        time.sleep(0.2)
