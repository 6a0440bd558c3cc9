"""An insight with all of its parts, for tests of what reads or writes insights."""

import datetime as dt
from typing import Any, Final

from schemas.insights import AffectedEntity, Cause, ChangeSummary, Insight, RunbookReference, SymptomSummary

MOMENT: Final = dt.datetime(2026, 11, 22, 1, 2, 3, 4000, tzinfo=dt.UTC)


def insight(**change: Any) -> Insight:
    given = Insight(
        id="inc-1",
        revision=2,
        state="updated",
        cluster="prod ö",
        namespaces=("shop",),
        title="web fails",
        severity="critical",
        fingerprint="f",
        started=MOMENT,
        detected=MOMENT,
        updated=MOMENT,
        symptom_count=3,
        entities=(AffectedEntity(kind="workload", name="web", namespace="shop", symptoms=3),),
        causes=(Cause(kind="node", name="n/1", score=0.7, why="first", evidence=("e1", "e2")),),
        symptoms=(
            SymptomSummary(
                id="s1",
                kind="event",
                entity="pod/web-1",
                namespace="shop",
                name="BackOff",
                text="restarts ö",
                first=MOMENT,
                last=MOMENT,
                strength=0.1 + 0.2,
                evidence="event-20261122-abc",
            ),
        ),
        change=ChangeSummary(time=MOMENT, entity="workload/web", text="rolled out", evidence="e"),
        runbooks=(RunbookReference(path="web.md", why="words"),),
    )
    return Insight.model_validate(given.model_dump() | change)
