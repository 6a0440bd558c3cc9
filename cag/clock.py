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
        here, utc = self._both(when)
        return f"{here} UTC" if here == utc else f"{here} ({utc} UTC)"

    def when(self, first: datetime, last: datetime) -> str:
        """` at ...` or ` between ... and ...`, as it follows what happened."""
        (start, start_utc), (end, end_utc) = self._both(first), self._both(last)
        if (start, start_utc) == (end, end_utc):
            return f" at {self.at(first)}"
        if start == start_utc and end == end_utc:
            return f" between {start} and {end} UTC"
        return f" between {start} and {end} ({start_utc} to {end_utc} UTC)"

    def stretch(self, first: datetime, last: datetime) -> str:
        """Both ends, short: `20:10:00-20:15:00 UTC`."""
        (start, start_utc), (end, end_utc) = self._both(first), self._both(last)
        if start == start_utc and end == end_utc:
            return f"{start}-{end} UTC"
        return f"{start}-{end} {self.zone.key} ({start_utc}-{end_utc} UTC)"

    def _both(self, when: datetime) -> tuple[str, str]:
        here, utc = when.astimezone(self.zone), when.astimezone(UTC)
        return self._written(here), self._written(utc)

    def _written(self, local: datetime) -> str:
        return local.strftime("%H:%M:%S" if local.date() == self.day else "%Y-%m-%d %H:%M:%S")
