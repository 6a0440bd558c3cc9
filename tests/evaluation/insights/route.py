"""The whole way from a Kafka message to an insight, in one process: pipeline, fold, summaries, step.

Everything on it is the product's own; only Kafka and the index are left out. Messages are gathered for a second of
Kafka's time, as a worker gathers them, and what their flush tells goes through the wire format.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from processors.insights.history import History
from processors.insights.step import Cluster, State
from processors.insights.step import fold as judge
from processors.insights.summaries import encode
from processors.pipeline import Pipeline
from schemas.insight_settings import SUMMARIES
from schemas.insights import Insight, Sign, Symptom
from schemas.records import Message
from schemas.settings import Settings
from schemas.summaries import Told

FLUSH_MS: Final = 1_000  # of Kafka time: twice a worker's interval, for the write and the way through the topic
HOUR_MS: Final = 3_600_000
Tap = Callable[[Sequence[Told], int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One revision of an incident, and when it came: Kafka's time, to the end of its flush."""

    at_ms: int
    insight: Insight


@dataclass(slots=True)
class Ran:
    """What one recording told."""

    arrivals: list[Arrival] = field(default_factory=list)
    signs: list[tuple[int, Sign]] = field(default_factory=list)  # with the Kafka time at which each was told
    first_ms: int = 0
    last_ms: int = 0
    messages: int = 0
    records: int = 0
    summaries: int = 0
    refused: int = 0  # dead letters
    fold_s: float = 0.0
    judge_s: float = 0.0

    @property
    def hours(self) -> float:
        return (self.last_ms - self.first_ms) / HOUR_MS

    def incidents(self) -> dict[str, list[Arrival]]:
        """Revisions of each incident, in the order of their arrival."""
        found: dict[str, list[Arrival]] = {}
        for arrival in self.arrivals:
            found.setdefault(arrival.insight.id, []).append(arrival)
        return found

    def latencies_s(self) -> list[float]:
        """Of each incident: from the record that made its first symptom to its first revision, in event time."""
        made: dict[str, int] = {}
        for _, sign in self.signs:
            if isinstance(sign, Symptom):
                made.setdefault(sign.id, sign.last_ms)
        opened = (revisions[0] for revisions in self.incidents().values())
        return [
            (arrival.at_ms - min(records)) / 1000
            for arrival in opened
            if (records := [made[s.id] for s in arrival.insight.symptoms if s.id in made])
        ]


def _nobody(told: Sequence[Told], at_ms: int) -> None:
    """Looks at nothing."""


class _Watched(State):
    """A state that lets us see what detectors tell the correlator."""

    heard: list[Sign]

    def cluster(self, name: str) -> Cluster:
        known = name in self.clusters
        found = State.cluster(self, name)
        if not known:
            found.correlator = _Ear(found.correlator, self.heard)  # type: ignore[assignment]
        return found


class _Ear:
    def __init__(self, correlator: Any, heard: list[Sign]) -> None:
        self._correlator, self._heard = correlator, heard

    def add(self, sign: Sign, now_ms: int) -> None:
        self._heard.append(sign)
        self._correlator.add(sign, now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._correlator, name)


class Route:
    """One worker, one topic of summaries, one judge."""

    def __init__(self, settings: Settings | None = None, *, tap: Tap = _nobody) -> None:
        """`tap` is shown what is told, with Kafka's time."""
        settings = settings or Settings()
        tick_ms = int(settings.insights.tick_s * 1000)
        self._history = History(Pipeline.from_settings(settings), flush_ms=FLUSH_MS, tick_ms=tick_ms)
        self._state = _Watched(settings.detection, settings.correlation)
        self._state.heard = self._signs = []
        self._tap, self._sent = tap, 0
        self.ran = Ran()

    def take(self, message: Message) -> None:
        """In order of Kafka's time."""
        ran, began, before_ms = self.ran, time.perf_counter(), self._history.now_ms
        told = self._history.take(message)
        ran.fold_s += time.perf_counter() - began
        ran.first_ms, ran.last_ms = ran.first_ms or message.timestamp_ms, self._history.now_ms
        if told:
            self._tell(told, min(self._history.now_ms, before_ms + FLUSH_MS))

    def end(self) -> Ran:
        """No more messages come."""
        self._tell(self._history.flush(), self._history.now_ms + FLUSH_MS)
        self.ran.messages, self.ran.records = self._history.messages, self._history.records
        self.ran.refused = self._history.rejected
        return self.ran

    def _tell(self, told: Sequence[Told], at_ms: int) -> None:
        self._tap(told, at_ms)
        began = time.perf_counter()
        for key, value in encode(told):
            message = Message(SUMMARIES, "summaries", 0, self._sent, at_ms, key.encode() or None, value)
            self._sent += 1
            for insight in judge(self._state, message):
                self.ran.arrivals.append(Arrival(at_ms=at_ms, insight=insight))
        self.ran.signs += [(at_ms, sign) for sign in self._signs]
        self._signs.clear()
        self.ran.summaries += len(told)
        self.ran.judge_s += time.perf_counter() - began


def run(messages: Iterable[Message], settings: Settings | None = None, *, tap: Tap = _nobody) -> Ran:
    """Messages in order of Kafka's time, from wherever they are."""
    route = Route(settings, tap=tap)
    for message in messages:
        route.take(message)
    return route.end()
