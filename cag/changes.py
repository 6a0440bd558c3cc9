"""What was changed, told from events: a rollout is one piece of evidence, not one for each of its pods. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cag.evidence import SHOWN_CHARS, SHOWN_COORDINATES, Candidate
from schemas.context import Plan, Span

# Reasons of events, in the order in which they tell what was changed: of the kubelet (pkg/kubelet/events) and of the
# deployment, replicaset and podautoscaler controllers. The first are for a change only, the others for a restart too.
ROLLOUTS: Final = ("ScalingReplicaSet", "DeploymentRollback", "SuccessfulRescale")
STEPS: Final = (*ROLLOUTS, "SuccessfulCreate", "SuccessfulDelete", "Pulling", "Pulled", "Killing", "Created", "Started")
TOGETHER: Final = timedelta(minutes=10)  # from one step to the next
LOOKED_BACK: Final = timedelta(hours=24)  # for the change that a question is about
BEFORE, AFTER = timedelta(minutes=10), timedelta(minutes=20)  # of that change, the range that is looked at
IMAGES: Final = 3
_IMAGE: Final = re.compile(r'image "([^"\s]{1,200})"')
_STOPPED: Final = "stopping container"  # of any other Killing the message says why, which is more than a step


def is_step(candidate: Candidate) -> bool:
    evidence = candidate.evidence
    if evidence.kind != "event" or evidence.severity == "warn" or candidate.reason not in STEPS:
        return False
    return candidate.reason != "Killing" or _STOPPED in evidence.text.lower()


def grouped(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Steps of one change become one piece, the most telling of them, which names the images and counts the rest."""
    others, steps = list[Candidate](), dict[tuple[str, str, str], list[Candidate]]()
    for candidate in candidates:
        evidence = candidate.evidence
        if is_step(candidate) and evidence.workload and evidence.last:
            steps.setdefault((evidence.cluster, evidence.namespace, evidence.workload), []).append(candidate)
        else:
            others.append(candidate)
    return others + [_told(change) for mine in steps.values() for change in _apart(mine)]


def latest(candidates: Iterable[Candidate]) -> Candidate | None:
    """The latest change. Rollouts first; else what pulled an image, since a restart does not."""
    changes = [c for c in grouped(candidates) if is_step(c)]
    for telling in (ROLLOUTS, STEPS):
        found = [c for c in changes if c.reason in telling and (telling is ROLLOUTS or _IMAGE.search(c.evidence.text))]
        if found:
            return max(found, key=lambda c: (_at(c), c.evidence.id))
    return None


def around(plan: Plan, change: Candidate) -> Plan:
    """The plan with its range around a change, and that said."""
    evidence = change.evidence
    first, last = evidence.first or plan.span.end, evidence.last or plan.span.end
    said = f"around the change of {evidence.workload} ({evidence.title}) at {last:%Y-%m-%d %H:%M} UTC"
    span = Span(start=min(first, last) - BEFORE, end=min(last + AFTER, plan.span.end), said=said)
    return plan.model_copy(update={"span": span})


def _apart(steps: Sequence[Candidate]) -> list[list[Candidate]]:
    """Changes of one workload, by the time between their steps."""
    ordered = sorted(steps, key=lambda c: (_at(c), c.evidence.id))
    changes = [[ordered[0]]]
    for step in ordered[1:]:
        if _at(step) - _at(changes[-1][-1]) <= TOGETHER:
            changes[-1].append(step)
        else:
            changes.append([step])
    return changes


def _told(steps: Sequence[Candidate]) -> Candidate:
    ordered = sorted(steps, key=lambda c: (STEPS.index(c.reason), -_at(c).timestamp(), c.evidence.id))
    lead = ordered[0]
    if len(ordered) == 1:
        return lead
    text = lead.evidence.text
    named = (image for step in ordered for image in _IMAGE.findall(step.evidence.text))
    images = [image for image in dict.fromkeys(named) if image not in text][:IMAGES]
    more = Counter(step.reason for step in ordered[1:])
    counted = ", ".join(f"{number} {reason}" for reason, number in sorted(more.items()))
    text = "; ".join([text, *(f'image "{image}"' for image in images), f"with it {counted}"])
    coordinates = dict.fromkeys(at for step in ordered for at in step.evidence.coordinates)
    evidence = lead.evidence.model_copy(
        update={
            "text": text[:SHOWN_CHARS],
            "first": min(_began(step) for step in ordered),
            "last": max(_at(step) for step in ordered),
            "coordinates": tuple(coordinates)[:SHOWN_COORDINATES],
        }
    )
    relevance, novel = (max(getattr(step, name) for step in ordered) for name in ("relevance", "novel"))
    return replace(lead, evidence=evidence, relevance=relevance, novel=novel)


def _began(step: Candidate) -> datetime:
    """When this time: an event that is counted may have been seen first days ago."""
    return _at(step) if step.evidence.count > 1 or step.evidence.first is None else step.evidence.first


def _at(step: Candidate) -> datetime:
    assert step.evidence.last is not None  # as `grouped` has it
    return step.evidence.last
