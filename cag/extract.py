"""The answer without a model: the ranked evidence as short prose, every sentence cited. Pure.

Cause first, then what supports it, then what the runbook says to do next; at most a screen.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from schemas.context import Context, Evidence

SUPPORTING: Final = 5
STEPS: Final = 4
WORTH_NAMING: Final = 0.55  # score below which nothing is called a cause
_STEP: Final = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(.+)$")


def extractive_answer(context: Context, cited: Sequence[Evidence], zone: ZoneInfo) -> str:
    """Numbers in brackets are positions in `cited`, from 1."""
    numbered = list(enumerate(cited, 1))
    facts = [(n, e) for n, e in numbered if e.kind != "runbook"]
    guides = [(n, e) for n, e in numbered if e.kind == "runbook"]
    if not facts:
        return f"{_nothing(context)}\n\n{_steps(guides)}".strip()
    lead, *rest = facts
    lines = []
    if lead[1].score >= WORTH_NAMING:
        lines.append(f"**Most likely:** {_sentence(*lead, zone)}")
    else:
        lines.append(f"Nothing stands out. The closest is: {_sentence(*lead, zone)}")
    if rest:
        lines.append("\n**Also seen:**")
        lines += [f"- {_sentence(number, piece, zone)}" for number, piece in rest[:SUPPORTING]]
    steps = _steps(guides)
    return "\n".join([*lines, f"\n{steps}"] if steps else lines)


def _sentence(number: int, piece: Evidence, zone: ZoneInfo) -> str:
    text = " ".join(piece.text.split())
    text = text if len(text) <= 240 else text[:237] + "..."
    where = (
        piece.entity.replace("/", " ", 1) if piece.entity and not piece.entity.endswith("/") else "an unnamed source"
    )
    if piece.namespace:
        where += f" in {piece.namespace}"
    when = _when(piece, zone)
    if piece.kind == "log":
        times = f"{piece.count} times" if piece.count > 1 else "once"
        return f"{where} logged `{_code(text)}` {times}{when} [{number}]."
    if piece.kind == "event":
        times = f", {piece.count} times" if piece.count > 1 else ""
        return f"Kubernetes reports {_plain(text)}{times}{when} [{number}]."
    return f"{_plain(text)}{when} [{number}]."


def _when(piece: Evidence, zone: ZoneInfo) -> str:
    if piece.first is None or piece.last is None:
        return ""
    first, last = _clock(piece.first, zone), _clock(piece.last, zone)
    return f" at {first}" if first == last else f" between {first} and {last}"


def _clock(when: datetime, zone: ZoneInfo) -> str:
    here = when.astimezone(zone).strftime("%H:%M:%S")
    utc = when.astimezone(UTC).strftime("%H:%M:%S")
    return f"{here} UTC" if here == utc else f"{here} ({utc} UTC)"


def _steps(guides: Sequence[tuple[int, Evidence]]) -> str:
    if not guides:
        return ""
    number, guide = guides[0]
    found = [match.group(1).strip() for line in guide.text.splitlines() if (match := _STEP.match(line))]
    steps = found[:STEPS] or [line.strip() for line in guide.text.splitlines() if line.strip()][:2]
    listed = "\n".join(f"{place}. {step[:300]} [{number}]" for place, step in enumerate(steps, 1))
    return f"**What the runbook says** ({_plain(guide.title)}):\n{listed}"


def _nothing(context: Context) -> str:
    span = context.plan.span
    return (
        f"I found nothing about this between {span.start:%Y-%m-%d %H:%M} and {span.end:%H:%M} UTC. "
        "That is not proof that nothing happened: see below what could be seen."
    )


def _code(text: str) -> str:
    return text.replace("`", "'")


def _plain(text: str) -> str:
    """Text from machines as text: no links, no markup, no HTML."""
    return re.sub(r"([\[\]<>*_`|])", r"\\\1", text).replace("\\_", "_")
