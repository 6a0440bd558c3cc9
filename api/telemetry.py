"""The API's Prometheus instruments, made from the declarations in `schemas.telemetry`."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from schemas.answer import Mode
from schemas.telemetry import (
    API_ANSWERS,
    API_AUDIT_LOST,
    API_BROKEN_ANSWERS,
    API_FIRST_TEXT_SECONDS,
    API_REQUESTS,
    API_SECONDS,
    Metric,
)


def _counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def _histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)


class ApiMetrics:
    """One per app, with a registry of its own, so that two apps in one process (tests) do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = _counter(API_REQUESTS, self.registry)
        self._seconds = _histogram(API_SECONDS, self.registry)
        self._answers = _counter(API_ANSWERS, self.registry)
        self._broken = _counter(API_BROKEN_ANSWERS, self.registry)
        self._first_text = _histogram(API_FIRST_TEXT_SECONDS, self.registry)
        self._audit_lost = _counter(API_AUDIT_LOST, self.registry)

    def audit_lost(self, where: str, lines: int) -> None:
        self._audit_lost.labels(where).inc(lines)

    def responded(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, mode: Mode) -> None:
        self._answers.labels(mode).inc()

    def broke(self, code: str) -> None:
        self._broken.labels(code).inc()

    def first_text(self, seconds: float) -> None:
        self._first_text.observe(seconds)
