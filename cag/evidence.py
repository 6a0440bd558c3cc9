"""Documents become evidence: one text a person can read, an id that resolves, coordinates that lead to Kafka. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from processors.fold import OBSERVATIONS
from processors.shape import summary_of
from processors.template import template
from schemas.context import Evidence, Span
from schemas.documents import DAY_MS, MINUTE_MS
from schemas.evidence_id import EvidenceId, minutes_id
from schemas.records import severity_band

Json = Mapping[str, Any]
SHOWN_CHARS: Final = 600
HEADLINE_CHARS: Final = 70
SHOWN_COORDINATES: Final = 4
LINKS, LINKS_CHARS = 8, 20_000
_LINK: Final = re.compile(r"https?://[^\s<>\"']{1,500}")


@lru_cache(maxsize=64)
def links_in(question: str) -> tuple[str, ...]:
    """Addresses in a question: of a runbook, perhaps, that an alert names."""
    return tuple(dict.fromkeys(link.rstrip(".,;:!?)") for link in _LINK.findall(question[:LINKS_CHARS])))[:LINKS]


def moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


NOWHERE: Final = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Evidence before it is ranked, with what ranking needs to know."""

    evidence: Evidence
    severity: float  # 0..1
    novel: float  # 0..1: how new this is, against its own past
    places: tuple[int, int] = NOWHERE  # in the searches by words and by meaning, from 1
    pod: str = ""
    node: str = ""
    words: frozenset[str] = frozenset()  # of the text, to see near-duplicates
    reason: str = ""  # of an event
    line: str = ""  # of a log instead: the words of its template, worked out for those that may be chosen only
    about: frozenset[str] = frozenset()  # of an incident: names of all things that it speaks of
    rests_on: tuple[str, ...] = ()  # ids of the evidence of an incident


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
    details: Json,
    newest: Json,
    past: Mapping[str, float],
    places: Mapping[str, tuple[int, int]],
    span: Span,
    compared: Span | None = None,
    *,
    heard_ms: float = DAY_MS,
) -> list[Candidate]:
    """Patterns that were active in the range. `past`: how often each was said in the compared period or the day before.

    What is compared says so in its text: "(336 times, 2 in the compared period)".
    """
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
        first, count = bucket["first"]["value"], int(bucket["seen"]["value"])
        shown = _until(said.get("exemplars") or [], end_ms)
        line, before = shown[-1]["text"] if shown else "", past.get(bucket["key"], 0.0)
        text = line[:SHOWN_CHARS]
        if compared:
            usual = before * (end_ms - start_ms) / max((compared.end - compared.start).total_seconds() * 1000, 1)
            novel, times = _excess(count, usual), f" ({count} times, {int(before)} in the compared period)"
            text = line[: SHOWN_CHARS - len(times)] + times
        else:
            novel = _novelty(first - seen_from, observed, before, count, heard_ms)
        made.append(_log_candidate(bucket, said, shown, text, novel, places.get(bucket["key"], NOWHERE)))
    return made


def _log_candidate(
    bucket: Json, said: Json, shown: Sequence[Json], text: str, novel: float, places: tuple[int, int]
) -> Candidate:
    """`said`: its newest document; `shown`: exemplars of it."""
    first, last = bucket["first"]["value"], said["last_ms"]
    band = severity_band(int(said["severity_number"]))
    entities = [e["key"] for e in bucket["entities"]["buckets"]]
    return Candidate(
        evidence=Evidence(
            id=minutes_id("log", bucket["key"], first, last),
            kind="log",
            text=text,
            cluster=said["cluster"],
            namespace=said["namespace"],
            workload=said["workload"],
            entity=entities[0] if len(entities) == 1 else f"workload/{said['workload']}",
            first=moment(first),
            last=moment(last),
            count=int(bucket["seen"]["value"]),
            severity=band,
            coordinates=_coordinates(shown[::-1]),
        ),
        severity=_WEIGHT_OF_BAND[band],
        novel=novel,
        places=places,
        pod=said["pod"],
        node=said["node"],
        line=shown[-1]["text"] if shown else "",
    )


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
    """What was said by the end of the range, the latest last."""
    return [e for e in exemplars if e["t"] <= end_ms]


def _headline(workload: str, template: str) -> str:
    """A name for a citation: who says it and the first words that are words."""
    words = " ".join(template.split()).lstrip("*-[]():.,;=|<>\"' ")[:HEADLINE_CHARS]
    return f"{workload}: {words}" if workload else words


def _novelty(onset_ms: float, observed_ms: float, before: float, count: int, heard_ms: float) -> float:
    """How surprising it is that this was said when it was, from 0 to 1. `heard_ms`: of the day before, at all.

    Never said in the day before: were its n lines spread evenly over what was heard of that day and what was observed,
    the first would come after a share f of the time with probability (1 - f)^n; odds of a thousand to one make 1.
    Said before: how far the two counts are from one rate, by the signed root of the deviance, in standard deviations,
    of which six make 1. Little heard before makes little of it.
    """
    if before == 0:
        late = min((heard_ms + max(onset_ms, 0.0)) / (heard_ms + observed_ms), 0.999)
        return min(-count * math.log10(1 - late) / 3, 1.0)
    expected = (count + before) * observed_ms / (heard_ms + observed_ms)
    if count <= expected:
        return 0.0
    deviance = 2 * (count * math.log(count / expected) + before * math.log(before / (count + before - expected)))
    return min(math.sqrt(max(deviance, 0.0)) / 6, 1.0)


def _excess(count: int, usual: float) -> float:
    return min(max((count - usual) / math.sqrt(usual + 1) / 6, 0.0), 1.0)


def _coordinates(exemplars: Sequence[Json]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(e["at"] for e in exemplars))[:SHOWN_COORDINATES]


def event_candidate(document: Json, place: int, span: Span, day: str, document_id: str) -> Candidate | None:
    """A Kubernetes event as it stood at the end of the range, if it was seen in it. `place`: in its search, from 1."""
    end_ms, start_ms = span.end.timestamp() * 1000, span.start.timestamp() * 1000
    seen = document["observations"].values()
    until = [o for o in seen if o["t"] <= end_ms]
    if not until and len(seen) >= OBSERVATIONS and document["first_ms"] <= end_ms:
        until = [{"t": max(document["first_ms"], start_ms), "n": 1, "at": ""}]  # forgotten: later ones took its place
    latest = max(until, key=lambda o: (o["t"], o["n"]), default=None)
    if latest is None or latest["t"] < start_ms:
        return None
    stood = document if _order_ms(document) <= end_ms else {"message": latest.get("text", ""), "warning": True} | latest
    reason, message, warning = document["reason"], stood["message"], stood["warning"]
    telling = reason in TELLING_REASONS
    weight = 1.0 if telling else 0.7 if warning else 0.45 if reason in CHANGE_REASONS else 0.15
    about = f"{reason} {document['object_kind']}/{document['object_name']}"
    return Candidate(
        evidence=Evidence(
            id=f"event-{day.replace('.', '')}-{document_id}",
            kind="event",
            text=(f"{about}: {message}" if message else about)[:SHOWN_CHARS],
            title=about,
            cluster=document["cluster"],
            namespace=document["namespace"],
            workload=document["workload"],
            entity=document["entity"],
            first=moment(document["first_ms"]),
            last=moment(latest["t"]),
            count=max(1, *(o["n"] for o in until)),
            severity="warn" if warning else "info",
            coordinates=(latest["at"],) if latest["at"] else (),
        ),
        severity=weight,
        novel=(0.8 if telling else 0.3) if document["first_ms"] >= start_ms else 0.1,
        places=(place, place),  # there is no search for events by meaning
        pod=document["pod"],
        node=document["node"],
        words=frozenset(f"{reason} {message}".lower().split()),
        reason=reason,
    )


def alert_candidate(document: Json, span: Span, day: str, document_id: str) -> Candidate | None:
    """An alert as it stood at the end of the range, if it fired at some time in it."""
    start_ms, end_ms = span.start.timestamp() * 1000, span.end.timestamp() * 1000
    # It is told of a start that lies back: `sent` is when that was known.
    until = [o for o in document["observations"].values() if max(o["t"], o.get("sent", 0)) <= end_ms]
    resolved = [o["t"] for o in until if o["status"] == "resolved"]
    if not until or (resolved and max(resolved) < start_ms):
        return None
    status = "resolved" if resolved else "firing"
    latest = max(until, key=lambda o: (o["t"], o["status"]))
    if _order_ms(document) <= end_ms:
        summary, url = summary_of(document["annotations"]), document.get("runbook_url", "")
    else:
        summary, url = latest.get("text", ""), latest.get("url", "")
    weight = _WEIGHT_OF_BAND[severity_band(document["severity_number"])]
    since = start_ms - document["first_ms"]
    return Candidate(
        evidence=Evidence(
            id=f"alert-{day.replace('.', '')}-{document_id}",
            kind="alert",
            text=f"Alert {document['name']} is {status}: {summary}"[:SHOWN_CHARS],
            title=document["name"],
            url=url,
            cluster=document["cluster"],
            namespace=document["namespace"],
            workload=document["workload"],
            entity=document["entity"],
            first=moment(document["first_ms"]),
            last=moment(max(resolved) if resolved else latest["t"]),
            severity=severity_band(document["severity_number"]),
            coordinates=tuple(dict.fromkeys(o["at"] for o in until))[-2:],
        ),
        severity=weight if status == "firing" else weight * 0.3,
        novel=1.0 if since <= 0 else 0.5 if since <= DAY_MS else 0.2,
        pod=document["pod"],
        node=document["node"],
        words=frozenset(f"{document['name']} {summary}".lower().split()),
    )


def told_until_ms(document: Json) -> int:
    """The latest moment of which an event or alert says anything."""
    seen: Iterable[Json] = document["observations"].values()
    return max(_order_ms(document), *(int(max(o["t"], o.get("sent", 0))) for o in seen))


def _order_ms(document: Json) -> int:
    """When the text of a lasting thing was last written: an event's observation, or an alert's notification."""
    observed, sent, *_ = f"{document['latest']['order']}/".split("/")
    return max(int(observed), int(sent) if sent.isdecimal() and len(sent) == len(observed) else 0)
