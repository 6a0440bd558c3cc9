"""One example for each format, and the records that it must become."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from processors.decode import decode
from schemas.records import (
    Alert,
    Filtered,
    Format,
    KubernetesEvent,
    LogRecord,
    Message,
    MetricSample,
    Record,
    Rejected,
    Resource,
    Signal,
)
from schemas.topics import Input

EXAMPLES = sorted((Path(__file__).parent / "examples").iterdir())
SECOND = 1795204800_000  # 2026-11-20T20:00:00Z
NOW = SECOND + 250
RECEIVED = SECOND + 5000

PAYMENT = Resource(
    cluster="home",
    namespace="shop",
    workload="payment",
    pod="payment-6c8f9d7b5-x2k4z",
    container="payment",
    node="node-a",
)
CART = Resource(cluster="home", namespace="shop", workload="cart", pod="cart-0")
NODE_A = Resource(cluster="home", node="node-a")
HOME = Resource(cluster="home")
DURATION = "http.server.request.duration"


def log(resource: Resource, severity: int, body: str, time_ms: int | None = NOW, trace_id: str = "") -> LogRecord:
    return LogRecord(time_ms=time_ms, resource=resource, severity=severity, body=body, trace_id=trace_id)


def metric(resource: Resource, name: str, value: float, **more: object) -> MetricSample:
    return MetricSample(**{"time_ms": NOW, "labels": {}, "resource": resource, "name": name, "value": value} | more)


BACK_OFF = KubernetesEvent(
    uid="11-aa",
    time_ms=SECOND,
    first_ms=SECOND - 600_000,
    resource=PAYMENT,
    object_kind="Pod",
    object_name="payment-6c8f9d7b5-x2k4z",
    reason="BackOff",
    message="Back-off restarting failed container",
    warning=True,
    count=9,
)
EXPECTED: dict[str, list[Record | Rejected | Filtered]] = {
    "fluent-bit.json": [log(PAYMENT, 17, "payment: card gateway refused connection")],
    "fluent-bit.journal.json": [
        log(Resource(cluster="home", workload="kubelet", node="node-a"), 13, "eviction manager waits for disk space")
    ],
    "vector.json": [
        log(
            Resource(cluster="home", namespace="shop", workload="cart", pod="cart-0", container="cart", node="node-b"),
            13,
            "basket cache is cold",
        )
    ],
    "vector.metric.json": [
        metric(
            Resource(cluster="home", workload="cart", pod="cart-0"),
            "shop_orders_total",
            12.0,
            labels={"region": "eu,de", "canary": "true"},
            monotonic=True,
        )
    ],
    "vector.histogram.json": [
        metric(Resource(cluster="home", workload="cart"), "latency_seconds_count", 4.0, labels={"service": "cart"}),
        metric(Resource(cluster="home", workload="cart"), "latency_seconds_sum", 1.5, labels={"service": "cart"}),
    ],
    "filebeat.json": [
        log(
            Resource(
                cluster="blue",
                namespace="shop",
                workload="stock",
                pod="stock-7d4b9c6f8-q9w2z",
                container="stock",
                node="node-c",
            ),
            13,
            "stock level below zero",
            trace_id="0af7651916cd43dd8448eb211c80319c",
        )
    ],
    "rsyslog.json": [log(Resource(cluster="home", node="node-d"), 17, "disk quota reached")],
    "rsyslog.line.txt": [
        log(Resource(cluster="home", workload="ntpd", node="node-d"), 13, "clock is off by 3 s", SECOND)
    ],
    "text.txt": [
        log(HOME, 9, "catalog: listening on port 8080"),
        log(
            HOME,
            17,
            "catalog: cannot render page\nTraceback (most recent call last):\n"
            "  File \"page.py\", line 7, in render\nKeyError: 'price'",
            SECOND + 1000,
        ),
        log(HOME, 21, "giving up: no template", SECOND + 2000),
    ],
    "prometheus-kafka-adapter.json": [
        metric(
            PAYMENT,
            "http_requests_total",
            17.0,
            time_ms=SECOND,
            labels={"code": "500", "instance": "10.1.2.3:8080"},
            monotonic=True,
        )
    ],
    "prometheus-kafka-adapter.batch.json": [
        Filtered(rule="stale-marker"),
        Filtered(rule="not-finite"),
        Rejected(reason="metric value is not a number"),
        metric(
            Resource(cluster="home", workload="node-exporter", node="node-a"),
            "up",
            1.0,
            time_ms=SECOND,
            labels={"job": "node-exporter", "instance": "node-a:9100"},
        ),
    ],
    "telegraf-json.json": [
        metric(NODE_A, "disk_used_percent", 91.5, time_ms=SECOND, labels={"path": "/"}),
        metric(NODE_A, "disk_readonly", 0.0, time_ms=SECOND, labels={"path": "/"}),
        Rejected(reason="not telegraf-json"),
    ],
    "kubernetes-event-exporter.json": [
        replace(BACK_OFF, component="kubelet", resource=PAYMENT._replace(cluster="blue")),
    ],
    "kubernetes-event.core.json": [
        KubernetesEvent(
            uid="22-bb",
            time_ms=SECOND,
            first_ms=SECOND,
            resource=Resource(cluster="home", namespace="shop", workload="payment"),
            object_kind="Deployment",
            object_name="payment",
            reason="ScalingReplicaSet",
            message="Scaled up replica set payment-6c8f9d7b5 to 3",
            warning=False,
            count=1,
            component="deployment-controller",
        ),
        Rejected(reason="event without an involved object"),
    ],
    "kubernetes-event.v1.json": [
        KubernetesEvent(
            uid="44-dd",
            time_ms=NOW,
            first_ms=SECOND - 59_900,
            resource=CART,
            object_kind="Pod",
            object_name="cart-0",
            reason="FailedScheduling",
            message="0/3 nodes have enough memory",
            warning=True,
            count=4,
            component="default-scheduler",
        )
    ],
    "alertmanager.json": [
        Alert(
            fingerprint="c0ffee",
            time_ms=SECOND - 300_000,
            starts_ms=SECOND - 300_000,
            ends_ms=None,
            resource=PAYMENT._replace(container="", node=""),
            name="PaymentErrors",
            severity=21,
            labels={
                "alertname": "PaymentErrors",
                "namespace": "shop",
                "pod": "payment-6c8f9d7b5-x2k4z",
                "severity": "critical",
            },
            annotations={"summary": "Payment fails", "runbook_url": "https://runbooks.example/payment"},
        ),
        Alert(
            fingerprint="6473265106756875",
            time_ms=SECOND,
            starts_ms=SECOND - 3_600_000,
            ends_ms=SECOND,
            resource=NODE_A,
            name="DiskFull",
            severity=0,
            labels={"alertname": "DiskFull", "node": "node-a", "severity": "none"},
            annotations={},
        ),
        Rejected(reason="alert without a name"),
    ],
    "otlp-json.logs.json": [
        log(
            PAYMENT,
            17,
            "card gateway refused connection",
            trace_id="5b8efff798038103d269b633813fc60c",
        ),
        log(PAYMENT, 13, "retry", SECOND + 1000),
        Filtered(rule="empty-line"),
        log(Resource(cluster="home", workload="batch", node="node-z"), 9, "nightly run begins"),
    ],
    "otlp-json.events.json": [
        BACK_OFF,
        KubernetesEvent(
            uid="55-ee",
            time_ms=SECOND,
            first_ms=SECOND,
            resource=NODE_A,
            object_kind="Node",
            object_name="node-a",
            reason="Rebooted",
            message="Node node-a has been rebooted",
            warning=True,
            count=1,
        ),
    ],
    "otlp-json.metrics.json": [
        metric(CART, f"{DURATION}_count", 4.0, unit="s", labels={"http.route": "/basket"}, monotonic=True),
        metric(CART, f"{DURATION}_sum", 1.5, unit="s", labels={"http.route": "/basket"}, monotonic=True),
        metric(CART, f"{DURATION}_count", 1.0, unit="s", monotonic=True),
        metric(CART, "memory.usage", 10.0, unit="By"),
        Filtered(rule="stale-marker"),
        metric(CART, "restarts", 5.0, monotonic=True),
        metric(CART, "delta", -5.0),
        metric(CART, "rpc_count", 2.0, monotonic=True),
        metric(CART, "rpc_sum", 0.0, monotonic=True),
        metric(CART, "spread_count", 3.0, monotonic=True),
        metric(CART, "spread_sum", 6.0, monotonic=True),
        Rejected(reason="not an OpenTelemetry metric"),
        metric(
            Resource(cluster="home", namespace="shop", workload="stock"),
            "up",
            1.0,
            labels={"service.instance.id": "10.1.2.3:9090"},
        ),
    ],
}


def read(value: bytes, form: Format = Format.AUTO, signal: Signal = Signal.LOG) -> list[Record | Rejected | Filtered]:
    message = Message(topic="t", topic_id="id", partition=0, offset=1, timestamp_ms=RECEIVED, key=None, value=value)
    found = decode(message, Input(topic="t", signal=signal, format=form, cluster="home"))
    return [each._replace(form="") if isinstance(each, LogRecord) else each for each in found]


def configured(example: Path) -> Format:
    return Format(example.name.split(".")[0])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_becomes_its_records(example: Path) -> None:
    assert read(example.read_bytes(), configured(example)) == EXPECTED[example.name]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_sniffing_finds_what_would_have_been_configured(example: Path) -> None:
    assert read(example.read_bytes()) == EXPECTED[example.name]


def test_every_expectation_has_its_example_and_every_format_an_expectation() -> None:
    assert {path.name for path in EXAMPLES} == set(EXPECTED)
    assert {configured(path) for path in EXAMPLES} == set(Format) - {Format.AUTO, Format.OTLP_PROTO}


def protobuf(example: Path) -> bytes:
    """The example by protobuf's own JSON reader, whose base64 ids need the hexadecimal ones rewritten first."""
    batch = json.loads(example.read_bytes())

    def rewrite(node: object) -> None:
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            rewrite(child)
        if isinstance(node, dict):
            for key in node.keys() & {"traceId", "spanId"}:
                node[key] = base64.b64encode(bytes.fromhex(node[key])).decode()

    rewrite(batch)
    return ParseDict(batch, LogsData() if "resourceLogs" in batch else MetricsData()).SerializeToString()


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("form", [Format.AUTO, Format.OTLP_PROTO])
@pytest.mark.parametrize("name", ["otlp-json.logs.json", "otlp-json.events.json", "otlp-json.metrics.json"])
def test_protobuf_becomes_the_same_records_whatever_the_topic_is_for(name: str, form: Format, signal: Signal) -> None:
    value = protobuf(Path(__file__).parent / "examples" / name)
    assert read(value, form, signal) == EXPECTED[name]


@pytest.mark.parametrize("example", [p for p in EXAMPLES if p.suffix == ".json"], ids=lambda path: path.name)
def test_lines_and_arrays_of_objects_are_batches(example: Path) -> None:
    parsed = json.loads(example.read_bytes())
    objects = parsed if isinstance(parsed, list) else [parsed, parsed]
    expected = EXPECTED[example.name] if isinstance(parsed, list) else EXPECTED[example.name] * 2
    assert read(b"\n".join(map(orjson.dumps, objects)), configured(example)) == expected
    assert read(orjson.dumps(objects), configured(example)) == expected
    assert read(b"\xef\xbb\xbf" + orjson.dumps(objects, option=orjson.OPT_INDENT_2)) == expected


def test_a_bad_line_is_rejected_in_its_place() -> None:
    good = (Path(__file__).parent / "examples" / "fluent-bit.json").read_bytes().strip()
    found = read(b"\n".join((good, good[:-9], b'{"name": 1}', good)), Format.FLUENT_BIT)
    assert [type(item) for item in found] == [LogRecord, Rejected, Rejected, LogRecord]
    assert [item.reason for item in found[1:3]] == ["not JSON", "not fluent-bit"]
