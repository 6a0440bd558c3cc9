"""The first half, on the executors: messages in, parts of changes and dead letters out. The same pipeline as a worker.

A document that the index refuses is known only after writing. Then the messages are folded once more with the refused
documents at hand: their records become letters and leave the tallies, as a worker would have it.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import orjson
import pyarrow as pa

from processors.fold import Change, Fold, Slice, beyond
from processors.pipeline import Pipeline
from processors.sink import dead_letters
from processors.writer import Rejection, take_out
from schemas.documents import Target
from schemas.records import Message, Record
from schemas.settings import Settings
from schemas.topics import Input
from spark_jobs.messages import messages_of
from spark_jobs.partials import SEEN, Part, batch_of, letter_parts, part_of, pattern_part

FOLD_RECORDS: Final = 200_000  # in memory at once; more would make fewer parts
FOLD_BYTES: Final = 64 * 1024 * 1024  # of messages that are kept for their letters
FOR_EVER: Final = 1_000_000  # days


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A document that the index will not have, with what it counts already."""

    reason: str
    slices: Mapping[str, Slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """What executors are told; `run` is for `mapInArrow`."""

    settings: Settings
    continued: frozenset[str] = frozenset()  # slices that go on from what the index holds
    read_as: Input | None = None  # how to read messages of an archive, whatever their topic
    undated: bool = False  # the messages have no time of Kafka's: nothing can be older than retention
    known: Callable[[Message], Container[int]] = lambda message: ()  # records that are in a dead letter already
    refused: Mapping[Target, Refusal] = field(default_factory=dict)

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for parts in self.parts(batches):
            yield batch_of(parts)

    def parts(self, batches: Iterable[pa.RecordBatch]) -> Iterator[list[Part]]:
        pipeline = self._pipeline()
        fold, letters = Fold(), list[Part]()
        messages = rejected = size_bytes = 0
        for message in (message for batch in batches for message in messages_of(batch)):
            found = pipeline.run(message, fold, self.known(message))
            messages += 1
            if self.refused:
                size_bytes += len(message.value or b"")
            else:
                letters += letter_parts(found)
                rejected += len(found)
                size_bytes += len(letters[-1].body) if found else 0
                fold.messages.clear()  # nothing will ask for them
            if fold.records >= FOLD_RECORDS or size_bytes >= FOLD_BYTES:
                yield [*self._close(fold), *letters, _seen(messages, fold.records, rejected)]
                fold, letters = Fold(), []
                messages = rejected = size_bytes = 0
        if messages:
            yield [*self._close(fold), *letters, _seen(messages, fold.records, rejected)]

    def _close(self, fold: Fold) -> Iterator[Part]:
        changes: Iterable[Change] = fold
        if self.refused:
            tallies = [change for change in fold if change.target.kind == "tallies"]
            rejections = list(self._rejections(fold))
            take_out(tallies, rejections)
            refused = sorted(dead_letters(rejections, fold), key=lambda letter: str(letter.message.at(letter.index)))
            yield from letter_parts(refused)
            changes = (tally for tally in tallies if tally.spots)
        else:
            for target, fixed in fold.patterns.items():
                yield pattern_part(target, fixed)
        for change in changes:
            change.settle(self.continued)
            yield part_of(change)

    def _rejections(self, fold: Fold) -> Iterator[Rejection]:
        for change in fold:
            if refusal := self.refused.get(change.target):
                marks = {key: refusal.slices.get(key, Slice(-1, 0)).mark for key in change.spots}
                fresh = {key: beyond(spots, marks[key]) for key, spots in change.spots.items()}
                yield Rejection(change.target, refusal.reason, fresh)

    def _pipeline(self) -> Pipeline:
        pipeline = _pipeline(self.settings)
        if self.read_as:
            pipeline = replace(pipeline, inputs=_Always(self.read_as))
        if self.undated:
            pipeline = replace(pipeline, retention_days=_Always(FOR_EVER))
        return pipeline


class _Always(dict[Any, Any]):
    """The same for every key."""

    def __init__(self, value: Input | int) -> None:
        super().__init__()
        self._value = value

    def __missing__(self, key: str | type[Record]) -> Input | int:
        return self._value


@lru_cache(maxsize=2)
def _pipeline(settings: Settings) -> Pipeline:
    """Python workers live on from task to task; so do their compiled rules."""
    return Pipeline.from_settings(settings)


def _seen(messages: int, records: int, letters: int) -> Part:
    return Part("", SEEN, "", "", orjson.dumps({"messages": messages, "records": records, "letters": letters}))
