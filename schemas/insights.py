"""Incident insights: symptoms, what groups them, and the record that subscribers read."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.records import Resource

SymptomKind = Literal[
    "pattern-new",
    "pattern-burst",
    "pattern-silence",
    "event",  # a Kubernetes Warning, or a Normal one whose reason names a cause
    "restart",
    "alert",
    "metric-shift",
    "metric-spike",
    "metric-trend",
    "metric-missing",
]
State = Literal["opened", "updated", "merged", "resolved"]
Verdict = Literal["confirmed", "rejected"]
TEXT_CHARS: Final = 300


class Entity(NamedTuple):
    """A thing that can be at fault. `kind`: node, workload, pod, namespace or cluster."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One thing that is out of the ordinary. It comes again, under the same id, as it goes on, and when it is over.

    All times are event time in epoch milliseconds.
    """

    id: str  # the same for the same symptom: kind, what it is about, onset
    fingerprint: str  # the same whenever it comes back: kind and what it is about
    kind: SymptomKind
    resource: Resource
    start_ms: int  # its first record
    seen_ms: int  # when it could be told
    last_ms: int  # its newest record
    ended: bool = False
    strength: float  # 0..1: how far out of the ordinary
    opens: bool  # enough to open an incident by itself; otherwise it joins one, or opens one together with others
    severity: int  # OpenTelemetry number
    name: str  # short: the reason, the alert's name, the metric's name, the pattern's first words
    text: str  # one sentence with its numbers, redacted
    evidence: str  # evidence id
    at: tuple[str, ...] = ()  # coordinates of records
    mentions: tuple[str, ...] = ()  # words that may name a peer: from the text and from labels
    runbook_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something was rolled out, scaled or restarted on purpose: no symptom, and often why there are some."""

    id: str
    resource: Resource
    time_ms: int
    text: str
    evidence: str


Sign = Symptom | Change


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AffectedEntity(_Value):
    kind: str = Field(description="node, workload, pod, namespace or cluster")
    name: str
    namespace: str = ""
    symptoms: int = Field(description="of this incident, at this entity")


class Cause(_Value):
    """A probable cause, the most probable one first."""

    kind: str
    name: str
    namespace: str = ""
    score: float = Field(description="0..1, comparable within one insight only")
    why: str = Field(description="in a fixed form: what began when, who depends on whom")
    evidence: tuple[str, ...] = ()


class SymptomSummary(_Value):
    id: str
    kind: str
    entity: str = Field(description="kind/name")
    namespace: str = ""
    name: str
    text: str
    first: AwareDatetime
    last: AwareDatetime
    ended: bool = False
    strength: float
    evidence: str = Field(description="evidence id: GET /v1/evidence/{id}")


class ChangeSummary(_Value):
    """The change that preceded the incident."""

    time: AwareDatetime
    entity: str
    namespace: str = ""
    text: str
    evidence: str


class RunbookReference(_Value):
    path: str
    section: str = ""
    evidence: str = Field("", description="evidence id of the section")
    why: str = Field("", description="alert, url or words")


class Insight(_Value):
    """One revision of one incident. The highest revision of an id holds all that is known."""

    id: str
    revision: int = Field(ge=1)
    state: State
    cluster: str
    namespaces: tuple[str, ...] = ()
    title: str
    severity: Literal["critical", "warning", "info"]
    fingerprint: str = Field(description="the same whenever the same trouble comes back: what a rejection mutes")
    started: AwareDatetime = Field(description="event time of the first symptom")
    detected: AwareDatetime = Field(description="event time by which it could be told")
    updated: AwareDatetime = Field(description="event time of what made this revision")
    resolved: AwareDatetime | None = None
    merged_into: str = Field("", description="the incident that goes on, of one that was merged")
    reopened: int = Field(0, description="how often it came back within its damping time")
    symptom_count: int = Field(description="all of them; `symptoms` holds the most telling")
    entities: tuple[AffectedEntity, ...] = ()
    causes: tuple[Cause, ...] = ()
    symptoms: tuple[SymptomSummary, ...] = ()
    change: ChangeSummary | None = None
    runbooks: tuple[RunbookReference, ...] = ()
    position: str = Field("", description="topic id/partition/offset of the summary that made this revision")
