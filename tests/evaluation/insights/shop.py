"""The generated shop: every kind of incident, alone and together, and quiet hours in which nothing should be told."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from multiprocessing import get_context
from typing import Final

from deploy.shop.incidents import KINDS, Incident, build_incident, cast_victims
from deploy.shop.player import PASSING_RATE, REGIONS, Scenario, passing_incidents, play, quiet_hours
from deploy.shop.script import Fires, Happens, Lines, notify, observe, say
from deploy.shop.telemetry import Log, Notice, Observation
from deploy.shop.topology import CLUSTER, HOME, build_estate
from schemas.records import Message
from schemas.topics import DEFAULT_INPUTS
from tests.evaluation.insights.baselines import Peers
from tests.evaluation.insights.recordings import settings_of
from tests.evaluation.insights.report import Part
from tests.evaluation.insights.route import run as run_route
from tests.evaluation.insights.shop_report import reported
from tests.evaluation.insights.truth import Fault, Judged, Truth, judged

END: Final = datetime(2026, 11, 19, 20, 5, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
STAGGER: Final = timedelta(seconds=20)
QUIET_SEEDS: Final = 3  # of two hours each
BAD: Final = ("warn", "error", "fatal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One recording to make, and what to call its group in the report."""

    group: str
    seed: int
    scenario: Callable[[], Scenario]
    after: timedelta = 15 * MINUTE  # played on after the last end


def standing(*, seeds: int) -> Iterator[Play]:
    """What `make eval-insights` plays, the long ones first."""
    for seed in range(1, seeds + 1):
        yield Play(group="alone", seed=seed, scenario=partial(alone, seed))
    yield Play(group="two shops", seed=7, scenario=partial(two_shops, 7))
    for seed in range(11, 11 + QUIET_SEEDS):
        yield Play(group="quiet", seed=seed, scenario=partial(quiet, seed))
    yield Play(group="overlapping", seed=4, scenario=partial(overlapping, 4))


def small() -> Iterator[Play]:
    """For a test: two kinds, and an hour in which nothing should be told."""
    kinds = ("pool-exhaustion", "bad-deploy")
    yield Play(group="alone", seed=1, scenario=partial(alone, 1, kinds, peace=15 * MINUTE), after=6 * MINUTE)
    yield Play(group="quiet", seed=11, scenario=partial(quiet, 11, hours=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was told of one play, by us and by the peers, and what it took."""

    play: Play
    judged: Judged
    peers: Mapping[str, Judged]
    latencies_s: Sequence[float]
    records: int
    seconds: float


def tell(play: Play) -> Told:
    """Play it, run it through the route, compare. Takes a sixth of a second for each minute that is played."""
    scenario, peers, began = play.scenario(), Peers(), time.perf_counter()
    ran = run_route(messages(scenario, play.after), settings_of(DEFAULT_INPUTS, CLUSTER), tap=peers.tap)
    truth = truths(scenario)
    return Told(
        play=play,
        judged=judged(truth, ran),
        peers={name: judged(truth, theirs) for name, theirs in peers.rans.items()},
        latencies_s=ran.latencies_s(),
        records=ran.records,
        seconds=time.perf_counter() - began,
    )


def run(say: Callable[[str], None], *, seeds: int = 2, jobs: int = 2, plays: Sequence[Play] = ()) -> Part:
    """All of it, `jobs` at a time."""
    chosen, done = plays or list(standing(seeds=seeds)), []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for one in as_completed([pool.submit(tell, play) for play in chosen]):
            told = one.result()
            done.append(told)
            say(f"shop: {told.play.group} {told.play.seed}, {told.records} records in {told.seconds:.0f} s")
    return reported(sorted(done, key=lambda told: (told.play.group, told.play.seed)))


def alone(seed: int, kinds: tuple[str, ...] = tuple(KINDS), peace: timedelta = 60 * MINUTE) -> Scenario:
    """An hour of peace, then one kind after the other: each grows for 5 minutes, lasts 10, and 15 of peace follow."""
    return passing_incidents(
        seed, end=END, every=25 * MINUTE, grows=5 * MINUTE, lasts=10 * MINUTE, peace=peace, kinds=kinds
    )


def overlapping(seed: int) -> Scenario:
    """An hour of peace, then one begins every five minutes, while the one before goes on."""
    return passing_incidents(seed, end=END, peace=60 * MINUTE)


def two_shops(seed: int) -> Scenario:
    """Two shops in one cluster: after an hour of peace each has an incident of its own at the same time, four times."""
    names = tuple(f"{HOME}-{region}" for region in REGIONS[:2])
    estate, kinds, start = build_estate(names, seed=seed), sorted(KINDS), END - 175 * MINUTE
    victims = {name: cast_victims(estate, name, tuple(kinds), seed + n) for n, name in enumerate(names)}
    incidents = []
    for place, kind in enumerate(kinds):
        name = names[place % 2]
        begins = start + 60 * MINUTE + place // 2 * 25 * MINUTE + place % 2 * STAGGER
        incidents.append(
            build_incident(
                estate, kind, victims[name][kind], namespace=name, seed=seed, start=begins, end=begins + 5 * MINUTE,
                alone=False, over=begins + 10 * MINUTE,
            )
        )  # fmt: skip
    return Scenario(
        seed=seed, start=start, end=END, estate=estate, incidents=tuple(incidents), rate=2 * PASSING_RATE
    )  # fmt: skip


def quiet(seed: int, hours: float = 2, rate: float = PASSING_RATE) -> Scenario:
    return quiet_hours(seed, end=END + timedelta(days=seed), hours=hours, rate=rate)


def messages(scenario: Scenario, after: timedelta) -> Iterator[Message]:
    """As Kafka would hand them over, up to the end of the last incident and a while on."""
    overs = [incident.over for incident in scenario.incidents if incident.over]
    until = min(scenario.end, max(overs) + after) if overs else scenario.end
    offsets: dict[str, Iterator[int]] = {}
    for one in play(scenario, until=until):
        offset = next(offsets.setdefault(one.topic, count()))
        yield Message(one.topic, f"id-{one.topic}", 0, offset, one.timestamp_ms, one.key, one.value, one.headers)


def truths(scenario: Scenario) -> list[Truth]:
    return [_truth(incident, scenario) for incident in scenario.incidents]


def _truth(incident: Incident, scenario: Scenario) -> Truth:
    first = list(_first_seen(incident, scenario.loudness))
    over = incident.over or scenario.end
    fault = Fault("node", incident.node) if incident.node else Fault("workload", incident.workload, incident.namespace)
    return Truth(
        id=incident.id,
        kind=incident.kind,
        first_ms=int(min(at_s for at_s, _ in first) * 1000),
        bad_ms=int(min(at_s for at_s, bad in first if bad) * 1000),
        grown_ms=int(incident.end.timestamp() * 1000),
        over_ms=int(over.timestamp() * 1000),
        fault=fault,
        touched=frozenset(_touched(incident)),
    )


def _first_seen(incident: Incident, loudness: float) -> Iterator[tuple[float, bool]]:
    """When each row of the incident is seen first, and whether that says that something is wrong."""
    start_s, end_s = incident.start.timestamp(), incident.end.timestamp()
    for row in incident.rows:
        one: Log | Observation | Notice
        if isinstance(row, Lines):
            one = next(say(row, seed=incident.id, start_s=start_s, end_s=end_s, loudness=loudness))
            yield one.at_s, one.level in BAD
        elif isinstance(row, Happens):
            one = next(observe(row, seed=incident.id, start_s=start_s))
            yield one.at_s, one.warning
        elif isinstance(row, Fires):
            yield next(notify(row, start_s=start_s)).at_s, True


def _touched(incident: Incident) -> Iterator[tuple[str, str]]:
    """Workloads and nodes whose records the incident changes."""
    yield from ((name, incident.namespace) for name in (incident.workload, *incident.callers))
    if incident.node:
        yield incident.node, ""
    for row in incident.rows:
        if isinstance(row, Lines):
            yield from ((pod.service.name, pod.namespace) for pod in row.pods)
        elif isinstance(row, Happens):
            yield row.subject.name, row.subject.namespace
