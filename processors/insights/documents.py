"""An incident as a document: one for each, as of its highest revision, with earlier ones for questions about the past.

Written by the merge law: the register takes the highest revision whatever the order of arrival, so that copies and old
revisions change nothing. Pure.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from processors.index import Write
from schemas.documents import MINUTE_MS, Target, day_of, digest
from schemas.insights import AffectedEntity, Cause, Insight

_HEXADECIMAL: Final = re.compile(r"[0-9a-f]{1,40}")
OVER: Final = ("resolved", "merged")
REVISIONS: Final = 96  # more than a month of them: see `_stretch`
EARLIER_SYMPTOMS: Final = 5  # of an earlier revision that are kept
SEARCH_CHARS: Final = 8_000


def write_of(insight: Insight) -> Write:
    """What this revision does to the document of its incident."""
    # Placed by when it was opened: an earlier symptom may yet join, and move its start into the day before.
    opened, updated = millis(insight.detected), millis(insight.updated)
    order = f"{insight.revision:08d}"
    earlier = insight.model_copy(update={"symptoms": insight.symptoms[:EARLIER_SYMPTOMS]})
    return Write(
        target=Target("insights", day_of(opened), document_id(insight.id)),
        fixed={"incident_id": insight.id, "cluster": insight.cluster},
        delta={
            "first_ms": millis(insight.started),
            "last_ms": updated,
            "items": {
                "field": "revisions",
                "limit": REVISIONS,
                "values": {
                    f"{_stretch(updated - opened):03d}/{insight.state}": {
                        "o": order,
                        "t": updated,
                        "insight": earlier.model_dump(mode="json"),
                    }
                },
            },
            "latest": {"order": order, "values": _values(insight, updated)},
        },
    )


def document_id(incident_id: str) -> str:
    """Its own where that can be a part of evidence ids, as ours can."""
    return incident_id if _HEXADECIMAL.fullmatch(incident_id) else digest("incident", incident_id)


def revision_at(document: Mapping[str, Any], moment_ms: float) -> Insight | None:
    """The incident as it was known at a moment; None: it was not, or how it stood then is not kept.

    The highest revision that is kept of those made by then; so it never says what came to be known later.
    """
    kept = [
        (item["o"], item["insight"]) for item in (document.get("revisions") or {}).values() if item["t"] <= moment_ms
    ]
    if document["insight"] and millis(datetime.fromisoformat(document["insight"]["updated"])) <= moment_ms:
        kept.append((document["latest"]["order"], document["insight"]))
    if not kept:
        return None
    # At the same order the whole one, which was added last, before the one that was cut.
    _, found = max(reversed(kept), key=lambda each: each[0])
    return Insight.model_validate(found)


def namespaces_of(insight: Insight) -> tuple[str, ...]:
    """Of all that it speaks of; the empty one for things without a namespace, such as nodes."""
    named = {*insight.namespaces}
    named.update(e.name if e.kind == "namespace" else e.namespace for e in insight.entities)
    named.update(c.name if c.kind == "namespace" else c.namespace for c in insight.causes)
    named.update(s.namespace for s in insight.symptoms)
    if insight.change is not None:
        named.add(insight.change.namespace)
    return tuple(sorted(named or {""}))


def millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _values(insight: Insight, updated: int) -> dict[str, Any]:
    over = insight.state in OVER
    ended = (millis(insight.resolved) if insight.resolved else updated) if over else None
    entities: list[AffectedEntity | Cause] = [*insight.entities, *insight.causes]
    words = (
        insight.title,
        *(f"{e.kind} {e.name} {e.namespace}" for e in entities),
        *(c.why for c in insight.causes),
        *(f"{s.name} {s.text}" for s in insight.symptoms),
        insight.change.text if insight.change else "",
    )
    return {
        "namespace": list(namespaces_of(insight)),
        "workload": sorted({e.name for e in entities if e.kind == "workload"}),
        "entity": sorted({f"{e.kind}/{e.name}" for e in entities}),
        "state": insight.state,
        "severity": insight.severity,
        "ended_ms": ended,
        "fingerprint": insight.fingerprint,
        "title": insight.title,
        "search_text": " ".join(dict.fromkeys(" ".join(words).split()))[:SEARCH_CHARS],
        "insight": insight.model_dump(mode="json"),
    }


def _stretch(age_ms: int) -> int:
    """Which stretch of an incident's life: they double every other time, so that a month has some thirty.

    Of each stretch and state the last revision is kept: the older, the coarser, and the size has a bound.
    """
    minutes = max(age_ms, 0) // MINUTE_MS
    octave = minutes.bit_length()
    half = minutes >> (octave - 2) & 1 if octave > 1 else 0
    return 2 * octave + half
