"""Who belongs together: open incidents and symptoms that wait, and the laws by which places are related.

- All symptoms of one place (`incident.place_of`: the workload, else node, namespace) are of one incident.
- A place joins the incident of a place that explains it, when both began within `window_s` of each other: a workload
  that it calls or that its symptoms name, the node that it is on, its namespace.
- Two incidents are one when the root of one is explained by a place of the other. What merely joined an incident pulls
  in no others: a gateway that calls two troubled services does not make their troubles one.
- The same symptom at `alike` places, or any at `alike_on_node` places of one node, that begin within `alike_s` of each
  other have one cause, whatever it is.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from processors.insights.corroboration import is_harm
from processors.insights.incident import Incident
from processors.insights.topology import Topology
from schemas.insight_settings import Correlation
from schemas.insights import Entity, Symptom
from schemas.records import Resource

MOST_PODS: Final = 16  # of a workload that are asked for their node
MOST_CALLERS: Final = 16  # that are asked what else they call
MOST_ASKED: Final = 64  # open incidents whose pods are asked for their node; with more, what symptoms say must do
NEARER: Final = 5  # times as near in time must be what is weak: to open together, and to join but at the root


class Waiting(NamedTuple):
    symptom: Symptom
    place: Entity
    node: str
    peers: tuple[Entity, ...]  # that it names
    since: int  # patient clock


class Groups:
    """Of one cluster. `open` and `waiting` are the state; the rest is an index of it, made anew by `index`."""

    def __init__(self, topology: Topology, settings: Correlation) -> None:
        self._topology, self._settings = topology, settings
        self.window_ms = int(1000 * settings.window_s)
        self.open: dict[str, Incident] = {}
        self.waiting: dict[str, Waiting] = {}
        self.index()

    def index(self) -> None:
        self.home: dict[str, Incident] = {}  # of symptoms
        self.at: dict[Entity, Incident] = {}
        self.waiting_at: dict[Entity, dict[str, None]] = {}
        # These two may hold more than is true by now; `_effects` looks.
        self._on: dict[str, dict[Entity, None]] = {}  # node -> places
        self._namers: dict[Entity, dict[Entity, None]] = {}  # who is named -> by whom
        for incident in self.open.values():
            self.settle(incident, incident.places, incident.symptoms)
        for waiting in self.waiting.values():
            self.wait(waiting)

    def settle(self, incident: Incident, places: Iterable[Entity], symptoms: Iterable[str]) -> None:
        """The places and symptoms of an incident can be found."""
        for entity in places:
            self.at[entity] = incident
            self._stand(entity, incident.places[entity].nodes, incident.places[entity].peers)
        for identity in symptoms:
            if identity in incident.symptoms:
                self.home[identity] = incident

    def join(self, incident: Incident, waiting: Waiting, mark: str) -> bool:
        """Whether the place of the symptom is held."""
        if not incident.take(waiting.symptom, waiting.node, waiting.peers, mark, self._settings.most_symptoms):
            return False
        self.at[waiting.place] = incident
        self._stand(waiting.place, (waiting.node,), waiting.peers)
        if waiting.symptom.id in incident.symptoms:
            self.home[waiting.symptom.id] = incident
        return True

    def wait(self, waiting: Waiting) -> None:
        self.waiting[waiting.symptom.id] = waiting
        self.waiting_at.setdefault(waiting.place, {})[waiting.symptom.id] = None
        self._stand(waiting.place, (waiting.node,), waiting.peers)

    def unwait(self, identity: str) -> None:
        if waiting := self.waiting.pop(identity, None):
            there = self.waiting_at[waiting.place]
            del there[identity]
            if not there:
                del self.waiting_at[waiting.place]

    def _stand(self, entity: Entity, nodes: Iterable[str], peers: Iterable[Entity]) -> None:
        for node in nodes:
            if node:
                self._on.setdefault(node, {})[entity] = None
        for peer in peers:
            self._namers.setdefault(peer, {})[entity] = None

    # Who is related

    def node_of(self, resource: Resource) -> str:
        """Where it runs: as it says, or where all pods of its workload are."""
        node = self._topology.node_of(resource)
        if node or resource.pod or not resource.workload:
            return node
        pods = self._topology.pods(resource.namespace, resource.workload)
        if len(pods) > MOST_PODS:
            return ""
        nodes = {self._topology.node_of(resource._replace(pod=pod)) for pod in pods}
        return nodes.pop() if len(nodes) == 1 else ""

    def resolve(self, symptom: Symptom) -> tuple[Entity, ...]:
        return self._topology.resolve(symptom.mentions, symptom.resource) if symptom.mentions else ()

    def _reasons(self, entity: Entity, nodes: Iterable[str], peers: Iterable[Entity]) -> Iterator[Entity]:
        """What would explain a trouble there."""
        if entity.kind == "workload":
            yield from self._topology.calls(entity.namespace, entity.name)
        yield from peers
        if entity.kind != "node":
            yield from (Entity("node", node) for node in nodes if node)
        if entity.namespace and entity.kind != "namespace":
            yield Entity("namespace", entity.namespace)

    def _effects(self, entity: Entity) -> Iterator[Entity]:
        """Where a trouble there would be felt."""
        if entity.kind == "workload":
            yield from self._topology.callers(entity.namespace, entity.name)
        for each in sorted(self._namers.get(entity, ())):
            if any(entity in peers for peers in self._peers(each)):
                yield each
        if entity.kind == "node":
            known = dict(self._on.get(entity.name, {}))
            if len(self.open) <= MOST_ASKED:
                known |= dict.fromkeys(each.root for each in self.open.values())
            for each in sorted(known):
                if each != entity and self._stands_on(each, entity.name):
                    yield each

    def _peers(self, entity: Entity) -> Iterator[Iterable[Entity]]:
        if incident := self.at.get(entity):
            yield incident.places[entity].peers
        yield from (self.waiting[identity].peers for identity in self.waiting_at.get(entity, ()))

    def _stands_on(self, entity: Entity, node: str) -> bool:
        """Whether what is wrong there can be the node's: enough of its symptoms are there, or of its pods."""
        incident = self.at.get(entity)
        if incident is not None and incident.places[entity].stands_on(node):
            return True
        if any(self.waiting[identity].node == node for identity in self.waiting_at.get(entity, ())):
            return True
        pods = self._topology.pods(entity.namespace, entity.name) if incident and entity.kind == "workload" else ()
        nodes = [self._topology.node_of(Resource(namespace=entity.namespace, pod=pod)) for pod in pods[:MOST_PODS]]
        return node in nodes and 3 * nodes.count(node) >= len(nodes)

    def neighbour(self, waiting: Waiting) -> tuple[Incident | None, bool]:
        """The incident that explains a symptom, else the one that it explains (True then).

        Of several the nearest in time, then the oldest.
        """
        entity, start_ms = waiting.place, waiting.symptom.start_ms
        if entity.kind in ("namespace", "cluster"):
            return self._only(entity, start_ms), False
        reasons = self._reasons(entity, (waiting.node,), waiting.peers)
        if found := self._nearest(
            reasons, start_ms, start_ms, lambda each, incident: self.takes(incident, each, waiting)
        ):
            return found, False
        effects = self._effects(entity)
        return self._nearest(
            effects, start_ms, start_ms,
            lambda each, incident: each == incident.root and self.takes(incident, each, waiting),
        ), True  # fmt: skip

    def reason(self, incident: Incident) -> Incident | None:
        """The incident that explains this one."""
        place = incident.places[incident.root]
        nodes = [node for node in place.nodes if place.stands_on(node)]
        reasons = self._reasons(incident.root, nodes, place.peers)
        return self._nearest(reasons, place.first_ms, place.latest_ms, lambda each, other: other is not incident)

    def roots_near(self, entity: Entity) -> Iterator[Incident]:
        """Incidents that may have found their reason, now that there is trouble at this place."""
        for each in (entity, *self._effects(entity)):
            incident = self.at.get(each)
            if incident is not None and each == incident.root:
                yield incident

    def _nearest(self, places: Iterable[Entity], first_ms: int, latest_ms: int,
                 fits: Callable[[Entity, Incident], bool]) -> Incident | None:  # fmt: skip
        found = []
        for each in places:
            incident = self.at.get(each)
            if incident is not None and fits(each, incident):
                place = incident.places[each]
                apart = max(0, place.first_ms - latest_ms, first_ms - place.latest_ms)
                if apart <= self.window_ms:
                    found.append((apart, incident))
        return min(found, key=lambda pair: (pair[0], pair[1].age_key))[1] if found else None

    def _only(self, entity: Entity, start_ms: int) -> Incident | None:
        """The incident of a namespace or cluster that has but one: what is said of the whole is about that."""
        near = [
            incident
            for incident in self.open.values()
            if incident.started_ms - self.window_ms <= start_ms <= incident.latest_ms + self.window_ms
            and (entity.kind == "cluster" or any(place.namespace == entity.namespace or place == entity
                                                 for place in incident.places))
        ]  # fmt: skip
        return near[0] if len(near) == 1 else None

    # What waits

    def waiting_near(self, entity: Entity) -> list[Waiting]:
        """What waited for a place to be in an incident, and belongs to that."""
        incident = self.at[entity]
        place = incident.places[entity]
        near = [entity, *self._effects(entity)]
        if entity == incident.root:
            near += self._reasons(entity, [node for node in place.nodes if place.stands_on(node)], place.peers)
        found = [self.waiting[identity] for each in dict.fromkeys(near) for identity in self.waiting_at.get(each, ())]
        return [
            each
            for each in found
            if self.at.get(each.place, incident) is incident and self.takes(incident, entity, each)
        ]

    def takes(self, incident: Incident, entity: Entity, waiting: Waiting) -> bool:
        """Whether a symptom by a place of an incident began near enough in time; a weak one but at its root nearer."""
        weak = not waiting.symptom.opens and waiting.place != incident.root
        within_ms = self.window_ms // NEARER if weak else self.window_ms
        place = incident.places[entity]
        return place.first_ms - within_ms <= waiting.symptom.start_ms <= place.latest_ms + within_ms

    def waiting_together(self, entity: Entity) -> list[Waiting]:
        """What waits there and at related places, begun near each other; the first comes first.

        Not what is weak and too far in time from the incident of its place: a place is in one incident.
        """
        own = [self.waiting[identity] for identity in self.waiting_at.get(entity, ()) if entity not in self.at]
        peers = dict.fromkeys(peer for each in own for peer in each.peers)
        nodes = dict.fromkeys(each.node for each in own)
        others = dict.fromkeys([*self._reasons(entity, nodes, peers), *self._effects(entity)])
        group = own + [
            self.waiting[identity]
            for other in others if other != entity and other not in self.at
            for identity in self.waiting_at.get(other, ())
        ]  # fmt: skip
        group.sort(key=lambda each: (each.symptom.start_ms, each.symptom.id))
        latest_ms = max((each.symptom.start_ms for each in own), default=0)
        return [each for each in group if abs(latest_ms - each.symptom.start_ms) <= self.window_ms // NEARER]

    def waiting_beside(self, entity: Entity, group: Sequence[Waiting]) -> list[Waiting]:
        """Metrics that began to hurt when one of this place did, at what the same caller calls."""
        own = [each.symptom.start_ms for each in group if each.place == entity and is_harm(each.symptom)]
        if not own or entity.kind != "workload":
            return []
        known = {each.place for each in group}
        callers = self._topology.callers(entity.namespace, entity.name)[:MOST_CALLERS]
        others = dict.fromkeys(each for by in callers for each in self._topology.calls(by.namespace, by.name))
        waiting = (self.waiting[it] for other in others if other not in known for it in self.waiting_at.get(other, ()))
        latest_ms, within_ms = max(own), self.window_ms // NEARER
        return [each for each in waiting
                if is_harm(each.symptom) and abs(each.symptom.start_ms - latest_ms) <= within_ms]  # fmt: skip

    # Many at once

    def alike(self) -> Iterator[list[Incident]]:
        """Incidents that are one because so many began alike at the same time; the oldest first."""
        openings: dict[str, list[Incident]] = {}
        for incident in self.open.values():
            openings.setdefault(incident.opening, []).append(incident)
        for opening, group in openings.items():
            spans = [(each.tells[opening].first_ms, each.tells[opening].latest_ms, each) for each in group]
            for chain in self._chains(spans):
                if sum(each.tells[opening].places for each in chain) >= self._settings.alike:
                    yield chain

    def alike_on_node(self) -> Iterator[list[Incident]]:
        """The same where so many places of one node got their first symptoms at the same time."""
        nodes: dict[str, list[tuple[int, int, Incident]]] = {}
        for incident in self.open.values():
            root = incident.places[incident.root]
            for node in root.nodes if len(self.open) > 1 else ():
                if root.stands_on(node):
                    there = [place.first_ms for place in incident.places.values() if place.stands_on(node)]
                    nodes.setdefault(node, []).extend((first_ms, first_ms, incident) for first_ms in there)
        for spans in nodes.values():
            for chain in self._chains(spans):
                if len(chain) >= self._settings.alike_on_node:
                    yield list({each.id: each for each in chain}.values())

    def _chains(self, spans: list[tuple[int, int, Incident]]) -> Iterator[list[Incident]]:
        """Those that follow each other closely."""
        chain: list[Incident] = []
        latest_ms = 0
        for first, latest, incident in sorted(spans, key=lambda each: (each[0], each[2].age_key)):
            if chain and first - latest_ms > 1000 * self._settings.alike_s:
                yield sorted(chain, key=lambda each: each.age_key)
                chain = []
            chain.append(incident)
            latest_ms = max(latest_ms, latest)
        if len(chain) > 1:
            yield sorted(chain, key=lambda each: each.age_key)

    def merge(self, reason: Incident, effect: Incident) -> tuple[Incident, Incident]:
        """The older goes on, with the root of the one that explains the other. Returns it and the younger."""
        older, younger = sorted((reason, effect), key=lambda each: each.age_key)
        del self.open[younger.id]
        for entity in younger.places:
            del self.at[entity]
        for identity in younger.symptoms:
            self.home.pop(identity, None)
        held = older.absorb(younger, self._settings.most_symptoms)
        older.root = reason.root
        if older.root not in older.places:
            older.root = next(iter(older.places))
        self.settle(older, held, younger.symptoms)
        return older, younger
