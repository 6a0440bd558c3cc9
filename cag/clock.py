"""Times as answers state them: in the asker's zone, with UTC beside it where that differs. Pure."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Self
from zoneinfo import ZoneInfo

from schemas.context import Plan


@dataclass(frozen=True, slots=True)
class Clock:
    """`day`: the date that goes without saying, in the asker's zone."""

    zone: ZoneInfo
    day: date

    @classmethod
    def of(cls, plan: Plan) -> Self:
        zone = ZoneInfo(plan.zone)
        return cls(zone, plan.span.end.astimezone(zone).date())

    def at(self, when: datetime) -> str:
        """`20:10:00 UTC`, or `21:10:00 (20:10:00 UTC)`; with its date when that is another."""
        local = when.astimezone(self.zone)
        here = _written(local, self.day)
        return f"{here} ({_beside(local)} UTC)" if local.utcoffset() else f"{here} UTC"

    def when(self, first: datetime, last: datetime) -> str:
        """` at ...` or ` between ... and ...`, as it follows what happened."""
        if first.replace(microsecond=0) == last.replace(microsecond=0):
            return f" at {self.at(first)}"
        start, end, beside = self._ends(first, last)
        return (
            f" between {start} and {end} ({' to '.join(beside)} UTC)" if beside else f" between {start} and {end} UTC"
        )

    def stretch(self, first: datetime, last: datetime) -> str:
        """Both ends, short: `20:10:00-20:15:00 UTC`."""
        start, end, beside = self._ends(first, last)
        return f"{start}-{end} {self.zone.key} ({'-'.join(beside)} UTC)" if beside else f"{start}-{end} UTC"

    def _ends(self, first: datetime, last: datetime) -> tuple[str, str, tuple[str, ...]]:
        """Here, and beside it in UTC where that differs. An end on the day of the beginning needs no date."""
        start, end = first.astimezone(self.zone), last.astimezone(self.zone)
        beside = (_beside(start), _beside(end)) if start.utcoffset() or end.utcoffset() else ()
        same = start.date() == end.date()
        return _written(start, self.day if same else None), _written(end, end.date() if same else None), beside


def _beside(local: datetime) -> str:
    return _written(local.astimezone(UTC), local.date())


def _written(when: datetime, known: date | None) -> str:
    """With its date unless that is `known`."""
    return when.strftime("%H:%M:%S" if when.date() == known else "%Y-%m-%d %H:%M:%S")
