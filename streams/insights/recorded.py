"""A redacted record as the value of a Kafka message that decodes to it again. Pure.

So a recording holds what the product itself would store, and nothing of a message beside it.
"""

from datetime import UTC, datetime
from typing import Any, Final

from processors.redact_records import RecordRedactor
from schemas.records import (
    Alert,
    KubernetesEvent,
    LogRecord,
    MetricSample,
    Record,
    Resource,
    Signal,
)

Json = dict[str, Any]
SIGNALS: Final = {
    LogRecord: Signal.LOG, MetricSample: Signal.METRIC, KubernetesEvent: Signal.EVENT, Alert: Signal.ALERT,
}  # fmt: skip
_ATTRIBUTES: Final = {
    "cluster": "k8s.cluster.name", "namespace": "k8s.namespace.name", "pod": "k8s.pod.name",
    "container": "k8s.container.name", "node": "k8s.node.name",
}  # fmt: skip
# The first names that are looked for, so that labels of the sample's own which sound alike stay labels.
_LABELS: Final = {
    "cluster": "cluster", "namespace": "exported_namespace", "pod": "exported_pod", "container": "exported_container",
    "node": "exported_node", "workload": "deployment",
}  # fmt: skip


def redacted(record: Record, redact: RecordRedactor) -> Record:
    """Without secrets, in every field."""
    if isinstance(record, LogRecord):
        return LogRecord(
            record.time_ms, redact.resource(record.resource), record.severity, redact(record.body),
            redact(record.trace_id),
        )  # fmt: skip
    record = redact.record(record)
    if isinstance(record, KubernetesEvent):
        fields = {name: getattr(record, name) for name in record.__slots__}
        return KubernetesEvent(**fields | {"message": redact(record.message)})
    return record


def value_of(record: Record, kafka_ms: int) -> Json:
    """`kafka_ms`: for a record that tells no time of its own."""
    time_ms = record.time_ms if record.time_ms is not None else kafka_ms
    if isinstance(record, LogRecord):
        return _log(record, time_ms)
    if isinstance(record, MetricSample):
        # A pod's labels are its own; others say by their labels who they are.
        return _otlp_sample(record, time_ms) if record.resource.pod else _prometheus(record, time_ms)
    if isinstance(record, KubernetesEvent):
        return _event(record, time_ms)
    return _alert(record)


def _log(record: LogRecord, time_ms: int) -> Json:
    said = {
        "timeUnixNano": str(time_ms * 1_000_000),
        "severityNumber": record.severity,
        "body": {"stringValue": record.body},
        **({"traceId": record.trace_id} if len(record.trace_id) == 32 else {}),
    }
    return {"resourceLogs": [{"resource": _resource(record.resource), "scopeLogs": [{"logRecords": [said]}]}]}


def _otlp_sample(record: MetricSample, time_ms: int) -> Json:
    point = {"timeUnixNano": str(time_ms * 1_000_000), "asDouble": record.value, "attributes": _pairs(record.labels)}
    kind = {"sum": {"isMonotonic": True, "aggregationTemporality": 2, "dataPoints": [point]}}
    metric = {"name": record.name, "unit": record.unit, **(kind if record.monotonic else {"gauge": kind["sum"]})}
    return {"resourceMetrics": [{"resource": _resource(record.resource), "scopeMetrics": [{"metrics": [metric]}]}]}


def _prometheus(record: MetricSample, time_ms: int) -> Json:
    spoken = {label: value for field, label in _LABELS.items() if (value := getattr(record.resource, field))}
    return {
        "name": record.name, "value": str(record.value), "timestamp": _iso(time_ms),
        "labels": {"__name__": record.name, **record.labels, **spoken},
    }  # fmt: skip


def _event(record: KubernetesEvent, time_ms: int) -> Json:
    who = record.resource
    about: Json = {"kind": record.object_kind, "name": record.object_name, "namespace": who.namespace}
    if record.object_kind == "Pod" and who.workload:
        about["ownerReferences"] = [{"kind": "Deployment", "name": who.workload, "controller": True}]
    if who.container:
        about["fieldPath"] = f"spec.containers{{{who.container}}}"
    return {
        "kind": "Event", "apiVersion": "v1", "metadata": {"uid": record.uid, "namespace": who.namespace},
        "clusterName": who.cluster, "involvedObject": about, "reason": record.reason, "message": record.message,
        "type": "Warning" if record.warning else "Normal", "count": record.count, "lastTimestamp": _iso(time_ms),
        "firstTimestamp": _iso(record.first_ms if record.first_ms is not None else time_ms),
        "source": {"component": record.component, "host": who.node if record.object_kind == "Pod" else ""},
    }  # fmt: skip


def _alert(record: Alert) -> Json:
    """Its labels say who it is about, but for the cluster, which may be the input's word."""
    cluster = {"cluster": record.resource.cluster} if record.resource.cluster else {}
    alert = {
        "status": "firing" if record.ends_ms is None else "resolved",
        "labels": {**cluster, **record.labels},
        "annotations": dict(record.annotations),
        "startsAt": _iso(record.starts_ms),
        "endsAt": "0001-01-01T00:00:00Z" if record.ends_ms is None else _iso(record.ends_ms),
        "fingerprint": record.fingerprint,
    }
    return {"version": "4", "status": alert["status"], "alerts": [alert]}


def _resource(resource: Resource) -> Json:
    fields = {name: getattr(resource, field) for field, name in _ATTRIBUTES.items()}
    owner = "k8s.deployment.name" if resource.pod else "service.name"
    return {"attributes": _pairs({**fields, owner: resource.workload})}


def _pairs(fields: Any) -> list[Json]:
    return [{"key": name, "value": {"stringValue": value}} for name, value in fields.items() if value]


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
