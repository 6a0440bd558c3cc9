"""One document for each incident: the highest revision in any order, earlier ones as they were known, bounded."""

import random
from datetime import timedelta
from typing import Any

import orjson
import pytest

from processors.insights.documents import REVISIONS, namespaces_of, revision_at, write_of
from processors.merge import join
from schemas.documents import _FIELDS
from schemas.insights import AffectedEntity, Cause, ChangeSummary, Insight
from tests.unit.insight_cases import START, insight, later, symptom

OPENED = insight()
UPDATED = later(OPENED, 3, title="inventory and checkout")
RESOLVED = later(UPDATED, 12, state="resolved", resolved=START + timedelta(minutes=7))
AGAIN = later(RESOLVED, 14, resolved=None, reopened=1)
ALL = (OPENED, UPDATED, RESOLVED, AGAIN)


def document(*told: Insight) -> dict[str, Any]:
    stored: dict[str, Any] | None = None
    for each in told:
        write = write_of(each)
        assert write.delta is not None
        stored = join(write.fixed if stored is None else stored, orjson.loads(orjson.dumps(write.delta)))
    assert stored is not None
    return stored


def test_any_order_and_any_copies_end_in_the_same_document() -> None:
    whole = document(*ALL)
    dice = random.Random(1)
    for _ in range(20):
        assert document(*dice.choices(ALL, k=5), *dice.sample(ALL, 4)) == whole
    assert len({write_of(each).target for each in ALL}) == 1
    assert (whole["state"], whole["ended_ms"], whole["title"]) == ("updated", None, "inventory and checkout")
    assert document(OPENED, UPDATED, RESOLVED)["ended_ms"] == int((START.timestamp() + 420) * 1000)
    assert Insight.model_validate(whole["insight"]) == AGAIN


def test_every_field_is_mapped() -> None:
    assert document(*ALL).keys() <= _FIELDS["insights"].keys()


@pytest.mark.parametrize(
    ("minutes", "known"),
    [(0, None), (0.5, OPENED), (2.9, OPENED), (3, UPDATED), (11, UPDATED), (12, RESOLVED), (14, AGAIN), (99, AGAIN)],
)
def test_a_past_moment_never_sees_later_knowledge(minutes: float, known: Insight | None) -> None:
    assert revision_at(document(*ALL), (START.timestamp() + minutes * 60) * 1000) == known


def test_a_long_incident_stays_small_and_is_remembered_the_coarser_the_older() -> None:
    told = [OPENED]
    symptoms = tuple(symptom(id=f"s{n}", text="x" * 300) for n in range(20))
    for minute in range(1, 60 * 24 * 31, 7):
        told.append(later(told[-1], minute, state=("updated", "resolved")[minute % 2], symptoms=symptoms))
    stored = document(*told)
    assert len(stored["revisions"]) < REVISIONS
    assert len(orjson.dumps(stored)) < 200_000
    for minute in (0.5, 90, 60 * 24, 60 * 24 * 20):
        moment = (START.timestamp() + minute * 60) * 1000
        seen = revision_at(stored, moment)
        assert seen is not None
        assert moment - seen.updated.timestamp() * 1000 <= max(minute * 60_000, 60_000) * 0.6


def test_whatever_it_speaks_of_counts_for_who_may_see_it() -> None:
    node = AffectedEntity(kind="node", name="n1", symptoms=1)
    cause = Cause(kind="workload", name="db", namespace="data", score=1, why="")
    change = ChangeSummary(time=START, entity="workload/x", namespace="ops", text="", evidence="")
    told = insight(entities=(node,), causes=(cause,), change=change, symptoms=(symptom(namespace="web"),))
    assert namespaces_of(told) == ("", "data", "ops", "shop", "web")
    assert namespaces_of(insight(namespaces=(), entities=(), causes=(), symptoms=())) == ("",)
