"""The fold that tells incidents from summaries: `step(state, told, sent_ms) -> (state, insights)`, on one screen.

    summary -> topology (who owns and who calls whom)
            -> detectors (patterns, events and alerts, series) -> symptoms, changes
            -> correlator (incidents: opened, updated, merged, resolved) -> insights

Pure: no clock, no I/O. Stream, replay and Spark run this same fold over the same summaries in the order of their
partition, so that they tell the same incidents. Time is event time: the newest that a cluster's summaries have named,
but never later than the summaries were sent: one shipper whose clock is ahead does not make all others late.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from processors.insights.correlate import Correlator
from processors.insights.patterns import Patterns
from processors.insights.series import SeriesBands
from processors.insights.states import States
from processors.insights.summaries import decode
from processors.insights.topology import Topology
from schemas.insight_settings import Correlation, Detection
from schemas.insights import Insight, Sign
from schemas.records import Message
from schemas.summaries import Feedback, Fired, Happened, Said, Sampled, Summary, Tick, Told

Json = dict[str, Any]
ADVANCE_MS: Final = 1_000
MOST_CLUSTERS: Final = 200  # of one partition: their names come with telemetry, and anybody may make them up
SNAPSHOT_VERSION: Final = 3  # of all that `dump` writes; another one is not read: the summaries are, from their start


class Detector(Protocol):
    """Judges one kind of summary of one cluster. Bounded memory; what it forgets it counts."""

    def see(self, summary: Any, now_ms: int) -> Iterable[Sign]:
        """What this summary tells at once. `now_ms`: the cluster's event time, the summary included."""

    def advance(self, now_ms: int) -> Iterable[Sign]:
        """Event time has come so far: judge the minutes that are over. Called once for each new second or so."""

    def dump(self) -> Json:
        """Everything, as JSON: what `load` makes of it goes on exactly as this one would."""


@dataclass(slots=True)
class Cluster:
    """What is known of one cluster."""

    topology: Topology
    patterns: Patterns
    states: States
    series: SeriesBands
    correlator: Correlator
    now_ms: int = 0
    advanced_ms: int = 0

    @classmethod
    def new(cls, name: str, detection: Detection, correlation: Correlation) -> "Cluster":
        topology = Topology()
        return cls(
            topology, Patterns(detection, topology.births), States(detection, topology.births), SeriesBands(detection),
            Correlator(name, topology, correlation),
        )  # fmt: skip

    @property
    def open_incidents(self) -> int:
        return self.correlator.open_incidents

    def see(self, summary: Summary, sent_ms: int) -> Iterable[Sign]:
        self.reach(min(time_of(summary), sent_ms))
        self.topology.see(summary)
        if isinstance(summary, Said):
            return self.patterns.see(summary, self.now_ms)
        if isinstance(summary, Sampled):
            return self.series.see(summary, self.now_ms)
        return self.states.see(summary, self.now_ms)

    def reach(self, time_ms: int) -> None:
        """Event time never goes back."""
        self.now_ms = max(self.now_ms, time_ms)

    def advance(self) -> list[Insight]:
        """Once for each second of event time at most."""
        if self.now_ms - self.advanced_ms >= ADVANCE_MS:
            self.advanced_ms = self.now_ms
            for detector in (self.patterns, self.states, self.series):
                for sign in detector.advance(self.now_ms):
                    self.correlator.add(sign, self.now_ms)
        return self.correlator.advance(self.now_ms)


@dataclass(slots=True)
class State:
    """What is known of all clusters of one partition of the summaries."""

    detection: Detection
    correlation: Correlation
    clusters: dict[str, Cluster] = field(default_factory=dict)
    dropped: int = 0  # summaries of clusters for which there was no room, and clusters that were forgotten

    def cluster(self, name: str) -> Cluster | None:
        """None: too many are known that have an open incident. Of the others the idlest makes room."""
        found = self.clusters.get(name)
        if found is None:
            if len(self.clusters) >= MOST_CLUSTERS:
                self.dropped += 1
                idle = [(each.now_ms, other) for other, each in self.clusters.items() if not each.open_incidents]
                if not idle:
                    return None
                del self.clusters[min(idle)[1]]
            found = self.clusters[name] = Cluster.new(name, self.detection, self.correlation)
        return found

    def dump(self) -> Json:
        return {
            "version": SNAPSHOT_VERSION,
            "dropped": self.dropped,
            "clusters": {
                name: {
                    "now_ms": each.now_ms,
                    "advanced_ms": each.advanced_ms,
                    "topology": each.topology.dump(),
                    "patterns": each.patterns.dump(),
                    "states": each.states.dump(),
                    "series": each.series.dump(),
                    "correlator": each.correlator.dump(),
                }
                for name, each in self.clusters.items()
            },
        }

    @classmethod
    def load(cls, dumped: Json, detection: Detection, correlation: Correlation) -> "State":
        """Raises ValueError when another version has written it."""
        if dumped.get("version") != SNAPSHOT_VERSION:
            raise ValueError(f"snapshot of version {dumped.get('version')!r}")
        state = cls(detection, correlation, dropped=dumped["dropped"])
        for name, kept in dumped["clusters"].items():
            topology = Topology.load(kept["topology"])
            state.clusters[name] = Cluster(
                topology,
                Patterns.load(kept["patterns"], detection, topology.births),
                States.load(kept["states"], detection, topology.births),
                SeriesBands.load(kept["series"], detection),
                Correlator.load(kept["correlator"], name, topology, correlation),
                now_ms=kept["now_ms"],
                advanced_ms=kept["advanced_ms"],
            )
        return state


def step(state: State, told: Sequence[Told], sent_ms: int) -> tuple[State, list[Insight]]:
    """Fold one message of summaries. The state is changed in place, and returned for those who like it that way.

    `sent_ms`: Kafka's timestamp of the message, which a worker's clock has set.
    """
    insights: list[Insight] = []
    touched: dict[str, Cluster] = {}
    for each in told:
        if isinstance(each, Tick):
            for cluster in state.clusters.values():
                cluster.reach(min(each.time_ms, sent_ms))
            touched |= state.clusters
        elif isinstance(each, Feedback):
            for name, cluster in state.clusters.items():
                if cluster.correlator.judge(each):
                    touched[name] = cluster
        else:
            name = each.resource.cluster
            if found := state.cluster(name):
                touched[name] = found
                for sign in found.see(each, sent_ms):
                    found.correlator.add(sign, found.now_ms)
    for cluster in touched.values():
        insights += cluster.advance()
    return state, insights


def fold(state: State, message: Message) -> list[Insight]:
    """One message of the summaries topic, as every runner folds it. Raises InvalidRecord."""
    _, insights = step(state, decode(message.value), message.timestamp_ms)
    position = f"{message.topic_id}/{message.partition}/{message.offset}"
    return [insight.model_copy(update={"position": position}) for insight in insights]


def time_of(summary: Summary) -> int:
    """Event time of the newest record in a summary."""
    if isinstance(summary, Said):
        return summary.last_ms
    if isinstance(summary, Sampled):
        return summary.points[-1].time_ms if summary.points else 0
    if isinstance(summary, Happened):
        return max((seen.time_ms for seen in summary.observations), default=0)
    assert isinstance(summary, Fired)
    return max((notified.sent_ms for notified in summary.observations), default=0)
