"""Times of day and dates as answers state them, and whether evidence knows them. Pure.

A stated time is right when it is, to the precision given, the first or last moment of a cited piece, a time in its
text, or an end of the range that was asked for: in UTC or in the asker's zone, and in the one that is named with it.
After "about", "shortly before" and the like three minutes are close enough: to the next five.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

ROUGHLY_S: Final = 180
_DAY_S: Final = 86_400
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
CLOCK: Final = re.compile(
    r"(?<![\w:.])(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d)(?:[.,]\d{1,9})?)?"
    r"(?P<half>\s?[ap]\.?m\b\.?)?(?:\s?(?P<zone>Z\b|UTC|GMT|[A-Z]{2,5}T\b))?(?![\d:])"
)
DATE: Final = re.compile(
    r"(?<![\w.-])(?P<y>[12]\d{3})[-/.](?P<mo>0[1-9]|1[0-2])[-/.](?P<d>[0-3]\d)(?=$|[^\d])"
    rf"|(?<!\w)(?P<d2>[0-3]?\d)(?:st|nd|rd|th)?(?: of)? (?P<mo2>{_MONTH})\.?(?:,? (?P<y2>[12]\d{{3}}))?(?!\w)"
    rf"|(?<!\w)(?P<mo3>{_MONTH})\.? {{1,2}}(?P<d3>[0-3]?\d)(?:st|nd|rd|th)?(?:,? (?P<y3>[12]\d{{3}}))?(?![\w:])"
)
_DATED: Final = re.compile(r"[12]\d{3}[-/.][01]\d|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec")  # much faster
_STAMP: Final = re.compile(r"(?<=\d)[T_ -](?=\d\d:\d\d)")
_ROUGH: Final = re.compile(
    r"(?:about|around|roughly|approximately|approx\.?|~|≈|near|nearly|circa|(?:shortly|just) (?:before|after)"
    r"|a (?:little|bit) (?:before|after)|close to)\s*(?:at\s*)?$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Stated:
    said: str
    second: int  # of the day
    precise: int  # seconds: 60 or 1
    zone: str
    rough: bool


def open_stamps(text: str) -> str:
    """With a space between date and time, so that both are found."""
    return _STAMP.sub("  ", text)


def without(text: str) -> str:
    """The text without its times and dates."""
    if ":" in text:
        text = CLOCK.sub(" ", open_stamps(text))
    return DATE.sub(" ", text) if _DATED.search(text) else text


def clocks(text: str) -> Iterable[Stated]:
    for found in CLOCK.finditer(text):
        hour = int(found["h"])
        if found["half"]:
            hour = hour % 12 + 12 * ("p" in found["half"].lower())
        yield Stated(
            said=found.group(),
            second=hour * 3600 + int(found["m"]) * 60 + int(found["s"] or 0),
            precise=1 if found["s"] else 60,
            zone=found["zone"] or "",
            rough=_ROUGH.search(text, max(0, found.start() - 24), found.start()) is not None,
        )


def dates(text: str) -> Iterable[tuple[str, tuple[int | None, int, int]]]:
    """What was said, and year, month and day; the year may be left out."""
    for found in DATE.finditer(text) if _DATED.search(text) else ():
        year = found["y"] or found["y2"] or found["y3"]
        month, day = found["mo"], int(found["d"] or found["d2"] or found["d3"])
        number = int(month) if month else _MONTHS.index((found["mo2"] or found["mo3"])[:3].lower()) + 1
        yield found.group(), (int(year) if year else None, number, day)


class Known:
    """Moments that may be stated, in UTC and in the asker's zone."""

    def __init__(self, zone: ZoneInfo, offset_s: int) -> None:
        self._zone, self._offset_s = zone, offset_s
        self._utc: set[float] = set()
        self._local: set[float] = set()
        self._days: set[date] = set()
        self._written_days: set[tuple[int | None, int, int]] = set()

    def add(self, moment: datetime) -> None:
        for where, seconds in ((UTC, self._utc), (self._zone, self._local)):
            there = moment.astimezone(where)
            seconds.add(there.hour * 3600 + there.minute * 60 + there.second + there.microsecond / 1e6)
            self._days.add(there.date())

    def add_text(self, text: str) -> None:
        """Times in a text: a line says them in UTC or in a zone of its own, and they may be repeated as they are."""
        opened = open_stamps(text)
        for one in clocks(opened):
            self._utc.add(one.second)
            self._local.update((one.second, (one.second + self._offset_s) % _DAY_S))
        self._written_days.update(day for _, day in dates(opened))

    def merge(self, other: "Known") -> None:
        self._utc |= other._utc
        self._local |= other._local
        self._days |= other._days
        self._written_days |= other._written_days

    def has(self, stated: Stated) -> bool:
        """Whether it is known exactly, whatever word stands in front."""
        return self.holds(replace(stated, rough=False))

    def holds(self, stated: Stated) -> bool:
        places = [self._utc] if stated.zone in ("UTC", "GMT", "Z") else [self._local]
        if not stated.zone:
            places = [self._utc, self._local]
        return any(_agree(stated, known) for place in places for known in place)

    def holds_day(self, year: int | None, month: int, day: int) -> bool:
        known = {(there.year, there.month, there.day) for there in self._days} | self._written_days
        return any(each[1:] == (month, day) and (each[0] is None or year in (None, each[0])) for each in known)


def _agree(stated: Stated, known: float) -> bool:
    apart = abs(stated.second - known)
    apart = min(apart, _DAY_S - apart)
    if stated.rough:
        return apart <= ROUGHLY_S
    if stated.precise == 60:
        return known // 60 == stated.second // 60 or (known + 30) // 60 % 1440 == stated.second // 60
    return apart <= 1.0 and int(known) in (stated.second, stated.second - 1)
