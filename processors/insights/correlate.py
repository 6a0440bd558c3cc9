"""Symptoms become incidents: opened, updated, merged, resolved. `groups.py` has the laws of who belongs together.

A symptom that opens by itself opens an incident at once; weaker ones join one, or wait for others and open one together
(`_open_together`). Nothing is told by `add` and `judge`: what they changed is told by the next `advance`.
"""

from typing import Any, Final

from processors.insights import lifecycle
from processors.insights.causes import ranked
from processors.insights.corroboration import combined
from processors.insights.groups import Groups, Waiting
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
from processors.insights.mutes import Mutes, bound
from processors.insights.telling import insight_of
from processors.insights.topology import Topology
from schemas.documents import digest
from schemas.insight_settings import Correlation
from schemas.insights import Cause, Change, Entity, Insight, Sign, State, Symptom
from schemas.records import WARN
from schemas.summaries import Feedback

Json = dict[str, Any]
CHANGE_MS: Final = 30 * 60_000  # a change at most so long before the first symptom may be why
MINUTE_MS: Final = 60_000  # a symptom of a minute may seem to begin before the change that made it
MOST_LATE_MS: Final = 2 * 3_600_000  # older symptoms are of the past; a clock that is ahead moves time by an hour
MOST_CHANGES: Final = 2_000
MOST_IDS: Final = 4_096  # of incidents and of symptoms that are over, so that a copy of one is known
MOST_JUDGED: Final = 200  # symptoms of an incident that its causes are told from: the most telling
SWEEP_MS: Final = 30_000  # what the topology has learned since is looked at again
LOOK_MS: Final = 1_000  # between looks at incidents of which nothing was heard, and between rankings of causes
# Kept as they are; what JSON has no form for is written out in `dump`.
PLAIN: Final = ("now_ms", "swept_ms", "looked_ms", "clock", "past", "overflow")


class Correlator:
    """The incidents of one cluster. `dropped` counts what was folded, and why."""

    def __init__(self, cluster: str, topology: Topology, settings: Correlation) -> None:
        self._cluster, self._topology, self._settings = cluster, topology, settings
        self._tag = cluster_tag(cluster)
        self._groups = Groups(topology, settings)
        self._mutes = Mutes(settings)
        self._now_ms = self._swept_ms = self._looked_ms = 0
        self._clock = 0  # patient milliseconds, see `lifecycle.patience`
        self._ended: dict[str, Incident] = {}  # those that may come back
        self._came: dict[str, Incident] = {}  # the same, by what they would come back as
        self._past: dict[str, int] = {}  # symptoms of incidents that are over -> newest record
        self._used: dict[str, None] = {}  # ids of incidents
        self._changes: dict[str, Change] = {}
        self._news: dict[Entity, None] = {}  # places that came into an incident since the last advance
        self._stirred: dict[Entity, None] = {}  # places where something waits since the last advance
        self._overflow = ""  # the incident that takes what `most_open` does not allow
        self.dropped: dict[str, int] = {}

    @property
    def open_incidents(self) -> int:
        return len(self._groups.open)

    # Taking signs

    def add(self, sign: Sign, now_ms: int) -> None:
        """Take a symptom into the incident that it belongs to, or hold it until one is opened."""
        self._pass(now_ms)
        if isinstance(sign, Change):
            self._changes[sign.id] = sign
            bound(self._changes, MOST_CHANGES)
            return
        home = self._groups.home.get(sign.id)
        if home is not None and sign.id in home.symptoms:
            if home.renew(sign) and home.kept_open_by(sign):
                home.heard = self._clock
        elif self._mutes.hushed(sign, self._now_ms):
            self._count("hushed")
        elif sign.last_ms < self._now_ms - MOST_LATE_MS:
            self._count("late")
        elif not self._is_copy(sign):
            self._place(sign)

    def _is_copy(self, symptom: Symptom) -> bool:
        """Of one that is over, or older than what waits."""
        past_ms = self._past.get(symptom.id)
        if past_ms is not None and (symptom.last_ms <= past_ms or symptom.ended):
            return True
        held = self._groups.waiting.get(symptom.id)
        return held is not None and (symptom.last_ms, symptom.ended) < (held.symptom.last_ms, held.symptom.ended)

    def _place(self, symptom: Symptom) -> None:
        groups = self._groups
        held = groups.waiting.get(symptom.id)
        node, peers = groups.node_of(symptom.resource), groups.resolve(symptom)
        waiting = Waiting(symptom, place_of(symptom.resource), node, peers, held.since if held else self._clock)
        incident, upstream = groups.at.get(waiting.place), False
        if incident is None:
            incident, upstream = groups.neighbour(waiting)
        elif not symptom.opens and not groups.takes(incident, waiting.place, waiting):
            incident = None  # weak, and older or younger: not of this
        if incident is None and symptom.opens:
            mark = mark_of(self._cluster, symptom)
            if not self._mutes.muted(mark, self._now_ms):
                incident = self._opened(symptom, mark)
            elif held is None:
                self._count("muted")
        if incident is not None:
            self._join(incident, waiting)
            if upstream and symptom.opens and waiting.place in incident.places:
                incident.root = waiting.place
            return
        groups.wait(waiting)
        self._stirred[waiting.place] = None
        if len(groups.waiting) > self._settings.most_waiting:
            groups.unwait(next(iter(groups.waiting)))
            self._count("waiting")

    def _join(self, incident: Incident, waiting: Waiting) -> None:
        known = waiting.place in incident.places
        self._groups.unwait(waiting.symptom.id)
        if incident.kept_open_by(waiting.symptom) or not incident.count:
            incident.heard = self._clock
        if not self._groups.join(incident, waiting, mark_of(self._cluster, waiting.symptom)):
            self._count("places")
        elif waiting.symptom.id not in incident.symptoms:
            self._count("symptoms")
        elif not known:
            self._news[waiting.place] = None

    def _opened(self, symptom: Symptom, mark: str) -> Incident:
        """A new incident, one that came back, or the one that takes what is too much."""
        incidents = self._groups.open
        if ended := self._came.get(mark):
            self._forget(ended)
            ended.reopened += 1
            ended.root, ended.opening = place_of(symptom.resource), tell_of(symptom)
            incidents[ended.id] = ended
            return ended
        if len(incidents) >= self._settings.most_open:
            self._count("incidents")
            if self._overflow not in incidents:
                self._overflow = max(incidents.values(), key=lambda each: (each.count, each.id)).id
            return incidents[self._overflow]
        identity = self._tag + digest("incident", self._cluster, symptom.id)[len(self._tag) :]
        if identity in self._used:  # the same symptom goes on after its incident was over for good
            identity = self._tag + digest("incident", self._cluster, symptom.id, str(self._now_ms))[len(self._tag) :]
        incidents[identity] = Incident(
            id=identity, fingerprint=mark, opening=tell_of(symptom), opened_ms=self._now_ms,
            started_ms=symptom.start_ms, root=place_of(symptom.resource),
        )  # fmt: skip
        return incidents[identity]

    def judge(self, feedback: Feedback) -> bool:
        """Confirm, or mute what was rejected; False when the incident is not of this cluster."""
        if not (feedback.incident_id.startswith(self._tag) and feedback.fingerprint.startswith(self._tag)):
            return False
        if self._mutes.hear(feedback) and feedback.verdict == "rejected":
            self._mutes.mute(feedback.fingerprint, feedback)
            named = feedback.incident_id, feedback.fingerprint
            for incident in self._groups.open.values():
                incident.rejected |= incident.id == named[0] or incident.fingerprint == named[1]
            for ended in [each for each in self._ended.values() if each.id == named[0] or each.fingerprint == named[1]]:
                self._forget(ended)
        return True

    # Grouping

    def _group(self) -> list[Insight]:
        """Bring together what belongs together, as far as something is new. Tells of those that merged."""
        groups = self._groups
        told: list[Insight] = []
        for entity in self._stirred:
            self._open_together(entity)
        self._stirred = {}
        if self._now_ms - self._swept_ms >= SWEEP_MS:
            self._swept_ms = self._now_ms
            self._news = dict.fromkeys(each.root for each in groups.open.values()) | self._news
        while self._news:
            news, self._news = list(self._news), {}
            for entity in news:
                for waiting in groups.waiting_near(entity) if entity in groups.at else ():
                    self._join(groups.at[entity], waiting)
            for entity in news:
                for incident in list(groups.roots_near(entity)):
                    if groups.open.get(incident.id) is incident and (reason := groups.reason(incident)):
                        told += self._merge(reason, incident)
            for chain in (*groups.alike(), *groups.alike_on_node()):
                here = [each for each in chain if each.id in groups.open]
                for incident in here[1:]:
                    told += self._merge(here[0], incident)
        return told

    def _merge(self, reason: Incident, effect: Incident) -> list[Insight]:
        older, younger = self._groups.merge(reason, effect)
        if not younger.revision:
            return []  # nobody has heard of it
        return [self._tell(younger, "merged", self._causes(younger), merged_into=older.id)]

    def _open_together(self, entity: Entity) -> None:
        """Weak symptoms of two or more kinds or entities that are related, when together they are strong enough.

        Metrics that began to hurt at the same time at others of the same caller count less: see `corroboration`.
        """
        group = self._groups.waiting_together(entity)
        if combined(each.symptom for each in group) < self._settings.open_strength:
            beside = self._groups.waiting_beside(entity, group)
            near, far = ([each.symptom for each in some] for some in (group, beside))
            if not far or combined(near, far) < self._settings.open_strength:
                return
            group += beside
        # The first that hurts, and goes on.
        first = min((each.symptom for each in group), key=lambda each: (each.severity < WARN, each.ended))
        mark = mark_of(self._cluster, first)
        if not self._mutes.muted(mark, self._now_ms):
            incident = self._opened(first, mark)
            for each in group:
                self._join(incident, each)

    # Telling

    def advance(self, now_ms: int) -> list[Insight]:
        """The revisions that are due at this event time: of those that merged, then the oldest incident's first."""
        self._pass(now_ms)
        told = self._group()
        incidents = self._groups.open
        stirred = any(each.fresh or each.grown or each.rejected for each in incidents.values())
        if not stirred and self._now_ms - self._looked_ms < LOOK_MS:
            return told
        self._looked_ms = self._now_ms
        before = len(incidents)
        for incident in list(incidents.values()):
            told += self._next(incident)
        self._expire()
        if len(incidents) < before:
            self._groups.index()
        return told

    def _next(self, incident: Incident) -> list[Insight]:
        due = lifecycle.due(incident, self._clock, self._now_ms, self._settings)
        told = []
        if due == "tell" or (due == "end" and not incident.revision):
            told.append(self._tell(incident, "updated" if incident.revision else "opened", self._causes(incident)))
        elif due == "look" and (lifecycle.material(incident) or self._now_ms - incident.looked_ms >= LOOK_MS):
            causes = self._causes(incident)
            incident.fresh = False
            if lifecycle.material(incident, causes):
                told.append(self._tell(incident, "updated", causes))
        if due == "end":
            told.append(self._end(incident))
        return told

    def _end(self, incident: Incident) -> Insight:
        newest_ms = max((each.last_ms for each in incident.symptoms.values()), default=self._now_ms)
        insight = self._tell(incident, "resolved", self._causes(incident), resolved_ms=min(newest_ms, self._now_ms))
        del self._groups.open[incident.id]
        if incident.rejected:
            self._mutes.hush(incident.fingerprint, incident.symptoms.values())
        self._past |= {each.id: each.last_ms for each in incident.symptoms.values()}
        bound(self._past, MOST_IDS)
        incident.rest(self._clock)
        if not incident.rejected:
            for mark in incident.marks:
                if other := self._came.get(mark):
                    del other.marks[mark]
                self._came[mark] = incident
            self._ended[incident.id] = incident
        while len(self._ended) > self._settings.most_open:
            self._forget(next(iter(self._ended.values())))
        return insight

    def _causes(self, incident: Incident) -> tuple[Cause, ...]:
        """Ranked, and the change that preceded: the latest at the first cause, else at the root, else anywhere."""
        incident.looked_ms = self._now_ms
        changes = [
            each for each in self._changes.values()
            if incident.started_ms - CHANGE_MS <= each.time_ms <= incident.latest_ms + MINUTE_MS
        ]  # fmt: skip
        causes = ranked(telling(incident.symptoms.values(), MOST_JUDGED), changes, self._topology)
        first = (causes[0].kind, causes[0].name, causes[0].namespace) if causes else incident.root
        before = [
            ((first in (place, ("pod", each.resource.pod, place.namespace)), place == incident.root,
              each.time_ms, each.id), each)
            for each in changes
            if each.time_ms <= incident.started_ms + MINUTE_MS
            and ((place := place_of(each.resource)) in incident.places or place == first)
        ]  # fmt: skip
        if before:
            incident.change = max(before)[1]
        return causes

    def _tell(self, incident: Incident, state: State, causes: tuple[Cause, ...], merged_into: str = "",
              resolved_ms: int | None = None) -> Insight:  # fmt: skip
        shown = self._settings.shown_symptoms
        insight = insight_of(incident, state, self._cluster, self._now_ms, causes, shown, merged_into, resolved_ms)
        incident.revision += 1
        incident.told_ms = self._now_ms
        incident.fresh = incident.grown = False
        incident.shown = lifecycle.shown(incident, causes)
        self._used[incident.id] = None
        bound(self._used, MOST_IDS)
        return insight

    # Time

    def _pass(self, now_ms: int) -> None:
        if self._now_ms and now_ms > self._now_ms:
            self._clock += lifecycle.patience(now_ms - self._now_ms, self._settings)
        self._now_ms = max(self._now_ms, now_ms)

    def _expire(self) -> None:
        for ended in [e for e in self._ended.values() if self._clock - e.ended > 1000 * self._settings.flap_s]:
            self._forget(ended)
        old = self._clock - 1000 * self._settings.window_s
        for waiting in [each for each in self._groups.waiting.values() if each.since < old]:
            self._groups.unwait(waiting.symptom.id)
        self._mutes.expire(self._now_ms)
        horizon = self._now_ms - MOST_LATE_MS - CHANGE_MS
        for change in [each for each in self._changes.values() if each.time_ms < horizon]:
            del self._changes[change.id]

    def _forget(self, ended: Incident) -> None:
        del self._ended[ended.id]
        for mark in ended.marks:
            del self._came[mark]

    def _count(self, what: str) -> None:
        self.dropped[what] = self.dropped.get(what, 0) + 1

    # Snapshots

    def dump(self) -> Json:
        return {
            **{name: getattr(self, f"_{name}") for name in PLAIN},
            "open": [each.dump() for each in self._groups.open.values()],
            "ended": [each.dump() for each in self._ended.values()],
            "waiting": [
                [sign_row(w.symptom), w.node, [list(each) for each in w.peers], w.since]
                for w in self._groups.waiting.values()
            ],
            "mutes": self._mutes.dump(),
            "used": list(self._used),
            "changes": [sign_row(each) for each in self._changes.values()],
            "news": [list(each) for each in self._news],
            "stirred": [list(each) for each in self._stirred],
            "dropped": self.dropped,
        }

    @classmethod
    def load(cls, dumped: Json, cluster: str, topology: Topology, settings: Correlation) -> "Correlator":
        new = cls(cluster, topology, settings)
        for name in PLAIN:
            setattr(new, f"_{name}", dumped[name])
        groups = new._groups
        groups.open = {each.id: each for each in map(Incident.load, dumped["open"])}
        for row, node, peers, since in dumped["waiting"]:
            symptom = read_symptom(row)
            named = tuple(Entity(*each) for each in peers)
            waiting = Waiting(symptom, place_of(symptom.resource), node, named, since)
            groups.waiting[waiting.symptom.id] = waiting
        groups.index()
        new._ended = {each.id: each for each in map(Incident.load, dumped["ended"])}
        new._came = {mark: each for each in new._ended.values() for mark in each.marks}
        new._mutes = Mutes.load(dumped["mutes"], settings)
        new._used = dict.fromkeys(dumped["used"])
        new._changes = {each.id: each for each in map(read_change, dumped["changes"])}
        new._news = {Entity(*each): None for each in dumped["news"]}
        new._stirred = {Entity(*each): None for each in dumped["stirred"]}
        new.dropped = dumped["dropped"]
        return new
