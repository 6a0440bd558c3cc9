"""Measurements: what every pod and node shows on a good day, and how an incident bends it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from deploy.shop.telemetry import Point, Sample
from deploy.shop.topology import Estate, Pod

SCRAPE_S: Final = 30.0
MIB: Final = 1024.0**2
LATENCY_BOUNDS_S: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
LATENCY: Final = "http.server.request.duration"
ERRORS: Final = "http.server.errors"
REQUESTS_PER_SCRAPE: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One time series: it stays near `usual` and, once an incident begins, moves to `bent`.

    Of a counter both are the increase in one scrape; of a histogram both are the typical measurement.
    A series with `pod` and a `unit` is measured by the process itself (OpenTelemetry), any other is scraped.
    """

    name: str
    usual: float
    bent: float | None = None
    bends_from_s: float = 0.0  # epoch seconds
    bends_until_s: float = 0.0
    bends_back_s: float = math.inf
    labels: Mapping[str, str] = field(default_factory=dict)
    pod: Pod | None = None
    kind: str = "gauge"  # or sum, histogram
    unit: str = ""
    wobble: float = 0.05  # share of the value
    whole: bool = False

    @property
    def identity(self) -> str:
        subject = f"{self.pod.namespace}/{self.pod.name}" if self.pod else ""
        return f"{self.name}|{subject}|{sorted(self.labels.items())}"

    def expected(self, at_s: float) -> float:
        """The value without its wobble: a straight line from `usual` to `bent`, then flat, then usual again."""
        if self.bent is None or not self.bends_from_s < at_s < self.bends_back_s:
            return self.usual
        share = (at_s - self.bends_from_s) / (self.bends_until_s - self.bends_from_s)
        return self.usual + (self.bent - self.usual) * min(1.0, share)


def scraped(name: str, pod: Pod, usual: float, **rest: float | str | bool | None) -> Series:
    """A series that Prometheus scrapes about a container."""
    labels = {"namespace": pod.namespace, "pod": pod.name, "container": pod.service.name, "node": pod.node}
    return Series(name=name, usual=usual, labels=labels, **rest)  # type: ignore[arg-type]


def about_node(name: str, node: str, usual: float, bent: float | None = None, **labels: str) -> Series:
    return Series(name=name, usual=usual, bent=bent, labels={"node": node, "instance": f"{node}:9100"} | labels)


def usual_series(estate: Estate, *, seed: int) -> Iterator[Series]:
    """Everything that is measured while nothing is wrong."""
    rng = Random(f"{seed}:noise:metrics")
    for pod in estate.pods:
        if pod.service.kind == "DaemonSet":
            continue
        yield memory_of(pod, rng.uniform(180, 700))
        yield scraped("container_cpu_usage_seconds_total", pod, rng.uniform(0.5, 6), kind="sum")
        yield restarts_of(pod)
        if pod.service.kind == "Deployment" and not pod.service.namespace:
            yield latency_of(pod, rng.uniform(0.02, 0.06))
            yield errors_of(pod, 0.3)
            if pod.service.store:
                yield connections_of(pod, rng.uniform(3, 7))
    for pod in {(p.namespace, p.service.name): p for p in estate.pods if p.service.kind == "Deployment"}.values():
        yield unavailable_of(pod)
    for node in (name for names in estate.nodes.values() for name in names):
        yield disk_of(node)
        yield about_node("node_memory_MemAvailable_bytes", node, rng.uniform(6, 12) * 1024 * MIB)


def memory_of(pod: Pod, usual_mib: float) -> Series:
    return scraped("container_memory_working_set_bytes", pod, usual_mib * MIB, wobble=0.02, whole=True)


def restarts_of(pod: Pod) -> Series:
    return scraped("kube_pod_container_status_restarts_total", pod, 0, kind="sum", wobble=0, whole=True)


def unavailable_of(pod: Pod) -> Series:
    labels = {"namespace": pod.namespace, "deployment": pod.service.name}
    return Series(name="kube_deployment_status_replicas_unavailable", usual=0, labels=labels, wobble=0, whole=True)


def disk_of(node: str) -> Series:
    return about_node("node_filesystem_avail_bytes", node, 61 * 1024 * MIB, mountpoint="/var/lib/containerd")


def latency_of(pod: Pod, usual_s: float = 0.04) -> Series:
    return Series(name=LATENCY, pod=pod, usual=usual_s, kind="histogram", unit="s", wobble=0.6)


def errors_of(pod: Pod, usual: float = 0.3) -> Series:
    return Series(name=ERRORS, pod=pod, usual=usual, kind="sum", unit="{error}", wobble=1.0)


def connections_of(pod: Pod, usual: float = 5, wobble: float = 0.3) -> Series:
    return Series(
        name="db.client.connection.count",
        pod=pod,
        usual=usual,
        labels={"state": "used", "db.client.connection.pool.name": pod.service.store or "main"},
        unit="{connection}",
        wobble=wobble,
        whole=True,
    )


def merge_series(usual: Iterator[Series], bent: Sequence[Series]) -> tuple[Series, ...]:
    """All series; a bent form replaces the usual one, and the more bent of two forms the other."""
    merged = {series.identity: series for series in usual}
    by_bend = sorted(bent, key=lambda series: abs((series.bent or series.usual) - series.usual))
    return tuple((merged | {series.identity: series for series in by_bend}).values())


def measure(series: Sequence[Series], *, seed: int, start_s: float) -> Iterator[Sample | Point]:
    """Every series once a scrape, without end, in order of time."""
    rng = Random(f"{seed}:measure")
    spaced = sorted((rng.uniform(0, SCRAPE_S), n) for n in range(len(series)))
    totals = [0.0] * len(series)
    counts = [[0] * (len(LATENCY_BOUNDS_S) + 1) for _ in series]
    scrape = 0
    while True:
        for offset_s, n in spaced:
            one, at_s = series[n], start_s + scrape * SCRAPE_S + offset_s
            value = _next_value(one, at_s, totals, counts, n, rng)
            if one.pod is None or not one.unit:
                yield Sample(at_s=at_s, name=one.name, labels=one.labels, value=value)
                continue
            yield Point(
                at_s=at_s,
                start_s=start_s,
                pod=one.pod,
                name=one.name,
                unit=one.unit,
                kind=one.kind,
                value=value,
                counts=tuple(counts[n]) if one.kind == "histogram" else (),
                bounds=LATENCY_BOUNDS_S if one.kind == "histogram" else (),
                attributes=one.labels,
            )
        scrape += 1


def _next_value(one: Series, at_s: float, totals: list[float], counts: list[list[int]], n: int, rng: Random) -> float:
    expected = one.expected(at_s)
    if one.kind == "histogram":
        for _ in range(REQUESTS_PER_SCRAPE):
            measured = expected * rng.lognormvariate(0, one.wobble)
            counts[n][sum(measured > bound for bound in LATENCY_BOUNDS_S)] += 1
            totals[n] += measured
        return totals[n]
    value = max(0.0, expected * (1 + one.wobble * rng.uniform(-1, 1)))
    if one.kind == "sum":
        totals[n] += value
        value = totals[n]
    return float(round(value)) if one.whole else value
