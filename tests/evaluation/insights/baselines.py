"""Simple peers on the same summaries in the same run: they open, name causes and close as ours does.

Each looks once a minute at two kinds of series: what each workload or node said that was a warning or worse (lines,
Warning events, alerts), and the last value of each metric (a counter's increase). An alarm is open while anything is
out of the ordinary, and for five minutes after. Thresholds are what the names say; none was fitted.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final, Protocol

from schemas.insights import Cause, Insight, State
from schemas.records import WARN, Resource
from schemas.summaries import Fired, Happened, Said, Sampled, Told
from tests.evaluation.insights.route import Arrival, Ran

MINUTE_MS: Final = 60_000
GRACE_MS: Final = 5_000  # after a minute's end: what ours waits
CLOSE_MS: Final = 300_000  # as ours
WINDOW: Final = 60  # minutes
LEAST: Final = 10  # minutes of a series before it is judged
GAUSSIAN: Final = 4.42  # a two-sided tail of 1e-5
SIGMAS: Final = 3.0
LOUD: Final = 5  # minutes over which warnings are counted
TOP: Final = 5

Who = tuple[str, str, str]  # kind, name, namespace
Minute = Mapping[tuple[Who, str], float]  # by entity and series


class Peer(Protocol):
    def judge(self, minute: Minute) -> dict[Who, float]:
        """Who is out of the ordinary in this minute, and by how much; empty: nobody."""


class Gaussian:
    """Distance from the mean of a window, or of everything so far, in standard deviations."""

    def __init__(self, limit: float, window: int | None) -> None:
        self._limit, self._window = limit, window
        self._past: dict[tuple[Who, str], deque[float]] = defaultdict(lambda: deque(maxlen=window))
        self._sums: dict[tuple[Who, str], tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def judge(self, minute: Minute) -> dict[Who, float]:
        found: dict[Who, float] = {}
        for key, value in minute.items():
            past, (total, squares) = self._past[key], self._sums[key]
            if (count := len(past)) >= LEAST:
                mean = total / count
                deviation = math.sqrt(max(0.0, squares / count - mean * mean))
                # What never varied is allowed a unit (counts) or a hundredth.
                floor = 1.0 if key[1] == "" else max(abs(mean) / 100, 1e-9)
                distance = abs(value - mean) / max(deviation, floor)
                if distance > self._limit:
                    found[key[0]] = max(found.get(key[0], 0.0), distance)
            gone = past[0] if past.maxlen and count == past.maxlen else 0.0
            past.append(value)
            self._sums[key] = (total + value - gone, squares + value * value - gone * gone)
        return found


class MostWarnings:
    """Alarm when a minute has more warnings than any of the hour before; who has most of the last minutes is it."""

    def __init__(self) -> None:
        self._totals: deque[float] = deque(maxlen=WINDOW)
        self._recent: deque[dict[Who, float]] = deque(maxlen=LOUD)

    def judge(self, minute: Minute) -> dict[Who, float]:
        said = {who: value for (who, series), value in minute.items() if series == "" and value}
        total = sum(said.values())
        self._recent.append(said)
        loud = len(self._totals) >= LEAST and total > max(self._totals)
        self._totals.append(total)
        counts: dict[Who, float] = defaultdict(float)
        for each in self._recent if loud else ():
            for who, value in each.items():
                counts[who] += value
        return dict(counts)


class Guess:
    """Once an hour, at random, somebody."""

    def __init__(self) -> None:
        self._rng = Random("guess")

    def judge(self, minute: Minute) -> dict[Who, float]:
        if self._rng.random() >= 1 / WINDOW:
            return {}
        return {who: self._rng.random() for who in sorted({who for who, _ in minute})}


class Peers:
    """All of them, fed by the tap of the route."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {
            "windowed Gaussian": Gaussian(GAUSSIAN, WINDOW),
            "three-sigma": Gaussian(SIGMAS, None),
            "most-Warnings": MostWarnings(),
            "random": Guess(),
        }
        self._alarms = {name: Alarm(name) for name in self._peers}
        self._told: dict[object, int] = {}  # counts of documents as far as they are counted here
        self._counts: dict[Who, float] = defaultdict(float)
        self._known: set[Who] = set()
        self._metrics: dict[tuple[Who, str], float] = {}
        self._before: dict[str, float] = {}  # counters
        self._due_ms = 0
        self.rans = {name: Ran() for name in self._peers}

    def tap(self, told: Sequence[Told], at_ms: int) -> None:
        self._due_ms = self._due_ms or at_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS + GRACE_MS
        while at_ms >= self._due_ms:
            self._minute(self._due_ms)
            self._due_ms += MINUTE_MS
        for each in told:
            if isinstance(each, Said):
                if each.severity >= WARN:
                    self._count(each.resource, each.document, sum(n for _, n in each.slices.values()))
            elif isinstance(each, Happened):
                times = max((seen.times for seen in each.observations if seen.warning), default=0)
                self._count(each.resource, each.document, times)
            elif isinstance(each, Fired):
                self._count(each.resource, each.document, int(any(o.firing for o in each.observations)))
            elif isinstance(each, Sampled) and each.points:
                self._measure(each)

    def _count(self, resource: Resource, document: object, total: int) -> None:
        more = total - self._told.get(document, 0)
        if more > 0:
            self._told[document] = total
            self._counts[_who(resource)] += more

    def _measure(self, sampled: Sampled) -> None:
        value, who = sampled.points[-1].value, _who(sampled.resource)
        if sampled.monotonic:
            before = self._before.get(sampled.series)
            self._before[sampled.series] = value
            if before is None:
                return
            value = max(0.0, value - before)
            value += self._metrics.get((who, sampled.series), 0.0)  # of this minute so far
        self._metrics[who, sampled.series] = value

    def _minute(self, at_ms: int) -> None:
        self._known |= self._counts.keys()
        minute = {(who, ""): self._counts.get(who, 0.0) for who in sorted(self._known)} | self._metrics
        for name, peer in self._peers.items():
            ran = self.rans[name]
            ran.first_ms, ran.last_ms = ran.first_ms or at_ms, at_ms
            ran.arrivals += self._alarms[name].revisions(peer.judge(minute), at_ms)
        self._counts.clear()
        self._metrics.clear()


class Alarm:
    """Of one peer: opened, updated, resolved."""

    def __init__(self, peer: str) -> None:
        self._peer, self._number, self._revision, self._opened_ms, self._seen_ms = peer, 0, 0, 0, 0
        self._causes: tuple[Cause, ...] = ()

    def revisions(self, found: Mapping[Who, float], at_ms: int) -> Iterator[Arrival]:
        if found:
            state: State = "updated" if self._revision else "opened"
            if state == "opened":
                self._number, self._opened_ms = self._number + 1, at_ms
            ranked = sorted(found.items(), key=lambda each: (-each[1], each[0]))[:TOP]
            self._seen_ms = at_ms
            self._causes = tuple(
                Cause(kind=kind, name=name, namespace=where, score=0.0, why="") for (kind, name, where), _ in ranked
            )
            yield self._arrival(state, at_ms)
        elif self._revision and at_ms - self._seen_ms >= CLOSE_MS:
            yield self._arrival("resolved", at_ms)
            self._revision = 0

    def _arrival(self, state: State, at_ms: int) -> Arrival:
        self._revision += 1
        opened, now = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (self._opened_ms, at_ms))
        insight = Insight(
            id=f"{self._peer}-{self._number}", revision=self._revision, state=state, cluster="", title=self._peer,
            severity="warning", fingerprint=self._peer, started=opened, detected=opened, updated=now,
            symptom_count=1, causes=self._causes,
        )  # fmt: skip
        return Arrival(at_ms=at_ms, insight=insight)


def _who(resource: Resource) -> Who:
    if resource.workload:
        return "workload", resource.workload, resource.namespace
    return ("node", resource.node, "") if resource.node else ("namespace", resource.namespace, resource.namespace)
