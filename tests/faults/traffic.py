"""What is sent: each message a pure function of seed and number, with what has to become of each of its records.

The expectation is stated here, beside the bytes, and knows nothing of the pipeline.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

import orjson

from deploy.shop import formats
from deploy.shop.telemetry import Log, Notice, Observation, Sample, pod_subject
from deploy.shop.topology import CLUSTER, HOME, Estate, Pod, build_estate, stable_uid
from schemas.records import Signal

REJECTED: Final = "rejected"
TOO_OLD, STALE, DELETED = "filtered:older-than-retention", "filtered:stale-marker", "filtered:event-deleted"
SPAN_S: Final = 1_200.0  # of event time
ARRIVES_S: Final = 0.5  # after the event
DAY_S: Final = 86_400.0
EVENTS, ALERTS = 200, 60  # lasting things, seen again and again
LEVELS: Final = ("info", "info", "info", "warn", "error")
WORDINGS: Final = (
    "request {a} took {b} ms",
    "cache miss for item {a}, loaded in {b} ms",
    "retrying call {a} after {b} ms",
    "connection {a} to the database was refused",
    "order {a} accepted with {b} lines",
    "queue depth is {b}",
    "worker {a} started",
    "cannot reserve stock for order {a}: pool is exhausted",
)
REASONS: Final = ("BackOff", "FailedScheduling", "Unhealthy", "Pulled", "OOMKilling")
METRICS: Final = ("http_requests_total", "process_resident_memory_bytes", "queue_depth", "jvm_threads_live")
BROKEN: Final = (b"\xff\xfe undecodable \xfa", b"", None, b'{"log": "cut sho', b"\x00\x00\x00\x00\x07framed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message. `outcomes` and `texts` are by record index; a text is '' where the record is no counted log."""

    number: int
    topic: str  # logical: logs, metrics, k8s-events, alerts
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    outcomes: tuple[str, ...]
    texts: tuple[str, ...] = ()


Body = tuple[str, bytes | None, Sequence[str], Sequence[str]]  # topic, value, outcomes, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """`batch`: most records in a message. `step_s`: event time from one message to the next."""

    seed: int
    start_s: float  # event time of the first message
    step_s: float
    batch: int
    _estate: Estate = field(default_factory=lambda: build_estate((HOME,), seed=1), repr=False)

    @classmethod
    def of(cls, records: int, *, seed: int, now_s: float, batch: int, span_s: float = SPAN_S) -> "Traffic":
        """Traffic that has about so many records in `span_s` of event time, and ends before the present."""
        messages = records / (0.3 * 0.75 * batch + 1.5) + 50
        return cls(seed=seed, start_s=float(int(now_s - span_s - 300)), step_s=span_s / messages, batch=batch)

    def message(self, number: int) -> Sent:
        rng = Random(f"{self.seed}/{number}")
        at_s = round(self.start_s + number * self.step_s, 3)
        make = rng.choices(SHAPES, WEIGHTS)[0]
        topic, value, outcomes, texts = make(self, rng, number, at_s)
        return Sent(
            number=number,
            topic=topic,
            key=f"key-{rng.randrange(500)}".encode() if rng.random() < 0.5 else None,
            value=value,
            timestamp_ms=int((at_s + ARRIVES_S) * 1000),
            outcomes=tuple(outcomes),
            texts=tuple(texts),
        )

    def logs(self, rng: Random, number: int, at_s: float, count: int, services: Sequence[str]) -> list[Log]:
        """Lines of one pod within a second before `at_s`, in order; each says which record it is."""
        pod = rng.choice(self._estate.pods_of(HOME, rng.choice(services)))
        return [
            Log(
                at_s=at_s - (count - 1 - n) / 1000,
                pod=pod,
                level=rng.choice(LEVELS),
                text=rng.choice(WORDINGS).format(a=f"{number}-{n}", b=rng.randrange(5_000)),
            )
            for n in range(count)
        ]

    def size(self, rng: Random) -> int:
        return rng.randint((self.batch + 1) // 2, self.batch)

    def pod(self, n: int) -> Pod:
        pods = self._estate.pods_of(HOME, ("checkout", "orders", "cart", "catalog")[n % 4])
        return pods[n // 4 % len(pods)]


def _otlp(form: Callable[[Sequence[Log]], bytes]) -> Callable[[Traffic, Random, int, float], Body]:
    def make(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
        logs = traffic.logs(rng, number, at_s, traffic.size(rng), ("catalog", "payments", "shipping"))
        return "logs", form(logs), [Signal.LOG] * len(logs), [log.text for log in logs]

    return make


def _json_lines(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    """Fluent Bit's objects, one a line, one line broken in the middle."""
    logs = traffic.logs(rng, number, at_s, max(3, traffic.size(rng)), ("gateway",))
    lines, bad = [formats.fluent_bit(log) for log in logs], rng.randrange(len(logs))
    lines[bad] = lines[bad][: len(lines[bad]) // 2]
    outcomes: list[str] = [Signal.LOG] * len(logs)
    texts = [log.text for log in logs]
    outcomes[bad], texts[bad] = REJECTED, ""
    return "logs", b"\n".join(lines), outcomes, texts


def _text(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    logs = traffic.logs(rng, number, at_s, rng.randint(1, 4), ("gateway",))
    value = "\n".join(log.text for log in logs).encode()
    return "logs", value, [Signal.LOG] * len(logs), [log.text for log in logs]


def _line(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    """One line a message; some late by a day, some from the future, some older than anything that is kept."""
    away_s = rng.choices((0.0, -DAY_S, 3_600.0, -60 * DAY_S), (90, 4, 3, 3))[0]
    [log] = traffic.logs(rng, number, at_s + away_s, 1, ("gateway",))
    outcome = Signal.LOG if away_s > -2 * DAY_S else TOO_OLD
    return "logs", formats.fluent_bit(log), [outcome], [log.text if outcome == Signal.LOG else ""]


def _broken(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    return rng.choice(("logs", "metrics", "k8s-events", "alerts")), rng.choice(BROKEN), [REJECTED], []


def _metrics(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    """Samples of prometheus-kafka-adapter in one array, sometimes with a stale marker or a value that is none."""
    samples, outcomes = [], []
    for _ in range(rng.randint(1, max(2, traffic.batch // 3))):
        pod = traffic.pod(rng.randrange(12))
        labels = {"namespace": pod.namespace, "pod": pod.name, "container": pod.service.name}
        sample = Sample(at_s=at_s, name=rng.choice(METRICS), labels=labels, value=rng.randrange(10**6))
        kind = rng.choices((Signal.METRIC, STALE, REJECTED), (94, 3, 3))[0]
        wrong = {STALE: b'"NaN"', REJECTED: b'"many"'}.get(kind)
        text = formats.prometheus(sample)
        samples.append(text.replace(b'"%d"' % sample.value, wrong) if wrong else text)
        outcomes.append(str(kind))
    return "metrics", b"[%b]" % b",".join(samples), outcomes, []


def _event(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    """One of a fixed set of events, with a count that grows; what it is about never changes."""
    which = rng.randrange(EVENTS)
    seen = Observation(
        at_s=at_s - rng.randrange(3),
        first_s=traffic.start_s - 60 - which,
        uid=stable_uid("event", str(which)),
        count=1 + number + rng.randrange(3),
        subject=pod_subject(traffic.pod(which)),
        reason=REASONS[which % len(REASONS)],
        message=f"seen in message {number}",
        warning=which % 2 == 0,
        component="kubelet",
        shape="",
    )
    value = (formats.core_event, formats.event_exporter, formats.events_v1)[which % 3](seen)
    if rng.random() < 0.05:
        return "k8s-events", b'{"type":"DELETED","object":%b}' % value, [DELETED], []
    return "k8s-events", value, [Signal.EVENT], []


def _alert(traffic: Traffic, rng: Random, number: int, at_s: float) -> Body:
    which = rng.randrange(ALERTS)
    pod = traffic.pod(which)
    notice = Notice(
        at_s=at_s,
        starts_s=traffic.start_s - 60 - which,
        ends_s=at_s if rng.random() < 0.2 else None,
        labels={"alertname": f"Alert{which}", "severity": "warning", "namespace": pod.namespace, "pod": pod.name},
        annotations={"summary": f"seen in message {number}"},
    )
    value = formats.alertmanager(notice)
    if rng.random() < 0.05:
        return "alerts", value.replace(b'"alertname"', b'"renamed"'), [REJECTED], []
    return "alerts", value, [Signal.ALERT], []


def _otlp_json(logs: Sequence[Log]) -> bytes:
    return formats.otlp_logs_json(logs, cluster=CLUSTER)


def _vector(logs: Sequence[Log]) -> bytes:
    """Vector's events in one array."""
    return orjson.dumps(
        [
            {
                "message": log.text,
                "source_type": "kubernetes_logs",
                "timestamp": formats.rfc3339(log.at_s),
                "kubernetes": {"pod_name": log.pod.name, "pod_namespace": log.pod.namespace},
            }
            for log in logs
        ]
    )


SHAPES, WEIGHTS = zip(
    (_otlp(_otlp_json), 14),
    (_otlp(formats.otlp_logs_proto), 7),
    (_otlp(_vector), 5),
    (_json_lines, 3),
    (_text, 8),
    (_line, 25),
    (_metrics, 15),
    (_event, 12),
    (_alert, 6),
    (_broken, 5),
    strict=True,
)
