"""The worker's Prometheus instruments, made from the declarations in `schemas.telemetry`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from processors.fold import Fold, count_of
from processors.vectors import Embedded
from schemas import telemetry
from schemas.dead_letters import DeadLetter
from schemas.records import Signal
from schemas.telemetry import Metric
from streams.flusher import Chunk

FILTERED_RULE: Final = "filtered:"  # so `processors.shape` names the tallies of dropped records


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry)


class WorkerMetrics:
    """Counts what the worker does. `wall_ms` tells epoch milliseconds; only freshness is measured against it."""

    def __init__(self, registry: CollectorRegistry, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._messages = counter(telemetry.WORKER_MESSAGES, registry)
        self._records = counter(telemetry.WORKER_RECORDS, registry)
        self._bytes = counter(telemetry.WORKER_BYTES, registry)
        self._letters = counter(telemetry.DEAD_LETTERS, registry)
        self._filtered = counter(telemetry.FILTERED, registry)
        self._flush = histogram(telemetry.FLUSH_SECONDS, registry)
        self._freshness = histogram(telemetry.FRESHNESS_SECONDS, registry)
        self._lag = gauge(telemetry.LAG, registry)
        self._pending = gauge(telemetry.PENDING_CHUNKS, registry)
        self._paused = gauge(telemetry.PAUSED, registry)
        self._gaps = counter(telemetry.GAPS, registry)
        self._put_off = counter(telemetry.HOUSEKEEPING_FAILURES, registry)
        self._embedded = counter(telemetry.PATTERNS_EMBEDDED, registry)
        self._deferred = counter(telemetry.PATTERNS_DEFERRED, registry)
        self._without_vector = gauge(telemetry.PATTERNS_WITHOUT_VECTOR, registry)
        self._lagging: set[tuple[str, int]] = set()

    def watch(self, pending: Callable[[], int], paused: Mapping[str, Callable[[], bool]]) -> None:
        """Read these when Prometheus asks."""
        self._pending.set_function(pending)
        for service, waits in paused.items():
            self._paused.labels(service).set_function(waits)

    def folded(self, topic: str, signal: Signal, *, messages: int, records: int, size_bytes: int) -> None:
        self._messages.labels(topic, signal).inc(messages)
        self._records.labels(topic, signal).inc(records)
        self._bytes.labels(topic).inc(size_bytes)

    def flushed(self, seconds: float, fold: Fold, letters: Sequence[DeadLetter]) -> None:
        self._flush.observe(seconds)
        for letter in letters:
            self._letters.labels(letter.message.topic, letter.stage).inc()
        for change in fold:
            rule = change.fixed.get("rule", "")
            if rule.startswith(FILTERED_RULE):
                self._filtered.labels(rule.removeprefix(FILTERED_RULE)).inc(sum(map(count_of, change.spots.values())))

    def durable(self, chunk: Chunk) -> None:
        self._freshness.labels(chunk.signal).observe(max(0, self._wall_ms() - chunk.oldest_ms) / 1000)

    def gap(self, topic: str, reason: str) -> None:
        self._gaps.labels(topic, reason).inc()

    def embedded(self, progress: Embedded) -> None:
        self._embedded.labels("new").inc(progress.new)
        self._embedded.labels("late").inc(progress.late)
        for why, patterns in progress.deferred.items():
            self._deferred.labels(why).inc(patterns)
        self._without_vector.set(progress.without)

    def put_off(self) -> None:
        self._put_off.inc()

    def lag(self, records: Mapping[tuple[str, int], int]) -> None:
        """Of the partitions that this worker owns now; those of before are no longer its to report."""
        for topic, partition in self._lagging - set(records):
            self._lag.remove(topic, str(partition))
        self._lagging = set(records)
        for (topic, partition), behind in records.items():
            self._lag.labels(topic, str(partition)).set(behind)


class InsightMetrics:
    """Counts what is told of incidents."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._summaries = counter(telemetry.SUMMARIES, registry)
        self._left_out = counter(telemetry.SUMMARIES_LEFT_OUT, registry)
        self._folded = counter(telemetry.SUMMARIES_FOLDED, registry)
        self._insights = counter(telemetry.INSIGHTS, registry)
        self._held_already = counter(telemetry.INSIGHTS_HELD_ALREADY, registry)
        self._seconds = histogram(telemetry.INSIGHT_SECONDS, registry)
        self._open = gauge(telemetry.OPEN_INCIDENTS, registry)
        self._not_taken = gauge(telemetry.INSIGHTS_LEFT_OUT, registry)
        self._snapshot_bytes = gauge(telemetry.SNAPSHOT_BYTES, registry)
        self._snapshot_age = gauge(telemetry.SNAPSHOT_AGE_SECONDS, registry)

    def watch(self, snapshot_bytes: Callable[[], float], snapshot_age_s: Callable[[], float]) -> None:
        """Read these when Prometheus asks."""
        self._snapshot_bytes.set_function(snapshot_bytes)
        self._snapshot_age.set_function(snapshot_age_s)

    def sent(self, kinds: Mapping[str, int], left_out: int) -> None:
        for kind, count in kinds.items():
            self._summaries.labels(kind).inc(count)
        self._left_out.inc(left_out)

    def folded(self, *, folded: int, rejected: int) -> None:
        self._folded.labels("folded").inc(folded)
        self._folded.labels("rejected").inc(rejected)

    def known(self, open_incidents: int, left_out: Mapping[str, int]) -> None:
        self._open.set(open_incidents)
        for what, count in left_out.items():
            self._not_taken.labels(what).set(count)

    def published(self, state: str, seconds: float) -> None:
        self._insights.labels(state).inc()
        self._seconds.observe(seconds)

    def held_already(self, revisions: int) -> None:
        self._held_already.inc(revisions)
