"""Dead letters on a terminal and as JSON. Anyone may have written them: nothing moves the cursor, no secret shows."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from schemas.dead_letters import Foreign, Letter
from schemas.records import Message
from streams.letters.replay import SKIPPED, Skip, Tally
from streams.letters.scan import Catalog, Found

SHOWN_CHARS: Final = 4_000  # of a value
LOOKED_AT_BYTES: Final = 65_536  # what is redacted to show that much: secrets at its end are behind what is shown
HEX_BYTES: Final = 512
REASON_CHARS: Final = 80  # in a row
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
Redact = Callable[[str], str]


def when(time_ms: int) -> str:
    """Empty for a time that no calendar holds."""
    try:
        return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""


def escaped(text: str) -> str:
    """Control and invisible characters as Python writes them; line feeds and tabs stay."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str, chars: int) -> str:
    line = escaped(" ".join(text.split()))
    return line if len(line) <= chars else line[: chars - 1] + "…"


def source_of(letter: Letter) -> str:
    """As `show` takes it."""
    at = letter.source
    return f"{at.topic}/{at.partition}/{at.offset}/{at.index}"


def rows(catalog: Catalog, things: Sequence[Letter | Foreign]) -> list[dict[str, Any]]:
    """One object for each, for scripts."""
    return [
        {
            "written": when(thing.written_ms),
            "letter": f"{thing.partition}/{thing.offset}",
            "ours": isinstance(thing, Letter),
            "reason": thing.reason,
            "size_bytes": thing.size_bytes,
        }
        | (fields(catalog, thing) if isinstance(thing, Letter) else {})
        for thing in things
    ]


def fields(catalog: Catalog, letter: Letter) -> dict[str, Any]:
    holder = catalog.holder(letter)
    return {
        "source": source_of(letter),
        "topic_id": letter.source.topic_id,
        "timestamp_ms": letter.timestamp_ms,
        "stage": letter.stage,
        "generation": letter.generation,
        "application": letter.app,
        "worker": letter.worker,
        "size_bytes": holder.size_bytes if holder else letter.size_bytes,
        "cut_from": letter.cut_from,
        "value_in": f"{holder.partition}/{holder.offset}" if holder else "",
        "copies": catalog.copies.get(letter.identity, 1),
    }


def table(catalog: Catalog, things: Sequence[Letter | Foreign]) -> Table:
    shown = Table(box=None)
    for name in ("written (UTC)", "letter", "source", "stage", "reason", "generation"):
        shown.add_column(name, overflow="fold")
    for name in ("bytes", "copies"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows(catalog, things):
        reason = row["reason"] if row["ours"] else f"not one of ours: {row['reason']}"
        cells = (
            row["written"], row["letter"], row.get("source", ""), row.get("stage", ""), one_line(reason, REASON_CHARS),
            row.get("generation", ""), f"{row['size_bytes']:,}", str(row.get("copies", "")),
        )  # fmt: skip
        shown.add_row(*map(Text, cells))
    return shown


def summary(catalog: Catalog, chosen: Sequence[Letter], listed: int) -> list[str]:
    """What the list stands for, and what it could not see."""
    by_reason = Counter(letter.reason for letter in chosen)
    copies = sum(catalog.copies[letter.identity] for letter in chosen) - len(chosen)
    lines = [
        f"{len(chosen):,} letter{'s' * (len(chosen) != 1)}" + (f" and {copies:,} copies of them" if copies else "")
    ]
    if listed < len(chosen):
        lines[0] += f", the newest {listed:,} are listed (--limit)"
    if by_reason:
        most = by_reason.most_common(20)
        lines.append("by reason: " + ", ".join(f"{count:,} {one_line(reason, 60)}" for reason, count in most))
    if total := catalog.not_ours.total():
        lines.append(f"{total:,} messages in the topic are not letters of ours, or forged")
    for partition, count in catalog.removed.items():
        lines.append(f"not seen: retention has removed offsets 0 to {count - 1:,} of partition {partition}")
    return lines


def tally_lines(tally: Tally, *, dry_run: bool) -> list[str]:
    """What became of each letter that was meant."""
    verb = "would be counted" if dry_run else "counted"
    lines = [f"{count:,} {verb} as {signal} records" for signal, count in sorted(tally.counted.items()) if count]
    lines += [f"{count:,} {verb} as filtered: {rule}" for rule, count in sorted(tally.filtered.items()) if count]
    if tally.before:
        lines.append(f"{tally.before:,} of these had been counted by an earlier replay, which changes nothing")
    for reason, count in sorted(tally.rejected.items(), key=lambda each: (-each[1], each[0])):
        lines.append(f"{count:,} still rejected: {one_line(reason, 200)}")
    lines += [f"{count:,} {SKIPPED[Skip(why)]}" for why, count in sorted(tally.skipped.items())]
    return lines or ["no letters to replay"]


def value_text(value: bytes | None, redact: Redact) -> str:
    """The value, redacted and cut, with a note on each that was done to it."""
    if not value:
        return "(empty)"
    part = value[:LOOKED_AT_BYTES]
    text = _decoded(part, cut=len(part) < len(value))
    if text is None:
        return _dump(part, len(value), redact)
    shown = redact(text)
    notes = ["redacted"] if shown != text else []
    if len(shown) > SHOWN_CHARS or len(part) < len(value):
        shown = shown[:SHOWN_CHARS]
        notes.append(f"cut: the value has {len(value):,} bytes, --raw writes all of them")
    return escaped(shown) + (f"\n({'; '.join(notes)})" if notes else "")


def _decoded(part: bytes, *, cut: bool) -> str | None:
    """None for what is no text."""
    encoding = "utf-16" if part.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    for end in range(len(part), len(part) - (4 if cut else 1), -1):  # a character that was cut through
        try:
            text = part[:end].decode(encoding)
        except UnicodeDecodeError:
            continue
        # What only claims to be UTF-16 would show ASCII, secrets included, as other letters.
        return None if "\x00" in text or (encoding == "utf-16" and not text[:1_000].isascii()) else text
    return None


def _dump(part: bytes, size: int, redact: Redact) -> str:
    """Hexadecimal beside ASCII. Not a byte of it where a secret hides in the gaps that redaction cannot see through."""
    text = part.decode("latin-1")
    shown, dense = redact(text), re.sub(r"[^\x20-\x7e\n]", "", text)
    if redact(dense) != dense and shown == text:
        return f"({size:,} bytes that are no text and seem to hold a secret: not shown, --raw writes them)"
    seen = shown.encode("latin-1", errors="replace")[:HEX_BYTES]
    lines = [
        f"{start:06x}  {seen[start : start + 16].hex(' '):47}  "
        + re.sub(r"[^\x20-\x7e]", ".", seen[start : start + 16].decode("latin-1"))
        for start in range(0, len(seen), 16)
    ]
    notes = [f"no text, {size:,} bytes", *(["redacted"] if shown != text else [])]
    if size > HEX_BYTES:
        notes.append(f"the first {HEX_BYTES} are shown, --raw writes all of them")
    return "\n".join([*lines, f"({'; '.join(notes)})"])


def carried(message: Message, redact: Redact) -> list[tuple[str, str]]:
    """Key and headers as they came, each on one line."""
    key = [] if message.key is None else [("key", message.key)]
    return [
        (one_line(name, 120), one_line(redact((value or b"")[:4_096].decode(errors="backslashreplace")), 300))
        for name, value in (*key, *((f"header {name}", value) for name, value in message.headers))
    ]


def found_json(found: Found, redact: Redact, now: str) -> dict[str, Any]:
    """`now`: what the present settings make of the record."""
    (row,) = rows(found.catalog, [found.letter])
    said = {"now": now} if now else {}
    return row | said | {"carried": carried(found.source, redact), "value": value_text(found.message.value, redact)}


def found_text(body: Mapping[str, Any]) -> Text:
    """The same for a person."""
    facts = {name: value for name, value in body.items() if name not in ("carried", "value", "ours")}
    if not body["ours"]:
        facts["reason"] = f"not one of ours: {body['reason']}"
    lines = [
        (name.replace("_", " "), one_line(str(value), 600)) for name, value in facts.items() if value not in ("", None)
    ]
    shown = [Text.assemble((f"{name:14} ", "dim"), value) for name, value in (*lines, *body["carried"])]
    return Text("\n").join([*shown, Text(), Text(body["value"])])


def others_note(found: Found) -> str:
    """Empty where this letter is the only one."""
    if not found.others:
        return ""
    shown = ", ".join(f"{source_of(letter)} in {letter.partition}/{letter.offset}" for letter in found.others[:5])
    more = f" and {len(found.others) - 5:,} more" if len(found.others) > 5 else ""
    return f"{len(found.others):,} more letters about it: {shown}{more}"


def list_json(catalog: Catalog, things: Sequence[Letter | Foreign], chosen: Sequence[Letter]) -> dict[str, Any]:
    return {
        "letters": rows(catalog, things),
        "distinct": len(chosen),
        "copies": sum(catalog.copies[letter.identity] for letter in chosen) - len(chosen),
        "by_reason": dict(Counter(letter.reason for letter in chosen)),
        "not_ours": dict(catalog.not_ours),
        "read_to": catalog.ends,
        "removed_by_retention": catalog.removed,
    }
