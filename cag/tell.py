"""A piece of evidence as a sentence: who said or suffered what, how often, when, and its number. Pure.

Nothing that machines or strangers wrote is markup in it, and what is quoted is quoted as it stands.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from cag.clock import Clock
from cag.inert import code, name, one_line, plain
from schemas.context import Evidence

Numbered = tuple[int, Evidence]
QUOTE_CHARS, SHORT_QUOTE_CHARS, NOTE_CHARS, INCIDENT_CHARS = 140, 80, 160, 280
GROUPED: Final = 3  # quotes, or names, in one sentence
# What stands in front of a message: a time, a level, a process, a thread, a logger.
_HEADER: Final = re.compile(
    r"""\s*(?:
    \[[^\[\]]{0,80}\] | \((?:\w+,?\s?)+\)
  | \d{4}[-/.]\d\d[-/.]\d\d[T\s]?(?:\d\d:\d\d:\d\d\S*)? | \d\d:\d\d:\d\d\S* | [A-Z][a-z]{2}\s+\d{1,2}\s\d\d:\d\d:\d\d
  | (?i:trace|debug|info|information|notice|warn|warning|error|err|fatal|critical|panic)\b:? | [IWEF]\d{4}\b
  | \d+(?=\s) | -+(?=\s) | [:|](?=\s)
  | [\w$]+(?:\.[\w$]+){2,}(?:\(\d+\)|:\d+)?(?=\s|:) | [\w-]+\.(?:go|py|java|js|ts|cc|cpp|c|rb|rs):\d+\]?
  | [a-z_]+(?:\[\d+\])(?=:)
    )[:,]?""",
    re.VERBOSE,
)
# Where a trace begins, which says nothing in one line.
_TRACE: Final = re.compile(r"\s+at [\w.$<>/]+\(|\s+Caused by: |\s*Traceback \(most recent|\s+goroutine \d+ \[")
_LOGFMT: Final = re.compile(r'(?:^|\s)(?:msg|message|error|err)="((?:[^"\\]|\\.)+)"')
_MESSAGES: Final = ("message", "msg", "error", "err", "log", "event")
_COMPARED: Final = re.compile(r" \((\d+) times, (\d+) in the compared period\)$")
_METRIC: Final = re.compile(
    r"^(?P<what>.+?) of \S+: now (?P<now>\S+), (?:at first (?P<first>\S+)|(?P<then>\S+) in the compared period"
    r"|not seen in the compared period), range (?P<low>\S+) to (?P<high>\S+) over (?P<minutes>\d+) minutes$"
)
_NUMBER: Final = re.compile(r"-?[\d,]*\.?\d+(?:e[+-]?\d+)?")
# Of an incident: before what its citation shows.
_HEAD: Final = re.compile(r"\.? (?:Affected: |Preceded by: |\d+ symptoms?\. )|\. \d+ symptoms?$")
_STEADY: Final = 0.05  # share by which a number may differ and still be the same


@dataclass(frozen=True, slots=True)
class Teller:
    clock: Clock

    def one(self, number: int, piece: Evidence) -> str:
        match piece.kind:
            case "log":
                return f"{who(piece)} logged {quote(piece.text)} {_times(piece.count)}{self._when(piece)} [{number}]."
            case "event":
                return f"{self._event(piece, self._when(piece))} [{number}]."
            case "alert":
                return f"{self._alert(piece)} [{number}]."
            case "incident":
                return f"{self.incident(piece)} [{number}]."
            case _:
                return f"{_metric(piece)}{self._when(piece)} [{number}]."

    def incident(self, piece: Evidence) -> str:
        """Since when, how bad, what, why: what symptoms say is left to the citation."""
        head, _, said = one_line(piece.text).partition(": ")
        state, _, grade = head.partition(" incident ")
        when = f" since {self.clock.at(piece.first)}" if piece.first else ""
        if state != "Open":
            when = self._when(piece)
        said = _HEAD.split(said, maxsplit=1)[0]
        if len(said) > INCIDENT_CHARS:
            said = said[:INCIDENT_CHARS].rsplit(" ", 1)[0] + "..."
        return f"{state}{when} {plain(grade)}: {plain(said)}"

    def cause(self, number: int, piece: Evidence, itself: str) -> str:
        """As it follows `Most likely`: a log names its cause, an event says it."""
        if piece.kind != "log":
            return f": {self.one(number, piece)}"
        said = f"logged {quote(piece.text)} {_times(piece.count)}{self._when(piece)}"
        return f" the cause is {who(piece)}{itself}, which {said} [{number}]."

    def dated(self, number: int, piece: Evidence) -> str:
        """The time first."""
        began = f"{self.clock.at(piece.first)}: " if piece.first else ""
        told = self._event(piece, "") if piece.kind == "event" else plain(one_line(piece.text)[:NOTE_CHARS])
        return f"{began}{told} [{number}]."

    def compared(self, number: int, piece: Evidence) -> str:
        """Now and then, as far as the evidence says."""
        counts = _COMPARED.search(piece.text)
        if piece.kind == "log" and counts:
            now, then = int(counts[1]), int(counts[2])
            return f"{who(piece)} logged {quote(piece.text)} {_times(now)} now, {_times(then)} then [{number}]."
        return self.one(number, piece)

    def group(self, facts: Sequence[Numbered]) -> str:
        """One sentence for pieces that belong together."""
        if len(facts) == 1:
            return self.one(*facts[0])
        pieces = [piece for _, piece in facts]
        numbers = f"[{', '.join(str(number) for number, _ in facts)}]"
        when = self._when(*pieces)
        match pieces[0].kind:
            case "log":
                said = [f"{quote(p.text, SHORT_QUOTE_CHARS)} {_times(p.count)}" for p in pieces]
                return f"{who(pieces[0], shared=True)} logged {_and(said)}{when} {numbers}."
            case "event":
                others = _and([_object(p) for p in pieces]) + _within(pieces[0])
                return (
                    f"Kubernetes reported {name(_reason(pieces[0]))} for {others}{when}: {_note(pieces[0])} {numbers}."
                )
            case "alert":
                others = _and(list(dict.fromkeys(who(p) for p in pieces)))
                return f"Alert {name(pieces[0].title)} was raised for {others}{when}: {_note(pieces[0])} {numbers}."
            case _:
                return f"{'; '.join(_metric(p) for p in pieces)}{when} {numbers}."

    def _when(self, *pieces: Evidence) -> str:
        firsts, lasts = [p.first for p in pieces if p.first], [p.last for p in pieces if p.last]
        return self.clock.when(min(firsts), max(lasts)) if firsts and lasts else ""

    def _event(self, piece: Evidence, when: str) -> str:
        times = f" {_times(piece.count)}" if piece.count > 1 else ""
        if not piece.title:
            return f"Kubernetes reported{times}{when}: {plain(one_line(piece.text)[:NOTE_CHARS])}"
        what = f"{name(_reason(piece))} for {_object(piece)}{_within(piece)}"
        return f"Kubernetes reported {what}{times}{when}: {_note(piece)}"

    def _alert(self, piece: Evidence) -> str:
        note = _note(piece)
        of = f" for {who(piece)}" if piece.entity and not piece.entity.endswith("/") else ""
        if not piece.first or not piece.last:
            return f"Alert {name(piece.title)}{of}: {note}"
        if " is resolved" in piece.text[: len(piece.title) + 30]:
            return f"Alert {name(piece.title)}{of} was firing{self._when(piece)} and is resolved: {note}"
        return f"Alert {name(piece.title)}{of} has been firing since {self.clock.at(piece.first)}: {note}"


def group(facts: Sequence[Numbered]) -> list[list[Numbered]]:
    """What belongs together, in the order of the best of each: one workload's logs, one alert, one event's reason."""
    groups: dict[tuple[str, ...], list[Numbered]] = {}
    for number, piece in facts:
        key: tuple[str, ...] = (piece.kind, str(number))
        if piece.kind == "log" and piece.workload:
            key = ("log", piece.cluster, piece.namespace, piece.workload)
        elif piece.kind == "alert" and piece.title:
            key = ("alert", piece.title)
        elif piece.kind == "event" and piece.title:
            key = ("event", piece.namespace, piece.workload or str(number), _reason(piece))
        held = groups.setdefault(key, [])
        if len(held) < GROUPED:
            held.append((number, piece))
    return list(groups.values())


def who(piece: Evidence, *, shared: bool = False) -> str:
    """`pod cart-0 in shop`; `shared`: the workload, when pieces of several pods are told together."""
    kind, _, named = piece.entity.partition("/")
    if shared and piece.workload:
        kind, named = "workload", piece.workload
    if not named:
        where = "an unnamed source" if piece.kind != "event" else "something"
    else:
        where = name(named) if kind == "workload" else name(f"{kind} {named}")
    return f"{where}{_within(piece)}"


def quote(text: str, chars: int = QUOTE_CHARS) -> str:
    """The message of a log line, cut at a blank, as code."""
    said = gist(text)
    if len(said) > chars:
        start = said[:chars]
        said = (start.rsplit(" ", 1)[0] if " " in start[chars // 2 :] else start) + "..."
    return code(said)


def gist(text: str) -> str:
    """The message in a line, without what loggers put in front of it and without the trace behind it."""
    text = _message(_COMPARED.sub("", text))
    line = one_line(text)
    start = 0
    while (header := _HEADER.match(line, start)) and header.end() > start:
        start = header.end()
    body = line[start:].strip()
    trace = _TRACE.search(body)
    body = body[: trace.start()] if trace and trace.start() else body
    return body if any(character.isalpha() for character in body) else line


def _message(text: str) -> str:
    """The message of a line in JSON or logfmt."""
    if text.startswith("{"):
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError:  # cut, or no JSON
            return text
        return next((said for key in _MESSAGES if isinstance(said := fields.get(key), str) and said.strip()), text)
    found = _LOGFMT.search(text)
    return found[1] if found else text


def _within(piece: Evidence) -> str:
    return f" in {name(piece.namespace)}" if piece.namespace else ""


def _reason(piece: Evidence) -> str:
    return piece.title.split(" ", 1)[0]


def _object(piece: Evidence) -> str:
    """`pod cart-0` of `BackOff Pod/cart-0`."""
    kind, _, named = piece.title.partition(" ")[2].partition("/")
    return name(f"{kind.lower()} {named}") if named else "something"


def _note(piece: Evidence) -> str:
    """What an event or an alert says after its head."""
    text = one_line(piece.text)
    head, found, note = text.partition(": ")
    if piece.kind == "event" and piece.title and text.startswith(piece.title):
        note = text[len(piece.title) :].removeprefix(":").strip()
    note = (note if found or piece.kind == "event" else head).rstrip(". ")
    cut = note if len(note) <= NOTE_CHARS else note[:NOTE_CHARS].rsplit(" ", 1)[0] + "..."
    return plain(cut) or "without a word"


def _metric(piece: Evidence) -> str:
    found = _METRIC.match(one_line(piece.text))
    if found is None:
        return plain(one_line(piece.text)[: NOTE_CHARS * 2])
    what, now = f"{plain(found['what'][:NOTE_CHARS])} of {who(piece)}", plain(found["now"])
    if found["then"]:
        return f"{what} was {now} now, {plain(found['then'])} then"
    if not found["first"]:
        return f"{what} was {now} now, not seen then"
    before, value = _value(found["first"]), _value(found["now"])
    over = f"over {found['minutes']} minutes"
    if before is not None and value is not None and abs(value - before) > _STEADY * max(abs(before), abs(value)):
        return f"{what} {'rose' if value > before else 'fell'} from {plain(found['first'])} to {now} {over}"
    return f"{what} stood at {now}, between {plain(found['low'])} and {plain(found['high'])} {over}"


def _value(shown: str) -> float | None:
    found = _NUMBER.match(shown)
    scale = {"Mi": 2.0**20, "Gi": 2.0**30}.get(shown[found.end() : found.end() + 2], 1.0) if found else 1.0
    return float(found[0].replace(",", "")) * scale if found else None


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count:,} times")


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
