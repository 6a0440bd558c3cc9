"""Numbers with their units, as people and machines write them, and whether one may stand for another. Pure.

A stated number is right when evidence holds the same one, in whatever unit, or one that it is a rounding of: to the
last decimal place given ("0.33 GiB" of 336 MiB, "21 s" of 21272 ms), with a word such as "about" to the last digit
that is not zero ("about 340" of 336; steps of five count as such), with "over" or "under" up to the next such step.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

Sense = Literal["", "about", "over", "under"]

_TIME: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "millisecond": 1e-3, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0,
    "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0,
}  # fmt: skip
_PREFIX: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_BYTES: Final = re.compile(r"(?:([kmgt])(i?)(b|bytes?)?|()()(b|bytes?)|(kilo|mega|giga)()(bytes?))", re.IGNORECASE)
_PER_SECOND: Final = ("/s", "/sec", "/second", "rps", "qps")
NUMBER: Final = re.compile(
    r"(?<![\w.])(?<![A-Za-z_]-)(?P<number>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?P<part>\.\d+)?(?![\d]*\.\d)"
    r"(?P<unit>[\s-]?(?:%|percent\b|per cent\b|[A-Za-zµ]+(?:/s)?(?![\w])|/s\b))?(?![\w])"
)
_COMPOUND: Final = re.compile(r"(?<![\w.])(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)(?!\w)")
_ABOUT: Final = re.compile(
    r"(?:about|around|roughly|approximately|approx\.?|some|circa|ca\.?|~|≈|nearly|almost)\s*$", re.I
)
_OVER: Final = re.compile(
    r"(?:more than|over|above|exceed\w*|at least|upwards? of|beyond|greater than|>=?|≥|past)\s*$", re.I
)
_UNDER: Final = re.compile(r"(?:less than|under|below|fewer than|up to|at most|just short of|<=?|≤|within)\s*$", re.I)
_WORDS: Final = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "hundred": 100,
}  # fmt: skip
_WORD: Final = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b(?! of (?:the|these|those|them)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Amount:
    """`scales`: what one unit may be in seconds or bytes; (1.0,) without a unit. `step`: of its last digit given."""

    said: str
    value: float
    step: float
    rough: float  # the step of its last digit that is not zero
    dimension: Literal["", "time", "bytes", "%"]
    scales: tuple[float, ...]
    sense: Sense = ""
    noun: str = ""  # the word behind it, when that is no unit
    at: int = 0


def in_digits(text: str) -> str:
    """With number words as digits: "three pods", not "three of the pods"."""
    return _WORD.sub(lambda found: str(_WORDS[found.group().lower()]), text)


def amounts(text: str) -> Iterator[Amount]:
    """All numbers of a text from which names and times have been taken out."""
    for found in _COMPOUND.finditer(text):
        if found[1] or found[2]:
            seconds = int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + float(found[3])
            yield Amount(found.group(), seconds, 1.0, 1.0, "time", (1.0,), at=found.start())
    for found in NUMBER.finditer(text):
        digits, part = found["number"].replace(",", ""), found["part"] or ""
        unit = (found["unit"] or "").strip(" -").lower()
        dimension, scales = _unit(unit, glued=not (found["unit"] or " ").startswith((" ", "-")))
        zeros = len(digits) - len(digits.rstrip("0")) if not part and digits.strip("0") else 0
        fives = 5 if digits.rstrip("0").endswith("5") and len(digits) > 1 and not part else 1
        step = 10.0 ** -(len(part) - 1) if part else 1.0
        before = text[max(0, found.start() - 16) : found.start()]
        yield Amount(
            said=found.group().strip() if dimension else found["number"] + part,
            value=float(digits + part),
            step=step,
            rough=step * 10.0**zeros * fives,
            dimension=dimension,
            scales=scales,
            sense=_sense(before),
            noun="" if dimension else unit,
            at=found.start(),
        )


def _sense(before: str) -> Sense:
    if _ABOUT.search(before):
        return "about"
    return "over" if _OVER.search(before) else "under" if _UNDER.search(before) else ""


def _unit(unit: str, *, glued: bool) -> tuple[Literal["", "time", "bytes", "%"], tuple[float, ...]]:
    if unit in ("%", "percent", "per cent"):
        return "%", (1.0,)
    single = unit.removesuffix("s") if len(unit) > 2 else unit
    if single == "m" and glued:
        return "", (1.0, 60.0)  # 5m is five minutes, 250m a quarter of a processor
    if scale := _TIME.get(single) or _TIME.get(unit):
        return "time", (scale,)
    if size := _BYTES.fullmatch(unit):
        letter = next(filter(None, (size[1], size[7])), "")[:1].lower()
        power = _PREFIX[letter]
        if unit in ("k", "m", "g", "t") and not glued:
            return "", (1.0,)
        return "bytes", (1024.0**power,) if size[2] else (1000.0**power, 1024.0**power)
    return "", (1.0,)


def stands_for(stated: Amount, known: Amount) -> bool:
    """Whether `stated` may be said where `known` is what evidence holds."""
    if stated.dimension == known.dimension:
        return any(
            _near(stated, stated.value * mine, mine, known.value * its, known.step * its)
            for mine in stated.scales
            for its in known.scales
        )
    if stated.dimension == "%" and not known.dimension and known.step < 1 and known.value <= 2:
        return _near(stated, stated.value, 1.0, known.value * 100, known.step * 100)
    if (stated.dimension and known.dimension) or (stated.dimension == "time" and known.noun):
        return False
    if stated.dimension == "time":
        return stated.value == known.value  # of a number without a unit, which may be anything
    return _near(stated, stated.value, 1.0, known.value, known.step)


def _near(stated: Amount, mine: float, scale: float, its: float, its_step: float) -> bool:
    apart = abs(mine - its)
    if apart <= 1e-9 * max(mine, its):
        return True
    step, rough = stated.step * scale, stated.rough * scale
    if its_step < step * 0.999 and (apart <= step * 0.5000001 or 0 < its - mine < step):
        return True
    if stated.sense == "about":
        return apart <= min(rough / 2, 0.15 * mine)
    if stated.sense == "over":
        return 0 <= its - mine <= max(rough, 0.05 * mine)
    if stated.sense == "under":
        return 0 <= mine - its <= max(min(rough, 0.5 * mine), 0.05 * mine)
    return False


def follows_from(stated: Amount, known: Iterable[Amount]) -> bool:
    """Whether it is the difference or the ratio, in per cent or as a factor, of two numbers of one piece."""
    values = [one.value * one.scales[-1] for one in known][:24]
    for place, one in enumerate(values):
        for other in values[place + 1 :]:
            low, high = sorted((one, other))
            ratio = high / low if low else 0.0
            told = (high - low, (ratio - 1) * 100, ratio, ratio * 100, (1 - 1 / ratio) * 100 if ratio else 0.0)
            slack = 0.05 if stated.sense else 0.01
            if any(abs(stated.value * stated.scales[-1] - each) <= max(slack * each, stated.step / 2) for each in told):
                return True
    return False
