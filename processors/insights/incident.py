"""An incident as it is known: its symptoms, the entities where they are, and what it was told to be last."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Final, NamedTuple

from processors.insights.topology import owner_of
from schemas.documents import digest
from schemas.insights import Change, Entity, Sign, Symptom
from schemas.records import Resource

Json = dict[str, Any]
Row = list[Any]
MOST_NODES: Final = 16  # of one workload that are remembered: enough to tell whether it is all on one
MOST_PEERS: Final = 16
MOST_MARKS: Final = 64  # by which an incident that has ended is known again
CLUSTER_CHARS: Final = 6  # of the ids and fingerprints of incidents: whose they are can be told without a memory


def place_of(resource: Resource) -> Entity:
    """Where a symptom is: the workload, else the pod, node, namespace or cluster; of a daemon of a node, the node.

    A program of the host (kubelet, sshd) has a node but neither pod nor namespace: the same name on another node is
    another trouble.
    """
    if resource.node and not resource.namespace and not resource.pod:
        return Entity("node", resource.node)
    return owner_of(resource)


@lru_cache(maxsize=256)
def cluster_tag(cluster: str) -> str:
    return digest("cluster", cluster)[:CLUSTER_CHARS]


def mark_of(cluster: str, symptom: Symptom) -> str:
    """The fingerprint of an incident that this symptom opens: cluster, kind, name and place, never the pod or time.

    So it is the same whenever the same trouble comes back, in other pods and at other times.
    """
    place = place_of(symptom.resource)
    return cluster_tag(cluster) + digest("incident", cluster, symptom.kind, symptom.name, *place)[CLUSTER_CHARS:]


class Tell(NamedTuple):
    """One kind and name of symptom, wherever it was seen."""

    places: int
    first_ms: int  # onsets
    latest_ms: int


class Shown(NamedTuple):
    """What the last revision said: another one is due when this changes."""

    places: int
    tells: int
    severity: int
    cause: tuple[str, ...]
    change: str


@dataclass(slots=True)
class Place:
    """An entity of an incident."""

    symptoms: int = 0
    first_ms: int = 0  # onsets
    latest_ms: int = 0
    nodes: dict[str, int] = field(default_factory=dict)  # symptoms on each
    peers: dict[Entity, None] = field(default_factory=dict)  # that its symptoms name

    def note(self, symptom: Symptom, node: str, peers: Iterable[Entity]) -> None:
        self.symptoms += 1
        if symptom.opens:  # what is weak comes and goes on any day, and draws nothing in
            self.first_ms = min(self.first_ms, symptom.start_ms)
            self.latest_ms = max(self.latest_ms, symptom.start_ms)
        self.stand(node, 1)
        self.name(peers)

    def stand(self, node: str, times: int) -> None:
        if node and (node in self.nodes or len(self.nodes) < MOST_NODES):
            self.nodes[node] = self.nodes.get(node, 0) + times

    def name(self, peers: Iterable[Entity]) -> None:
        for peer in peers:
            if len(self.peers) < MOST_PEERS:
                self.peers[peer] = None

    def stands_on(self, node: str) -> bool:
        """Whether enough of its symptoms are there that they can be the node's: a third, as of three replicas."""
        return node in self.nodes and 3 * self.nodes[node] >= sum(self.nodes.values())


@dataclass(slots=True, kw_only=True)
class Incident:
    """Times are epoch milliseconds of event time; `heard` and `ended` are of the correlator's patient clock."""

    id: str
    fingerprint: str
    opened_ms: int
    started_ms: int
    latest_ms: int = 0  # onset
    strong: bool = False  # one of its symptoms opens incidents: only such ones keep it open
    root: Entity  # what the other places may depend on
    opening: str  # kind and name of the symptom that opened it
    severity: int = 0
    revision: int = 0
    reopened: int = 0
    count: int = 0  # of all symptoms, also those that are not held
    heard: int = 0
    ended: int = 0
    told_ms: int = 0
    looked_ms: int = 0  # when its causes were ranked last
    fresh: bool = False  # a symptom was taken since the last revision
    grown: bool = False  # something was heard since the last revision
    rejected: bool = False
    boundless: bool = False  # symptoms that are not held may go on: only silence ends it
    shown: Shown | None = None
    change: Change | None = None
    symptoms: dict[str, Symptom] = field(default_factory=dict)
    places: dict[Entity, Place] = field(default_factory=dict)
    tells: dict[str, Tell] = field(default_factory=dict)
    marks: dict[str, None] = field(default_factory=dict)

    @property
    def age_key(self) -> tuple[bool, int, str]:
        """The least goes on when two are merged: what subscribers know already, then the older."""
        return (not self.revision, self.opened_ms, self.id)

    def take(self, symptom: Symptom, node: str, peers: Iterable[Entity], mark: str, most: int) -> bool:
        """A symptom that it did not hold. Returns whether its place is held: beyond `most` it is only counted.

        One that is not held is counted again when it comes again.
        """
        place = place_of(symptom.resource)
        self.count += 1
        self.fresh = self.grown = True
        self.strong |= symptom.opens
        self.started_ms = min(self.started_ms, symptom.start_ms)
        if symptom.opens or place not in self.places:
            self.latest_ms = max(self.latest_ms, symptom.start_ms)
        self.severity = max(self.severity, symptom.severity)
        if place == self.root and len(self.marks) < MOST_MARKS:
            self.marks[mark] = None
        if place not in self.places and len(self.places) >= most:
            self.boundless = True
            return False
        new = place not in self.places
        self.places.setdefault(place, Place(0, symptom.start_ms, symptom.start_ms)).note(symptom, node, peers)
        if new or len(self.tells) < most:
            name = tell_of(symptom)
            tell = self.tells.get(name, Tell(0, symptom.start_ms, symptom.start_ms))
            self.tells[name] = Tell(
                tell.places + new or 1, min(tell.first_ms, symptom.start_ms), max(tell.latest_ms, symptom.start_ms)
            )
        self.hold(symptom, most)
        return True

    def hold(self, symptom: Symptom, most: int) -> None:
        if len(self.symptoms) >= most:
            oldest = next(iter(self.symptoms.values()))
            if not oldest.ended:
                self.boundless |= not symptom.ended
                return
            del self.symptoms[oldest.id]
        self.symptoms[symptom.id] = symptom

    def renew(self, symptom: Symptom) -> bool:
        """A newer word on a symptom that it holds; False for a copy or an older one."""
        held = self.symptoms[symptom.id]
        if (symptom.last_ms, symptom.ended) < (held.last_ms, held.ended) or symptom == held:
            return False
        self.symptoms[symptom.id] = symptom
        self.severity = max(self.severity, symptom.severity)
        self.strong |= symptom.opens
        self.grown = True
        return True

    def absorb(self, younger: "Incident", most: int) -> list[Entity]:
        """Take everything of one that turned out to be the same. Returns the places that it holds now, of those."""
        taken = [place for place in younger.places if place in self.places or len(self.places) < most]
        for entity in taken:
            theirs = younger.places[entity]
            ours = self.places.setdefault(entity, Place(0, theirs.first_ms, theirs.latest_ms))
            ours.symptoms += theirs.symptoms
            ours.first_ms, ours.latest_ms = min(ours.first_ms, theirs.first_ms), max(ours.latest_ms, theirs.latest_ms)
            ours.name(theirs.peers)
            for node, times in theirs.nodes.items():
                ours.stand(node, times)
        for name, tell in younger.tells.items():
            if name not in self.tells and len(self.tells) >= most:
                continue
            mine = self.tells.get(name, Tell(0, tell.first_ms, tell.latest_ms))
            self.tells[name] = Tell(
                mine.places + tell.places, min(mine.first_ms, tell.first_ms), max(mine.latest_ms, tell.latest_ms)
            )
        for symptom in younger.symptoms.values():
            self.hold(symptom, most)
        for mark in younger.marks:
            if len(self.marks) < MOST_MARKS:
                self.marks[mark] = None
        self.count += younger.count
        self.boundless |= younger.boundless or len(taken) < len(younger.places)
        self.severity = max(self.severity, younger.severity)
        self.started_ms = min(self.started_ms, younger.started_ms)
        self.latest_ms = max(self.latest_ms, younger.latest_ms)
        self.heard = max(self.heard, younger.heard)
        self.strong |= younger.strong
        self.fresh = self.grown = True
        return taken

    def rest(self, clock: int) -> None:
        """It is over. What may be needed when it comes back is kept; places and symptoms are new ones then."""
        self.ended = clock
        self.symptoms, self.places, self.tells, self.shown = {}, {}, {}, None
        self.severity, self.strong = 0, False
        self.boundless = self.rejected = False

    def kept_open_by(self, symptom: Symptom) -> bool:
        return symptom.opens or not self.strong

    def over(self) -> bool:
        """All that keeps it open has ended."""
        return not self.boundless and all(s.ended or not self.kept_open_by(s) for s in self.symptoms.values())

    def dump(self) -> Json:
        return {
            **{name: getattr(self, name) for name in PLAIN},
            "root": list(self.root),
            "shown": list(self.shown) if self.shown else None,
            "change": sign_row(self.change) if self.change else None,
            "symptoms": [sign_row(each) for each in self.symptoms.values()],
            "places": [
                [list(e), p.symptoms, p.first_ms, p.latest_ms, p.nodes, [list(peer) for peer in p.peers]]
                for e, p in self.places.items()
            ],
            "tells": [[name, *tell] for name, tell in self.tells.items()],
            "marks": list(self.marks),
        }

    @classmethod
    def load(cls, dumped: Json) -> "Incident":
        shown = dumped["shown"]
        return cls(
            **{name: dumped[name] for name in PLAIN},
            root=Entity(*dumped["root"]),
            shown=Shown(shown[0], shown[1], shown[2], tuple(shown[3]), shown[4]) if shown else None,
            change=read_change(dumped["change"]) if dumped["change"] else None,
            symptoms={each.id: each for each in map(read_symptom, dumped["symptoms"])},
            places={
                Entity(*entity): Place(symptoms, first, latest, nodes, {Entity(*each): None for each in peers})
                for entity, symptoms, first, latest, nodes, peers in dumped["places"]
            },
            tells={name: Tell(*tell) for name, *tell in dumped["tells"]},
            marks=dict.fromkeys(dumped["marks"]),
        )


PLAIN: Final = (
    "id", "fingerprint", "opening", "opened_ms", "started_ms", "latest_ms", "strong", "severity", "revision",
    "reopened", "count", "heard", "ended", "told_ms", "looked_ms", "fresh", "grown", "rejected", "boundless",
)  # fmt: skip


def tell_of(symptom: Symptom) -> str:
    return f"{symptom.kind} {symptom.name}"


def telling(symptoms: Iterable[Symptom], most: int) -> list[Symptom]:
    """The most telling first: what opens by itself, the strongest, the gravest, the earliest."""
    return sorted(symptoms, key=lambda s: (not s.opens, -s.strength, -s.severity, s.start_ms, s.id))[:most]


_SYMPTOM: Final = tuple(each.name for each in fields(Symptom))
_CHANGE: Final = tuple(each.name for each in fields(Change))
_TUPLES: Final = ("at", "mentions")


def sign_row(sign: Sign) -> Row:
    """As `read_symptom` and `read_change` take it. Values that are no subclass of tuple: orjson takes no others."""
    names = _SYMPTOM if isinstance(sign, Symptom) else _CHANGE
    return [getattr(sign, name) if name != "resource" else list(sign.resource) for name in names]


def read_symptom(row: Row) -> Symptom:
    named = dict(zip(_SYMPTOM, row, strict=True))
    named |= {name: tuple(named[name]) for name in _TUPLES}
    return Symptom(**named | {"resource": Resource(*named["resource"])})


def read_change(row: Row) -> Change:
    named = dict(zip(_CHANGE, row, strict=True))
    return Change(**named | {"resource": Resource(*named["resource"])})
