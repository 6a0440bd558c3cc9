"""The words for time in a question, one by one: dates, times of day, zones, lengths. What they mean is in `moments`.

Every pattern is bounded, so that reading is linear in the text. Pure, but for the list of time zones.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

LONGEST: Final = timedelta(days=14)
PIECES: Final = 200  # read of one question
Kind = Literal["moment", "day", "time", "hour", "part", "zone", "back", "ago", "stretch", "been", "now", "never"]

# What abbreviations mean, unless the asker's own zone goes by that name (CST in Shanghai, IST in Dublin). Each is the
# clock on the wall there, in summer as in winter: who writes CET in July looks at a clock in Berlin.
_ZONES: Final = {
    "UTC": "UTC", "GMT": "UTC", "CET": "Europe/Berlin", "CEST": "Europe/Berlin", "MEZ": "Europe/Berlin",
    "BST": "Europe/London", "WET": "Europe/Lisbon", "EET": "Europe/Athens", "EEST": "Europe/Athens",
    "MSK": "Europe/Moscow", "ET": "America/New_York", "EST": "America/New_York", "EDT": "America/New_York",
    "CT": "America/Chicago", "CST": "America/Chicago", "CDT": "America/Chicago", "MT": "America/Denver",
    "MST": "America/Denver", "MDT": "America/Denver", "PT": "America/Los_Angeles", "PST": "America/Los_Angeles",
    "PDT": "America/Los_Angeles", "BRT": "America/Sao_Paulo", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo",
    "KST": "Asia/Seoul", "SGT": "Asia/Singapore", "HKT": "Asia/Hong_Kong", "GST": "Asia/Dubai", "PKT": "Asia/Karachi",
    "SAST": "Africa/Johannesburg", "AEST": "Australia/Sydney", "AEDT": "Australia/Sydney", "AWST": "Australia/Perth",
    "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland",
}  # fmt: skip
_LANDS: Final = ("Europe/", "America/", "Asia/", "Africa/", "Australia/", "Pacific/", "Atlantic/", "Indian/", "US/")
_NO_CITIES: Final = frozenset({"east", "west", "north", "south"})

_NUMBERS: Final = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "half": 0.5, "couple": 2, "few": 5,
    "several": 5,
}  # fmt: skip
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "mo": 30 * 86_400}
_WORDS: Final = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_AMOUNT: Final = rf"(?:an?\s)?(?P<number>\d{{1,5}}(?:\.\d{{1,2}})?|(?:{_WORDS})\b)(?:\san?|\sof)?[\s-]{{0,3}}"
_LONG_UNIT: Final = r"seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?"
_UNIT: Final = rf"(?P<unit>{_LONG_UNIT}|s|m|h|d|w)"
_MORE: Final = r"(?:\s?(?:and\s)?(?P<more>\d{1,2})\s?m(?:in(?:ute)?s?)?)?"  # 1h30m
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SHORT_DAYS: Final = "mon|tues?|wed|thu(?:rs?)?|fri|sat|sun"
_FULL_DAYS: Final = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# "may" and "march" are also verbs: as months they have a capital.
_MONTH: Final = (
    r"(?P<month>(?:jan(?:uary)?|feb(?:ruary)?|mar|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\b|(?-i:M(?:ay|AY|arch|ARCH)\b))\.?"
)
_SMALL_OFFSET: Final = r"[+-](?:0\d|1[0-4]):?[0-5]\d\b"
_CLOCK: Final = r"\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?"
_FREE: Final = r"(?<![\w.:/-])"  # what runs into a word, an address or a version is no time

_PARTS: Final = {  # hours from midnight
    "morning": (5, 12), "lunchtime": (11, 14), "afternoon": (12, 18), "evening": (17, 24), "night": (22, 31),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One expression, or several about the same moment. What it does not say is None."""

    kind: Kind
    start: int  # in the text
    end: int
    moment: datetime | None = None
    day: date | None = None
    of_day: time | None = None
    loose: bool = False  # an hour without morning or evening
    hours: tuple[int, int] | None = None
    zone: tzinfo | None = None
    length: timedelta | None = None
    stretch: tuple[datetime, datetime] | None = None

    @property
    def clock(self) -> bool:
        return self.moment is not None or self.of_day is not None


class Clock(NamedTuple):
    """Where the asker is, and when."""

    now: datetime
    zone: tzinfo

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()

    def midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)


_Read = Callable[[re.Match[str], Clock], Piece | None]


def _piece(found: re.Match[str], kind: Kind) -> Piece:
    return Piece(kind=kind, start=found.start(), end=found.end())


def _iso(found: re.Match[str], clock: Clock) -> Piece | None:
    moment = datetime.fromisoformat(re.sub(r"\s?(?:Z|UTC)$", "+00:00", found.group().replace(",", "."), flags=re.I))
    if moment.tzinfo:
        return replace(_piece(found, "moment"), moment=moment.astimezone(UTC))
    return replace(_piece(found, "time"), day=moment.date(), of_day=moment.time())


def _epoch(found: re.Match[str], clock: Clock) -> Piece | None:
    digits = found["whole"]
    moment = datetime.fromtimestamp(int(digits) / 10 ** (len(digits) - 10), UTC)
    if not clock.now - timedelta(days=400) <= moment <= clock.now + timedelta(days=1):
        return None
    return replace(_piece(found, "moment"), moment=moment.replace(microsecond=0))


def _stamp(found: re.Match[str], clock: Clock) -> Piece | None:
    """`20/Nov/2026:14:05:07 +0000`, as web servers write it."""
    of_day = time.fromisoformat(found["clock"])
    zone = _offset(found["offset"]) if found["offset"] else None
    day = date(int(found["year"]), 1 + _MONTHS.index(found["month"][:3].lower()), int(found["day"]))
    return replace(_piece(found, "time"), day=day, of_day=of_day, zone=zone)


def _klog(found: re.Match[str], clock: Clock) -> Piece | None:
    """`E1120 14:05:07.123`, as Kubernetes writes it: always in UTC, without a year."""
    day = _latest(int(found["month"]), int(found["day"]), clock)
    return replace(_piece(found, "time"), day=day, of_day=time.fromisoformat(found["clock"]), zone=UTC)


def _date(found: re.Match[str], clock: Clock) -> Piece | None:
    groups = found.groupdict()
    if groups.get("month"):
        number = 1 + _MONTHS.index(found["month"][:3].lower())
        day = int(found["day"])
        named = date(int(found["year"]), number, day) if found["year"] else _latest(number, day, clock)
    elif groups.get("first"):
        one, two = int(found["first"]), int(found["second"])
        american = getattr(clock.zone, "key", "").startswith(("America/", "US/"))
        day, number = (two, one) if two > 12 or (american and one <= 12) else (one, two)
        named = date(int(found["year"]), number, day)
    else:
        named = date(*(int(found[name]) for name in ("year", "number", "day")))
    return replace(_piece(found, "day"), day=named)


def _latest(month: int, day: int, clock: Clock) -> date:
    this = clock.today
    this_year = date(this.year, month, day)
    return this_year if this_year <= this else date(this.year - 1, month, day)


def _weekday(found: re.Match[str], clock: Clock) -> Piece | None:
    said = found.group().lower()
    if said.startswith("next"):
        return _piece(found, "never")
    name = found["weekday"] or found["plain"] or found["short"]
    back = (clock.today.weekday() - _WEEKDAYS.index(name[:3].lower())) % 7
    if not back and said.startswith("last"):
        back = 7
    return replace(_piece(found, "day"), day=clock.today - timedelta(days=back))


def _day(found: re.Match[str], clock: Clock) -> Piece | None:
    said = found.group().lower()
    if said.startswith(("tomorrow", "next")):
        return _piece(found, "never")
    back = 2 if "before" in said else 1 if "yesterday" in said else 0
    return replace(_piece(found, "day"), day=clock.today - timedelta(days=back))


def _part(found: re.Match[str], clock: Clock) -> Piece | None:
    said = found.group().lower()
    if found["night"]:
        back = 1 if "last" in said or said == "overnight" else 0
        hours = _PARTS["evening"] if said in ("tonight", "last evening") else _PARTS["night"]
        return replace(_piece(found, "part"), day=clock.today - timedelta(days=back), hours=hours)
    day = clock.today if said.startswith("this") else None
    return replace(_piece(found, "part"), day=day, hours=_PARTS[found["part"].lower()])


def _time(found: re.Match[str], clock: Clock) -> Piece | None:
    made = _piece(found, "time")
    if found["word"]:
        return replace(made, of_day=time(12 if found["word"].lower() in ("noon", "midday") else 0))
    if found["four"]:
        return replace(made, of_day=time(int(found["four"][:2]), int(found["four"][2:])), zone=UTC)
    hour = int((found["h1"] or found["h2"] or found["h3"]).rstrip(":hH"))
    half = found["half1"] or found["half2"]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    zone = UTC if (found["z"] or "").strip().upper() == "Z" else _offset(found["z"]) if found["z"] else None
    loose = bool(found["h3"])
    return replace(made, of_day=time(hour, int(found["m"] or 0), int(found["s"] or 0)), zone=zone, loose=loose)


def _hour(found: re.Match[str], clock: Clock) -> Piece | None:
    return replace(_piece(found, "hour"), of_day=time(int(found.group()) % 24), loose=True)


def _zone(found: re.Match[str], clock: Clock) -> Piece | None:
    said = found.group()
    if found["offset"]:
        zone: tzinfo | None = _offset(found["offset"])
    elif found["name"]:
        zone = _abbreviated(found["name"].upper(), clock)
    elif "/" in said:
        zone = ZoneInfo(said) if said in available_timezones() else None
    else:
        words = re.split(r"[ _]+", said.lower())[:-1]
        tails = ["_".join(words[n:]) for n in range(len(words))]
        city = next((tail for tail in tails if tail in _cities()), "")
        if not city:
            return None
        start = found.end() - len(f"{city} time")
        return Piece(kind="zone", start=start, end=found.end(), zone=ZoneInfo(_cities()[city]))
    return replace(_piece(found, "zone"), zone=zone) if zone else None


def _abbreviated(name: str, clock: Clock) -> tzinfo:
    year = clock.now.year
    own = {datetime(year, month, 1, tzinfo=clock.zone).tzname() for month in (1, 7)}
    return clock.zone if name in own else ZoneInfo(_ZONES[name])


@lru_cache(maxsize=1)
def _cities() -> dict[str, str]:
    zones = sorted(zone for zone in available_timezones() if zone.startswith(_LANDS))
    return {city: zone for zone in zones if (city := zone.split("/")[-1].lower()) not in _NO_CITIES}


def _offset(said: str) -> tzinfo:
    digits = re.sub(r"\D", "", said)
    hours, minutes = (int(digits[:-2]), int(digits[-2:])) if len(digits) > 2 else (int(digits), 0)
    if hours > 14 or minutes > 59:
        raise ValueError(said)
    length = timedelta(hours=hours, minutes=minutes)
    return timezone(-length if "-" in said else length)


def _back(found: re.Match[str], clock: Clock) -> Piece | None:
    return replace(_piece(found, "back"), length=min(_length(found), LONGEST))


def _ago(found: re.Match[str], clock: Clock) -> Piece | None:
    length = min(_length(found), timedelta(days=400)) if found["unit"] else timedelta(minutes=2)
    whole_days = bool(found["unit"]) and _unit(found) in ("d", "w", "mo")
    day = (clock.now - length).astimezone(clock.zone).date() if whole_days else None
    return replace(_piece(found, "ago"), length=length, day=day)


def _been(found: re.Match[str], clock: Clock) -> Piece | None:
    return replace(_piece(found, "been"), length=min(_length(found), LONGEST))


def _now(found: re.Match[str], clock: Clock) -> Piece | None:
    return _piece(found, "now")


def _never(found: re.Match[str], clock: Clock) -> Piece | None:
    return _piece(found, "never")


def _calendar(found: re.Match[str], clock: Clock) -> Piece | None:
    """A week, a month, a weekend as the calendar has them; "this hour" are the sixty minutes before now."""
    last, unit, today = not found.group().lower().startswith("this"), found["unit"].lower(), clock.today
    monday = today - timedelta(days=today.weekday())
    if unit in ("hour", "minute"):
        return replace(_piece(found, "back"), length=timedelta(seconds=_SECONDS[unit[0]]))
    if unit == "weekend":
        saturday = monday - timedelta(days=2) if last or today.weekday() < 5 else monday + timedelta(days=5)
        first, after = saturday, saturday + timedelta(days=2)
    elif unit == "week":
        first = monday - timedelta(days=7 * last)
        after = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = first
        first = (first - timedelta(days=1)).replace(day=1) if last else first
        after = after if last else today + timedelta(days=1)
    return replace(_piece(found, "stretch"), stretch=(clock.midnight(first), clock.midnight(after)))


def _unit(found: re.Match[str]) -> str:
    unit = (found.groupdict().get("bare") or found["unit"]).lower()
    return "mo" if unit.startswith("mo") else unit[0]


def _length(found: re.Match[str]) -> timedelta:
    number = (found.groupdict().get("number") or "one").lower()
    many = _NUMBERS.get(number) or float(number)
    return timedelta(seconds=many * _SECONDS[_unit(found)] + 60 * int(found.groupdict().get("more") or 0))


# In the order in which they are tried where several begin at the same place.
_PATTERNS: Final[tuple[tuple[str, _Read], ...]] = (
    (rf"{_FREE}\d{{4}}-\d{{2}}-\d{{2}}T{_CLOCK}(?:\s?(?:Z|UTC)\b|{_SMALL_OFFSET})?", _iso),
    (
        r"(?<![\w./-])(?P<day>\d{2})/(?P<month>[a-z]{3})/(?P<year>\d{4}):(?P<clock>\d\d:\d\d:\d\d)"
        r"(?:\s(?P<offset>[+-]\d{4})\b)?",
        _stamp,
    ),
    (r"\b(?-i:[IWEF])(?P<month>\d\d)(?P<day>\d\d)\s{1,2}(?P<clock>\d\d:\d\d:\d\d)(?:\.\d{1,9})?", _klog),
    (rf"{_FREE}(?P<whole>1\d{{9}}(?:\d{{3}}){{0,3}})(?:\.\d{{1,9}})?(?![\w:/-]|\.\d)", _epoch),
    (rf"{_FREE}(?P<year>\d{{4}})[-/](?P<number>\d{{1,2}})[-/](?P<day>\d{{1,2}})(?![\w/-]|:(?!\s))", _date),
    (rf"{_FREE}(?P<first>\d{{1,2}})([./])(?P<second>\d{{1,2}})\2(?P<year>\d{{4}})(?![\w/-]|\.\d)", _date),
    (
        rf"\b{_MONTH}\s{{1,2}}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s(?P<year>20\d\d)(?!\d|\s?UTC))?(?![\w:%/-]|\.\d)",
        _date,
    ),
    (
        rf"{_FREE}(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?(?:\sof)?[\s-]{_MONTH}"
        r"(?:,?[\s-](?P<year>20\d\d)(?!\d|\s?UTC))?",
        _date,
    ),
    (
        rf"\b(?:(?:last|this|next)\s(?P<weekday>(?:{_FULL_DAYS}|{_SHORT_DAYS})\b)|(?P<plain>{_FULL_DAYS})\b)"
        rf"|(?:(?<=\bon )|(?<=\bsince ))(?P<short>{_SHORT_DAYS})\b",
        _weekday,
    ),
    (r"\b(?:the day before yesterday|yesterday|today|tomorrow)\b", _day),
    (
        r"\b(?:(?P<night>last\s(?:night|evening)|overnight|tonight|during the night)"
        r"|(?:this\s)?(?P<part>morning|lunchtime|afternoon|evening|night))\b",
        _part,
    ),
    (
        r"\b(?:(?<!\bthe )last\s(?=week|month)|(?:last|the)\s(?=weekend)|this\s)"
        r"(?P<unit>weekend|week|month|hour|minute)\b",
        _calendar,
    ),
    (
        r"\b(?:the\s)?(?:last|past|previous|preceding)\s{1,3}"
        rf"(?:{_AMOUNT}{_UNIT}|(?P<bare>{_LONG_UNIT})){_MORE}\b",
        _back,
    ),
    (rf"\b(?:{_AMOUNT}{_UNIT}{_MORE}|(?:a\s|some\s)?(?:moments?|while))\s{{1,3}}(?:ago|earlier|back)\b", _ago),
    (
        r"\bfor\s(?:about\s|over\s|almost\s|nearly\s|more than\s|at least\s)?"
        rf"(?:{_AMOUNT})(?P<unit>{_LONG_UNIT}|h)\b",
        _been,
    ),
    (rf"\bnext\s(?:\d{{1,5}}\s|few\s)?(?:{_LONG_UNIT})\b", _never),
    (
        r"(?<![\w.:/])(?<![a-ln-y_]-)(?:(?P<word>noon|midday|midnight)\b"
        r"|(?:(?P<h1>\d{1,2}:|\d{2}h)(?P<m>\d{2})(?::(?P<s>\d{2}))?(?:[.,]\d{1,9})?(?:\s?(?P<half1>[ap])\.?m\b\.?)?"
        r"|(?P<h2>\d{1,2})\s?(?P<half2>[ap])\.?m\b\.?|(?P<h3>\d{1,2})\s?o['’]?clock\b)"
        r"(?P<z>\s?(?:Z\b|\+\d{2}:?\d{2}\b)|\s-\d{4}\b)?|(?P<four>(?:[01]\d|2[0-3])[0-5]\d)\s?(?:Z|UTC|GMT)\b"
        r")(?![\w/]|:\d)",
        _time,
    ),
    (r"\b(?:right now|just now|now|currently|at the moment|at present|presently)\b", _now),
    (
        r"\b(?:(?:UTC|GMT)\s?(?P<offset>[+-](?:1[0-4]|0?\d)(?::?\d{2})?)\b"
        r"|(?P<name>utc|gmt|cet|cest|(?:(?<=\d )|(?<=m ))(?:cst|est|edt|pst|pdt|bst|ist|jst)"
        rf"|(?-i:{'|'.join(_ZONES)}))\b"
        r"|(?:[a-z]{2,20}[ _]){1,3}time\b|(?-i:[A-Z][A-Za-z]{1,20}/[A-Z][A-Za-z_]{1,30})\b)",
        _zone,
    ),
    (r"(?<![\w.:/])(?<![a-ln-y_]-)(?:1?\d|2[0-4])(?![\w.:/%]|[.,]\d)", _hour),
)
_READERS: Final = tuple((re.compile(text, re.IGNORECASE), read) for text, read in _PATTERNS)


def pieces(text: str, clock: Clock) -> list[Piece]:
    """What is said about time, in order; nothing twice. Of what is no time after all (25:99) nothing is left."""
    found = sorted(_each(text, clock), key=lambda each: (each[0].start, each[1]))
    kept: list[Piece] = []
    for piece, _ in found:
        if not kept or piece.start >= kept[-1].end:
            kept.append(piece)
    return kept[:PIECES]


def _each(text: str, clock: Clock) -> Iterator[tuple[Piece, int]]:
    for order, (pattern, read) in enumerate(_READERS):
        for number, found in enumerate(pattern.finditer(text)):
            if number >= PIECES:
                break
            try:
                piece = read(found, clock)
            except (ValueError, OverflowError, StopIteration):
                continue
            if piece is not None:
                yield piece, order
