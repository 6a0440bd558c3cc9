"""Which evidence comes first: severity, novelty, entity, relevance, recency; then diversity. Pure.

`rescored` is the law of a score and needs nothing but `Evidence.parts` and the settings, so that other settings can be
tried on answers that are there (`POST /v1/context` with a high limit); `reordered` does that for a whole answer.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from cag.changes import is_step
from cag.evidence import Candidate, links_in
from processors.template import template
from schemas.answer_settings import Ranking
from schemas.context import Evidence, Plan

PARTS: Final = (
    "severity",
    "novelty",
    "entity",
    "relevance",
    "volume",
    "recency",
)  # between 0 and 1, each with a weight
PLACES: Final = ("by_words", "by_meaning")  # in the searches, from 1: what relevance is made of
SEVERE, FEW = 0.9, 4  # an error said once cannot look surprising by numbers, and is news all the same
OPEN: Final = 0.4  # severity of an incident that is not over
AWAY: Final = 0.15  # entity part of what has nothing to do with what was asked about
COMPLAINT: Final = 0.5  # below a warning, news counts less
_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
HOPS: Final = 2  # a service names its database, a caller names the service
SAME: Final = 0.75  # Jaccard overlap of words from which two texts of one kind are the same message


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


def fused(words: Sequence[str], meaning: Sequence[str], ranking: Ranking, limit: int) -> dict[str, tuple[int, int]]:
    """The places of each in two searches, the best of both first; equal ones by id. Words stand in for no meaning."""
    by_words, by_meaning = (
        {identity: place for place, identity in enumerate(dict.fromkeys(found), 1)}
        for found in (words, meaning or words)
    )
    places = {each: (by_words.get(each, 0), by_meaning.get(each, 0)) for each in by_words | by_meaning}
    best = sorted(places, key=lambda each: (-relevance(places[each], ranking), each))
    return {each: places[each] for each in best[:limit]}


def relevance(places: tuple[float, float], ranking: Ranking) -> float:
    """Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009), as a share of being first in both."""
    weighed = (ranking.words, places[0]), (ranking.meaning, places[1])
    most = sum(weight for weight, _ in weighed) / (ranking.rank_constant + 1)
    found = sum(weight / (ranking.rank_constant + place) for weight, place in weighed if place)
    return found / most if most else 0.0


def entity_part(candidate: Candidate, focus: Focus, ranking: Ranking) -> tuple[float, str]:
    """How near it is to what was asked about, and the name of the setting that says so, if it is one."""
    evidence = candidate.evidence
    related = ranking.related, "related"
    if evidence.kind == "event" and evidence.entity.startswith("node/"):
        node = evidence.entity.removeprefix("node/")
        return (1.0, "") if node in focus.nodes else related if node in focus.related_nodes else (0.3, "")
    if not focus.named:
        return 0.5, ""
    if evidence.kind == "incident":
        if candidate.about & (focus.workloads | focus.pods | focus.nodes):
            return 1.0, ""
        return related if candidate.about & (focus.related_workloads | focus.related_nodes) else (AWAY, "")
    if candidate.pod and candidate.pod in focus.pods:
        return 1.0, ""
    if evidence.workload in focus.workloads or (candidate.node and candidate.node in focus.nodes):
        return 0.95, ""
    if evidence.workload in focus.related_workloads:
        return (ranking.upstream, "upstream") if evidence.workload in focus.complaining else related
    return AWAY, ""


def scored(candidate: Candidate, plan: Plan, focus: Focus, ranking: Ranking) -> Candidate:
    """With its parts, and the names of the settings that apply to it, each 1; those make its score."""
    evidence = candidate.evidence
    age = max((plan.span.end - evidence.last).total_seconds(), 0.0) if evidence.last else 0.0
    entity, standing = entity_part(candidate, focus, ranking)
    parts = {
        "severity": candidate.severity,
        "novelty": candidate.novel,
        "entity": entity,
        "relevance": relevance(candidate.places, ranking),
        "volume": min(math.log10(max(evidence.count, 1)) / 3, 1.0),
        "recency": math.exp(-age / ranking.recent_s),
    }
    kind = evidence.kind
    applying = (
        (standing, bool(standing)),
        (_news(candidate), kind == "log"),
        ("numbers_only", kind == "metric"),
        ("symptom", kind == "log" and bool(mentioned(evidence.text, focus.complaining - {evidence.workload}))),
        ("named", _named(evidence, plan, entity)),
        ("incident", kind == "incident" and candidate.severity >= OPEN and entity > AWAY),
        ("change", plan.intent == "change" and is_step(candidate)),
        # What was pasted into the question is what is looked for.
        ("asked", any(identifier in evidence.text for identifier in focus.identifiers)),
    )
    parts = {name: round(value, 4) for name, value in parts.items()}
    parts |= {name: 1.0 for name, applies in applying if name and applies}
    parts |= {name: place for name, place in zip(PLACES, candidate.places, strict=True) if place}
    ranked = evidence.model_copy(update={"parts": parts, "score": _score(parts, ranking)})
    return replace(candidate, evidence=ranked)


def _named(evidence: Evidence, plan: Plan, entity: float) -> bool:
    """Whether the question names it; a metric that many have, of something near to what was asked about.

    A question for incidents names each that is of what it asks about.
    """
    if evidence.kind == "incident":
        return bool(plan.incidents) and entity > AWAY
    if evidence.kind == "alert":
        return evidence.title in plan.alerts or evidence.url in links_in(plan.question)
    return evidence.kind == "metric" and evidence.title in plan.metrics and entity > AWAY


def _news(candidate: Candidate) -> str:
    """By what it is about: a new kind of chatter is less news than a new error said once."""
    if candidate.severity >= SEVERE and candidate.novel > 0 and candidate.evidence.count < FEW:
        return "news"
    return "" if candidate.severity >= COMPLAINT else "chatter"


def rescored(evidence: Evidence, ranking: Ranking) -> float:
    """The score by these settings, of evidence that was scored by any. (Only `recent_s` is in its parts already.)"""
    places = evidence.parts.get(PLACES[0], 0), evidence.parts.get(PLACES[1], 0)
    return _score(evidence.parts | {"relevance": round(relevance(places, ranking), 4)}, ranking)


def _score(parts: Mapping[str, float], ranking: Ranking) -> float:
    severity, novelty, entity = parts["severity"], parts["novelty"], parts["entity"]
    if "chatter" in parts:
        novelty *= ranking.chatter
    elif "news" in parts:
        novelty = max(novelty, ranking.news)
    if "change" in parts:
        severity, novelty = max(severity, ranking.change), max(novelty, ranking.change)
    if "upstream" in parts:
        entity = ranking.upstream
    elif "related" in parts:
        entity = ranking.related
    score = (
        ranking.severity * severity
        + ranking.novelty * novelty
        + ranking.entity * entity
        + ranking.relevance * parts["relevance"]
        + ranking.volume * parts["volume"]
        + ranking.recency * parts["recency"]
    )
    if "numbers_only" in parts:
        score *= ranking.numbers_only
    if "symptom" in parts:
        score *= ranking.symptom
    if "named" in parts:
        score += ranking.named
    if "incident" in parts:
        score += ranking.incident
    return round(score + parts.get("asked", 0.0), 4)


def reordered(evidence: Sequence[Evidence], ranking: Ranking, limit: int) -> list[Evidence]:
    """An answer's evidence as these settings would have ordered it. Runbook sections are left out."""
    again = (e.model_copy(update={"score": rescored(e, ranking)}) for e in evidence if e.kind != "runbook")
    candidates = [Candidate(evidence=e, severity=0.0, novel=0.0) for e in again]
    return [candidate.evidence for candidate in _chosen(candidates, ranking, limit, alike=lambda one, other: False)]


def select(candidates: Sequence[Candidate], plan: Plan, focus: Focus, ranking: Ranking, limit: int) -> list[Candidate]:
    """The best, one after the other; each choice makes more of the same kind and place a little less welcome."""
    return _chosen([scored(c, plan, focus, ranking) for c in candidates], ranking, limit, alike=_same)


def _chosen(
    candidates: Sequence[Candidate], ranking: Ranking, limit: int, *, alike: Callable[[Candidate, Candidate], bool]
) -> list[Candidate]:
    left = sorted(candidates, key=lambda c: (-c.evidence.score, c.evidence.id))
    chosen: list[Candidate] = []
    kinds: Counter[str] = Counter()
    places: Counter[tuple[str, str]] = Counter()
    while left and len(chosen) < limit:
        telling = [c.evidence for c in chosen if c.evidence.kind == "event" or "named" in c.evidence.parts]
        best = _best(left, ranking, kinds, places, telling)
        left.remove(best)
        if not any(alike(best, other) for other in chosen):
            chosen.append(best)
            kinds[best.evidence.kind] += 1
            places[best.evidence.kind, best.evidence.workload] += 1
    return chosen


def _best(
    left: Sequence[Candidate],
    ranking: Ranking,
    kinds: Mapping[str, int],
    places: Mapping[tuple[str, str], int],
    telling: Sequence[Evidence],
) -> Candidate:
    """The highest after damping. `left` is in order of scores, which damping only lowers: the tail is not looked at."""
    best, most = left[0], (-math.inf, "")
    by_kind, by_place, by_object = ranking.kind_damping, ranking.place_damping, ranking.object_damping
    for candidate in left:
        evidence = candidate.evidence
        score, kind = evidence.score, evidence.kind
        if score < most[0]:
            break
        damped = score * by_kind ** kinds[kind] * by_place ** places[kind, evidence.workload]
        if kind == "event" or "named" in evidence.parts:
            damped *= by_object ** sum(_repeats(evidence, other) for other in telling)
        reached = (damped, evidence.id)
        if reached > most:
            best, most = candidate, reached
    return best


def _repeats(one: Evidence, two: Evidence) -> bool:
    """Two events that tell the same: one reason on one object, or one node, which puts its trouble in many words.

    Another reason on the same pod may be the next link of the chain. Named alerts and series: of one name.
    """
    if one.kind != two.kind:
        return False
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
