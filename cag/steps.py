"""What a runbook section says to do, as items of one line each. Pure."""

import re
from typing import Final

from cag.inert import code, markdown

STEP_CHARS, COMMAND_CHARS = 240, 160
_STEP: Final = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+(.+)$")


def read_steps(text: str) -> list[str]:
    """The items of a section's lists, each with its first command; where it has no list, its first paragraphs."""
    steps: list[list[str]] = []  # words of the step, then its command
    prose: list[str] = [""]
    fenced = False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("```", "~~~")):
            fenced = not fenced
        elif fenced:
            if steps and stripped and len(steps[-1]) == 1:
                steps[-1].append(_command(stripped))
        elif match := _STEP.match(line):
            steps.append([match.group(1)])
        elif stripped.startswith(("|", "#")):
            continue  # a table says nothing in one line, a heading nothing to do
        elif stripped and steps and line.startswith(" "):
            steps[-1][0] += f" {stripped}"  # a step that goes on in the next line
        elif stripped:
            prose[-1] = f"{prose[-1]} {stripped}".lstrip()
        else:
            prose.append("")
    told = [" ".join([markdown(_cut(words)), *command]).rstrip(":") for words, *command in steps]
    return told or [markdown(_cut(paragraph)) for paragraph in filter(None, prose)][:2]


def _command(line: str) -> str:
    whole = line.rstrip("\\ ")
    more = " ..." if line.endswith("\\") or len(whole) > COMMAND_CHARS else ""
    return code(whole[:COMMAND_CHARS] + more)


def _cut(words: str) -> str:
    """At a blank, outside of code: half a command is worse than none."""
    if len(words) <= STEP_CHARS:
        return words
    kept = words[:STEP_CHARS]
    if kept.count("`") % 2:
        kept = kept[: kept.rindex("`")]
    return kept.rsplit(" ", 1)[0] + " ..."
