"""Per-minute summaries: what each flush knows about a document, told to whoever judges it. An internal topic.

The key is the cluster, so that one worker sees all of it in order. Numbers are absolute, with the slices that they
cover: a repeated summary replaces the one before it, whoever sends it and however often.
"""

from collections.abc import Mapping
from typing import NamedTuple

from schemas.documents import Target
from schemas.records import Resource

VERSION = 1


class Said(NamedTuple):
    """Log lines of one pattern by one entity in one minute of event time."""

    resource: Resource
    document: Target  # the occurrence: the same for each summary of the same lines
    pattern: str  # id
    template: str  # redacted, with the variable parts masked
    severity: int  # lowest OpenTelemetry number of the band
    minute_ms: int
    slices: Mapping[str, tuple[int, int]]  # slice key -> mark, records; joined by the higher mark
    first_ms: int
    last_ms: int
    text: str  # one of the lines, redacted
    at: tuple[str, ...]  # coordinates of some of the lines


class Point(NamedTuple):
    """One minute of one series: its last value, when that was, the lowest and the highest."""

    time_ms: int
    value: float
    low: float
    high: float


class Sampled(NamedTuple):
    """Some minutes of one metric series. A later summary of the same minute replaces it (`low`, `high` widen)."""

    resource: Resource
    series: str  # id
    name: str
    labels: Mapping[str, str]
    unit: str
    monotonic: bool  # a counter: judge its rate
    points: tuple[Point, ...]  # in order of time, one a minute


class Seen(NamedTuple):
    """One observation of a Kubernetes event."""

    time_ms: int
    times: int  # it was seen by then
    warning: bool
    text: str
    at: str


class Happened(NamedTuple):
    """A Kubernetes event with some of its observations; the same one comes again with a higher count."""

    resource: Resource  # of the object that it is about
    document: Target
    uid: str
    object_kind: str
    object_name: str
    reason: str
    component: str
    observations: tuple[Seen, ...]


class Notified(NamedTuple):
    """One notification of an alert. `time_ms`: of its end when resolved, else of its start."""

    time_ms: int
    firing: bool
    text: str
    runbook_url: str
    sent_ms: int  # Kafka's timestamp: when this was known
    at: str


class Fired(NamedTuple):
    resource: Resource
    document: Target
    fingerprint: str
    name: str
    severity: int
    labels: Mapping[str, str]
    observations: tuple[Notified, ...]


class Tick(NamedTuple):
    """Time goes on, told by a worker: event time of the newest record that it has seen of any cluster."""

    time_ms: int


class Feedback(NamedTuple):
    """What somebody said about an incident. It comes in the same topic, so that a replay sees it at the same place."""

    id: str
    incident_id: str
    fingerprint: str  # what a rejection mutes
    verdict: str  # confirmed | rejected
    by: str
    time_ms: int
    until_ms: int  # a mute ends then


Summary = Said | Sampled | Happened | Fired
Told = Summary | Tick | Feedback
