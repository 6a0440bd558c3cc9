"""The bytes that shippers really put on Kafka, from what happened."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import orjson
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from deploy.shop.lines import iso, to_stderr, write_line
from deploy.shop.telemetry import Log, Notice, Observation, Point, Sample, Subject, pod_labels
from deploy.shop.topology import CLUSTER, Pod, stable_uid

NEVER: Final = "0001-01-01T00:00:00Z"  # Go's zero time: how Alertmanager says "still firing"
_SEVERITY: Final = {"debug": 5, "info": 9, "warn": 13, "error": 17, "fatal": 21}
_CUMULATIVE: Final = 2


def rfc3339(at_s: float) -> str:
    """Whole seconds, as the API server and Prometheus write them."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _micro(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _nanoseconds(at_s: float) -> str:
    return str(int(at_s * 1e6) * 1000)


@lru_cache(maxsize=4096)
def _fluent_metadata(pod: Pod) -> orjson.Fragment:
    container = pod.service.name
    image = f"registry.shop.example/{container}:{pod.version}"
    digest = sha256(image.encode()).hexdigest()
    metadata = {
        "pod_name": pod.name,
        "namespace_name": pod.namespace,
        "pod_id": pod.uid,
        "labels": pod_labels(pod),
        "annotations": {"prometheus.io/scrape": "true"},
        "host": pod.node,
        "pod_ip": pod.ip,
        "container_name": container,
        "docker_id": sha256(pod.uid.encode()).hexdigest(),
        "container_hash": f"registry.shop.example/{container}@sha256:{digest}",
        "container_image": image,
    }
    return orjson.Fragment(orjson.dumps(metadata))


def fluent_bit(log: Log) -> bytes:
    """`out_kafka` with its defaults after the CRI parser and the kubernetes filter; one line, one message."""
    return orjson.dumps(
        {
            "@timestamp": round(log.at_s, 6),
            "time": _micro(log.at_s)[:-1] + "000Z",
            "stream": "stderr" if to_stderr(log) else "stdout",
            "_p": "F",
            "log": write_line(log),
            "kubernetes": _fluent_metadata(log.pod),
        }
    )


def _attributes(pairs: dict[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()]


def _resource(pod: Pod, cluster: str) -> dict[str, Any]:
    owner = {"Deployment": "k8s.deployment.name", "StatefulSet": "k8s.statefulset.name"}.get(
        pod.service.kind, "k8s.daemonset.name"
    )
    return {
        "attributes": _attributes(
            {
                "service.name": pod.service.name,
                "service.version": pod.version,
                "k8s.cluster.name": cluster,
                "k8s.namespace.name": pod.namespace,
                owner: pod.service.name,
                "k8s.pod.name": pod.name,
                "k8s.pod.uid": pod.uid,
                "k8s.container.name": pod.service.name,
                "k8s.node.name": pod.node,
            }
        )
    }


def _logs_data(logs: Sequence[Log], write_id: Callable[[str], str], cluster: str) -> dict[str, Any]:
    by_pod: dict[Pod, list[dict[str, Any]]] = {}
    for log in logs:
        record = {
            "timeUnixNano": _nanoseconds(log.at_s),
            "observedTimeUnixNano": _nanoseconds(log.at_s + 0.002),
            "severityNumber": _SEVERITY[log.level],
            "severityText": log.level.upper(),
            "body": {"stringValue": log.text},
            "attributes": [{"key": "thread.id", "value": {"intValue": str(len(log.text) % 16 + 1)}}],
        }
        if log.trace_id:
            record |= {"traceId": write_id(log.trace_id), "spanId": write_id(log.trace_id[:16])}
        by_pod.setdefault(log.pod, []).append(record)
    return {
        "resourceLogs": [
            {
                "resource": _resource(pod, cluster),
                "scopeLogs": [{"scope": {"name": f"example.shop.{pod.service.name}"}, "logRecords": records}],
            }
            for pod, records in by_pod.items()
        ]
    }


def _same(hex_id: str) -> str:
    return hex_id


def _base64(hex_id: str) -> str:
    return b64encode(bytes.fromhex(hex_id)).decode()


def otlp_logs_json(logs: Sequence[Log], *, cluster: str = CLUSTER) -> bytes:
    return orjson.dumps(_logs_data(logs, _same, cluster))


def otlp_logs_proto(logs: Sequence[Log], *, cluster: str = CLUSTER) -> bytes:
    # ParseDict takes ids in base64, as protobuf's own JSON form has them; OTLP's JSON has hex.
    encoded: bytes = ParseDict(_logs_data(logs, _base64, cluster), LogsData()).SerializeToString()
    return encoded


def prometheus(sample: Sample, *, cluster: str = CLUSTER) -> bytes:
    """prometheus-kafka-adapter: every value is a string and the second is whole."""
    labels = {"__name__": sample.name, "cluster": cluster, **sample.labels}
    value = f"{sample.value:.10g}"
    return orjson.dumps({"timestamp": rfc3339(sample.at_s), "value": value, "name": sample.name, "labels": labels})


def _metric(point: Point) -> dict[str, Any]:
    data_point: dict[str, Any] = {
        "startTimeUnixNano": _nanoseconds(point.start_s),
        "timeUnixNano": _nanoseconds(point.at_s),
        "attributes": _attributes(dict(point.attributes)),
    }
    body: dict[str, Any] = {"dataPoints": [data_point]}
    if point.kind == "histogram":
        data_point |= {
            "count": str(sum(point.counts)),
            "sum": round(point.value, 6),
            "bucketCounts": [str(count) for count in point.counts],
            "explicitBounds": list(point.bounds),
        }
        body["aggregationTemporality"] = _CUMULATIVE
    elif point.kind == "sum":
        data_point["asInt"] = str(int(point.value))
        body |= {"aggregationTemporality": _CUMULATIVE, "isMonotonic": True}
    else:
        data_point["asDouble"] = round(point.value, 6)
    return {"name": point.name, "unit": point.unit, point.kind: body}


def _metrics_data(points: Sequence[Point], cluster: str) -> dict[str, Any]:
    by_pod: dict[Pod, list[dict[str, Any]]] = {}
    for point in points:
        by_pod.setdefault(point.pod, []).append(_metric(point))
    return {
        "resourceMetrics": [
            {
                "resource": _resource(pod, cluster),
                "scopeMetrics": [{"scope": {"name": "example.shop.telemetry"}, "metrics": metrics}],
            }
            for pod, metrics in by_pod.items()
        ]
    }


def otlp_metrics_json(points: Sequence[Point], *, cluster: str = CLUSTER) -> bytes:
    return orjson.dumps(_metrics_data(points, cluster))


def otlp_metrics_proto(points: Sequence[Point], *, cluster: str = CLUSTER) -> bytes:
    encoded: bytes = ParseDict(_metrics_data(points, cluster), MetricsData()).SerializeToString()
    return encoded


def _event_metadata(seen: Observation) -> dict[str, Any]:
    return {
        "name": f"{seen.subject.name}.{seen.uid.replace('-', '')[:16]}",
        "namespace": seen.subject.namespace or "default",  # where the API server keeps the events of nodes
        "uid": seen.uid,
        "resourceVersion": str(int(seen.at_s * 10) % 10_000_000),
        "creationTimestamp": rfc3339(seen.first_s),
    }


def _reference(subject: Subject) -> dict[str, Any]:
    reference = {
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "uid": subject.name if subject.kind == "Node" else stable_uid(subject.kind, subject.namespace, subject.name),
        "apiVersion": subject.api_version,
        "resourceVersion": "48211",
        "fieldPath": subject.field_path,
    }
    return {key: value for key, value in reference.items() if value}


def core_event(seen: Observation) -> bytes:
    """A core/v1 Event as the API server writes it."""
    return orjson.dumps(_core(seen) | {"kind": "Event", "apiVersion": "v1"})


def _core(seen: Observation) -> dict[str, Any]:
    return {
        "metadata": _event_metadata(seen),
        "involvedObject": _reference(seen.subject),
        "reason": seen.reason,
        "message": seen.message,
        "source": {"component": seen.component, "host": seen.host},
        "firstTimestamp": rfc3339(seen.first_s),
        "lastTimestamp": rfc3339(seen.at_s),
        "count": seen.count,
        "type": "Warning" if seen.warning else "Normal",
        "eventTime": None,
        "reportingComponent": seen.component,
        "reportingInstance": seen.host,
    }


def event_exporter(seen: Observation, *, cluster: str = CLUSTER) -> bytes:
    """kubernetes-event-exporter: the core/v1 event, its object enriched, and the name of the cluster."""
    event = _core(seen) | {"clusterName": cluster, "series": None, "related": None, "action": ""}
    kind, name = seen.subject.owner
    owners = [{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": True}] if name else []
    event["involvedObject"] |= {
        "labels": dict(seen.subject.labels),
        "annotations": {},
        "ownerReferences": owners,
        "deleted": False,
    }
    return orjson.dumps(event)


def events_v1(seen: Observation) -> bytes:
    """An events.k8s.io/v1 Event: a series from the second time on, and the old fields empty."""
    series = {"count": seen.count, "lastObservedTime": _micro(seen.at_s)} if seen.count > 1 else None
    event = {
        "kind": "Event",
        "apiVersion": "events.k8s.io/v1",
        "metadata": _event_metadata(seen),
        "eventTime": _micro(seen.first_s),
        "series": series,
        "reportingController": seen.component,
        "reportingInstance": f"{seen.component}-{seen.host or 'infra-1'}",
        "action": "Scheduling" if seen.component == "default-scheduler" else seen.reason,
        "reason": seen.reason,
        "regarding": _reference(seen.subject),
        "note": seen.message,
        "type": "Warning" if seen.warning else "Normal",
        "deprecatedSource": {},
        "deprecatedFirstTimestamp": None,
        "deprecatedLastTimestamp": None,
    }
    return orjson.dumps(event)


def alertmanager(notice: Notice, *, cluster: str = CLUSTER) -> bytes:
    """Alertmanager's webhook, version 4, with one alert in its group."""
    labels = {"cluster": cluster, **notice.labels}
    status = "firing" if notice.ends_s is None else "resolved"
    fingerprint = sha256(orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    group = {"alertname": labels["alertname"]}
    alert = {
        "status": status,
        "labels": labels,
        "annotations": dict(notice.annotations),
        "startsAt": iso(datetime.fromtimestamp(notice.starts_s, UTC)),
        "endsAt": NEVER if notice.ends_s is None else iso(datetime.fromtimestamp(notice.ends_s, UTC)),
        "generatorURL": f"https://prometheus.shop.example/graph?g0.expr={labels['alertname']}",
        "fingerprint": fingerprint,
    }
    return orjson.dumps(
        {
            "receiver": "freshet-kafka",
            "status": status,
            "alerts": [alert],
            "groupLabels": group,
            "commonLabels": labels,
            "commonAnnotations": dict(notice.annotations),
            "externalURL": "https://alertmanager.shop.example",
            "version": "4",
            "groupKey": f'{{}}:{{alertname="{labels["alertname"]}"}}',
            "truncatedAlerts": 0,
        }
    )
