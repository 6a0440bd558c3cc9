"""The answer without a model: the ranked evidence as short prose, every sentence cited. Pure.

Cause first, then what supports it, then what the runbook says to do next; at most a screen.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from cag.inert import code, markdown, name, plain
from schemas.context import Context, Evidence

SUPPORTING: Final = 5
STEPS: Final = 4
STEP_CHARS: Final = 300
SHOWN_CHARS: Final = 240
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
    text = piece.text if len(piece.text) <= SHOWN_CHARS else piece.text[: SHOWN_CHARS - 3] + "..."
    named = piece.entity and not piece.entity.endswith("/")
    where = name(piece.entity.replace("/", " ", 1)) if named else "an unnamed source"
    if piece.namespace:
        where += f" in {name(piece.namespace)}"
    when = _when(piece, zone)
    if piece.kind == "log":
        times = f"{piece.count} times" if piece.count > 1 else "once"
        return f"{where} logged {code(text)} {times}{when} [{number}]."
    if piece.kind == "event":
        times = f", {piece.count} times" if piece.count > 1 else ""
        return f"Kubernetes reports {plain(text)}{times}{when} [{number}]."
    return f"{plain(text)}{when} [{number}]."


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
    listed = "\n".join(f"{place}. {step} [{number}]" for place, step in enumerate(read_steps(guide.text)[:STEPS], 1))
    return f"**What the runbook says** ({plain(guide.title)}):\n{listed}"


def read_steps(text: str) -> list[str]:
    """The items of a section's lists, each with the first command under it; its first lines where it has no list."""
    steps: list[list[str]] = []  # words of the step, then its command
    prose: list[str] = []
    fenced = False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
        elif fenced:
            if steps and stripped and len(steps[-1]) == 1:
                more = " ..." if stripped.endswith("\\") else ""
                steps[-1].append(code(stripped.rstrip("\\ ")[:STEP_CHARS] + more))
        elif match := _STEP.match(line):
            steps.append([match.group(1)])
        elif stripped.startswith("|"):
            continue  # a table says nothing in one line
        elif stripped and steps and line.startswith(" "):
            steps[-1][0] += f" {stripped}"  # a step that goes on in the next line
        elif stripped:
            prose.append(stripped)
    return [" ".join([markdown(words[:STEP_CHARS]), *command]) for words, *command in steps] or [
        markdown(line[:STEP_CHARS]) for line in prose[:2]
    ]


def _nothing(context: Context) -> str:
    start, end = (moment.astimezone(UTC) for moment in (context.plan.span.start, context.plan.span.end))
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    return (
        f"I found nothing about this between {start:%Y-%m-%d %H:%M} and {until} UTC. "
        "That is not proof that nothing happened: see below what could be seen."
    )
