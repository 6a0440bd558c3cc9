"""Answers and evidence on a terminal. All of it came from telemetry: nothing of it may move the cursor or hide text."""

import re
from datetime import datetime
from typing import Final

from markdown_it import MarkdownIt
from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from api.ask import Answer
from schemas.chat import Citation
from schemas.context import EvidenceDetail

MAX_ROW_CHARS: Final = 160
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_REFERENCE: Final = re.compile(r"\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]")
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table").enable("strikethrough")


def printable(text: str) -> str:
    """`text` without control characters, escape sequences among them, and without invisible ones."""
    return _UNPRINTABLE.sub("", text)


def markdown(text: str) -> Markdown:
    """Rendered, with `<redacted:...>` and the like as text instead of as HTML, and no clickable links."""
    clean = printable(text)
    shown = Markdown(clean, hyperlinks=False)
    shown.parsed = _MARKDOWN.parse(clean)
    return shown


def answer(said: Answer) -> RenderableType:
    """The answer, a table of what it cites, and what the text has not yet said about freshness and mode."""
    rests_on = said.grounding
    notes = [rests_on.freshness.statement, *(f"Not seen: {what}" for what in rests_on.freshness.missing)]
    mode = f"mode {rests_on.mode}" + (f" ({rests_on.reason})" if rests_on.reason else "")
    newest = rests_on.freshness.newest
    age = f"newest event {_when(newest)}" if newest else "no event seen"
    parts: list[RenderableType] = [markdown(said.text), Text()]
    shown = _cited(said)
    if shown:
        parts.append(_table(shown))
    if more := len(rests_on.citations) - len(shown):
        notes.append(f"{more} more pieces of evidence were considered; --json lists them.")
    parts += [_dim(note) for note in notes if note and note.removeprefix("Not seen: ") not in said.text]
    return Group(*parts, _dim(f"{age} · {mode} · python -m api evidence ID"))


def evidence(detail: EvidenceDetail) -> RenderableType:
    """One piece of evidence with the records behind it."""
    piece = detail.evidence
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("id", piece.id),
        ("kind", piece.kind),
        ("entity", piece.entity),
        ("when", _span(piece.first, piece.last)),
        ("count", str(piece.count)),
        ("severity", piece.severity),
        ("title", piece.title),
        ("documents", str(len(detail.documents))),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(printable(value)))
    parts: list[RenderableType] = [facts, Text(printable(piece.text)), Text()]
    for record in detail.records:
        state = f"{record.coordinates}: {record.status}" + (f", {record.reason}" if record.reason else "")
        parts.append(Text(printable(state), style="bold"))
        if record.status == "found":
            parts.append(Text(printable(record.text)))
            parts.append(_dim(f"sha256 {record.sha256}"))
    return Group(*parts, *_around(detail))


def _around(detail: EvidenceDetail) -> list[RenderableType]:
    """Lines before and after the cited one, which is marked."""
    if not detail.around:
        return []
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold", ratio=1)
    cited = {record.coordinates for record in detail.records}
    for line in detail.around:
        mark, style = (">", "bold") if line.coordinates in cited else (" ", "")
        when = line.timestamp.strftime("%H:%M:%S.%f")[:-3] if line.timestamp else ""
        table.add_row(Text(mark), Text(when), Text(printable(line.text), style=style))
    return [Text(), _dim(f"{len(detail.around)} lines of {detail.evidence.entity}, times in UTC"), table]


def tail(text: str, console: Console) -> Text:
    """The end of an answer that still grows; one screen at most."""
    lines = printable(text).splitlines()[-max(1, console.height - 2) :]
    return Text("\n".join(lines))


def _cited(said: Answer) -> tuple[Citation, ...]:
    """What the text refers to; all of it when the text refers to nothing."""
    numbers = {int(n) for group in _REFERENCE.findall(said.text) for n in group.split(",")}
    citations = said.grounding.citations
    return tuple(c for c in citations if c.number in numbers) or citations


def _table(citations: tuple[Citation, ...]) -> Table:
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold", ratio=1)
    for citation in citations:
        text = " ".join(printable(citation.title if citation.kind == "runbook" else citation.text).split())
        shown = text if len(text) <= MAX_ROW_CHARS else text[: MAX_ROW_CHARS - 1] + "…"
        facts = (citation.kind, _span(citation.first, citation.last), printable(citation.entity))
        times = f" ×{citation.count}" if citation.count > 1 else ""
        head = " · ".join(fact for fact in facts if fact) + times
        rows = ((head, "bold"), "\n", shown, "\n", (printable(citation.id), "dim"))
        table.add_row(Text(f"[{citation.number}]"), Text.assemble(*rows))
    return table


def _span(first: datetime | None, last: datetime | None) -> str:
    if first is None or last is None:
        return ""
    start, end = first.strftime("%H:%M:%S"), last.strftime("%H:%M:%S")
    return f"{start} UTC" if start == end else f"{start} to {end} UTC"


def _when(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _dim(text: str) -> Text:
    return Text(printable(text), style="dim")
