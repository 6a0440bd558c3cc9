"""Sentences as a model would write them about a piece of evidence, with the places that can be made wrong marked.

Two halves with other words for the same: rules are tuned on `phrasings`; `phrasings_held_out` is only counted. A form
is text with slots in braces; one that a piece cannot fill does not apply to it.
"""

import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final, Literal
from zoneinfo import ZoneInfo

from schemas.context import Evidence
from tests.answers import phrasings, phrasings_held_out

Wrong = Literal["number", "name", "time", "quote", "citation"]
Half = Literal["development", "held out"]
HALVES: Final[tuple[Half, Half]] = ("development", "held out")


@dataclass(frozen=True, slots=True)
class Slot:
    kind: Wrong
    text: str


Part = str | Slot
Filler = Callable[[Evidence, Random, ZoneInfo], Slot | None]


def _name(text: str) -> Slot | None:
    return Slot("name", text) if text else None


def _clock(form: str, *, which: str, local: bool = False) -> Filler:
    def fill(piece: Evidence, _: Random, zone: ZoneInfo) -> Slot | None:
        moment: datetime | None = getattr(piece, which)
        if moment is None:
            return None
        utc = f"{moment.astimezone(UTC):{form}}"
        here = f"{moment.astimezone(zone):{form}}"
        if local and here != utc:
            return Slot("time", f"{here} ({utc} UTC)")
        return Slot("time", f"{utc} UTC" if local else utc)

    return fill


def _around(piece: Evidence, _: Random, zone: ZoneInfo) -> Slot | None:
    if piece.first is None:
        return None
    five = round(piece.first.timestamp() / 300) * 300
    return Slot("time", f"around {datetime.fromtimestamp(five, UTC):%H:%M}")


def _period(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
    if piece.first is None or piece.last is None or piece.first == piece.last:
        return None
    return Slot("time", f"{piece.first:%H:%M:%S}{rng.choice('-–')}{piece.last:%H:%M:%S}")


def _count(form: Callable[[int], str], least: int = 3) -> Filler:
    return lambda piece, rng, zone: Slot("number", form(piece.count)) if piece.count >= least else None


def _two_digits(value: float) -> int:
    step = 10 ** max(len(str(int(value))) - 2, 0)
    return int(round(value / step) * step)


def _first_digit(value: float) -> int:
    step = 10 ** (len(str(int(value))) - 1)
    return int(value // step * step)


_AMOUNT: Final = re.compile(r"(?<![\w.:/\[#@*=-])(\d{1,7}) (ms|percent|worker|bytes|times|seconds)\b")


def _amount(form: Callable[[int, str], str | None]) -> Filler:
    def fill(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
        found = _AMOUNT.search(piece.text) if piece.kind in ("log", "alert") else None
        text = form(int(found[1]), found[2]) if found else None
        return Slot("number", text) if text else None

    return fill


_METRIC: Final = re.compile(r": now ([\d,.]+)(Mi|)(?:/s)?, at first ([\d,.]+)(Mi|)")


def _value(which: int, form: Callable[[float, str], str]) -> Filler:
    def fill(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
        found = _METRIC.search(piece.text)
        if found is None or found[1] == found[3]:
            return None
        return Slot("number", form(float(found[2 * which + 1].replace(",", "")), found[2]))

    return fill


def _shown(value: float, unit: str) -> str:
    return f"{value:,.4g} MiB" if unit else f"{value:,.4g}"


def _coarse(value: float, unit: str) -> str:
    if unit:
        return f"{value / 1024:.2f} GiB"
    return f"about {_two_digits(value)}" if value >= 100 else f"{value:g}"


def said(piece: Evidence) -> str:
    """The words of a line, without what its writer puts in front."""
    line = piece.text.split("\n", 1)[0]
    if found := re.search(r'"msg":"(.*?)"|msg="(.*?)"', line):
        return found[1] or found[2]
    line = re.sub(r"^(?:Alert \w+ is firing: |\w+ \w+/\S+: )", "", line)
    return re.sub(r"^[\[\]\w:,.+\-/ ]*?\d\d:\d\d:\d\d[.,\d]*\]? *(?:[-\w ]*\] )?", "", line)


def _words(piece: Evidence, rng: Random, least: int = 4, most: int = 9) -> list[str]:
    words = [word for word in said(piece).split() if not set(word) & set('`"“”[]<>{}|*\\')]
    if len(words) < least:
        return []
    length = rng.randint(least, min(most, len(words)))
    start = rng.randint(0, len(words) - length)
    run = words[start : start + length]
    return run if " ".join(run) in piece.text else []


def _excerpt(marks: str, least: int = 4) -> Filler:
    def fill(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
        words = _words(piece, rng, least)
        return Slot("quote", f"{marks[0]}{' '.join(words).strip('.,;:')}{marks[-1]}") if words else None

    return fill


def _elided(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
    words = _words(piece, rng, 7, 14)
    return Slot("quote", f'"{" ".join(words[:3])} ... {" ".join(words[-3:])}"') if words else None


def _lasting(piece: Evidence, rng: Random, zone: ZoneInfo) -> Slot | None:
    if piece.first is None or piece.last is None or (piece.last - piece.first).total_seconds() < 180:
        return None
    return Slot("number", f"{round((piece.last - piece.first).total_seconds() / 60)} minutes")


FILLERS: Final[dict[str, Filler]] = {
    "workload": lambda piece, rng, zone: _name(piece.workload),
    "workload_code": lambda piece, rng, zone: _name(f"`{piece.workload}`" if piece.workload else ""),
    "namespace": lambda piece, rng, zone: _name(piece.namespace),
    "entity": lambda piece, rng, zone: _name(piece.entity.partition("/")[2] if piece.kind in ("log", "event") else ""),
    "pod": lambda piece, rng, zone: _name(piece.entity.removeprefix("pod/") if piece.entity.startswith("pod/") else ""),
    "pod_code": lambda piece, rng, zone: _name(
        f"`{piece.entity.removeprefix('pod/')}`" if piece.entity.startswith("pod/") else ""
    ),
    "alert": lambda piece, rng, zone: _name(piece.title if piece.kind == "alert" else ""),
    "alert_code": lambda piece, rng, zone: _name(f"`{piece.title}`" if piece.kind == "alert" else ""),
    "reason": lambda piece, rng, zone: _name(piece.title.split()[0] if piece.kind == "event" else ""),
    "metric": lambda piece, rng, zone: _name(f"`{piece.title}`" if piece.kind == "metric" else ""),
    "times": _count(lambda n: f"{n} times"),
    "times_comma": _count(lambda n: f"{n:,} times", 1000),
    "occurrences": _count(lambda n: f"{n} occurrences"),
    "lines": _count(lambda n: f"{n} log lines"),
    "about": _count(lambda n: f"about {_two_digits(n)} times", 30),
    "roughly": _count(lambda n: f"roughly {_two_digits(n)}", 30),
    "over": _count(lambda n: f"more than {_first_digit(n - 1)} times", 30),
    "x": _count(lambda n: f"{n}×"),
    "amount": _amount(lambda n, unit: f"{n} {unit}"),
    "amount_comma": _amount(lambda n, unit: f"{n:,} {unit}"),
    "seconds": _amount(lambda n, unit: f"about {round(n / 1000)} s" if unit == "ms" and n > 3000 else None),
    "seconds_exact": _amount(lambda n, unit: f"{n / 1000:.1f} seconds" if unit == "ms" and n > 3000 else None),
    "now": _value(0, _shown),
    "now_coarse": _value(0, _coarse),
    "usual": _value(1, _shown),
    "usual_coarse": _value(1, _coarse),
    "lasting": _lasting,
    "first": _clock("%H:%M:%S", which="first"),
    "last": _clock("%H:%M:%S", which="last"),
    "first_hm": _clock("%H:%M", which="first"),
    "last_hm": _clock("%H:%M", which="last"),
    "first_local": _clock("%H:%M:%S", which="first", local=True),
    "last_local": _clock("%H:%M:%S", which="last", local=True),
    "first_hm_local": _clock("%H:%M", which="first", local=True),
    "around": _around,
    "period": _period,
    "code": _excerpt("`"),
    "said": _excerpt('"'),
    "curly": _excerpt("“”"),
    "elided": _elided,
    "message": _excerpt("`", 6),
}

_ADVICE: Final = re.compile(
    r"Roll|Cordon|Restart|The safest|You should|Scale|The quickest|First cordon|Undo|Take back|Begin by|[Rr]estart one"
)
PHRASINGS: Final = {"development": phrasings, "held out": phrasings_held_out}


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence about one piece, taken apart."""

    parts: tuple[Part, ...]
    number: int  # of the piece that it cites
    form: str

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)


def forms_for(piece: Evidence, half: Half) -> list[tuple[str, dict[str, str]]]:
    """All forms that may fit a piece, with the names that their expressions found."""
    fitting = [(form, dict[str, str]()) for form in PHRASINGS[half].FORMS.get(piece.kind, ())]
    for pattern, form in PHRASINGS[half].IN_OTHER_WORDS:
        advice = _ADVICE.match(form) is not None
        found = re.search(pattern, piece.text)
        if found and advice == (piece.kind == "runbook"):
            fitting.append((form, found.groupdict()))
    return fitting


def say(form: str, names: dict[str, str], piece: Evidence, number: int, rng: Random, zone: ZoneInfo) -> Said | None:
    """The sentence; None when the piece has nothing to put into a slot."""
    parts: list[Part] = []
    for literal, field, _, _ in string.Formatter().parse(form):
        parts.append(literal)
        if field == "cite":
            parts.append(Slot("citation", f"[{number}]"))
        elif field in names:
            parts.append(Slot("name", names[field]))
        elif field is not None:
            slot = FILLERS[field](piece, rng, zone)
            if slot is None:
                return None
            parts.append(slot)
    return Said(tuple(part for part in parts if part), number, form)
