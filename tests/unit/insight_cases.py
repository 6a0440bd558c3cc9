"""Insights for tests: one ordinary incident, changed as a test needs it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.insights import AffectedEntity, Cause, Insight, SymptomSummary

START: Final = datetime(2026, 11, 20, 14, 2, tzinfo=UTC)
EVIDENCE: Final = "log-0123456789abcdef0123-29922602-29922603"


def symptom(**changed: Any) -> SymptomSummary:
    told: dict[str, Any] = {
        "id": "s1",
        "kind": "pattern-burst",
        "entity": "workload/inventory",
        "namespace": "shop",
        "name": "Connection is not available",
        "text": "inventory said `Connection is not available` 336 times in 5 minutes",
        "first": START,
        "last": START + timedelta(minutes=5),
        "strength": 0.9,
        "evidence": EVIDENCE,
    }
    return SymptomSummary(**told | changed)


def insight(**changed: Any) -> Insight:
    told: dict[str, Any] = {
        "id": "ab12cd34ef56ab12cd34",
        "revision": 1,
        "state": "opened",
        "cluster": "prod",
        "namespaces": ("shop",),
        "title": "inventory in shop: Connection is not available",
        "severity": "critical",
        "fingerprint": "f1",
        "started": START,
        "detected": START + timedelta(seconds=20),
        "updated": START + timedelta(seconds=20),
        "symptom_count": 1,
        "entities": (AffectedEntity(kind="workload", name="inventory", namespace="shop", symptoms=1),),
        "causes": (
            Cause(
                kind="workload", name="inventory", namespace="shop", score=0.9,
                why="began first, at 14:02:00 UTC; checkout depends on it", evidence=(EVIDENCE,),
            ),
        ),
        "symptoms": (symptom(),),
    }  # fmt: skip
    return Insight(**told | changed)


def later(told: Insight, minutes: float, **changed: Any) -> Insight:
    """The next revision."""
    updated = told.started + timedelta(minutes=minutes)
    return told.model_copy(update={"revision": told.revision + 1, "state": "updated", "updated": updated, **changed})
