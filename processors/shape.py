"""How each kind of record becomes a change of a document: identity, immutable fields, and the delta to join."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from processors.fold import IDENTIFIERS, OBSERVATIONS, POINTS, PRUNE_AT, Change, Fold, prune
from processors.merge import join_item, smallest
from processors.template import template
from schemas.documents import Target, day_of, digest, hour_of, minute_of
from schemas.records import (
    Alert,
    Coordinates,
    KubernetesEvent,
    LogRecord,
    MetricSample,
    Resource,
    Signal,
    severity_band,
)

EXEMPLAR_CHARS: Final = 2_000
CUT_MARK: Final = " <cut>"
CUT_MARGIN: Final = 4_096  # redacted beyond the cut, so that half a secret before it is seen for what it is
# What people paste into a question: trace ids, request ids, error codes such as ORA-00942 or E1234.
IDENTIFIER: Final = re.compile(
    r"\b(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,64}|[A-Z]{1,6}-?\d{3,8})\b",
    re.ASCII,
)
Redact = Callable[[str], str]


def who(resource: Resource) -> dict[str, Any]:
    return {
        "cluster": resource.cluster,
        "namespace": resource.namespace,
        "workload": resource.workload,
        "pod": resource.pod,
        "node": resource.node,
        "entity": resource.entity,
    }


@lru_cache(maxsize=16_384)  # of at most some 7 kB each
def pattern_id(cluster: str, namespace: str, workload: str, band: str, text: str) -> str:
    return digest(Signal.LOG, cluster, namespace, workload, band, text)


def log(fold: Fold, at: Coordinates, record: LogRecord, when: tuple[int, bool], redact: Redact, limit: int) -> None:
    """A pattern (what was said, once) and an occurrence (how often, by whom, in which minute)."""
    time_ms, clamped = when
    attributes, resource = record.attributes, record.resource
    text = _cut(redact(record.body[: limit + CUT_MARGIN]), limit)
    shown, band = template(text), severity_band(record.severity)
    day, minute = day_of(time_ms), minute_of(time_ms)
    identity = pattern_id(resource.cluster, resource.namespace, resource.workload, band, shown)
    pattern = Target("patterns", day, identity)
    if pattern not in fold.patterns:
        fold.patterns[pattern] = {
            "cluster": resource.cluster,
            "namespace": resource.namespace,
            "workload": resource.workload,
            "severity": band,
            "pattern_id": identity,
            "template": shown,
            "template_hash": digest(shown),
            "search_text": f"{resource.namespace} {resource.workload} {shown}",
        }
    entity = resource.entity
    target = Target("occurrences", day, digest(identity, entity, resource.node, str(minute)))
    change = fold.change(
        target,
        lambda: {
            **who(resource),
            "severity": band,
            # The lowest of the band, which the id holds: with the record's own, the first to come would decide.
            "severity_number": record.severity - (record.severity - 1) % 4 if record.severity > 0 else 0,
            "pattern_id": identity,
            "minute_ms": minute,
        },
        counted=True,
    )
    change.add(at, time_ms, clamped=clamped)
    _exemplar(change, at, time_ms, _cut(text, EXEMPLAR_CHARS))
    change.identifiers.update(_identifiers(text, attributes))
    if len(change.identifiers) > PRUNE_AT:
        change.identifiers = set(smallest(change.identifiers, IDENTIFIERS))
    fold.note(at, resource, time_ms)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + CUT_MARK


class Labels(NamedTuple):
    """The labels of one or many series, as they are stored, told apart and searched for."""

    shown: Mapping[str, str]
    identity: str
    words: str


@lru_cache(maxsize=2_048)  # of at most some 30 kB each; a batch repeats few sets many times
def _labels(redact: Redact, pairs: tuple[tuple[str, str], ...]) -> Labels:
    shown = {name: redact(value) for name, value in sorted(pairs)}
    return Labels(shown, digest(*(f"{k}={v}" for k, v in shown.items())), " ".join(shown.values())[:EXEMPLAR_CHARS])


def metric(fold: Fold, at: Coordinates, record: MetricSample, when: tuple[int, bool], redact: Redact) -> None:
    """An hour of one series: per minute the last value, the lowest and the highest."""
    time_ms, clamped = when
    resource = record.resource
    labels = _labels(redact, tuple(record.labels.items()))
    identity = digest(Signal.METRIC, *who(resource).values(), record.name, labels.identity)
    hour = hour_of(time_ms)
    change = fold.change(
        Target("series", day_of(time_ms), digest(identity, str(hour))),
        lambda: {
            **who(resource),
            "series_id": identity,
            "hour_ms": hour,
            "name": record.name,
            "search_text": " ".join((resource.namespace, resource.workload, record.name, labels.words)),
            "labels": labels.shown,
            "unit": record.unit,
            "monotonic": record.monotonic,
        },
        counted=False,
    )
    change.add(at, time_ms, clamped=clamped)
    order, value = f"{time_ms:015d}/{at}", record.value
    values = change.delta.setdefault("items", {"field": "points", "limit": POINTS, "values": {}})["values"]
    key, point = f"{minute_of(time_ms):015d}", {"o": order, "v": value, "lo": value, "hi": value}
    values[key] = join_item(values[key], point) if key in values else point
    _tally_state(fold, at, Signal.METRIC, time_ms, resource)


def event(
    fold: Fold, at: Coordinates, record: KubernetesEvent, when: tuple[int, bool], redact: Redact, oldest_ms: int
) -> None:
    """One document per uid, placed by when it was first seen; observations are a set, the count never goes back."""
    time_ms, clamped = when
    resource = record.resource
    first_ms = min(record.first_ms, time_ms) if record.first_ms is not None else time_ms
    message = redact(record.message)[:EXEMPLAR_CHARS]
    change = fold.change(
        Target("events", _home(first_ms, time_ms, oldest_ms), digest(Signal.EVENT, resource.cluster, record.uid)),
        lambda: {
            **who(resource),
            "uid": record.uid,
            "object_kind": record.object_kind,
            "object_name": record.object_name,
            "reason": record.reason,
            "component": record.component,
        },
        counted=False,
    )
    change.add(at, first_ms, clamped=clamped)
    change.add(at, time_ms, clamped=clamped)
    words = (resource.namespace, resource.workload, record.object_kind, record.object_name, record.reason, message)
    change.delta["max"] = {"count": max(record.count, change.delta.get("max", {}).get("count", 0))}
    _observe(change, time_ms, f"{record.count:010d}", {"t": time_ms, "n": record.count, "at": str(at)})
    _latest(
        change,
        f"{time_ms:015d}/{record.count:010d}/{at}",
        {"message": message, "warning": record.warning, "search_text": " ".join(words)},
    )
    _tally_state(fold, at, Signal.EVENT, time_ms, resource)


def alert(fold: Fold, at: Coordinates, record: Alert, when: tuple[int, bool], redact: Redact, oldest_ms: int) -> None:
    """One document per fingerprint and start; observations tell when it fired and when it was resolved."""
    time_ms, clamped = when
    resource = record.resource
    starts_ms = min(record.starts_ms, time_ms)
    labels = {name: redact(value) for name, value in record.labels.items()}
    annotations = {name: redact(value)[:EXEMPLAR_CHARS] for name, value in record.annotations.items()}
    identity = digest(Signal.ALERT, resource.cluster, record.fingerprint, str(starts_ms))
    change = fold.change(
        Target("alerts", _home(starts_ms, time_ms, oldest_ms), identity),
        lambda: {
            **who(resource),
            "fingerprint": record.fingerprint,
            "name": record.name,
            "severity_number": record.severity,
            "labels": labels,
        },
        counted=False,
    )
    change.add(at, starts_ms, clamped=clamped)
    change.add(at, time_ms, clamped=clamped)
    status = "resolved" if record.ends_ms is not None else "firing"
    _observe(change, time_ms, status, {"t": time_ms, "status": status, "at": str(at)})
    words = (resource.namespace, resource.workload, record.name, *annotations.values(), *labels.values())
    _latest(
        change,
        f"{time_ms:015d}/{status}/{at}",
        {
            "annotations": annotations,
            "runbook_url": annotations.get("runbook_url", ""),
            "search_text": " ".join(words),
        },
    )
    _tally_state(fold, at, Signal.ALERT, time_ms, resource)


def _home(born_ms: int, seen_ms: int, oldest_ms: int) -> str:
    """The day that a lasting thing is kept under: its first, unless retention has removed that; then the day seen.

    Otherwise what has lasted for a year, or claims to, would make an index for a day that nobody keeps.
    """
    return day_of(born_ms if born_ms >= oldest_ms else seen_ms)


def tally(fold: Fold, at: Coordinates, rule: str, kafka_ms: int) -> None:
    """Count a record that a named rule drops, under its Kafka time, so that conservation can be proved."""
    _tally(fold, at, f"filtered:{rule}", kafka_ms)
    fold.note(at, None, kafka_ms)


def _tally_state(fold: Fold, at: Coordinates, signal: Signal, time_ms: int, resource: Resource) -> None:
    _tally(fold, at, signal, time_ms)
    fold.note(at, resource, time_ms)


def _tally(fold: Fold, at: Coordinates, rule: str, time_ms: int) -> None:
    minute = minute_of(time_ms)
    target = Target("tallies", day_of(time_ms), digest(rule, at.topic, str(minute)))
    fold.change(target, lambda: {"rule": rule, "topic": at.topic, "minute_ms": minute}, counted=True).count(at)


def _exemplar(change: Change, at: Coordinates, time_ms: int, text: str) -> None:
    key = str(at)
    change.exemplars[key] = {"at": key, "h": digest(key), "t": time_ms, "text": text}
    if len(change.exemplars) > PRUNE_AT:
        change.exemplars = prune(change.exemplars)


def _observe(change: Change, time_ms: int, suffix: str, observation: dict[str, Any]) -> None:
    items = change.delta.setdefault("items", {"field": "observations", "limit": OBSERVATIONS, "values": {}})
    key = f"{time_ms:015d}/{suffix}"
    # Copies of one observation differ by coordinates only; the order makes every route keep the same one.
    observation["o"] = observation["at"]
    known = items["values"].get(key)
    if known is None or observation["o"] > known["o"]:
        items["values"][key] = observation


def _latest(change: Change, order: str, values: Mapping[str, Any]) -> None:
    known = change.delta.get("latest")
    if known is None or order > known["order"]:
        change.delta["latest"] = {"order": order, "values": dict(values)}


def _identifiers(text: str, attributes: Mapping[str, str]) -> list[str]:
    found = IDENTIFIER.findall(text)
    trace = attributes.get("trace_id")
    return [*found, trace] if trace and IDENTIFIER.fullmatch(trace) else found
