"""How what is no log line becomes a change of a document: identity, immutable fields, and the delta to join."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from processors.fold import OBSERVATIONS, POINTS, Change, Fold
from processors.merge import join_item
from schemas.documents import Target, day_of, digest, hour_of, minute_of
from schemas.records import Alert, Coordinates, KubernetesEvent, MetricSample, Resource, Signal

EXEMPLAR_CHARS: Final = 2_000
OBSERVED_CHARS: Final = 300  # of what was said at one observation: for questions about a moment before the latest one
SUMMARIES: Final = ("summary", "message", "description")  # annotations that say what an alert is about, best first
_LAST_MS: Final = 10**15
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
    _observe(change, time_ms, f"{record.count:010d}", {
        "t": time_ms, "n": record.count, "at": str(at), "text": message[:OBSERVED_CHARS], "warning": record.warning,
    })  # fmt: skip
    _latest(
        change,
        f"{time_ms:015d}/{record.count:010d}/{at}",
        {"message": message, "warning": record.warning, "search_text": " ".join(words)},
    )
    _tally_state(fold, at, Signal.EVENT, time_ms, resource)


def alert(
    fold: Fold,
    at: Coordinates,
    record: Alert,
    when: tuple[int, bool],
    redact: Redact,
    oldest_ms: int,
    kafka_ms: int,
) -> None:
    """One document per fingerprint and start; observations tell when it fired and when it was resolved.

    A notification is sent again and again with one and the same start: its first copy says what was known then.
    """
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
    _observe(change, time_ms, status, {
        "t": time_ms, "status": status, "at": str(at), "text": summary_of(annotations)[:OBSERVED_CHARS],
        "url": annotations.get("runbook_url", ""), "sent": kafka_ms, "o": f"{_LAST_MS - kafka_ms:015d}/{at}",
    })  # fmt: skip
    words = (resource.namespace, resource.workload, record.name, *annotations.values(), *labels.values())
    _latest(
        change,
        f"{time_ms:015d}/{kafka_ms:015d}/{status}/{at}",
        {
            "status": status,
            "annotations": annotations,
            "runbook_url": annotations.get("runbook_url", ""),
            "search_text": " ".join(words),
        },
    )
    _tally_state(fold, at, Signal.ALERT, time_ms, resource)


def summary_of(annotations: Mapping[str, str]) -> str:
    return next((annotations[name] for name in SUMMARIES if annotations.get(name)), "")


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


def _observe(change: Change, time_ms: int, suffix: str, observation: dict[str, Any]) -> None:
    items = change.delta.setdefault("items", {"field": "observations", "limit": OBSERVATIONS, "values": {}})
    key = f"{time_ms:015d}/{suffix}"
    # The order makes every route keep the same one of several copies.
    observation.setdefault("o", observation["at"])
    known = items["values"].get(key)
    if known is None or observation["o"] > known["o"]:
        items["values"][key] = observation


def _latest(change: Change, order: str, values: Mapping[str, Any]) -> None:
    known = change.delta.get("latest")
    if known is None or order > known["order"]:
        change.delta["latest"] = {"order": order, "values": dict(values)}
