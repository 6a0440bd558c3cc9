"""What somebody says about an incident, as it is written to the feedback topic. Pure."""

from typing import Final

import orjson

from schemas.documents import digest
from schemas.insights import Insight, Verdict
from schemas.summaries import Feedback

NOTE_CHARS: Final = 2_000


def feedback_on(
    insight: Insight, verdict: Verdict, *, by: str, time_ms: int, mute_s: float = 0, key: str = ""
) -> Feedback:
    """`by`: a pseudonym; `mute_s`: of a rejection, 0 for the settings' own time.

    `key`: the sender's own for this one act: sent again it has the same id, whenever that is, and is heard once.
    """
    return Feedback(
        id=digest("feedback", insight.id, by, verdict, key or str(time_ms)),
        incident_id=insight.id,
        fingerprint=insight.fingerprint,
        verdict=verdict,
        by=by,
        time_ms=time_ms,
        until_ms=time_ms + round(mute_s * 1000) if verdict == "rejected" and mute_s else 0,
    )


def encoded(feedback: Feedback, note: str = "") -> tuple[bytes, bytes]:
    """Key and value. `note`: for people, redacted by whoever calls; the fold does not read it."""
    more = {"note": note[:NOTE_CHARS]} if note else {}
    return feedback.incident_id.encode(), orjson.dumps(feedback._asdict() | more)
