"""What was changed, told from events: a rollout is one piece of evidence, not one for each of its pods. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from cag.evidence import NOWHERE, SHOWN_CHARS, SHOWN_COORDINATES, Candidate
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
    if evidence.severity == "warn" or candidate.reason not in STEPS or not evidence.workload or not evidence.last:
        return False
    return candidate.reason != "Killing" or _STOPPED in evidence.text.lower()


def grouped(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Steps of one change become one piece, the most telling of them, which names the images and counts the rest."""
    others = [candidate for candidate in candidates if not is_step(candidate)]
    return others + [_told(change) for change in _changes(candidates)]


def latest(candidates: Sequence[Candidate]) -> Candidate | None:
    """The latest change. Rollouts first; else what pulled an image, since a restart does not."""
    found = [(_told(change), min(map(_began, change))) for change in _changes(candidates)]
    for reasons in (ROLLOUTS, STEPS):
        telling = [
            (change, began)
            for change, began in found
            if change.reason in reasons and (reasons is ROLLOUTS or _IMAGE.search(change.evidence.text))
        ]
        if telling:
            change, began = max(telling, key=lambda each: (_at(each[0]), each[0].evidence.id))
            return replace(change, evidence=change.evidence.model_copy(update={"first": began}))
    return None


def around(plan: Plan, change: Candidate) -> Plan:
    """The plan with its range around a change, and that said."""
    evidence = change.evidence
    first, last = evidence.first or plan.span.end, evidence.last or plan.span.end
    said = f"around the change of {evidence.workload} ({evidence.title}) at {last:%Y-%m-%d %H:%M} UTC"
    span = Span(start=min(first, last) - BEFORE, end=min(last + AFTER, plan.span.end), said=said)
    return plan.model_copy(update={"span": span})


def _changes(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """The steps of each change: of one workload, with little time between them."""
    steps: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in filter(is_step, candidates):
        evidence = candidate.evidence
        steps.setdefault((evidence.cluster, evidence.namespace, evidence.workload), []).append(candidate)
    for mine in steps.values():
        change: list[Candidate] = []
        for step in sorted(mine, key=lambda c: (_at(c), c.evidence.id)):
            if change and _at(step) - _at(change[-1]) > TOGETHER:
                yield change
                change = []
            change.append(step)
        yield change


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
    places = min((step.places for step in ordered if step.places != NOWHERE), default=NOWHERE)
    return replace(lead, evidence=evidence, places=places, novel=max(step.novel for step in ordered))


def _began(step: Candidate) -> datetime:
    """When this time: an event that is counted may have been seen first days ago."""
    return _at(step) if step.evidence.count > 1 or step.evidence.first is None else step.evidence.first


def _at(step: Candidate) -> datetime:
    assert step.evidence.last is not None  # as `is_step` has it
    return step.evidence.last
