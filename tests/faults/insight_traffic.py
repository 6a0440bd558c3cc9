"""Incidents that are planted, in real time, and the telemetry that tells of them: each at a workload of its own."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from confluent_kafka import Producer

from deploy.shop import formats
from deploy.shop.telemetry import Log, Notice, Observation, pod_subject
from deploy.shop.topology import Pod, Service, stable_uid

CLUSTERS: Final = ("", "blue", "green", "red", "white", "black")  # one whose shippers do not name theirs
KINDS: Final = ("alert", "errors", "killed", "flapping", "crashes", "pair")
CHATTER_S: Final = 3.0  # between two ordinary lines of a workload whose name or words matter
LISTENED_S: Final = 8.0  # to whoever begins to listen, everything is new
LASTS_S: Final = 6.0
PAIR_S: Final = 45.0  # longer than the correlator's look at what was learned since
FLUSH_S: Final = 60.0
REPLICA_SET: Final = "6c4f8d7b9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """One incident. `peer`: the workload that it is felt at first, and that is merged into it or told with it."""

    number: int
    kind: str
    cluster: str
    at_s: float  # of its first record

    @property
    def workload(self) -> str:
        return f"unit-{self.number:03d}"

    @property
    def peer(self) -> str:
        return f"front-{self.number:03d}" if self.kind == "pair" else ""

    @property
    def namespace(self) -> str:
        return f"room-{self.number % 7}"

    def pod(self, workload: str) -> Pod:
        return Pod(
            name=f"{workload}-{REPLICA_SET}-x{self.number:03d}z",
            namespace=self.namespace,
            service=Service(name=workload, style="json"),
            node=f"node-{self.number}",
            ip="10.0.0.1",
            replica_set=f"{workload}-{REPLICA_SET}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A message with the moment at which it is sent; its Kafka timestamp is that moment."""

    at_s: float
    topic: str
    key: str
    value: bytes


def plant(count: int, *, start_s: float, every_s: float, seed: int) -> list[Planted]:
    """In turn by kind, at clusters by chance: those of one kind are far apart within a cluster."""
    rng, order = Random(seed), list[str]()
    planted = []
    for number in range(count):
        if not order:
            order = rng.sample(CLUSTERS, len(CLUSTERS))
        planted.append(
            Planted(
                number=number,
                kind=KINDS[number % len(KINDS)],
                cluster=order.pop(),
                at_s=start_s + LISTENED_S + number * every_s,
            )
        )
    return planted


def schedule(planted: Sequence[Planted], *, start_s: float, end_s: float) -> list[Due]:
    """All messages in order of time."""
    made = [due for one in planted for due in _MAKERS[one.kind](one)]
    made += [due for one in planted if one.kind == "errors" for due in _chatter(one, one.workload, start_s, end_s)]
    made += [due for one in planted if one.peer for who in (one.peer, one.workload)
             for due in _chatter(one, who, start_s, one.at_s)]  # fmt: skip
    made += [due for cluster in CLUSTERS for due in _pulse(cluster, start_s, end_s)]
    return sorted(made, key=lambda due: due.at_s)


def play(due: Sequence[Due], bootstrap: str, topics: dict[str, str], going: Callable[[], bool]) -> int:
    """Send each at its moment; returns how many Kafka has confirmed. Blocks until all are, or `going` says no."""
    confirmed = 0

    def note(error: Any, _: Any) -> None:
        nonlocal confirmed
        confirmed += error is None

    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 5})
    for each in due:
        while (rest := each.at_s - time.time()) > 0 and going():
            producer.poll(min(rest, 0.2))
        if not going():
            break
        at_ms = int(each.at_s * 1000)
        producer.produce(topics[each.topic], each.value, key=each.key.encode(), timestamp=at_ms, on_delivery=note)
    producer.flush(FLUSH_S)
    return confirmed


def _log(one: Planted, workload: str, at_s: float, level: str, text: str) -> Due:
    log = Log(at_s=at_s, pod=one.pod(workload), level=level, text=text)
    value = formats.otlp_logs_json([log], cluster=one.cluster)
    return Due(at_s=at_s, topic="logs", key=f"{workload}-{at_s}", value=value)


def _chatter(one: Planted, workload: str, start_s: float, end_s: float) -> Iterator[Due]:
    at_s = start_s + one.number % 10 / 10
    while at_s < end_s:
        yield _log(one, workload, at_s, "info", f"served request {int(at_s)} within 12 ms")
        at_s += CHATTER_S


def _pulse(cluster: str, start_s: float, end_s: float) -> Iterator[Due]:
    """Somebody in each cluster speaks all the time, so that event time goes on."""
    one = Planted(number=999, kind="alert", cluster=cluster, at_s=start_s)
    at_s = start_s
    while at_s < end_s:
        yield _log(one, "pulse", at_s, "info", f"tick {int(at_s)}")
        at_s += 1.0


def _errors(one: Planted) -> Iterator[Due]:
    for n in range(24):
        text = f"cannot open ledger of {one.workload}: disk quota exceeded, attempt {n}"
        yield _log(one, one.workload, one.at_s + n * LASTS_S / 24, "fatal", text)


def _notice(
    one: Planted, workload: str, name: str, said: str, at_s: float, starts_s: float, ends_s: float | None
) -> Due:
    pod = one.pod(workload)
    notice = Notice(
        at_s=at_s,
        starts_s=starts_s,
        ends_s=ends_s,
        labels={"alertname": name, "severity": "critical", "namespace": pod.namespace, "pod": pod.name},
        annotations={"summary": said},
    )
    value = formats.alertmanager(notice, cluster=one.cluster)
    return Due(at_s=at_s, topic="alerts", key=name, value=value)


def _fires(one: Planted, workload: str, said: str, at_s: float, lasts_s: float) -> Iterator[Due]:
    """Alertmanager has seen it some moments before."""
    name = f"Trouble{workload.replace('-', '').title()}"
    yield _notice(one, workload, name, said, at_s, at_s - 1, None)
    yield _notice(one, workload, name, said, at_s + lasts_s, at_s - 1, at_s + lasts_s)


def _alert(one: Planted) -> Iterator[Due]:
    yield from _fires(one, one.workload, "too slow", one.at_s, LASTS_S)


def _flapping(one: Planted) -> Iterator[Due]:
    for turn in range(3):
        yield from _fires(one, one.workload, "too slow now and then", one.at_s + turn * 2 * LASTS_S, LASTS_S / 2)


def _pair(one: Planted) -> Iterator[Due]:
    """Two that seem to have nothing to do with each other, until one of them says whom it calls."""
    yield from _fires(one, one.peer, "too slow", one.at_s, PAIR_S)
    yield from _fires(one, one.workload, "out of memory", one.at_s + LASTS_S / 2, PAIR_S)
    for n in range(6):
        text = f"call to {one.workload} failed after {n} ms: deadline exceeded"
        yield _log(one, one.peer, one.at_s + LASTS_S + n, "error", text)


def _event(one: Planted, at_s: float, count: int, reason: str, said: str) -> Due:
    seen = Observation(
        at_s=at_s,
        first_s=one.at_s,
        uid=stable_uid("event", one.workload, reason),
        count=count,
        subject=pod_subject(one.pod(one.workload)),
        reason=reason,
        message=said,
        warning=True,
        component="kubelet",
        shape="",
    )
    value = formats.event_exporter(seen, cluster=one.cluster)
    return Due(at_s=at_s, topic="k8s-events", key=one.workload, value=value)


def _killed(one: Planted) -> Iterator[Due]:
    for n in range(3):
        said = f"Memory cgroup out of memory: killed process 4711 of {one.workload}"
        yield _event(one, one.at_s + n * 2.0, 1 + n, "OOMKilling", said)


def _crashes(one: Planted) -> Iterator[Due]:
    """The back-off of the kubelet: only what lasts opens an incident."""
    for n in range(5):
        said = f"Back-off restarting failed container {one.workload}"
        yield _event(one, one.at_s + n * 6.0, 1 + n, "BackOff", said)


_MAKERS: Final[dict[str, Callable[[Planted], Iterator[Due]]]] = {
    "alert": _alert,
    "errors": _errors,
    "killed": _killed,
    "flapping": _flapping,
    "crashes": _crashes,
    "pair": _pair,
}
