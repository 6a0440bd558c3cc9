"""Which stretch of time a question names. Pure; every pattern is linear in the text.

Times of day are read in the zone of the asker unless they say UTC, and mean the latest such time that is not in the
future, unless a day is named with them. What comes out is in UTC, so that no clock change bends a length.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from schemas.context import Span

AROUND: Final = timedelta(minutes=10)  # "at 14:05" looks this far back, and half as far ahead
BEFORE: Final = timedelta(minutes=30)  # "before 14:05" looks this far back
LONGEST: Final = timedelta(days=14)

_NUMBERS: Final = {
    "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "half": 0.5, "couple": 2, "few": 5,
    "several": 5,
}  # fmt: skip
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WORDS: Final = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_AMOUNT: Final = rf"(?:an?\s)?(?P<number>\d{{1,5}}(?:\.\d{{1,2}})?|{_WORDS})(?:\san?|\sof)?[\s-]{{0,3}}"
_UNIT: Final = r"(?P<unit>seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d|weeks?|w)"
_MORE: Final = r"(?:\s?(?P<more>\d{1,2})\s?m(?:in)?)?"  # 1h30m
_ISO: Final = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:\s?(?:Z|UTC)\b|[+-]\d{2}:?\d{2})?"
_OF_DAY: Final = (
    r"(?:\d{1,2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?(?:\s?[ap]\.?m\b\.?)?|\d{1,2}\s?[ap]\.?m\b\.?|noon\b|midnight\b)"
    r"(?:\s?(?:UTC|GMT|Z)\b)?"
)
_ABOUT: Final = r"(?:(?:about|around|roughly)\s)?"
_ONE, _TWO = rf"{_ABOUT}(?P<one>{_ISO}|{_OF_DAY})", rf"{_ABOUT}(?P<two>{_ISO}|{_OF_DAY})"
_TO: Final = r"\s{0,3}(?:\b(?:and|to|until|till)\b|[-\u2013])\s{0,3}"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


_LAST: Final = _pattern(rf"\b(?:last|past|previous|preceding)\s{{1,3}}(?:{_AMOUNT})?{_UNIT}{_MORE}\b")
_AGO: Final = _pattern(rf"(?P<since>\bsince\s)?\b{_AMOUNT}{_UNIT}\s{{1,3}}(?:ago|earlier|back)\b")
_BETWEEN: Final = _pattern(rf"\b(?:between|from)\s{{1,3}}{_ONE}{_TO}{_TWO}")
_RANGE: Final = _pattern(rf"(?<![\w.:-])(?P<one>{_OF_DAY}){_TO}(?P<two>{_OF_DAY})")
_HOURS: Final = _pattern(r"\b(between|from)\s(\d{1,2})\s(and|to)\s(\d{1,2})\s?([ap]m)\b")
_SINCE: Final = _pattern(rf"\b(?:since|after|starting|from)\s{{1,3}}{_ONE}")
_BEFORE: Final = _pattern(rf"\b(?:before|until|till|prior to)\s{{1,3}}{_ONE}")
_AT: Final = _pattern(rf"\b(?:at|around|about|near)\s{{1,3}}{_ONE}")
_BARE: Final = _pattern(rf"(?<![\w.:/-])(?P<one>{_ISO}|{_OF_DAY})(?![\w:/])")
_TIME: Final = re.compile(r"(\d{1,2})(?::(\d{2})(?::(\d{2}))?)?(?:\.\d+)?\s?(?:([ap])\.?m)?", re.IGNORECASE)

_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY: Final = re.compile(
    rf"(?P<since>\bsince\s)?(?P<day>\byesterday\b|\btoday\b|\b(?:on|last|since)\s(?P<weekday>{'|'.join(_WEEKDAYS)})\b"
    r"|(?<![\w.:/-])(?P<date>\d{4}-\d{2}-\d{2})(?![\w:/-]))",
    re.IGNORECASE,
)
# Hours of a part of the day, from midnight.
_PARTS: Final = (
    (re.compile(r"(\bsince\s)?\b(?:last night|overnight)\b", re.IGNORECASE), -2, 7),
    (re.compile(r"(\bsince\s)?\bthis morning\b", re.IGNORECASE), 5, 12),
    (re.compile(r"(\bsince\s)?\bthis afternoon\b", re.IGNORECASE), 12, 18),
    (re.compile(r"(\bsince\s)?\b(?:this evening|tonight)\b", re.IGNORECASE), 17, 24),
)


class _Asked(NamedTuple):
    now: datetime
    zone: ZoneInfo
    day: date | None  # named beside a time of day

    def midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()


def span_of(question: str, *, now: datetime, zone: ZoneInfo) -> Span | None:
    """The stretch of time that a question names, in UTC; None when it names none."""
    text = _HOURS.sub(r"\1 \2\5 \3 \4\5", question)
    now = now.astimezone(UTC)
    asked = _Asked(now, zone, _named_day(text, _Asked(now, zone, None)))
    readings = (_between, _clock, _length_back, _bare, _days)
    return next((span for read in readings if (span := read(text, asked))), None)


def _between(text: str, asked: _Asked) -> Span | None:
    found = _BETWEEN.search(text) or _RANGE.search(text)
    start = _moment(found["one"], asked) if found else None
    if found is None or start is None:
        return None
    end = _moment(found["two"], asked, after=start)
    return _span(start, end, found.group(), asked) if end else None


def _clock(text: str, asked: _Asked) -> Span | None:
    for pattern in (_SINCE, _BEFORE, _AT):
        found = pattern.search(text)
        moment = _moment(found["one"], asked) if found else None
        if found is None or moment is None:
            continue
        if pattern is _SINCE:
            return _span(moment, asked.now, found.group(), asked)
        if pattern is _BEFORE:
            return _span(moment - BEFORE, moment, found.group(), asked)
        return _span(moment - AROUND, moment + AROUND / 2, found.group(), asked)
    return None


def _length_back(text: str, asked: _Asked) -> Span | None:
    if found := _LAST.search(text):
        return _span(asked.now - _length(found), asked.now, found.group(), asked)
    if found := _AGO.search(text):
        length = _length(found)
        moment, slack = asked.now - length, max(AROUND, length / 4)  # "two days ago" is not said to the minute
        end = asked.now if found["since"] else moment + slack / 2
        return _span(moment if found["since"] else moment - slack, end, found.group(), asked)
    return None


def _bare(text: str, asked: _Asked) -> Span | None:
    """A time by itself, as in a line that was pasted."""
    found = _BARE.search(text)
    moment = _moment(found["one"], asked) if found else None
    return _span(moment - AROUND, moment + AROUND / 2, found.group(), asked) if found and moment else None


def _days(text: str, asked: _Asked) -> Span | None:
    if asked.day is not None and (found := _DAY.search(text)):
        midnight, next_one = asked.midnight(asked.day), asked.midnight(asked.day + timedelta(days=1))
        return _span(midnight, asked.now if "since" in found.group().lower() else next_one, found.group(), asked)
    midnight = asked.midnight(asked.today)
    for words, start, end in _PARTS:
        if found := words.search(text):
            until = asked.now if found[1] else midnight + timedelta(hours=end)
            return _span(midnight + timedelta(hours=start), until, found.group(), asked)
    return None


def _named_day(text: str, asked: _Asked) -> date | None:
    found = _DAY.search(text)
    if found is None:
        return None
    if found["date"]:
        try:
            return date.fromisoformat(found["date"])
        except ValueError:
            return None
    if found["weekday"]:
        back = (asked.today.weekday() - _WEEKDAYS.index(found["weekday"].lower())) % 7
        return asked.today - timedelta(days=back)
    return asked.today - timedelta(days="yesterday" in found.group().lower())


def _span(start: datetime, end: datetime, said: str, asked: _Asked) -> Span:
    end = min(end, asked.now)
    return Span(start=max(min(start, end), end - LONGEST), end=end, said=said.strip())


def _length(found: re.Match[str]) -> timedelta:
    number = (found["number"] or "one").lower()
    many = _NUMBERS.get(number) or float(number)
    seconds = many * _SECONDS[found["unit"][0].lower()] + 60 * int(found.groupdict().get("more") or 0)
    return min(timedelta(seconds=seconds), LONGEST)


def _moment(text: str, asked: _Asked, after: datetime | None = None) -> datetime | None:
    """An ISO moment, or a time of day: after a moment, else of the day that was named, else the latest that has been.

    None when it is no time at all.
    """
    zone = ZoneInfo("UTC") if re.search(r"(?:UTC|GMT|Z)$", text, re.IGNORECASE) else asked.zone
    try:
        if text[4:5] == "-":
            moment = datetime.fromisoformat(re.sub(r"\s?(?:UTC|Z)$", "+00:00", text, flags=re.IGNORECASE))
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        of_day = _of_day(text)
    except ValueError:
        return None
    if after is not None:
        start = after.astimezone(zone).date()
        return next(m for d in (0, 1, 2) for m in _both(start + timedelta(days=d), of_day, zone) if m > after)
    if asked.day is not None:
        return _both(asked.day, of_day, zone)[0]
    today = asked.now.astimezone(zone).date()
    return next(m for d in (0, 1, 2) for m in _both(today - timedelta(days=d), of_day, zone)[::-1] if m <= asked.now)


def _both(day: date, of_day: time, zone: ZoneInfo) -> list[datetime]:
    """The moments at which a clock shows this time on this day: two of them when it is set back."""
    wall = datetime.combine(day, of_day, zone)
    return sorted({wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1)})


def _of_day(text: str) -> time:
    if text[:4].lower() == "noon":
        return time(12)
    found = _TIME.match(text)
    if found is None:  # midnight
        return time(0)
    hour = int(found[1])
    if found[4]:
        if not 1 <= hour <= 12:
            raise ValueError(text)
        hour = hour % 12 + (12 if found[4].lower() == "p" else 0)
    return time(hour, int(found[2] or 0), int(found[3] or 0))
