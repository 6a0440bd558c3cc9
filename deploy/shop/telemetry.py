"""What happens, before any shipper has put it into bytes; times are epoch seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.shop.topology import Pod


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One Kafka message to produce. `topic` is logical: logs, metrics, k8s-events or alerts; the edge maps it."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    at_s: float
    pod: Pod
    level: str  # debug, info, warn, error, fatal
    text: str
    trace_id: str = ""  # 32 hex digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A scraped Prometheus sample."""

    at_s: float
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A data point that a process measured itself and sends through OpenTelemetry."""

    at_s: float
    start_s: float  # when counting began: counters and histograms are cumulative
    pod: Pod
    name: str
    unit: str
    kind: str  # gauge, sum, histogram
    value: float  # of a histogram: the sum of what was measured
    counts: tuple[int, ...] = ()  # of a histogram, one more than `bounds`
    bounds: tuple[float, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The Kubernetes object that an event is about."""

    kind: str
    name: str
    namespace: str = ""  # empty for nodes
    api_version: str = "v1"
    labels: Mapping[str, str] = field(default_factory=dict)
    owner: tuple[str, str] = ("", "")  # kind and name
    node: str = ""  # where it runs, if it is a pod
    field_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A Kubernetes event as seen once; the same uid is seen again with a higher count."""

    at_s: float
    first_s: float
    uid: str
    count: int
    subject: Subject
    reason: str
    message: str
    warning: bool
    component: str
    host: str = ""
    shape: str  # exporter, core or events


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One alert as Alertmanager passes it on."""

    at_s: float  # when the notification goes out
    starts_s: float
    ends_s: float | None  # None while firing
    labels: Mapping[str, str]  # with alertname and severity
    annotations: Mapping[str, str]


Happening = Log | Sample | Point | Observation | Notice


def pod_subject(pod: Pod) -> Subject:
    owner = {"Deployment": ("ReplicaSet", pod.replica_set)}.get(pod.service.kind, (pod.service.kind, pod.service.name))
    return Subject(
        kind="Pod",
        name=pod.name,
        namespace=pod.namespace,
        labels=pod_labels(pod),
        owner=owner,
        node=pod.node,
        field_path=f"spec.containers{{{pod.service.name}}}",
    )


def workload_subject(pod: Pod) -> Subject:
    """The deployment, stateful set or daemon set that owns `pod`."""
    return Subject(
        kind=pod.service.kind,
        name=pod.service.name,
        namespace=pod.namespace,
        api_version="apps/v1",
        labels=pod_labels(pod),
    )


def node_subject(node: str) -> Subject:
    return Subject(kind="Node", name=node, node=node)


def pod_labels(pod: Pod) -> dict[str, str]:
    labels = {"app.kubernetes.io/name": pod.service.name, "app.kubernetes.io/version": pod.version}
    if pod.replica_set:
        labels["pod-template-hash"] = pod.replica_set.rpartition("-")[2]
    return labels
