"""What a question is turned into: the plan, the evidence, what could be seen. `POST /v1/context` returns these."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Kind = Literal["log", "event", "metric", "alert", "incident", "runbook"]
Intent = Literal["diagnose", "why", "fix", "show", "change", "health", "compare"]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Grant(_Value):
    """Some clusters and namespaces that may be seen. A name may end with `*`; empty tuples mean all."""

    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    cluster_objects: bool = Field(True, description="nodes and other things of these clusters without a namespace")


class Scope(_Value):
    """What one question may see: a required argument of every read, and part of every cache key.

    Clusters and namespaces are what the asker narrows the question to (empty: no narrower); grants are what the asker
    may see at all, one of which must hold. Without any grant nothing is visible.
    """

    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = (Grant(),)


class Turn(_Value):
    role: Literal["system", "user", "assistant"]
    content: str


class Span(_Value):
    """A stretch of event time, both ends included; `said` is the part of the question that it came from."""

    start: AwareDatetime
    end: AwareDatetime
    said: str = Field("", description="empty: the default window")


class Plan(_Value):
    """How a question was understood; made by code, the same every time."""

    question: str
    span: Span
    clusters: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    workloads: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = Field((), description="trace ids, error codes, hashes, taken as they are")
    intent: Intent = "diagnose"
    about: Literal["live", "runbook"] = Field(
        "live", description="runbook: what to do in general, which runbooks alone answer, whatever runs now"
    )
    compared: Span | None = Field(None, description="the other period, of a question that compares two")
    incidents: Literal["", "open", "resolved", "any"] = Field(
        "", description="incidents themselves are asked for: those open at the end, or resolved in the range, or all"
    )
    anchor: Literal["", "change"] = Field(
        "", description="change: the range is around the latest rollout or scaling of what was asked about"
    )
    zone: str = Field("UTC", description="IANA zone of the asker, in which answers state times, UTC beside it")
    search_text: str = Field("", description="what is searched for, times and entities included")


class Evidence(_Value):
    """One ranked piece: its text is what an answer may cite."""

    id: str = Field(description="resolves at /v1/evidence/{id}")
    kind: Kind
    text: str
    cluster: str = ""
    namespace: str = ""
    namespaces: tuple[str, ...] = Field((), description="of an incident: all that it speaks of")
    workload: str = ""
    entity: str = Field("", description="kind/name of the most specific thing, e.g. pod/checkout-7d9f-abcde")
    first: AwareDatetime | None = None
    last: AwareDatetime | None = None
    count: int = 1
    severity: str = ""
    title: str = ""
    url: str = ""
    score: float = 0.0
    parts: dict[str, float] = Field(default_factory=dict, description="what the score is made of")
    coordinates: tuple[str, ...] = Field((), description="topic/topic id/partition/offset/index of source records")


class SourceFreshness(_Value):
    """The newest event time that could be seen of one source."""

    topic: str
    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    newest: AwareDatetime


class PartitionFreshness(_Value):
    topic: str
    partition: int
    offset: int = Field(description="highest offset that is searchable")
    newest: AwareDatetime
    lag: int | None = Field(None, description="records behind the end of the partition; null when Kafka is away")


class Freshness(_Value):
    """What the answer could see, and what it could not."""

    asked_at: AwareDatetime
    newest: AwareDatetime | None = Field(None, description="newest event time over the sources in question")
    sources: tuple[SourceFreshness, ...] = ()
    partitions: tuple[PartitionFreshness, ...] = ()
    silent: tuple[SourceFreshness, ...] = Field((), description="steady sources that have stopped, as far as is known")
    lag: int | None = Field(None, description="records behind the end of all inputs; null: unknown, or a past moment")
    dead_letters: int | None = Field(None, description="records of the range that are not in the index; null: unknown")
    replays: tuple[str, ...] = Field((), description="what is being read again right now: counts may still change")
    runbooks_age_s: float | None = Field(None, description="since the runbooks were last seen to be up to date")
    text_only: int = Field(
        0, description="log patterns not embedded yet, as in a burst: found by words, not by meaning"
    )
    missing: tuple[str, ...] = Field((), description="one sentence per thing that could not be seen")
    statement: str = ""


class Verification(_Value):
    """What came of checking a model's text against what it cites."""

    sentences: int = Field(0, description="that state a fact")
    unsupported: int = Field(0, description="without a citation, or with what the cited evidence does not say")
    links_removed: int = 0
    notes: tuple[str, ...] = Field((), description="what was not found in the evidence, the first few")


class Context(_Value):
    plan: Plan
    evidence: tuple[Evidence, ...]
    freshness: Freshness
    timings_ms: dict[str, float] = Field(default_factory=dict)


class SourceRecord(_Value):
    """The cited record, read back from Kafka. `sha256` is of the original bytes; `text` is redacted."""

    coordinates: str
    status: Literal["found", "expired", "unavailable"]
    reason: str = ""
    timestamp: AwareDatetime | None = None
    sha256: str = ""
    text: str = ""


class EvidenceDetail(_Value):
    """What a citation resolves to: the documents as stored, and the records behind them."""

    evidence: Evidence
    documents: tuple[dict[str, object], ...]
    records: tuple[SourceRecord, ...]
    around: tuple[SourceRecord, ...] = Field(
        (), description="redacted lines of the same entity before and after the cited one, the cited one included"
    )
