"""A revision of an incident in words: title, entities, causes, symptoms. The same incident gives the same words."""

import datetime as dt
from collections.abc import Sequence
from typing import Final, Literal

from processors.insights.incident import Incident, place_of, telling
from processors.insights.wording import short
from schemas.insights import (
    AffectedEntity,
    Cause,
    Change,
    ChangeSummary,
    Entity,
    Insight,
    RunbookReference,
    State,
    Symptom,
    SymptomSummary,
)
from schemas.records import FATAL, WARN

MOST_ENTITIES: Final = 50  # that are named; all of them are counted in the title
MOST_CHANGE_CHARS: Final = 80  # of a change in the title
MOST_CHANGE_MINUTES: Final = 10  # before: a title that names an older one reads as if that had done it
MOST_NAME_CHARS: Final = 80
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LATEST_MS: Final = 253_402_300_799_000  # the year 9999
_FORMS: Final = {
    "pattern-new": "new log pattern “{}”",
    "pattern-burst": "burst of “{}”",
    "pattern-silence": "silence of “{}”",
    "metric-shift": "shift of {}",
    "metric-spike": "spike of {}",
    "metric-trend": "trend of {}",
    "metric-missing": "no data of {}",
}


def insight_of(incident: Incident, state: State, cluster: str, now_ms: int, causes: Sequence[Cause], shown: int,
               merged_into: str = "", resolved_ms: int | None = None) -> Insight:  # fmt: skip
    """The revision after `incident.revision`."""
    best = telling(incident.symptoms.values(), shown)
    return Insight(
        id=incident.id,
        revision=incident.revision + 1,
        state=state,
        cluster=cluster,
        namespaces=tuple(sorted({place.namespace for place in incident.places if place.namespace})),
        title=title_of(incident, causes),
        severity=severity_name(incident.severity),
        fingerprint=incident.fingerprint,
        started=moment(incident.started_ms),
        detected=moment(incident.opened_ms),
        updated=moment(now_ms),
        resolved=None if resolved_ms is None else moment(resolved_ms),
        merged_into=merged_into,
        reopened=incident.reopened,
        symptom_count=incident.count,
        entities=_entities(incident),
        causes=tuple(causes),
        symptoms=tuple(_summary(each) for each in best),
        change=_change(incident.change) if incident.change else None,
        runbooks=_runbooks(best),
    )


def title_of(incident: Incident, causes: Sequence[Cause]) -> str:
    """`<most probable cause>: <its most telling symptom> of <n> pods, <m> more affected, <t> min after <change>`."""
    at = Entity(causes[0].kind, causes[0].name, causes[0].namespace) if causes else incident.root
    own = telling((s for s in incident.symptoms.values() if at in (place_of(s.resource), _pod(s))), 1)
    best = own or telling(incident.symptoms.values(), 1)
    parts = [f"{spoken(at)}: {_what(incident, best[0])}" if best else spoken(at)]
    if best and not own:
        parts[0] += f" at {spoken(place_of(best[0].resource))}"
    place = place_of(own[0].resource) if own else at
    if others := len(incident.places) - (place in incident.places):
        parts.append(f"{others} more affected")
    minutes = max(0, incident.started_ms - incident.change.time_ms) // 60_000 if incident.change else 0
    if incident.change and minutes <= MOST_CHANGE_MINUTES:
        after = f"{minutes} min after" if minutes else "right after"
        parts.append(f"{after} “{short(incident.change.text, MOST_CHANGE_CHARS)}”")
    return ", ".join(parts)


def spoken(entity: Entity) -> str:
    name = entity.name if entity.kind in ("workload", "pod") else f"{entity.kind} {entity.name}"
    return f"{name} in {entity.namespace}" if entity.namespace else name


def severity_name(number: int) -> Literal["critical", "warning", "info"]:
    """Alerts that page are FATAL (`decode/severity.py`); Kubernetes Warnings are WARN, and lines up to ERROR."""
    return "critical" if number >= FATAL else "warning" if number >= WARN else "info"


def moment(time_ms: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=min(max(time_ms, 0), _LATEST_MS))


def _what(incident: Incident, symptom: Symptom) -> str:
    words = _FORMS.get(symptom.kind, "{}").format(short(symptom.name, MOST_NAME_CHARS))
    place = place_of(symptom.resource)
    pods = {
        each.resource.pod
        for each in incident.symptoms.values()
        if each.kind == symptom.kind and each.name == symptom.name and place_of(each.resource) == place
    }
    return f"{words} of {len(pods)} pods" if len(pods) > 1 else words


def _pod(symptom: Symptom) -> Entity:
    return Entity("pod", symptom.resource.pod, symptom.resource.namespace)


def _entities(incident: Incident) -> tuple[AffectedEntity, ...]:
    """Workloads and nodes, those with the most symptoms first, then pods while there is room."""
    counts = {entity: place.symptoms for entity, place in incident.places.items()}
    pods: dict[Entity, int] = {}
    for symptom in incident.symptoms.values():
        if symptom.resource.pod and (pod := _pod(symptom)) not in counts:
            pods[pod] = pods.get(pod, 0) + 1
    ranked = [pair for each in (counts, pods) for pair in sorted(each.items(), key=lambda pair: (-pair[1], pair[0]))]
    return tuple(
        AffectedEntity(kind=kind, name=name, namespace=namespace, symptoms=times)
        for (kind, name, namespace), times in ranked[:MOST_ENTITIES]
    )


def _summary(symptom: Symptom) -> SymptomSummary:
    return SymptomSummary(
        id=symptom.id,
        kind=symptom.kind,
        entity=_named(symptom),
        namespace=symptom.resource.namespace,
        name=symptom.name,
        text=symptom.text,
        first=moment(symptom.start_ms),
        last=moment(symptom.last_ms),
        ended=symptom.ended,
        strength=symptom.strength,
        evidence=symptom.evidence,
    )


def _named(symptom: Symptom) -> str:
    if symptom.resource.pod:
        return f"pod/{symptom.resource.pod}"
    place = place_of(symptom.resource)
    return f"{place.kind}/{place.name}"


def _change(change: Change) -> ChangeSummary:
    place = place_of(change.resource)
    return ChangeSummary(
        time=moment(change.time_ms),
        entity=f"{place.kind}/{place.name}",
        namespace=place.namespace,
        text=change.text,
        evidence=change.evidence,
    )


def _runbooks(symptoms: Sequence[Symptom]) -> tuple[RunbookReference, ...]:
    """Addresses that alerts brought along; the publisher adds sections."""
    urls = dict.fromkeys(each.runbook_url for each in symptoms if each.runbook_url)
    return tuple(RunbookReference(path=url, why="url") for url in urls)
