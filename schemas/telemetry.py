"""Every Prometheus metric, declared once: name, kind, help and labels. Processes make instruments from these."""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Labels have few values each: no pod names, no free text."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds, histograms only


_SECONDS: Final = (
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    3600.0,
)

WORKER_MESSAGES: Final = Metric(
    name="freshet_worker_messages",
    kind="counter",
    help="Kafka messages folded.",
    labels=("topic", "signal"),
)
WORKER_RECORDS: Final = Metric(
    name="freshet_worker_records",
    kind="counter",
    help="Records folded, rejected ones included.",
    labels=("topic", "signal"),
)
WORKER_BYTES: Final = Metric(
    name="freshet_worker_bytes",
    kind="counter",
    help="Bytes of the values of folded messages.",
    labels=("topic",),
)
DEAD_LETTERS: Final = Metric(
    name="freshet_worker_dead_letters",
    kind="counter",
    help="Records sent to the dead-letter topic and confirmed by Kafka.",
    labels=("topic", "stage"),
)
FILTERED: Final = Metric(
    name="freshet_worker_filtered",
    kind="counter",
    help="Records dropped by a named rule.",
    labels=("rule",),
)
FLUSH_SECONDS: Final = Metric(
    name="freshet_worker_flush_seconds",
    kind="histogram",
    help="Time from the start of a flush until everything in it is durable.",
    buckets=_SECONDS,
)
FRESHNESS_SECONDS: Final = Metric(
    name="freshet_worker_freshness_seconds",
    kind="histogram",
    help="Age of the oldest record of a chunk (by its Kafka timestamp) when the chunk became durable in the index.",
    labels=("signal",),
    buckets=_SECONDS,
)
PENDING_CHUNKS: Final = Metric(
    name="freshet_worker_pending_chunks",
    kind="gauge",
    help="Chunks that are folded but not yet acknowledged.",
)
PAUSED: Final = Metric(
    name="freshet_worker_paused",
    kind="gauge",
    help="1 while the worker waits for a service and acknowledges nothing; the log says why.",
    labels=("service",),
)
LAG: Final = Metric(
    name="freshet_worker_lag",
    kind="gauge",
    help="Records between the committed offset and the end of a partition that this worker owns.",
    labels=("topic", "partition"),
)
GAPS: Final = Metric(
    name="freshet_worker_gaps",
    kind="counter",
    help="Ranges of offsets that were gone before they were read, by why.",
    labels=("topic", "reason"),
)
HOUSEKEEPING_FAILURES: Final = Metric(
    name="freshet_worker_housekeeping_failures",
    kind="counter",
    help="Times that work off the acknowledgement path (vectors, watermarks) was put off because a service was away.",
)
PATTERNS_EMBEDDED: Final = Metric(
    name="freshet_worker_patterns_embedded",
    kind="counter",
    help="Patterns given their vector: new ones within the budget, or late ones (put off, or missed by a crash).",
    labels=("when",),
)
PATTERNS_DEFERRED: Final = Metric(
    name="freshet_worker_patterns_deferred",
    kind="counter",
    help="New patterns that are found by their words and embedded later: the workload's budget of the minute is spent, "
    "or too many wait in total.",
    labels=("reason",),
)
PATTERNS_WITHOUT_VECTOR: Final = Metric(
    name="freshet_worker_patterns_without_vector",
    kind="gauge",
    help="Patterns of the whole index that are not embedded yet, as this worker last saw it.",
)
SUMMARIES: Final = Metric(
    name="freshet_worker_summaries",
    kind="counter",
    help="Summaries sent to the internal topic and confirmed by Kafka, by the kind of document that they tell of.",
    labels=("kind",),
)
SUMMARIES_LEFT_OUT: Final = Metric(
    name="freshet_worker_summaries_left_out",
    kind="counter",
    help="Messages of summaries that their topic did not take, because they are too large.",
)
SUMMARIES_FOLDED: Final = Metric(
    name="freshet_worker_summaries_folded",
    kind="counter",
    help="Messages of the summaries topic folded, by outcome: folded, or rejected to the dead letters.",
    labels=("outcome",),
)
INSIGHTS: Final = Metric(
    name="freshet_worker_insights",
    kind="counter",
    help="Revisions of incidents published and confirmed by Kafka, by state.",
    labels=("state",),
)
INSIGHTS_HELD_ALREADY: Final = Metric(
    name="freshet_worker_insights_held_already",
    kind="counter",
    help="Revisions told again after a restart that the topic held already, so that they were not sent again.",
)
INSIGHT_SECONDS: Final = Metric(
    name="freshet_worker_insight_seconds",
    kind="histogram",
    help="Time from the Kafka timestamp of the summary that made a revision until Kafka confirmed the revision.",
    buckets=_SECONDS,
)
OPEN_INCIDENTS: Final = Metric(
    name="freshet_worker_open_incidents",
    kind="gauge",
    help="Incidents that are open, in the partitions of the summaries that this worker owns.",
)
INSIGHTS_LEFT_OUT: Final = Metric(
    name="freshet_worker_insights_left_out",
    kind="gauge",
    help="What was not taken up, or was forgotten, because a bound was reached or it came too late, since the state of "
    "a partition began; by who did so, and what.",
    labels=("what",),
)
SNAPSHOT_BYTES: Final = Metric(
    name="freshet_worker_snapshot_bytes",
    kind="gauge",
    help="Size of the last snapshot of what is known of one partition of the summaries.",
)
SNAPSHOT_AGE_SECONDS: Final = Metric(
    name="freshet_worker_snapshot_age_seconds",
    kind="gauge",
    help="Age of the oldest newest snapshot among the partitions of the summaries that this worker owns.",
)

WORKER_METRICS: Final = (
    WORKER_MESSAGES,
    WORKER_RECORDS,
    WORKER_BYTES,
    DEAD_LETTERS,
    FILTERED,
    FLUSH_SECONDS,
    FRESHNESS_SECONDS,
    PENDING_CHUNKS,
    PAUSED,
    LAG,
    GAPS,
    HOUSEKEEPING_FAILURES,
    PATTERNS_EMBEDDED,
    PATTERNS_DEFERRED,
    PATTERNS_WITHOUT_VECTOR,
    SUMMARIES,
    SUMMARIES_LEFT_OUT,
    SUMMARIES_FOLDED,
    INSIGHTS,
    INSIGHTS_HELD_ALREADY,
    INSIGHT_SECONDS,
    OPEN_INCIDENTS,
    INSIGHTS_LEFT_OUT,
    SNAPSHOT_BYTES,
    SNAPSHOT_AGE_SECONDS,
)

API_REQUESTS: Final = Metric(
    name="freshet_api_requests",
    kind="counter",
    help="HTTP requests answered; 499: the client hung up first.",
    labels=("route", "status"),
)
API_SECONDS: Final = Metric(
    name="freshet_api_request_seconds",
    kind="histogram",
    help="Time from the first byte of a request to the last byte of its response.",
    labels=("route",),
    buckets=_SECONDS,
)
API_ANSWERS: Final = Metric(
    name="freshet_api_answers",
    kind="counter",
    help="Chat answers by what wrote them: the model, or the ranked evidence alone (extractive).",
    labels=("mode",),
)
API_BROKEN_ANSWERS: Final = Metric(
    name="freshet_api_broken_answers",
    kind="counter",
    help="Chat answers that ended in an error in mid-stream.",
    labels=("code",),
)
API_FIRST_TEXT_SECONDS: Final = Metric(
    name="freshet_api_first_text_seconds",
    kind="histogram",
    help="Time from the start of an answer to its first text.",
    buckets=_SECONDS,
)
API_AUDIT_LOST: Final = Metric(
    name="freshet_api_audit_lost",
    kind="counter",
    help="Lines of the audit log that were lost, by where: the file, the topic, or the queue in front of both.",
    labels=("where",),
)

API_METRICS: Final = (
    API_REQUESTS,
    API_SECONDS,
    API_ANSWERS,
    API_BROKEN_ANSWERS,
    API_FIRST_TEXT_SECONDS,
    API_AUDIT_LOST,
)
