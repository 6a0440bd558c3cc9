"""What really happened, and how what was told compares with it. Pure.

An episode is an incident from its opening to its end, as a subscriber sees it; one that was reopened has several.
It belongs to a true incident when it opens while that one goes on and names something that it touches, or when it names
the entity at fault while that one goes on. One that belongs to none is a false incident.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.insights import Cause, Insight
from tests.evaluation.insights.route import HOUR_MS, Arrival, Ran

LATE_MS: Final = 60_000  # what has just ended may still be told
CALM_MS: Final = 300_000  # after the end of an incident, before an hour counts as quiet again


@dataclass(frozen=True, slots=True)
class Fault:
    """The entity at fault: a pod counts as its workload."""

    kind: str  # workload or node
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"

    def named(self, kind: str, name: str, namespace: str) -> bool:
        if self.kind == "node":
            return kind == "node" and name == self.name
        return self.namespace in ("", namespace) and _of_workload(kind, name, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One true incident. Times are epoch milliseconds of event time."""

    id: str
    kind: str
    first_ms: int  # of its first visible record, whatever that is
    bad_ms: int  # of its first line of warning or worse, Warning event or alert
    grown_ms: int  # by then it shows in all that it touches: what is said of its cause is judged then
    over_ms: int
    fault: Fault
    touched: frozenset[tuple[str, str]] = frozenset()  # workloads and nodes where it shows, each with its namespace

    def touches(self, kind: str, name: str, namespace: str) -> bool:
        """Where it is not known what it touches, everything belongs to it."""
        return not self.touched or any(
            Fault("node" if not where and kind == "node" else "workload", each, where).named(kind, name, namespace)
            for each, where in self.touched
        )


def _of_workload(kind: str, name: str, workload: str) -> bool:
    return name == workload if kind == "workload" else kind == "pod" and name.startswith(f"{workload}-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """Revisions from an opening to an end."""

    arrivals: tuple[Arrival, ...]

    @property
    def opened_ms(self) -> int:
        return self.arrivals[0].at_ms

    @property
    def last(self) -> Insight:
        return self.arrivals[-1].insight

    @property
    def merged(self) -> bool:
        return self.last.state == "merged"

    @property
    def ended_ms(self) -> int | None:
        return self.arrivals[-1].at_ms if self.last.state in ("resolved", "merged") else None

    def known_at(self, time_ms: int) -> Insight:
        """The newest revision by then; the first one when it opened later."""
        return next((a.insight for a in reversed(self.arrivals) if a.at_ms <= time_ms), self.arrivals[0].insight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was told of one true incident."""

    truth: Truth
    episodes: tuple[Episode, ...]  # in the order in which they told of it; those merged into others come too
    found_ms: int | None
    first_rank: int | None  # of the entity at fault when it was told first
    last_rank: int | None  # and in the newest revision when it had grown

    @property
    def delay_s(self) -> float | None:
        return None if self.found_ms is None else (self.found_ms - self.truth.first_ms) / 1000

    @property
    def delay_bad_s(self) -> float | None:
        return None if self.found_ms is None else (self.found_ms - self.truth.bad_ms) / 1000

    @property
    def insights(self) -> int:
        """Incidents that a subscriber has to look at; those that were merged into another one count with it."""
        return sum(not episode.merged for episode in self.episodes)

    @property
    def resolved_s(self) -> float | None:
        """After its end, when the last of them is resolved."""
        ends = [episode.ended_ms for episode in self.episodes]
        return None if not ends or None in ends else (max(e for e in ends if e) - self.truth.over_ms) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One recording."""

    verdicts: tuple[Verdict, ...]
    false: tuple[Episode, ...]
    quiet_hours: float


def judged(truths: Sequence[Truth], ran: Ran) -> Judged:
    """Compare what was told in one recording with what happened."""
    episodes = list(episodes_of(ran))
    verdicts = tuple(_verdict(truth, episodes) for truth in truths)
    claimed = {id(episode) for verdict in verdicts for episode in verdict.episodes}
    return Judged(
        verdicts=verdicts,
        false=tuple(e for e in episodes if id(e) not in claimed and not e.merged),
        quiet_hours=_quiet_ms(truths, ran) / HOUR_MS,
    )


def episodes_of(ran: Ran) -> Iterator[Episode]:
    for revisions in ran.incidents().values():
        part: list[Arrival] = []
        for arrival in revisions:
            part.append(arrival)
            if arrival.insight.state in ("resolved", "merged"):
                yield Episode(arrivals=tuple(part))
                part = []
        if part:
            yield Episode(arrivals=tuple(part))


def _verdict(truth: Truth, episodes: Sequence[Episode]) -> Verdict:
    told = sorted(
        ((found_ms, n) for n, episode in enumerate(episodes) if (found_ms := _tells(truth, episode)) is not None),
    )
    mine = tuple(episodes[n] for _, n in told)
    if not mine:
        return Verdict(truth=truth, episodes=(), found_ms=None, first_rank=None, last_rank=None)
    found_ms = told[0][0]
    return Verdict(
        truth=truth, episodes=mine, found_ms=found_ms,
        first_rank=rank(truth.fault, mine[0].known_at(found_ms).causes),
        last_rank=rank(truth.fault, _leading(mine).known_at(truth.grown_ms).causes),
    )  # fmt: skip


def _leading(episodes: Sequence[Episode]) -> Episode:
    """What a subscriber looks at in the end: the first that was not merged into another one."""
    return next((episode for episode in episodes if not episode.merged), episodes[0])


def _tells(truth: Truth, episode: Episode) -> int | None:
    """When this episode told of it first."""
    opened_during = truth.first_ms <= episode.opened_ms <= truth.over_ms + LATE_MS
    for arrival in episode.arrivals:
        if not truth.first_ms <= arrival.at_ms <= truth.over_ms + LATE_MS:
            continue
        named = [
            (each.kind, each.name, each.namespace) for each in (*arrival.insight.entities, *arrival.insight.causes)
        ]
        if any(truth.fault.named(*one) for one in named):
            return arrival.at_ms
        if opened_during and (not named or any(truth.touches(*one) for one in named)):
            return arrival.at_ms
    return None


def rank(fault: Fault, causes: Sequence[Cause]) -> int | None:
    """From 1. A workload and its pods are one entity."""
    return next((n for n, cause in enumerate(causes, 1) if fault.named(cause.kind, cause.name, cause.namespace)), None)


def _quiet_ms(truths: Sequence[Truth], ran: Ran) -> int:
    """Time outside all incidents and the calm after them."""
    quiet_ms, at_ms = 0, ran.first_ms
    for truth in sorted(truths, key=lambda each: each.first_ms):
        quiet_ms += max(0, truth.first_ms - at_ms)
        at_ms = max(at_ms, truth.over_ms + CALM_MS)
    return quiet_ms + max(0, ran.last_ms - at_ms)
