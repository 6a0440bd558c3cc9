"""Messages of the inputs become what workers would have told of them: summaries and ticks, without an index. Pure.

For backfill and for evaluation. Messages come in the order of their Kafka timestamps, whatever partition they are of;
every `flush_ms` of that time what was folded is told, as a worker would.
"""

from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from processors.fold import Change, Fold, Slice, advance, delta_of
from processors.insights.summaries import summary_of
from processors.pipeline import Pipeline
from schemas.documents import MINUTE_MS, Target
from schemas.records import Message
from schemas.summaries import Summary, Tick, Told

REMEMBERED_MS: Final = 60 * MINUTE_MS  # after a document's last record, before its slices are forgotten


class History:
    """One reading of all inputs from some moment on. Counts are those of the messages that it was given."""

    def __init__(self, pipeline: Pipeline, *, flush_ms: int = 1_000, tick_ms: int = 5_000) -> None:
        self._pipeline, self._flush_ms, self._tick_ms = pipeline, flush_ms, tick_ms
        self._fold, self._flushed_ms, self._ticked_ms = Fold(), 0, 0
        self._now_ms, self._newest_ms = 0, 0
        self._slices: dict[Target, dict[str, Slice]] = {}
        self._touched: dict[Target, int] = {}
        self.messages = self.records = self.rejected = 0

    def take(self, message: Message) -> list[Told]:
        """What is to be told before this message counts; mostly nothing."""
        told = self.flush() if message.timestamp_ms - self._flushed_ms >= self._flush_ms else []
        if not self._flushed_ms:
            self._flushed_ms = message.timestamp_ms
        self._now_ms = max(self._now_ms, message.timestamp_ms)
        self.messages += 1
        self.rejected += len(self._pipeline.run(message, self._fold))
        return told

    @property
    def now_ms(self) -> int:
        """The newest Kafka timestamp so far: when what is told now was sent."""
        return self._now_ms

    def flush(self) -> list[Told]:
        """Tell what was folded since the last time."""
        fold, self._fold = self._fold, Fold()
        self._flushed_ms = self._now_ms
        self.records += fold.records
        told: list[Told] = list(self._summaries(fold))
        newest_ms = max((at.newest_ms for at in fold.partitions.values()), default=0)
        self._newest_ms = max(self._newest_ms, newest_ms)
        if self._newest_ms - self._ticked_ms >= self._tick_ms:
            self._ticked_ms = self._newest_ms
            told.append(Tick(self._newest_ms))
        self._forget()
        return told

    def _summaries(self, fold: Fold) -> Iterator[Summary]:
        for change in fold:
            if change.target.kind == "tallies":
                continue
            pattern = Target("patterns", change.target.day, change.fixed.get("pattern_id", ""))
            template = fold.patterns[pattern]["template"] if pattern in fold.patterns else ""
            delta = delta_of(change, self._whole(change))
            summary = summary_of(change.target, change.fixed, delta, template)
            if summary is not None:
                yield summary

    def _whole(self, change: Change) -> dict[str, Slice]:
        """The slices of a document, all messages of before included."""
        if not change.counted:
            return {}
        slices = self._slices.setdefault(change.target, {})
        for key, spots in change.spots.items():
            if part := advance(slices.get(key), spots):
                slices[key] = part
        self._touched.pop(change.target, None)
        self._touched[change.target] = self._now_ms
        return dict(slices)

    def _forget(self) -> None:
        """The idlest come first: a document that is touched moves to the end."""
        idle = takewhile(lambda touched: self._now_ms - touched[1] >= REMEMBERED_MS, self._touched.items())
        for target, _ in list(idle):
            del self._touched[target], self._slices[target]
