"""What the decoders make of a Kafka message: four kinds of record with OpenTelemetry field names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple


class Signal(StrEnum):
    LOG = "log"
    METRIC = "metric"
    EVENT = "event"
    ALERT = "alert"


class Format(StrEnum):
    """How the values of an input topic are written; `auto` looks at each message."""

    AUTO = "auto"
    FLUENT_BIT = "fluent-bit"
    VECTOR = "vector"
    OTLP_JSON = "otlp-json"
    OTLP_PROTO = "otlp-proto"
    FILEBEAT = "filebeat"
    PROMETHEUS = "prometheus-kafka-adapter"
    TELEGRAF = "telegraf-json"
    EVENT_EXPORTER = "kubernetes-event-exporter"
    KUBERNETES_EVENT = "kubernetes-event"  # core/v1 and events.k8s.io/v1, as the API server writes them
    ALERTMANAGER = "alertmanager"
    RSYSLOG = "rsyslog"
    TEXT = "text"


# OpenTelemetry severity numbers: https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
TRACE: Final = 1
DEBUG: Final = 5
INFO: Final = 9
WARN: Final = 13
ERROR: Final = 17
FATAL: Final = 21
UNKNOWN: Final = 0
HIGHEST_SEVERITY: Final = 24


@lru_cache(maxsize=64)
def severity_band(number: int) -> str:
    """The name of an OpenTelemetry severity range; `unknown` below 1."""
    if number < TRACE:
        return "unknown"
    return ("trace", "debug", "info", "warn", "error", "fatal")[min(number - 1, 23) // 4]


# What people paste into a question: trace ids, request ids, error codes such as ORA-00942 or E1234.
IDENTIFIER: Final = re.compile(
    r"\b(?:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{16,64}|[A-Z]{1,6}-?\d{3,8})\b",
    re.ASCII,
)


def topic_id_text(topic_id: object) -> str:
    """Kafka's own spelling of a topic id, URL-safe base64; librdkafka prints the other alphabet, with slashes."""
    return str(topic_id).replace("+", "-").replace("/", "_").rstrip("=")


# Tuples, where there is one for each line: made in a third of a dataclass's time, and quick as keys.


class Coordinates(NamedTuple):
    """Where a record came from. `index` counts the records inside one message, from 0."""

    topic: str
    topic_id: str  # Kafka's own id: a topic that is deleted and made again restarts its offsets under a new id
    partition: int
    offset: int
    index: int = 0  # type: ignore[assignment] # of the record; tuple's method of that name serves nobody here

    def __str__(self) -> str:
        return f"{self.topic}/{self.topic_id}/{self.partition}/{self.offset}/{self.index}"

    @classmethod
    def parse(cls, text: str) -> "Coordinates":
        """The inverse of `str`; raises ValueError. Topic names and ids hold no slash."""
        topic, topic_id, partition, offset, index = text.split("/")
        return cls(topic, topic_id, int(partition), int(offset), int(index))


class Message(NamedTuple):
    """One Kafka message as consumed: the unit that is folded whole or not at all."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    timestamp_ms: int  # Kafka's CreateTime or LogAppendTime, epoch milliseconds
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def at(self, index: int) -> Coordinates:
        return Coordinates(self.topic, self.topic_id, self.partition, self.offset, index)


class Resource(NamedTuple):
    """Who speaks: OpenTelemetry's k8s.* and service.* attributes. An empty string is "not said"."""

    cluster: str = ""
    namespace: str = ""
    workload: str = ""  # deployment, stateful set, daemon set or job that owns the pod; else the service or program
    pod: str = ""
    container: str = ""
    node: str = ""

    @property
    def entity(self) -> str:
        """The single most specific thing that speaks, as `kind/name`."""
        for kind, name in (("pod", self.pod), ("node", self.node), ("workload", self.workload)):
            if name:
                return f"{kind}/{name}"
        return "unknown/"


class LogRecord(NamedTuple):
    time_ms: int | None  # None: the shipper gave none; the Kafka timestamp is used and the record is flagged
    resource: Resource
    severity: int  # OpenTelemetry number, 0 when unknown
    body: str
    trace_id: str = ""  # or what IDENTIFIER matches
    form: str = ""  # the canonical form of the body, where it is known already


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSample:
    time_ms: int | None
    resource: Resource
    name: str
    labels: Mapping[str, str]  # without those that `resource` already holds
    value: float  # finite; stale markers and NaN never get this far
    unit: str = ""
    monotonic: bool = False  # a counter: its rate matters, not its value


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesEvent:
    """One observation of a core/v1 or events.k8s.io/v1 event; the same uid comes again with a higher count."""

    uid: str
    time_ms: int | None  # of this observation: last seen
    first_ms: int | None  # first seen, else creation: immutable, it names the day of the document
    resource: Resource  # workload, pod and node of the object that the event is about
    object_kind: str
    object_name: str
    reason: str
    message: str
    warning: bool
    count: int
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert of an Alertmanager notification."""

    fingerprint: str
    time_ms: int | None  # of this observation: end when resolved, else start
    starts_ms: int
    ends_ms: int | None  # None while firing
    resource: Resource
    name: str
    severity: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


State = MetricSample | KubernetesEvent | Alert  # of something that goes on; a log line is said and over
Record = LogRecord | State


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A record inside a message that goes to the dead letters; `reason` never quotes the payload."""

    reason: str
    stage: str = "decode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """A record that is dropped by a named rule and counted (a stale marker, a heartbeat, too old)."""

    rule: str
