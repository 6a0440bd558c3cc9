"""Probable causes of an incident, ranked: the earliest, the most upstream, the most specific; and why, in words.

A place is a workload, a node, or whatever else a symptom is about. Its score is the weighted mean of six parts, each
0..1, so that a person can redo it; nothing is learned and no model is asked.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from processors.insights.topology import Topology, owner_of
from processors.insights.wording import short
from schemas.insights import Cause, Change, Entity, Symptom

# Weights of the parts. Ours, in the order of what an engineer asks first; never fitted to a labelled set.
WEIGHTS: Final[Mapping[str, float]] = {
    "upstream": 0.25,  # what others depend on, and what depends on nothing that is wrong
    "onset": 0.20,  # the earliest
    "kind": 0.20,  # exhaustion, restarts and conditions name a cause; latency and complaints name a symptom
    "blamed": 0.15,  # others name it in their complaints, or all that is wrong runs on it
    "strength": 0.10,
    "change": 0.10,  # it was changed just before
}
ONSET_HALF_MS: Final = 120_000  # later by this, half as likely; metrics come once a minute, so one says little
CHANGE_HALF_MS: Final = 300_000  # a rollout takes minutes to hurt: Kubernetes' progressDeadlineSeconds is ten
CHANGE_BEFORE_MS: Final = 1_800_000  # changes further back are no reason
CHANGE_SLACK_MS: Final = 30_000  # by which the event of a change may come after what it did: minutes, other clocks
MOST_CAUSES: Final = 5
MOST_PLACES: Final = 64  # that are compared with each other: the earliest and strongest
TOGETHER_MS: Final = 120_000  # what fails first may be told so much later: a metric waits for its minute
SHOWN_NAMES: Final = 3
SHOWN_EVIDENCE: Final = 3
CHANGE_CHARS: Final = 80

KINDS: Final[Mapping[str, float]] = {
    "restart": 0.8,
    "event": 0.6,
    "metric-trend": 0.5,
    "metric-missing": 0.5,
    "pattern-new": 0.5,
    "alert": 0.4,
    "metric-shift": 0.4,
    "pattern-burst": 0.4,
    "metric-spike": 0.35,
    "pattern-silence": 0.3,
}
NAMES_A_CAUSE: Final = 1.0
COMPLAINT: Final = 0.1  # about somebody who is named
EFFECT: Final = 0.25
TRAFFIC: Final = 0.1  # comes from callers: more or less of it is why nobody fails
_CAUSE: Final = re.compile(
    r"""oom|out.?of.?memory|evict|no\ space\ left|disk.?(?:full|pressure)|(?:memory|pid)pressure|notready
    |networkunavailable|too\ many\ open\ files|throttl|exhaust|leak|deadlock|heap|crashloop|backoff|panic|segfault
    |failedscheduling|failedmount|failedattach|imagepull|errimage|certificate|expired|quota|permission\ denied
    |cpu|memory|mem_|disk|filesystem|inode|file_?desc|fds\b|saturat|waiting=|\bpool\b""",
    re.IGNORECASE | re.VERBOSE,
)
_EFFECT: Final = re.compile(
    r"""latenc|duration|response.?time|availab|error.?rate|5xx|4xx|\b50[0-9]\b|timed?.?out|deadline\ exceeded
    |connection\ (?:refused|reset)|upstream|unreachable|no\ such\ host|slo|burn|apdex|unhealthy|probe\ failed""",
    re.IGNORECASE | re.VERBOSE,
)
_TRAFFIC: Final = re.compile(
    r"request|query|queries|traffic|throughput|\bops\b|_ops|[qrt]ps\b|bytes|packets|received|transmit", re.IGNORECASE
)


@dataclass(slots=True)
class _Place:
    """What may be at fault, and what is known of it."""

    entity: Entity
    symptoms: list[Symptom] = field(default_factory=list)
    blamers: dict[Entity, int] = field(default_factory=dict)  # who names it, and since when
    change: Change | None = None
    since_ms: int = 0  # of one that was only changed: the first symptom of anybody
    dependents: list[Entity] = field(default_factory=list)  # of the other places
    dependencies: list[Entity] = field(default_factory=list)
    shared_by: list[Entity] = field(default_factory=list)  # of a node: all that is wrong with these runs on it

    @property
    def start_ms(self) -> int:
        """Its first symptom, else the first complaint about it, else of all."""
        if self.symptoms:
            return self.symptoms[0].start_ms
        return min(self.blamers.values(), default=self.since_ms)

    @property
    def order(self) -> tuple[str, str, str]:
        return self.entity.name, self.entity.namespace, self.entity.kind


def ranked(symptoms: Sequence[Symptom], changes: Sequence[Change], topology: Topology) -> tuple[Cause, ...]:
    """The most probable first; the same for the same symptoms in whatever order."""
    if not symptoms:
        return ()
    told = sorted(symptoms, key=lambda each: (each.last_ms, each.strength, each.mentions, each.evidence))
    newest = {each.id: each for each in told}
    ordered = sorted(newest.values(), key=lambda each: (each.start_ms, each.id))
    complaints: dict[str, bool] = {}  # by id: it is about somebody who is named
    places = _places(ordered, topology, complaints)
    _add_nodes(places, topology)
    _add_changes(places, changes, topology, ordered[0].start_ms)
    compared = _compared(places, complaints)
    _relate(compared, topology)
    first_ms = min(place.start_ms for place in compared)
    others = max(1, sum(1 for place in compared if place.symptoms) - 1)
    scored = [(_score(_parts(place, first_ms, others, complaints)), place) for place in compared]
    scored.sort(key=lambda each: (-each[0], each[1].order))
    return tuple(_cause(score, place, compared, topology, complaints) for score, place in scored[:MOST_CAUSES])


def _places(ordered: Sequence[Symptom], topology: Topology, complaints: dict[str, bool]) -> dict[Entity, _Place]:
    places: dict[Entity, _Place] = {}
    for symptom in ordered:
        owner = owner_of(symptom.resource)
        places.setdefault(owner, _Place(owner)).symptoms.append(symptom)
        # Labels name callers, too: nobody complains about who depends on him.
        named = [
            entity
            for entity in topology.resolve(symptom.mentions, symptom.resource)
            if entity != owner and (topology.distance(owner, entity) or topology.distance(entity, owner) is None)
        ]
        complaints[symptom.id] = bool(named)
        for entity in named:
            blamers = places.setdefault(entity, _Place(entity)).blamers
            blamers[owner] = min(blamers.get(owner, symptom.start_ms), symptom.start_ms)
    return places


def _add_nodes(places: dict[Entity, _Place], topology: Topology) -> None:
    """A node on which all runs that is wrong, when the same workloads, or others, run elsewhere and are well."""
    by_node: dict[str, list[Entity]] = {}
    elsewhere = False
    for place in list(places.values()):
        resources = [s.resource for s in place.symptoms if s.resource.pod]
        nodes = {topology.node_of(resource) for resource in resources}
        if len(nodes) == 1 and (node := nodes.pop()):
            by_node.setdefault(node, []).append(place.entity)
            pods = {resource.pod for resource in resources}
            elsewhere |= len(topology.pods(place.entity.namespace, place.entity.name)) > len(pods)
        elif nodes:
            return
    if len(by_node) == 1:
        [(node, shared)] = by_node.items()
        if len(shared) > 1 and elsewhere:
            place = places.setdefault(Entity("node", node), _Place(Entity("node", node)))
            place.shared_by = shared
            for entity in shared:
                place.blamers.setdefault(entity, places[entity].start_ms)


def _add_changes(places: dict[Entity, _Place], changes: Sequence[Change], topology: Topology, first_ms: int) -> None:
    """The last change of each place before it failed, and changed places that those which fail depend on."""
    earliest = list(places)[:MOST_PLACES]
    for change in sorted(changes, key=lambda each: (each.time_ms, each.id)):
        owner = owner_of(change.resource)
        place = places.get(owner)
        since_ms = place.start_ms if place else first_ms
        if not -CHANGE_SLACK_MS <= since_ms - change.time_ms <= CHANGE_BEFORE_MS:
            continue
        if place is None:
            if not any(topology.distance(entity, owner) for entity in earliest):
                continue
            place = places[owner] = _Place(owner, since_ms=first_ms)
        place.change = change


def _compared(places: Mapping[Entity, _Place], complaints: Mapping[str, bool]) -> list[_Place]:
    """Few enough to be compared in pairs."""
    if len(places) <= MOST_PLACES:
        return list(places.values())
    telling = sorted(
        places.values(),
        key=lambda each: (-len(each.blamers), -_kind(each, complaints), each.start_ms, -_strength(each), each.order),
    )
    return telling[:MOST_PLACES]


def _relate(places: Sequence[_Place], topology: Topology) -> None:
    """Trouble goes from whom one depends on to whom depends on it, and forward in time; traffic goes the other way."""
    troubled = [place for place in places if any(not _is_traffic(symptom) for symptom in place.symptoms)]
    for place in places:
        hurts = bool(place.blamers or place.change) or place in troubled
        for other in troubled:
            if other is place:
                continue
            if hurts and place.start_ms <= other.start_ms + TOGETHER_MS and _depends(other, place, topology):
                place.dependents.append(other.entity)
            if place.symptoms and other.start_ms <= place.start_ms + TOGETHER_MS and _depends(place, other, topology):
                place.dependencies.append(other.entity)


def _depends(one: _Place, other: _Place, topology: Topology) -> bool:
    return one.entity in other.blamers or bool(topology.distance(one.entity, other.entity))


def _parts(place: _Place, first_ms: int, others: int, complaints: Mapping[str, bool]) -> dict[str, float]:
    """What speaks for it, each 0..1, under the names of the weights."""
    change = place.change
    age_ms = max(0, place.start_ms - change.time_ms) if change else 0
    below, above = len(place.dependents), len(place.dependencies)
    return {
        "upstream": max(0.0, min(1.0, 0.5 + 0.5 * (below - above) / others)),
        "onset": 0.5 ** ((place.start_ms - first_ms) / ONSET_HALF_MS) if place.symptoms or place.blamers else 0.0,
        "kind": _kind(place, complaints),
        "blamed": min(1.0, len(place.blamers) / others),
        "strength": _strength(place),
        "change": 0.5 ** (age_ms / CHANGE_HALF_MS) if change else 0.0,
    }


def _score(parts: Mapping[str, float]) -> float:
    return round(sum(weight * parts[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values()), 4)


def _kind(place: _Place, complaints: Mapping[str, bool]) -> float:
    return max((_tells(symptom, complaints) for symptom in place.symptoms), default=0.0)


def _tells(symptom: Symptom, complaints: Mapping[str, bool]) -> float:
    """How much a symptom is a cause by its kind."""
    if complaints[symptom.id]:
        return COMPLAINT
    kind = KINDS[symptom.kind]
    if _CAUSE.search(symptom.name) or _CAUSE.search(symptom.text):
        return (NAMES_A_CAUSE + kind) / 2 if symptom.kind.startswith(("metric", "pattern")) else NAMES_A_CAUSE
    if _EFFECT.search(symptom.name) or _EFFECT.search(symptom.text):
        return min(kind, EFFECT)
    return TRAFFIC if _is_traffic(symptom) else kind


def _is_traffic(symptom: Symptom) -> bool:
    """A metric of how much is asked of it: latency and errors have other names."""
    return (
        symptom.kind.startswith("metric")
        and _TRAFFIC.search(symptom.name) is not None
        and not (_EFFECT.search(symptom.name) or _CAUSE.search(symptom.name))
    )


def _strength(place: _Place) -> float:
    return max((symptom.strength for symptom in place.symptoms), default=0.0)


def _cause(
    score: float, place: _Place, places: Sequence[_Place], topology: Topology, complaints: Mapping[str, bool]
) -> Cause:
    entity, specific = _specific(place, topology)
    telling = sorted(place.symptoms, key=lambda s: (-_tells(s, complaints), -s.strength, s.start_ms, s.id))
    evidence = [s.evidence for s in telling[:SHOWN_EVIDENCE]] + ([place.change.evidence] if place.change else [])
    clauses = [_since(place, places), _named(place.dependents, "depends on it", "depend on it")]
    if place.shared_by:
        clauses.append("all that is wrong runs on it")
    elif blamers := [entity for entity in place.blamers if entity not in place.dependents]:
        clauses.append(_named(blamers, "names it", "name it"))
    if telling:
        clauses.append(_told(telling[0], entity))
    clauses.append(specific)
    if place.dependencies:
        clauses.append(f"depends on {_listed(place.dependencies)}")
    why = ", ".join(clause for clause in clauses if clause)
    if place.change:
        why += (
            f"; {short(place.change.text, CHANGE_CHARS)} {_span(max(0, place.start_ms - place.change.time_ms))} before"
        )
    return Cause(
        kind=entity.kind,
        name=entity.name,
        namespace=entity.namespace,
        score=score,
        why=why,
        evidence=tuple(dict.fromkeys(filter(None, evidence))),
    )


def _told(symptom: Symptom, entity: Entity) -> str:
    name = f"“{symptom.name}”" if symptom.kind.startswith("pattern") else symptom.name
    at = symptom.resource.entity
    return f"{name} of {at if at != 'unknown/' else f'{entity.kind}/{entity.name}'}"


def _specific(place: _Place, topology: Topology) -> tuple[Entity, str]:
    """One pod out of several is at fault itself; several are their workload's fault."""
    entity = place.entity
    pods = sorted({s.resource.pod for s in place.symptoms if s.resource.pod})
    if entity.kind != "workload" or not pods:
        return entity, ""
    known = sorted({*topology.pods(entity.namespace, entity.name), *pods})
    if len(pods) == 1 and len(known) > 1:
        return Entity("pod", pods[0], entity.namespace), f"only this of {len(known)} pods of {entity.name}"
    return entity, f"{len(pods)} of {len(known)} pods" if len(known) > 1 else ""


def _since(place: _Place, places: Sequence[_Place]) -> str:
    if not place.symptoms:
        return "no symptom of its own"
    others = sorted(each.start_ms for each in places if each is not place and each.symptoms)
    at = f"{datetime.fromtimestamp(place.start_ms / 1000, UTC):%H:%M:%S} UTC"
    if not others:
        return f"the only symptoms ({at})"
    if place.start_ms < others[0]:
        return f"first symptom ({at}, {_span(others[0] - place.start_ms)} before the next)"
    if place.start_ms == others[0]:
        return f"among the first symptoms ({at})"
    return f"symptoms since {at}, {_span(place.start_ms - others[0])} after the first"


def _span(span_ms: int) -> str:
    return f"{span_ms / 1000:.0f} s" if span_ms < 120_000 else f"{span_ms / 60_000:.0f} min"


def _named(entities: Iterable[Entity], one: str, many: str) -> str:
    names = list(entities)
    return f"{_listed(names)} {one if len(names) == 1 else many}" if names else ""


def _listed(entities: Sequence[Entity]) -> str:
    names = sorted({entity.name for entity in entities})
    if len(names) > SHOWN_NAMES:
        names[SHOWN_NAMES:] = [f"{len(names) - SHOWN_NAMES} more"]
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
