"""Symptoms become incidents: grouped by time, owner and dependency; opened, updated, merged, resolved.

- All symptoms of one place (`incident.place_of`: the workload, else node, namespace) are of one incident.
- A place joins the incident of a place that explains it: a workload that it calls or whose name its symptoms say, or
  the node that it is on, when that is in trouble, too; begun within `window_s` of each other.
- Two incidents are one when the root of one is explained by a place of the other. What merely joined one does not
  pull in others: a gateway that calls two troubled services does not make their troubles one.
- The same symptom at `alike` places within `alike_s` has one cause, whatever it is.
- What opens by itself opens one; weaker symptoms wait for others, see `_open_together`.

Nothing is told by `add` and `judge`: what changed is told by the next `advance`.
"""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, Final, NamedTuple

from processors.insights import lifecycle
from processors.insights.causes import ranked
from processors.insights.incident import (
    Incident,
    cluster_tag,
    mark_of,
    place_of,
    read_change,
    read_symptom,
    sign_row,
    tell_of,
    telling,
)
from processors.insights.telling import insight_of
from processors.insights.topology import Topology
from schemas.documents import digest
from schemas.insight_settings import Correlation
from schemas.insights import Cause, Change, Entity, Insight, Sign, State, Symptom
from schemas.summaries import Feedback

Json = dict[str, Any]
CHANGE_MS: Final = 30 * 60_000  # a change at most so long before the first symptom may be why
MINUTE_MS: Final = 60_000  # a symptom of a minute may seem to begin before the change that made it
MOST_LATE_MS: Final = 2 * 3_600_000  # older symptoms open nothing; a clock that is ahead moves time by an hour
MOST_CHANGES: Final = 2_000
MOST_REMEMBERED: Final = 4_096  # ids of incidents, of feedback, of symptoms that were rejected, mutes
MOST_JUDGED: Final = 200  # symptoms of an incident that its causes are told from: the most telling
SWEEP_MS: Final = 30_000  # what the topology has learned since is looked at again


LOOK_MS: Final = 1_000  # between looks at incidents of which nothing was heard
# Kept as they are; what JSON has no form for is written out in `dump`.
PLAIN: Final = ("now_ms", "swept_ms", "looked_ms", "clock", "mutes", "hushed", "judged", "overflow")


class Waiting(NamedTuple):
    symptom: Symptom
    peers: tuple[Entity, ...]
    since: int  # patient clock


class Correlator:
    """The incidents of one cluster."""

    def __init__(self, cluster: str, topology: Topology, settings: Correlation) -> None:
        self._cluster, self._topology, self._settings = cluster, topology, settings
        self._tag = cluster_tag(cluster)
        self._window_ms = int(1000 * settings.window_s)
        self._now_ms = self._swept_ms = self._looked_ms = 0
        self._clock = 0
        self._open: dict[str, Incident] = {}
        self._ended: dict[str, Incident] = {}  # those that may come back
        self._waiting: dict[str, Waiting] = {}
        self._changes: dict[str, Change] = {}
        self._mutes: dict[str, int] = {}  # fingerprint -> until
        self._hushed: dict[str, int] = {}  # symptoms of rejected incidents -> until
        self._judged: dict[str, str] = {}  # feedback -> verdict
        self._used: dict[str, None] = {}  # ids of incidents
        self._news: dict[Entity, None] = {}  # places that came into an incident since the last advance
        self._stirred: dict[Entity, None] = {}  # places where something waits since the last advance
        self._overflow = ""  # the incident that takes what `most_open` does not allow
        self.dropped: dict[str, int] = {}
        self._index()

    def _index(self) -> None:
        """What can be told from the rest."""
        self._home: dict[str, Incident] = {}  # of symptoms
        self._at: dict[Entity, Incident] = {}
        self._on: dict[str, dict[Entity, None]] = {}  # node -> places
        self._namers: dict[Entity, dict[Entity, None]] = {}  # who is named -> by whom
        self._waiting_at: dict[Entity, dict[str, None]] = {}
        for incident in self._open.values():
            for identity in incident.symptoms:
                self._home[identity] = incident
            for entity in incident.places:
                self._settle(entity, incident)
        for waiting in self._waiting.values():
            self._index_waiting(waiting)

    def _settle(self, entity: Entity, incident: Incident) -> None:
        self._at[entity] = incident
        for node in incident.places[entity].nodes:
            self._on.setdefault(node, {})[entity] = None
        for peer in incident.places[entity].peers:
            self._namers.setdefault(peer, {})[entity] = None

    def _index_waiting(self, waiting: Waiting) -> None:
        entity = place_of(waiting.symptom.resource)
        self._waiting_at.setdefault(entity, {})[waiting.symptom.id] = None
        if node := waiting.symptom.resource.node:
            self._on.setdefault(node, {})[entity] = None
        for peer in waiting.peers:
            self._namers.setdefault(peer, {})[entity] = None

    @property
    def open_incidents(self) -> int:
        return len(self._open)

    # Taking signs

    def add(self, sign: Sign, now_ms: int) -> None:
        """Take a symptom into the incident that it belongs to, or hold it until one is opened."""
        self._pass(now_ms)
        if isinstance(sign, Change):
            self._changes[sign.id] = sign
            _bound(self._changes, MOST_CHANGES)
            return
        home = self._home.get(sign.id)
        if home is not None:
            if home.renew(sign) and not sign.ended:
                home.heard = self._clock
        elif sign.id in self._hushed:
            self._count("hushed")
        elif sign.last_ms < self._now_ms - MOST_LATE_MS:
            self._count("late")
        else:
            held = self._waiting.get(sign.id)
            if held is not None and (sign.last_ms, sign.ended) < (held.symptom.last_ms, held.symptom.ended):
                return
            self._place(sign)

    def _place(self, symptom: Symptom) -> None:
        peers = self._topology.resolve(symptom.mentions, symptom.resource) if symptom.mentions else ()
        entity = place_of(symptom.resource)
        mark = mark_of(self._cluster, symptom)
        incident = self._at.get(entity) or self._neighbour(entity, symptom, peers)
        if incident is None and symptom.opens and not self._muted(mark):
            incident = self._opened(symptom, mark)
        if incident is None:
            self._wait(symptom, peers)
        else:
            self._join(incident, symptom, peers, mark)

    def _join(self, incident: Incident, symptom: Symptom, peers: Iterable[Entity], mark: str) -> None:
        entity = place_of(symptom.resource)
        known = entity in incident.places
        self._unwait(symptom.id)
        incident.heard = self._clock
        if not incident.take(symptom, peers, mark, self._settings.most_symptoms):
            self._count("places")
            return
        if symptom.id in incident.symptoms:
            self._home[symptom.id] = incident
        else:
            self._count("symptoms")
        self._settle(entity, incident)
        if not known:
            self._news[entity] = None

    def _wait(self, symptom: Symptom, peers: tuple[Entity, ...]) -> None:
        held = self._waiting.get(symptom.id)
        waiting = Waiting(symptom, peers, held.since if held else self._clock)
        self._waiting[symptom.id] = waiting
        self._index_waiting(waiting)
        self._stirred[place_of(symptom.resource)] = None
        if len(self._waiting) > self._settings.most_waiting:
            self._unwait(next(iter(self._waiting)))
            self._count("waiting")

    def _unwait(self, identity: str) -> None:
        waiting = self._waiting.pop(identity, None)
        if waiting is not None:
            entity = place_of(waiting.symptom.resource)
            self._waiting_at[entity].pop(identity)
            if not self._waiting_at[entity]:
                del self._waiting_at[entity]

    def _opened(self, symptom: Symptom, mark: str) -> Incident | None:
        """A new incident, one that came back, or the one that takes what is too much."""
        for ended in self._ended.values():
            if mark in ended.marks:
                return self._reopened(ended, symptom)
        if len(self._open) >= self._settings.most_open:
            self._count("incidents")
            if self._overflow not in self._open:
                self._overflow = max(self._open.values(), key=lambda each: (each.count, each.id)).id
            return self._open[self._overflow]
        identity = self._tag + digest("incident", self._cluster, symptom.id)[len(self._tag) :]
        if identity in self._used:  # the same symptom again, after its incident was over for good
            identity = self._tag + digest("incident", self._cluster, symptom.id, str(self._now_ms))[len(self._tag) :]
        incident = Incident(
            id=identity, fingerprint=mark, opening=tell_of(symptom), opened_ms=self._now_ms,
            started_ms=symptom.start_ms, root=place_of(symptom.resource),
        )  # fmt: skip
        self._open[identity] = incident
        return incident

    def _reopened(self, ended: Incident, symptom: Symptom) -> Incident:
        del self._ended[ended.id]
        ended.reopened += 1
        ended.root = place_of(symptom.resource)
        self._open[ended.id] = ended
        return ended

    # Who belongs together

    def _reasons(self, entity: Entity, nodes: Iterable[str], peers: Iterable[Entity]) -> Iterator[Entity]:
        """What would explain a trouble there."""
        if entity.kind == "workload":
            yield from self._topology.calls(entity.namespace, entity.name)
        yield from peers
        if entity.kind != "node":
            yield from (Entity("node", node) for node in nodes if node)

    def _effects(self, entity: Entity) -> Iterator[Entity]:
        """Where a trouble there would be felt."""
        if entity.kind == "workload":
            yield from self._topology.callers(entity.namespace, entity.name)
        yield from sorted(self._namers.get(entity, ()))
        if entity.kind == "node":
            yield from sorted(self._on.get(entity.name, ()))

    def _neighbour(self, entity: Entity, symptom: Symptom, peers: Iterable[Entity]) -> Incident | None:
        """The incident that explains a symptom, else the one that it explains; the nearest in time, then the oldest."""
        node = self._topology.node_of(symptom.resource)
        start = symptom.start_ms
        reasons = [(self._apart(e, start, start), self._at[e]) for e in self._reasons(entity, (node,), peers)
                   if e in self._at]  # fmt: skip
        effects = [(self._apart(e, start, start), self._at[e]) for e in self._effects(entity)
                   if e in self._at and self._explains(entity, self._at[e], e)]  # fmt: skip
        for found in (reasons, effects):
            near = [(apart, incident) for apart, incident in found if apart <= self._window_ms]
            if near:
                return min(near, key=lambda pair: (pair[0], pair[1].age_key))[1]
        return None

    def _explains(self, reason: Entity, incident: Incident, effect: Entity) -> bool:
        """Whether an incident is explained by trouble elsewhere: its root is what feels it."""
        if effect != incident.root:
            return False
        return reason.kind != "node" or incident.places[effect].mostly_on(reason.name)

    def _apart(self, entity: Entity, first_ms: int, latest_ms: int) -> int:
        """Milliseconds between onsets there and these."""
        place = self._at[entity].places[entity]
        return max(0, place.first_ms - latest_ms, first_ms - place.latest_ms)

    def _link(self, news: Iterable[Entity]) -> list[Insight]:
        """Merge incidents that are one: the root of one is explained by a place of the other."""
        told: list[Insight] = []
        for entity in dict.fromkeys(each for new in news for each in (new, *self._effects(new))):
            incident = self._at.get(entity)
            if incident is not None and entity == incident.root and (reason := self._reason(incident)):
                told += self._merge(reason, incident)
        return told

    def _reason(self, incident: Incident) -> Incident | None:
        """The incident that explains this one: the nearest in time, then the oldest."""
        place = incident.places[incident.root]
        nodes = [node for node in place.nodes if place.mostly_on(node)]
        found = [
            (apart, other)
            for each in self._reasons(incident.root, nodes, place.peers)
            if (other := self._at.get(each)) is not None and other is not incident
            and (apart := self._apart(each, place.first_ms, place.latest_ms)) <= self._window_ms
        ]  # fmt: skip
        return min(found, key=lambda pair: (pair[0], pair[1].age_key))[1] if found else None

    def _alike(self) -> list[Insight]:
        """Merge incidents that began alike, where so many did at the same time."""
        told: list[Insight] = []
        groups: dict[str, list[Incident]] = {}
        for incident in self._open.values():
            groups.setdefault(incident.opening, []).append(incident)
        for opening, group in groups.items():
            chain: list[Incident] = []
            latest_ms = 0
            for incident in sorted(group, key=lambda each: (each.tells[opening].first_ms, each.age_key)):
                tell = incident.tells[opening]
                if chain and tell.first_ms - latest_ms > 1000 * self._settings.alike_s:
                    told += self._merge_alike(chain, opening)
                    chain = []
                chain.append(incident)
                latest_ms = max(latest_ms, tell.latest_ms)
            told += self._merge_alike(chain, opening)
        return told

    def _merge_alike(self, chain: list[Incident], opening: str) -> list[Insight]:
        if sum(each.tells[opening].places for each in chain) < self._settings.alike:
            return []
        oldest = min(chain, key=lambda each: each.age_key)
        return [insight for each in chain if each is not oldest for insight in self._merge(oldest, each)]

    def _merge(self, reason: Incident, effect: Incident) -> list[Insight]:
        """The older goes on, with the root of the one that explains the other."""
        older, younger = sorted((reason, effect), key=lambda each: each.age_key)
        last = []
        if younger.revision:
            causes = self._causes(younger)
            last = [self._tell(younger, "merged", causes, merged_into=older.id)]
        del self._open[younger.id]
        held = older.absorb(younger, self._settings.most_symptoms)
        older.root = reason.root
        for entity in younger.places:
            self._at.pop(entity, None)
        for identity in younger.symptoms:
            self._home.pop(identity, None)
            if identity in older.symptoms:
                self._home[identity] = older
        for entity in held:
            self._settle(entity, older)
        return last

    # Weak symptoms

    def _gather(self, news: Iterable[Entity]) -> None:
        """What waited near a place that is in an incident now joins it."""
        for entity in news:
            incident = self._at.get(entity)
            if incident is None:
                continue
            place = incident.places[entity]
            nodes = [node for node in place.nodes if place.mostly_on(node)] if entity.kind != "node" else []
            near = dict.fromkeys([entity, *self._effects(entity), *self._reasons(entity, nodes, place.peers)])
            for each in near:
                for identity in list(self._waiting_at.get(each, ())):
                    symptom, peers, _ = self._waiting[identity]
                    apart = max(0, place.first_ms - symptom.start_ms, symptom.start_ms - place.latest_ms)
                    if each == entity or (apart <= self._window_ms and each not in self._at):
                        self._join(incident, symptom, peers, mark_of(self._cluster, symptom))

    def _open_together(self) -> None:
        """Weak symptoms of two or more kinds or entities that are related, when together they are strong enough.

        Each pair of entity and kind counts once, by its strongest symptom: five metrics of one pod that move at once
        are hardly independent evidence.
        """
        for entity in self._stirred:
            if entity not in self._waiting_at:
                continue
            group = [self._waiting[identity] for identity in self._waiting_at[entity]]
            peers = dict.fromkeys(peer for each in group for peer in each.peers)
            nodes = dict.fromkeys(self._topology.node_of(each.symptom.resource) for each in group)
            for other in dict.fromkeys([*self._reasons(entity, nodes, peers), *self._effects(entity)]):
                if other != entity:
                    group += [self._waiting[identity] for identity in self._waiting_at.get(other, ())]
            first = min(group, key=lambda each: (each.symptom.start_ms, each.symptom.id)).symptom
            group = [each for each in group if each.symptom.start_ms - first.start_ms <= self._window_ms]
            mark = mark_of(self._cluster, first)
            if _combined(each.symptom for each in group) < self._settings.open_strength or self._muted(mark):
                continue
            incident = self._opened(first, mark)
            if incident is not None:
                for symptom, named, _ in group:
                    self._join(incident, symptom, named, mark_of(self._cluster, symptom))

    # Telling

    def advance(self, now_ms: int) -> list[Insight]:
        """The revisions that are due at this event time, the oldest incident's first."""
        self._pass(now_ms)
        self._open_together()
        told: list[Insight] = []
        if self._now_ms - self._swept_ms >= SWEEP_MS:
            self._swept_ms = self._now_ms
            told += self._link([each.root for each in self._open.values()])
        while self._news:
            news, self._news = list(self._news), {}
            self._gather(news)
            told += self._link(news)
            told += self._alike()
        self._stirred = {}
        if (
            not told
            and not any(each.grown or each.rejected for each in self._open.values())
            and (self._now_ms - self._looked_ms < LOOK_MS)
        ):
            return told
        self._looked_ms = self._now_ms
        before = len(self._open)
        for incident in list(self._open.values()):
            told += self._next(incident)
        self._expire()
        if told and len(self._open) < before:
            self._index()
        return told

    def _next(self, incident: Incident) -> list[Insight]:
        due = lifecycle.due(incident, self._clock, self._now_ms, self._settings)
        told = []
        if due in ("tell", "look"):
            self._attach(incident)
            causes = self._causes(incident)
            shown = lifecycle.shown(incident, causes)
            if due == "tell" or lifecycle.material(incident, shown):
                told.append(self._tell(incident, "updated" if incident.revision else "opened", causes))
            incident.fresh = False
        if due == "end":
            if not incident.revision:
                told.append(self._tell(incident, "opened", self._causes(incident)))
            told.append(self._end(incident))
        return told

    def _end(self, incident: Incident) -> Insight:
        self._attach(incident)
        insight = self._tell(incident, "resolved", self._causes(incident), resolved_ms=self._now_ms)
        del self._open[incident.id]
        for identity in incident.symptoms:
            if incident.rejected:
                self._hushed[identity] = self._mutes.get(incident.fingerprint, 0)
        incident.rest(self._clock)
        self._ended[incident.id] = incident
        _bound(self._ended, self._settings.most_open)
        return insight

    def _attach(self, incident: Incident) -> None:
        """The latest change before its first symptom, at its root or else at any of its places."""
        places = incident.places
        best = max(
            (c for c in self._changes.values()
             if place_of(c.resource) in places
             and incident.started_ms - CHANGE_MS <= c.time_ms <= incident.started_ms + MINUTE_MS),
            key=lambda c: (place_of(c.resource) == incident.root, c.time_ms, c.id),
            default=None,
        )  # fmt: skip
        incident.change = best or incident.change

    def _causes(self, incident: Incident) -> tuple[Cause, ...]:
        symptoms = telling(incident.symptoms.values(), MOST_JUDGED)
        changes = [c for c in self._changes.values() if place_of(c.resource) in incident.places]
        return ranked(symptoms, changes, self._topology)

    def _tell(self, incident: Incident, state: State, causes: tuple[Cause, ...], merged_into: str = "",
              resolved_ms: int | None = None) -> Insight:  # fmt: skip
        shown = self._settings.shown_symptoms
        insight = insight_of(incident, state, self._cluster, self._now_ms, causes, shown, merged_into, resolved_ms)
        incident.revision += 1
        incident.told_ms = self._now_ms
        incident.fresh = incident.grown = False
        incident.shown = lifecycle.shown(incident, causes)
        self._used[incident.id] = None
        _bound(self._used, MOST_REMEMBERED)
        return insight

    def _pass(self, now_ms: int) -> None:
        if self._now_ms and now_ms > self._now_ms:
            self._clock += lifecycle.patience(now_ms - self._now_ms, self._settings)
        self._now_ms = max(self._now_ms, now_ms)

    def _expire(self) -> None:
        flap_ms = 1000 * self._settings.flap_s
        for incident in [each for each in self._ended.values() if self._clock - each.ended > flap_ms]:
            del self._ended[incident.id]
        for waiting in list(self._waiting.values()):
            if self._clock - waiting.since <= self._window_ms:
                break
            self._unwait(waiting.symptom.id)
        for held in (self._mutes, self._hushed):
            for key in [key for key, until_ms in held.items() if until_ms <= self._now_ms]:
                del held[key]
        horizon = self._now_ms - MOST_LATE_MS - CHANGE_MS
        for change in [each for each in self._changes.values() if each.time_ms < horizon]:
            del self._changes[change.id]

    # Confirm or reject

    def judge(self, feedback: Feedback) -> bool:
        """Confirm, or mute what was rejected; False when the incident is not of this cluster."""
        if not (feedback.fingerprint.startswith(self._tag) and feedback.incident_id.startswith(self._tag)):
            return False
        if feedback.id in self._judged:
            return True
        self._judged[feedback.id] = feedback.verdict
        _bound(self._judged, MOST_REMEMBERED)
        if feedback.verdict == "rejected":
            self._mutes[feedback.fingerprint] = max(feedback.until_ms, self._mutes.get(feedback.fingerprint, 0))
            _bound(self._mutes, MOST_REMEMBERED)
            for incident in self._open.values():
                if feedback.fingerprint == incident.fingerprint:
                    incident.rejected = True
        return True

    def _muted(self, mark: str) -> bool:
        if self._mutes.get(mark, 0) <= self._now_ms:
            return False
        self._count("muted")
        return True

    # Snapshots

    def dump(self) -> Json:
        return {
            **{name: getattr(self, f"_{name}") for name in PLAIN},
            "open": [each.dump() for each in self._open.values()],
            "ended": [each.dump() for each in self._ended.values()],
            "waiting": [[sign_row(w.symptom), [list(e) for e in w.peers], w.since] for w in self._waiting.values()],
            "changes": [sign_row(each) for each in self._changes.values()],
            "news": [list(each) for each in self._news],
            "stirred": [list(each) for each in self._stirred],
            "used": list(self._used),
            "dropped": self.dropped,
        }

    @classmethod
    def load(cls, dumped: Json, cluster: str, topology: Topology, settings: Correlation) -> "Correlator":
        new = cls(cluster, topology, settings)
        for name in PLAIN:
            setattr(new, f"_{name}", dumped[name])
        new._open = {each.id: each for each in map(Incident.load, dumped["open"])}
        new._ended = {each.id: each for each in map(Incident.load, dumped["ended"])}
        for row, peers, since in dumped["waiting"]:
            symptom = read_symptom(row)
            new._waiting[symptom.id] = Waiting(symptom, tuple(Entity(*each) for each in peers), since)
        new._changes = {each.id: each for each in map(read_change, dumped["changes"])}
        new._news = {Entity(*each): None for each in dumped["news"]}
        new._stirred = {Entity(*each): None for each in dumped["stirred"]}
        new._used = dict.fromkeys(dumped["used"])
        new.dropped = dumped["dropped"]
        new._index()
        return new

    def _count(self, what: str) -> None:
        self.dropped[what] = self.dropped.get(what, 0) + 1


def _combined(symptoms: Iterable[Symptom]) -> float:
    """As independent evidence; 0 of one kind at one entity."""
    strongest: dict[tuple[Entity, str], float] = {}
    for symptom in symptoms:
        key = (place_of(symptom.resource), symptom.kind)
        strongest[key] = max(strongest.get(key, 0.0), min(max(symptom.strength, 0.0), 1.0))
    return 1 - prod(1 - each for each in strongest.values()) if len(strongest) > 1 else 0.0


def _bound(held: dict[str, Any], most: int) -> None:
    while len(held) > most:
        del held[next(iter(held))]
