"""Incidents as evidence: as they were known at a moment, in words that can be cited. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cag.evidence import Candidate
from processors.insights.documents import OVER, millis, namespaces_of, revision_at
from schemas.context import Evidence, Plan, Span
from schemas.evidence_id import dated_id
from schemas.insights import Insight

Json = Mapping[str, Any]
SHOWN_CHARS: Final = 900
NAMED: Final = 4  # affected entities, besides the cause
SYMPTOMS: Final = 3
RUNBOOK: Final = "Runbook: "
TRACED: Final = 4  # pieces of evidence of an incident whose records are looked up
_BANDS: Final = {"critical": "error", "warning": "warn", "info": "info"}
_WEIGHTS: Final = {"critical": 1.0, "warning": 0.7, "info": 0.4}
_BEHIND: Final = 0.3  # of the weight of one that is over, as of an alert


def incident_candidates(hits: Sequence[Json], plan: Plan, known: datetime) -> list[Candidate]:
    """Of documents of incidents those that the plan asks for, as they were known at a moment; each once."""
    newest: dict[str, tuple[Insight, str]] = {}
    for hit in hits:
        told = revision_at(hit["_source"], known.timestamp() * 1000)
        if told is not None and (told.id not in newest or told.revision > newest[told.id][0].revision):
            newest[told.id] = told, hit["_id"]
    return [candidate(told, identity, plan.span) for told, identity in newest.values() if _asked(told, plan)]


def candidate(told: Insight, identity: str, span: Span) -> Candidate:
    """`identity`: of its document."""
    over = told.state in OVER
    place = told.causes[0] if told.causes else told.entities[0] if told.entities else None
    return Candidate(
        evidence=Evidence(
            id=dated_id("incident", identity, millis(told.detected)),
            kind="incident",
            text=text_of(told),
            title=told.title,
            cluster=told.cluster,
            namespace=place.namespace if place else "",
            namespaces=namespaces_of(told),
            workload=place.name if place and place.kind == "workload" else "",
            entity=f"{place.kind}/{place.name}" if place else "",
            first=told.started,
            last=told.resolved if over and told.resolved else told.updated,
            severity=_BANDS[told.severity],
        ),
        # Of a time that the question names, what is over by its end is no less an answer.
        severity=_WEIGHTS[told.severity] * (_BEHIND if over and not span.said else 1.0),
        novel=1.0 if told.started >= span.start else 0.5,
        about=frozenset([e.name for e in told.entities] + [c.name for c in told.causes]),
        rests_on=evidence_of(told),
    )


def text_of(told: Insight) -> str:
    """`Open incident (critical): ...`: what, why, whom else, what came before, what to read; each cut on its own."""
    state = "Merged" if told.state == "merged" else "Resolved" if told.state in OVER else "Open"
    parts = [_cut(f"{state} incident ({told.severity}): {told.title}", 240)]
    if told.merged_into and told.state == "merged":
        parts.append(f"It goes on as {told.merged_into}")
    if told.reopened:
        parts.append(f"It came back {told.reopened} times")
    causes = [(c.kind, c.name, c.namespace) for c in told.causes[:1]]
    if told.causes:
        first = told.causes[0]
        parts.append(_cut(f"Probable cause: {_who(first.kind, first.name, first.namespace)}, {first.why}", 260))
    others = [each for e in told.entities if (each := (e.kind, e.name, e.namespace)) not in causes]
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        parts.append(_cut(f"Affected: {', '.join(_who(*each) for each in others[:NAMED])}{more}", 220))
    if told.change is not None:
        parts.append(_cut(f"Preceded by: {told.change.text}", 160))
    parts.append(f"{told.symptom_count} symptoms" if told.symptom_count != 1 else "1 symptom")
    parts += [_cut(f"{RUNBOOK}{r.path} {r.section}".strip(), 160) for r in told.runbooks[:1]]
    parts += [_cut(f"Symptom: {s.text}", 160) for s in told.symptoms[:SYMPTOMS]]
    return ". ".join(part.rstrip(". ") if part[-3:] != "..." else part for part in parts)[:SHOWN_CHARS]


def evidence_of(told: Insight) -> tuple[str, ...]:
    """What it rests on, causes first."""
    ids = [*(each for cause in told.causes for each in cause.evidence), *(s.evidence for s in told.symptoms)]
    ids += [told.change.evidence] if told.change else []
    return tuple(each for each in dict.fromkeys(ids) if each and not each.startswith("incident-"))[:TRACED]


def _asked(told: Insight, plan: Plan) -> bool:
    """Of one that is told to go on in the range, or that was resolved in it. What was merged goes on as another."""
    over = told.state in OVER
    ended = told.resolved or told.updated
    if told.state == "merged" or told.started > plan.span.end or (over and ended < plan.span.start):
        return False
    if plan.incidents == "open":
        return not over or ended > plan.span.end
    return plan.incidents != "resolved" or (over and ended <= plan.span.end)


def named_runbook(text: str) -> str:
    """Path and section, of what `text_of` says; '' where it names none."""
    return text.partition(f". {RUNBOOK}")[2].partition(". Symptom: ")[0]


def _cut(text: str, chars: int) -> str:
    """At a blank."""
    return text if len(text) <= chars else f"{text[: chars - 3].rsplit(' ', 1)[0]}..."


def _who(kind: str, named: str, namespace: str) -> str:
    who = named if kind == "workload" else f"{kind} {named}"
    return f"{who} in {namespace}" if namespace else who
