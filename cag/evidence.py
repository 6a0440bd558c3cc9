"""Documents become evidence: one text a person can read, an id that resolves, coordinates that lead to Kafka. Pure."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple

from processors.template import template
from schemas.context import Evidence, Span
from schemas.documents import MINUTE_MS, day_of
from schemas.records import severity_band

Json = Mapping[str, Any]
SHOWN_CHARS: Final = 600
HEADLINE_CHARS: Final = 70
SHOWN_COORDINATES: Final = 4
SHORTEST_SERIES: Final = 4  # minutes; fewer say nothing about what is usual
# Minutes since 1970 in at most eight digits end in the year 2160, days in 2999: no calendar is left.
_WRITTEN: Final = re.compile(
    r"(?:log|metric)-[0-9a-f]{1,40}-[0-9]{1,8}-[0-9]{1,8}|(?:event|alert)-[12][0-9]{7}-[0-9a-f]{1,40}"
)


class EvidenceId(NamedTuple):
    """`log-<pattern>-<first minute>-<last minute>`, `metric-` likewise, `event-<day>-<id>`, `alert-<day>-<id>`."""

    kind: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "EvidenceId":
        """Raises ValueError on anything that this product does not write."""
        if text.startswith("runbook-"):
            return cls("runbook", (text,))
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise ValueError("not an evidence id")
        kind, *parts = text.split("-")
        return cls(kind, tuple(parts))


def moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def minutes_id(kind: str, identity: str, first_ms: float, last_ms: float) -> str:
    return f"{kind}-{identity}-{int(first_ms // MINUTE_MS)}-{int(last_ms // MINUTE_MS)}"


def dated_id(kind: str, document_id: str, first_ms: int) -> str:
    return f"{kind}-{day_of(first_ms).replace('.', '')}-{document_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Evidence before it is ranked, with what ranking needs to know."""

    evidence: Evidence
    severity: float  # 0..1
    novel: float  # 0..1: how new this is, against its own past
    relevance: float = 0.0  # 0..1: from the searches
    pod: str = ""
    node: str = ""
    words: frozenset[str] = frozenset()  # of the text, to see near-duplicates
    line: str = ""  # of a log instead: the words of its template, worked out for those that may be chosen only


_WEIGHT_OF_BAND: Final = {
    "fatal": 1.0,
    "error": 0.9,
    "warn": 0.6,
    "unknown": 0.25,
    "info": 0.2,
    "debug": 0.05,
    "trace": 0,
}
# Reasons of Kubernetes events that name a cause rather than a symptom, whatever their type says (several are Normal):
# kubernetes/pkg/kubelet/events/event.go and the scheduler's FailedScheduling.
TELLING_REASONS: Final = frozenset({
    "OOMKilling", "SystemOOM", "Evicted", "EvictionThresholdMet", "NodeHasDiskPressure", "NodeHasInsufficientMemory",
    "FreeDiskSpaceFailed", "ImageGCFailed", "FailedScheduling", "FailedMount", "FailedAttachVolume", "NodeNotReady",
    "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "FailedCreatePodSandBox", "InvalidDiskCapacity",
    "DNSConfigForming", "Rebooted",
})  # fmt: skip
CHANGE_REASONS: Final = frozenset(
    {"ScalingReplicaSet", "Killing", "SuccessfulCreate", "SuccessfulDelete", "SuccessfulRescale"}
)


def log_candidates(
    details: Json, newest: Json, past: Mapping[str, float], ranks: Mapping[str, int], span: Span
) -> list[Candidate]:
    """Patterns that were active in the range. `past`: how many times each was said in the day before."""
    buckets = details.get("aggregations", {}).get("patterns", {}).get("buckets", [])
    if not buckets:
        return []
    latest = {hit["_source"]["pattern_id"]: hit["_source"] for hit in newest["hits"]["hits"]}
    seen_from = min(bucket["first"]["value"] for bucket in buckets)
    start_ms, end_ms = span.start.timestamp() * 1000, span.end.timestamp() * 1000
    observed = max(end_ms - max(seen_from, start_ms), MINUTE_MS)
    made = []
    for bucket in buckets:
        said = latest.get(bucket["key"])
        if said is None:  # it came between the two searches
            continue
        first, last, count = bucket["first"]["value"], said["last_ms"], int(bucket["seen"]["value"])
        band = severity_band(int(said["severity_number"]))
        entities = [e["key"] for e in bucket["entities"]["buckets"]]
        shown = _until(said.get("exemplars") or [], end_ms)
        line = shown[-1]["text"] if shown else ""
        made.append(
            Candidate(
                evidence=Evidence(
                    id=minutes_id("log", bucket["key"], first, last),
                    kind="log",
                    text=line[:SHOWN_CHARS],
                    cluster=said["cluster"],
                    namespace=said["namespace"],
                    workload=said["workload"],
                    entity=entities[0] if len(entities) == 1 else f"workload/{said['workload']}",
                    first=moment(first),
                    last=moment(last),
                    count=count,
                    severity=band,
                    coordinates=_coordinates(shown[::-1]),
                ),
                severity=_WEIGHT_OF_BAND[band],
                novel=_novelty(first - seen_from, observed, past.get(bucket["key"], 0.0), count, end_ms - start_ms),
                relevance=_relevance(ranks.get(bucket["key"])),
                pod=said["pod"],
                node=said["node"],
                line=line,
            )
        )
    return made


def told(candidate: Candidate, oldest: Mapping[str, Sequence[Json]]) -> Evidence:
    """The evidence as it is shown. Of a log, with a name, and with where it began: exemplars by pattern."""
    evidence = candidate.evidence
    if evidence.kind != "log":
        return evidence
    began = oldest.get(EvidenceId.parse(evidence.id).parts[0], ())
    coordinates = dict.fromkeys((*evidence.coordinates, *_coordinates(began)))
    title = _headline(evidence.workload, template(candidate.line))
    return evidence.model_copy(update={"title": title, "coordinates": tuple(coordinates)[:SHOWN_COORDINATES]})


def _until(exemplars: Sequence[Json], end_ms: float) -> Sequence[Json]:
    """What was said by the end of the range, the latest last: the minute that it ends in goes on behind it."""
    return [e for e in exemplars if e["t"] <= end_ms] or exemplars[:1]


def _headline(workload: str, template: str) -> str:
    """A name for a citation: who says it and the first words that are words."""
    words = " ".join(template.split()).lstrip("*-[]():.,;=|<>\"' ")[:HEADLINE_CHARS]
    return f"{workload}: {words}" if workload else words


def _novelty(onset_ms: float, observed_ms: float, before: float, count: int, range_ms: float) -> float:
    """How surprising it is that this was said when it was, from 0 to 1 (odds of a thousand to one).

    Never said in the day before: were its n lines spread evenly over what was observed, the first would come after a
    share f of the time with probability (1 - f)^n. Said before: the excess over the usual rate in standard deviations
    of a Poisson count, of which six make 1.
    """
    if before == 0:
        late = min(max(onset_ms / observed_ms, 0.0), 0.999)
        return min(-count * math.log10(1 - late) / 3, 1.0)
    usual = before * range_ms / (24 * 3_600_000)
    return min(max((count - usual) / math.sqrt(usual + 1) / 6, 0.0), 1.0)


def _relevance(rank: int | None) -> float:
    return 0.0 if rank is None else 1 / (1 + rank / 15)


def _coordinates(exemplars: Sequence[Json]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(e["at"] for e in exemplars))[:SHOWN_COORDINATES]


def event_candidate(document: Json, rank: int | None, span: Span, day: str, document_id: str) -> Candidate:
    """A Kubernetes event, as it stood at the end of the range."""
    end_ms, start_ms = span.end.timestamp() * 1000, span.start.timestamp() * 1000
    until = [o for o in document["observations"].values() if o["t"] <= end_ms]
    latest = max(until, key=lambda o: (o["t"], o["n"]), default={"t": document["first_ms"], "n": 1, "at": ""})
    count = max((o["n"] for o in until), default=1)
    reason = document["reason"]
    telling = reason in TELLING_REASONS
    weight = 1.0 if telling else 0.7 if document["warning"] else 0.45 if reason in CHANGE_REASONS else 0.15
    text = f"{reason} {document['object_kind']}/{document['object_name']}: {document['message']}"
    return Candidate(
        evidence=Evidence(
            id=f"event-{day.replace('.', '')}-{document_id}",
            kind="event",
            text=text[:SHOWN_CHARS],
            title=f"{reason} {document['object_kind']}/{document['object_name']}",
            cluster=document["cluster"],
            namespace=document["namespace"],
            workload=document["workload"],
            entity=document["entity"],
            first=moment(document["first_ms"]),
            last=moment(latest["t"]),
            count=max(count, 1),
            severity="warn" if document["warning"] else "info",
            coordinates=(latest["at"],) if latest["at"] else (),
        ),
        severity=weight,
        novel=(0.8 if telling else 0.3) if document["first_ms"] >= start_ms else 0.1,
        relevance=_relevance(rank),
        pod=document["pod"],
        node=document["node"],
        words=frozenset(f"{reason} {document['message']}".lower().split()),
    )


def alert_candidate(document: Json, span: Span, day: str, document_id: str) -> Candidate | None:
    """An alert, if it fired at some time in the range."""
    start_ms, end_ms = span.start.timestamp() * 1000, span.end.timestamp() * 1000
    until = [o for o in document["observations"].values() if o["t"] <= end_ms]
    resolved = [o["t"] for o in until if o["status"] == "resolved"]
    if not until or (resolved and max(resolved) < start_ms):
        return None
    status = "resolved" if resolved else "firing"
    notes = document["annotations"]
    summary = notes.get("summary") or notes.get("message") or notes.get("description") or ""
    weight = _WEIGHT_OF_BAND[severity_band(document["severity_number"])]
    return Candidate(
        evidence=Evidence(
            id=f"alert-{day.replace('.', '')}-{document_id}",
            kind="alert",
            text=f"Alert {document['name']} is {status}: {summary}"[:SHOWN_CHARS],
            title=document["name"],
            url=document.get("runbook_url", ""),
            cluster=document["cluster"],
            namespace=document["namespace"],
            workload=document["workload"],
            entity=document["entity"],
            first=moment(document["first_ms"]),
            last=moment(max(resolved) if resolved else max(o["t"] for o in until)),
            severity=severity_band(document["severity_number"]),
            coordinates=tuple(dict.fromkeys(o["at"] for o in until))[-2:],
        ),
        severity=weight if status == "firing" else weight * 0.3,
        novel=1.0 if document["first_ms"] >= start_ms else 0.5,
        pod=document["pod"],
        node=document["node"],
        words=frozenset(f"{document['name']} {summary}".lower().split()),
    )


def metric_candidate(hours: Sequence[Json], span: Span) -> Candidate | None:
    """One series over the range: its value now, and how far that is from what it was at first."""
    start_ms, end_ms = span.start.timestamp() * 1000, span.end.timestamp() * 1000
    points = sorted(
        (int(minute), point) for hour in hours for minute, point in hour["points"].items() if int(minute) <= end_ms
    )
    inside = [(minute, point) for minute, point in points if minute >= start_ms - MINUTE_MS]
    if not inside:
        return None
    latest = hours[-1]
    values = [point["v"] for _, point in points]
    shown, unit = (_rates(points), "/s") if latest["monotonic"] else (values, latest["unit"])
    if not shown:
        return None
    early = shown[: max(len(shown) // 4, 1)]
    usual, now = statistics.median(early), shown[-1]
    spread = max(_deviation(early), abs(usual) * 0.1, 1e-9)
    extreme = max(shown, key=lambda value: abs(value - usual))
    deviation = abs(extreme - usual) / spread if len(shown) >= SHORTEST_SERIES else 0.0
    labels = ", ".join(f"{name}={value}" for name, value in sorted(latest["labels"].items()))
    named = f"{latest['name']}{{{labels}}}" if labels else latest["name"]
    text = (
        f"{named} of {latest['entity']}: now {_number(now)}{unit}, "
        f"at first {_number(usual)}{unit}, range {_number(min(shown))} to {_number(max(shown))}{unit} "
        f"over {len(shown)} minutes"
    )
    return Candidate(
        evidence=Evidence(
            id=minutes_id("metric", latest["series_id"], inside[0][0], inside[-1][0]),
            kind="metric",
            text=text[:SHOWN_CHARS],
            title=latest["name"],
            cluster=latest["cluster"],
            namespace=latest["namespace"],
            workload=latest["workload"],
            entity=latest["entity"],
            first=moment(inside[0][0]),
            last=moment(inside[-1][0]),
            count=len(inside),
            coordinates=(inside[-1][1]["o"].split("/", 1)[1],),
        ),
        severity=min(deviation / 20, 0.6),
        novel=min(deviation / 20, 1.0),
        pod=latest["pod"],
        node=latest["node"],
        words=frozenset({latest["name"], latest["workload"]}),  # one pod stands for its replicas
    )


def _deviation(values: Sequence[float]) -> float:
    """Of a population. The one in `statistics` counts in fractions, which takes a hundred times as long."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _rates(points: Sequence[tuple[int, Json]]) -> list[float]:
    """Per second, between neighbouring minutes; a counter that falls has been reset and starts from zero."""
    rates = []
    for (before, one), (after, two) in pairwise(points):
        rise = two["v"] - one["v"] if two["v"] >= one["v"] else two["v"]
        rates.append(rise / ((after - before) / 1000))
    return rates


def _number(value: float) -> str:
    if abs(value) >= 1 << 20 and float(value).is_integer():
        return f"{value / (1 << 20):,.0f}Mi" if value < 1 << 34 else f"{value / (1 << 30):,.1f}Gi"
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
