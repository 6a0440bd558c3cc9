"""One good message for each shipper: what the broken ones are made from."""

import copy
from datetime import UTC, datetime
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from schemas.records import Format

TEXT: Final = "café: no route to the till"  # one character of two bytes, so that a cut can go through it
POD: Final = "till-7d9f8b6c5-x2k4z"


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def documents(at_ms: int) -> dict[str, dict[str, Any]]:
    """By configured format, a message of one record; `metrics` are those of OTLP."""
    return _logs(at_ms) | _measured(at_ms) | _states(at_ms)


def _logs(at_ms: int) -> dict[str, dict[str, Any]]:
    moment = rfc3339(at_ms)
    pod = {"pod_name": POD, "namespace_name": "shop", "host": "node-a", "labels": {"app": "till"}}
    record = {"timeUnixNano": str(at_ms * 1_000_000), "body": {"stringValue": TEXT}}
    resource = {"attributes": [{"key": "k8s.pod.name", "value": {"stringValue": POD}}]}
    return {
        Format.FLUENT_BIT: {"@timestamp": at_ms / 1000, "log": TEXT, "stream": "stderr", "kubernetes": pod},
        Format.VECTOR: {
            "source_type": "kubernetes_logs",
            "message": TEXT,
            "timestamp": moment,
            "kubernetes": {"pod_name": POD, "pod_namespace": "shop", "pod_labels": {"app": "till"}},
        },
        Format.FILEBEAT: {
            "@timestamp": moment,
            "@metadata": {"beat": "filebeat"},
            "message": TEXT,
            "kubernetes": {"namespace": "shop", "pod": {"name": POD}, "node": {"name": "node-a"}},
        },
        Format.RSYSLOG: {"message": TEXT, "fromhost": "node-a", "priority": "err", "timereported": moment},
        Format.OTLP_JSON: {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]},
    }


def _measured(at_ms: int) -> dict[str, dict[str, Any]]:
    point = {"timeUnixNano": str(at_ms * 1_000_000), "asDouble": 1.5}
    gauge = {"name": "load", "gauge": {"dataPoints": [point]}}
    labels = {"namespace": "shop", "pod": POD}
    return {
        Format.PROMETHEUS: {"timestamp": rfc3339(at_ms), "value": "0.97", "name": "till_load", "labels": labels},
        Format.TELEGRAF: {
            "name": "till",
            "fields": {"load": 0.97},
            "tags": {"host": "node-a"},
            "timestamp": at_ms // 1000,
        },
        "metrics": {"resourceMetrics": [{"scopeMetrics": [{"metrics": [gauge]}]}]},
    }


def _states(at_ms: int) -> dict[str, dict[str, Any]]:
    moment = rfc3339(at_ms)
    about = {"kind": "Pod", "namespace": "shop", "name": POD}
    said = {"reason": "BackOff", "message": TEXT, "type": "Warning", "count": 3, "lastTimestamp": moment}
    event = {"kind": "Event", "metadata": {"uid": "u-1", "namespace": "shop"}, "involvedObject": about, **said}
    alert = {
        "status": "firing",
        "labels": {"alertname": "TillDown", "namespace": "shop"},
        "annotations": {"summary": TEXT},
        "startsAt": moment,
    }
    return {
        Format.KUBERNETES_EVENT: event,
        Format.EVENT_EXPORTER: copy.deepcopy(event) | {"clusterName": "prod"},
        Format.ALERTMANAGER: {"version": "4", "receiver": "kafka", "alerts": [alert]},
    }


def attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def pod_resource() -> Resource:
    pairs = {"k8s.pod.name": POD, "k8s.namespace.name": "shop", "service.name": "till", "about": "x" * 90}
    return Resource(attributes=[attribute(key, value) for key, value in pairs.items()])


def log_batch(at_ms: int, body: AnyValue | None = None, **more: Any) -> LogsData:
    record = LogRecord(time_unix_nano=at_ms * 1_000_000, body=body or AnyValue(string_value=TEXT), **more)
    return LogsData(resource_logs=[ResourceLogs(resource=pod_resource(), scope_logs=[ScopeLogs(log_records=[record])])])


def metric_batch(at_ms: int, **value: Any) -> MetricsData:
    point = NumberDataPoint(time_unix_nano=at_ms * 1_000_000, **(value or {"as_double": 0.97}))
    metric = Metric(name="till.load", gauge=Gauge(data_points=[point]))
    return MetricsData(
        resource_metrics=[ResourceMetrics(resource=pod_resource(), scope_metrics=[ScopeMetrics(metrics=[metric])])]
    )
