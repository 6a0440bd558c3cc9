"""Retention: whole days of event time are dropped, by the day in the index name."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from processors.sink import open_index
from schemas.documents import DATED_KINDS
from schemas.settings import Retention, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DayIndex:
    name: str
    kind: str
    day: dt.date
    documents: int
    size_bytes: int


def day_indices(rows: Iterable[Mapping[str, Any]], prefix: str) -> list[DayIndex]:
    """Our dated indices among the rows of `_cat/indices`, of every generation; anything else is left out."""
    shape = re.compile(rf"{re.escape(prefix)}-({'|'.join(DATED_KINDS)})-[^-]+-(\d{{4}})\.(\d\d)\.(\d\d)")
    found = []
    for row in rows:
        if match := shape.fullmatch(str(row["index"])):
            kind, *day = match.groups()
            found.append(
                DayIndex(
                    name=str(row["index"]),
                    kind=kind,
                    day=dt.date(*map(int, day)),
                    documents=int(row.get("docs.count") or 0),
                    size_bytes=int(row.get("store.size") or 0),
                )
            )
    return found


def expired(indices: Iterable[DayIndex], retention: Retention, now: dt.datetime) -> list[DayIndex]:
    """Those whose whole day is older than the retention of their kind. `now` must be aware."""
    today = now.astimezone(dt.UTC).date()
    return [i for i in indices if i.day < today - dt.timedelta(days=getattr(retention, i.kind))]


class Shelf:
    """The day indices of one installation. Calls block; they raise SinkUnavailable and SinkMisconfigured."""

    def __init__(self, settings: Settings) -> None:
        search = settings.opensearch
        self._prefix = search.prefix
        self._index = open_index(settings, "any")

    def all(self) -> list[DayIndex]:
        columns = "h=index,docs.count,store.size&bytes=b&format=json&expand_wildcards=all"
        return day_indices(self._index.request("GET", f"/_cat/indices/{self._prefix}-*?{columns}"), self._prefix)

    def drop(self, index: DayIndex) -> None:
        self._index.request("DELETE", f"/{index.name}")
