"""OpenTelemetry's logs and metrics: one path for both encodings, from the plain form that the two readers make."""

from collections import ChainMap
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from processors.decode.kubernetes import kubernetes_event, kubernetes_events, object_resource
from processors.decode.log_text import log_record
from processors.decode.metrics import STALE, sample
from processors.decode.resource import Origin, labelled, otel_resource
from processors.decode.severity import otel_severity
from processors.decode.sniff import is_kubernetes_event
from processors.decode.structured import ERROR_KEYS, TRACE_KEYS, trace_id_of, with_error
from processors.decode.timestamps import epoch_ms
from processors.decode.values import first, name, names, scalar, told
from schemas.errors import InvalidRecord
from schemas.records import WARN, Filtered, Record, Rejected, Resource

Attributes = dict[str, object]  # values are plain: str, int, float, bool, list or dict; bytes as base64 text
Outcome = Record | Rejected | Filtered

CUMULATIVE: Final = 2  # AggregationTemporality
NO_RECORDED_VALUE: Final = 1  # DataPointFlags
NOT_A_METRIC: Final = Rejected(reason="not an OpenTelemetry metric")


class LogEntry(NamedTuple):
    """A LogRecord. Times are nanoseconds, as a number or as digits; 0 is "not said"."""

    time: object
    observed: object
    number: object
    text: object
    body: object
    attributes: Attributes  # those that `telling` names
    trace_id: str  # hexadecimal
    event_name: str


# A log record that is nothing but time in milliseconds, severity, text and trace id, as nearly all are.
PlainLog = tuple[int, int, str, str]


class Point(NamedTuple):
    """A data point of any kind. `values` are suffixes of the metric's name with their values."""

    metric: str
    unit: str
    monotonic: bool
    time: object
    flags: object
    values: tuple[tuple[str, object], ...]
    attributes: Attributes


# Of a log record's attributes only these are read: events and pods, errors, traces.
TELLING: Final = TRACE_KEYS.union(ERROR_KEYS, ("exception.type", "host.name", "service.name", "service.namespace"))


def telling(key: str) -> bool:
    return key in TELLING or key.startswith("k8s.")


_LONG_WAY: Final = (LogEntry, Point, Rejected)


class Group(NamedTuple):
    """What one resource has sent; an entry that could not be read is Rejected in its place."""

    attributes: Attributes
    entries: Iterable[LogEntry | PlainLog | Point | Rejected]


def otlp_records(groups: Iterable[Group], origin: Origin) -> Iterator[Outcome]:
    """The records of a batch, in its order."""
    for group in groups:
        resource = otel_resource(group.attributes, origin)
        for entry in group.entries:
            if not isinstance(entry, _LONG_WAY):
                time_ms, severity, text, trace_id = entry
                yield log_record(origin, resource, text, time_ms=time_ms, severity=severity, trace_id=trace_id)
            elif isinstance(entry, LogEntry):
                try:
                    yield from _logged(entry, resource, group.attributes, origin)
                except InvalidRecord as error:
                    yield Rejected(reason=error.reason)
            elif isinstance(entry, Point):
                yield from _samples(entry, resource, group.attributes, origin)
            else:
                yield entry


def _logged(entry: LogEntry, resource: Resource, about: Attributes, origin: Origin) -> Iterable[Outcome]:
    body = entry.body
    if isinstance(body, dict) and is_kubernetes_event(body):  # the k8sobjects receiver
        return kubernetes_events(body, origin._replace(cluster=resource.cluster))
    if "k8s.event.reason" in entry.attributes or "k8s.event.uid" in entry.attributes:
        return (_received_event(entry, resource, about, origin),)
    if not resource.pod and "k8s.pod.name" in entry.attributes:
        resource = otel_resource(ChainMap(entry.attributes, about), origin)
    time_ms = epoch_ms(entry.time)
    return (
        log_record(
            origin,
            resource,
            body if isinstance(body, dict) else _text(entry),
            time_ms=time_ms if time_ms is not None else epoch_ms(entry.observed),
            severity=otel_severity(entry.number, entry.text),
            trace_id=entry.trace_id or trace_id_of(entry.attributes),
        ),
    )


def _text(entry: LogEntry) -> str:
    text = (
        told(entry.body) or scalar(first(entry.attributes, "exception.message", "exception.type")) or entry.event_name
    )
    return with_error(text, entry.attributes) if text else ""


def _received_event(entry: LogEntry, resource: Resource, about: Attributes, origin: Origin) -> Record:
    """An event as the k8s_events receiver flattens it."""
    said = ChainMap(entry.attributes, about)
    involved: dict[str, object] = {
        "kind": said.get("k8s.object.kind"),
        "name": said.get("k8s.object.name"),
        "fieldPath": said.get("k8s.object.fieldpath"),
        "namespace": said.get("k8s.namespace.name"),
    }
    count = said.get("k8s.event.count")
    return kubernetes_event(
        uid=name(said.get("k8s.event.uid")),
        time_ms=epoch_ms(entry.time) or epoch_ms(entry.observed),
        first_ms=epoch_ms(said.get("k8s.event.start_time")) or epoch_ms(entry.time),
        resource=object_resource(
            involved, origin, namespace="", host=name(said.get("k8s.node.name")), cluster=resource.cluster
        ),
        about=involved,
        reason=name(said.get("k8s.event.reason")),
        message=told(entry.body),
        warning=entry.text == "Warning" or otel_severity(entry.number, None) >= WARN,
        count=count,
        component=name(said.get("k8s.event.source.component")),
    )


def _samples(point: Point, resource: Resource, about: Attributes, origin: Origin) -> Iterator[Outcome]:
    if isinstance(point.flags, int) and point.flags & NO_RECORDED_VALUE:
        yield STALE
        return
    labels = names(point.attributes)
    if not resource.pod:
        resource, labels = _from_labels(labels, resource, origin)
        if instance := name(about.get("service.instance.id")):
            labels.setdefault("service.instance.id", instance)
    for suffix, value in point.values:
        yield sample(
            resource=resource,
            labels=labels,
            metric=point.metric + suffix if point.metric else "",
            value=value,
            time_ms=epoch_ms(point.time),
            unit=point.unit,
            monotonic=point.monotonic,
        )


def _from_labels(labels: dict[str, str], resource: Resource, origin: Origin) -> tuple[Resource, dict[str, str]]:
    """What the resource left open, from Prometheus labels that a receiver has put on the points."""
    spoken, rest = labelled(labels, origin._replace(cluster=""))
    if not (spoken.pod or spoken.workload or spoken.namespace or spoken.node):
        return resource, rest
    return resource._replace(
        cluster=resource.cluster or spoken.cluster,
        namespace=spoken.namespace or resource.namespace,
        workload=spoken.workload or resource.workload,
        pod=spoken.pod,
        container=spoken.container or resource.container,
        node=spoken.node or resource.node,
    ), rest
