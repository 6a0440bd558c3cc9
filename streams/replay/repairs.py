"""What a replay changed, and which of it live may still hold with a part of its count."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from processors.index import Index, Write
from schemas.documents import Target
from schemas.settings import Retention
from streams.expire import DayIndex, expired

REMEMBERED: Final = 100_000
PAGE: Final = 5_000


@dataclass(slots=True)
class Repairs:
    """`note` is called by the writer. What is too much to remember is counted only."""

    documents: set[Target] = field(default_factory=set)
    more: int = 0
    _marks: dict[Target, dict[str, int]] = field(default_factory=dict)

    def note(self, write: Write) -> None:
        if write.target not in self.documents and len(self.documents) >= REMEMBERED:
            self.more += 1
            return
        self.documents.add(write.target)
        slices: Mapping[str, tuple[int, int]] = (write.delta or {}).get("slices", {})
        if slices:
            self._marks.setdefault(write.target, {}).update({key: mark for key, (mark, _) in slices.items()})

    @property
    def total(self) -> int:
        return len(self.documents) + self.more

    def expired(self, retention: Retention, now: dt.datetime) -> int:
        """Days that were mended although `expire` drops them. `now` must be aware."""
        days = {(target.kind, target.day) for target in self.documents}
        found = [
            DayIndex(
                name="",
                kind=kind,
                day=dt.datetime.strptime(f"{day}+0000", "%Y.%m.%d%z").date(),
                documents=0,
                size_bytes=0,
            )
            for kind, day in days
        ]
        return len(expired(found, retention, now))

    def contested(self, index: Index) -> int:
        """Documents that were mended, and that live has counted further meanwhile: from what, is not known here.

        Blocks; raises SinkUnavailable.
        """
        targets, found = list(self._marks), 0
        for start in range(0, len(targets), PAGE):
            stored = index.slices(targets[start : start + PAGE])
            found += sum(
                any(key in slices and slices[key].mark > mark for key, mark in self._marks[target].items())
                for target, slices in stored.items()
            )
        return found
