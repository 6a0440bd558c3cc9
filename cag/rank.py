"""Which evidence comes first: severity, novelty, entity, relevance, recency; then diversity. Pure."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from cag.evidence import Candidate
from processors.template import template
from schemas.context import Evidence, Plan

# Weights of the parts; they add up to 1. Set by hand on the generated shop; a later issue measures them.
WEIGHTS: Final = {
    "severity": 0.26, "novelty": 0.26, "entity": 0.26, "volume": 0.08, "relevance": 0.10, "recency": 0.04
}  # fmt: skip
RECENT_S: Final = 600.0  # evidence this much older than the end of the range counts 1/e
UPSTREAM: Final = 0.82  # what it leans on and complains about, and which complains itself
RELATED: Final = 0.7  # how much what it leans on counts, beside 0.95 for the thing itself
SEVERE, NEWS, FEW = 0.9, 0.6, 4  # an error said once cannot look surprising by numbers, and is news all the same
COMPLAINT, CHATTER = 0.5, 0.6  # below a warning, news counts less
_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
HOPS: Final = 2  # a service names its database, a caller names the service
NUMBERS_ONLY: Final = 0.88  # a metric shows that something happened, seldom why
SYMPTOM: Final = 0.85  # for a complaint about another workload that complains itself: the cause is further up
SAME: Final = 0.75  # Jaccard overlap of words from which two texts of one kind are the same message
KIND_DAMPING, PLACE_DAMPING = 0.96, 0.97  # per piece already chosen of this kind; of this kind and workload
OBJECT_DAMPING: Final = 0.8  # per event already chosen that tells the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """What the question is about, and what that leans on."""

    workloads: frozenset[str] = frozenset()
    pods: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    related_workloads: frozenset[str] = frozenset()
    related_nodes: frozenset[str] = frozenset()
    complaining: frozenset[str] = frozenset()  # workloads with severe and new complaints of their own
    identifiers: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        return bool(self.workloads or self.pods or self.nodes)


def focus_of(plan: Plan, candidates: Sequence[Candidate], known_workloads: Collection[str]) -> Focus:
    """Widen what was asked about by two hops: workloads that its complaints name, and nodes that its pods run on."""
    asked, nodes = frozenset(plan.workloads), frozenset(plan.nodes)
    complaints = [c for c in candidates if c.severity >= COMPLAINT and c.evidence.kind in ("log", "event", "alert")]
    reached = set(asked)
    for _ in range(HOPS):
        for complaint in [c for c in complaints if c.evidence.workload in reached]:
            reached |= mentioned(complaint.evidence.text, known_workloads)
    own = [c for c in candidates if c.evidence.workload in asked or c.node in nodes]
    return Focus(
        workloads=asked,
        pods=frozenset(plan.pods),
        nodes=nodes,
        related_workloads=frozenset(reached) - asked,
        related_nodes=frozenset(c.node for c in own if c.node) - nodes,
        complaining=frozenset(c.evidence.workload for c in complaints if c.novel >= 0.5),
        identifiers=plan.identifiers,
    )


def mentioned(text: str, names: Collection[str]) -> set[str]:
    """Names of workloads in a text, as whole words: `payments` in `http://payments:8080/charge`."""
    return {word for word in _names_in(text) if word in names and len(word) > 2}  # there are more names than words


@lru_cache(maxsize=4_096)  # of a kilobyte or two each: one text is looked at several times in a question
def _names_in(text: str) -> frozenset[str]:
    return frozenset(_NAME.findall(text.lower()))


def entity_part(candidate: Candidate, focus: Focus) -> float:
    evidence = candidate.evidence
    if evidence.kind == "event" and evidence.entity.startswith("node/"):
        node = evidence.entity.removeprefix("node/")
        return 1.0 if node in focus.nodes else RELATED if node in focus.related_nodes else 0.3
    if not focus.named:
        return 0.5
    if candidate.pod and candidate.pod in focus.pods:
        return 1.0
    if evidence.workload in focus.workloads or (candidate.node and candidate.node in focus.nodes):
        return 0.95
    if evidence.workload in focus.related_workloads:
        return UPSTREAM if evidence.workload in focus.complaining else RELATED
    return 0.15


def scored(candidate: Candidate, plan: Plan, focus: Focus) -> Candidate:
    evidence = candidate.evidence
    age = max((plan.span.end - evidence.last).total_seconds(), 0.0) if evidence.last else 0.0
    parts = {
        "severity": candidate.severity,
        "novelty": _weighed(candidate),
        "entity": entity_part(candidate, focus),
        "relevance": candidate.relevance,
        "volume": min(math.log10(max(evidence.count, 1)) / 3, 1.0),
        "recency": math.exp(-age / RECENT_S),
    }
    score = sum(WEIGHTS[name] * value for name, value in parts.items())
    if evidence.kind == "metric":
        score *= NUMBERS_ONLY
    if evidence.kind == "log" and mentioned(evidence.text, focus.complaining - {evidence.workload}):
        score *= SYMPTOM
    if any(identifier in evidence.text for identifier in focus.identifiers):
        score += 1.0  # what was pasted into the question is what is looked for
    ranked = evidence.model_copy(
        update={"score": round(score, 4), "parts": {name: round(value, 3) for name, value in parts.items()}}
    )
    return replace(candidate, evidence=ranked)


def _weighed(candidate: Candidate) -> float:
    """News by what it is about: a new kind of chatter is less news than a new error said once."""
    if candidate.evidence.kind != "log":
        return candidate.novel
    if candidate.severity >= SEVERE and candidate.novel > 0 and candidate.evidence.count < FEW:
        return max(candidate.novel, NEWS)
    return candidate.novel if candidate.severity >= COMPLAINT else candidate.novel * CHATTER


def select(candidates: Sequence[Candidate], plan: Plan, focus: Focus, limit: int) -> list[Candidate]:
    """The best, one after the other; each choice makes more of the same kind and place a little less welcome."""
    left = sorted((scored(c, plan, focus) for c in candidates), key=lambda c: (-c.evidence.score, c.evidence.id))
    chosen: list[Candidate] = []
    kinds: Counter[str] = Counter()
    places: Counter[tuple[str, str]] = Counter()
    while left and len(chosen) < limit:
        best = _best(left, kinds, places, [c.evidence for c in chosen if c.evidence.kind == "event"])
        left.remove(best)
        if not any(_same(best, other) for other in chosen):
            chosen.append(best)
            kinds[best.evidence.kind] += 1
            places[best.evidence.kind, best.evidence.workload] += 1
    return chosen


def _best(
    left: Sequence[Candidate],
    kinds: Mapping[str, int],
    places: Mapping[tuple[str, str], int],
    events: Sequence[Evidence],
) -> Candidate:
    """The highest after damping. `left` is in order of scores, which damping only lowers: the tail is not looked at."""
    best, most = left[0], (-math.inf, "")
    for candidate in left:
        evidence = candidate.evidence
        if evidence.score < most[0]:
            break
        again = sum(_repeats(evidence, other) for other in events) if evidence.kind == "event" else 0
        alike, near = kinds[evidence.kind], places[evidence.kind, evidence.workload]
        damped = evidence.score * KIND_DAMPING**alike * PLACE_DAMPING**near * OBJECT_DAMPING**again
        reached = (damped, evidence.id)
        if reached > most:
            best, most = candidate, reached
    return best


def _repeats(one: Evidence, two: Evidence) -> bool:
    """Two events that tell the same: one reason on one object, or one node, which puts its trouble in many words.

    Another reason on the same pod may be the next link of the chain.
    """
    return one.title == two.title or (one.entity == two.entity and one.entity.startswith("node/"))


def _same(one: Candidate, two: Candidate) -> bool:
    if one.evidence.kind != two.evidence.kind or one.evidence.workload != two.evidence.workload:
        return False
    mine, theirs = (c.words or words_of(c.line) for c in (one, two))
    return bool(mine) and len(mine & theirs) / len(mine | theirs) >= SAME


@lru_cache(maxsize=4_096)
def words_of(line: str) -> frozenset[str]:
    """Of the template of a line."""
    return frozenset(template(line).lower().split())
