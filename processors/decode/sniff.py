"""Which shipper wrote a JSON object, told from keys that no other writes; the order is from specific to general."""

from collections.abc import Mapping
from typing import Final

from schemas.records import Format

_TELEMETRY: Final = frozenset({"resourceLogs", "resourceMetrics", "resourceSpans"})
_ELSEWHERE: Final = _TELEMETRY | {
    "@metadata",
    "involvedObject",
    "regarding",
    "source_type",
    "object",
    "items",
    "metric",
    "kind",
}
_VECTOR_VALUES: Final = frozenset(
    {"counter", "gauge", "set", "distribution", "aggregated_histogram", "aggregated_summary", "sketch"}
)
_SYSLOG: Final = frozenset(
    {"timereported", "timegenerated", "syslogtag", "programname", "fromhost", "syslogseverity", "rawmsg"}
)


def sniff(event: Mapping[str, object]) -> Format | None:
    """The format of an object; None when it is nobody's that we know, such as an application's own log line."""
    kubernetes = event.get("kubernetes")
    if isinstance(kubernetes, dict) and "pod_name" in kubernetes and "log" in event and _ELSEWHERE.isdisjoint(event):
        return Format.FLUENT_BIT  # by far the most frequent, told apart by the same keys as below
    if not _TELEMETRY.isdisjoint(event):
        return Format.OTLP_JSON
    metadata = event.get("@metadata")
    if isinstance(metadata, dict) and "beat" in metadata:
        return Format.FILEBEAT
    if is_kubernetes_event(event):
        return Format.EVENT_EXPORTER if "clusterName" in event else Format.KUBERNETES_EVENT
    if is_vector(event):
        return Format.VECTOR
    return _log(event) or _measured(event)


def _log(event: Mapping[str, object]) -> Format | None:
    if "@timestamp" in event and ("agent" in event or "ecs" in event) and "message" in event:
        return Format.FILEBEAT
    kubernetes = event.get("kubernetes")
    if isinstance(kubernetes, dict):
        return Format.FILEBEAT if isinstance(kubernetes.get("pod"), dict) else Format.FLUENT_BIT
    if "MESSAGE" in event and ("PRIORITY" in event or "_HOSTNAME" in event):
        return Format.FLUENT_BIT
    if "@timestamp" in event and isinstance(event.get("log"), str):
        return Format.FLUENT_BIT
    if ("message" in event or "msg" in event) and (
        not _SYSLOG.isdisjoint(event) or ("facility" in event and ("severity" in event or "priority" in event))
    ):
        return Format.RSYSLOG
    return None


def _measured(event: Mapping[str, object]) -> Format | None:
    if isinstance(event.get("metrics"), list):
        return Format.TELEGRAF
    if "name" in event:
        if isinstance(event.get("fields"), dict):
            return Format.TELEGRAF
        if isinstance(event.get("labels"), dict) and "value" in event:
            return Format.PROMETHEUS
    if isinstance(event.get("alerts"), list) and ("version" in event or "groupKey" in event or "receiver" in event):
        return Format.ALERTMANAGER
    labels = event.get("labels")
    if isinstance(labels, dict) and "alertname" in labels and "startsAt" in event:
        return Format.ALERTMANAGER
    return None


def is_kubernetes_event(event: Mapping[str, object]) -> bool:
    """Whether the object is an event of core/v1 or events.k8s.io/v1, a list of them, or a watch's envelope."""
    if isinstance(event.get("involvedObject"), dict) or isinstance(event.get("regarding"), dict):
        return True
    if event.get("kind") == "Event" and isinstance(event.get("metadata"), dict):
        return True
    if isinstance(event.get("items"), list):
        return event.get("kind") in ("EventList", "List")
    watched = event.get("object")
    return (
        "type" in event
        and isinstance(watched, dict)
        and (is_kubernetes_event(watched) or watched.get("kind") == "Event")
    )


def is_vector(event: Mapping[str, object]) -> bool:
    """Whether the object is a log or metric event of Vector, bare or in the wrapping of `native_json`."""
    if "source_type" in event and "message" in event:
        return True
    wrapped = event.get("log")
    if isinstance(wrapped, dict) and "source_type" in wrapped:
        return True
    measured = event.get("metric")
    if isinstance(measured, dict) and "name" in measured:
        return True
    return is_vector_metric(event)


def is_vector_metric(event: Mapping[str, object]) -> bool:
    return "name" in event and "kind" in event and not _VECTOR_VALUES.isdisjoint(event)
