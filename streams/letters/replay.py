"""Counting dead letters after all, where they can be decoded by now.

A letter that is counted is a slice by itself (`schemas.documents.slice_at`), named by its identity: source coordinates,
generation and content. So any order, any subset and any repetition of replays ends in the same documents, and copies,
which a crash between letter and acknowledgement leaves behind, count once.

Two kinds of records are left to the worker: those of another generation, which the live one has read for itself, and
those that it has not acknowledged yet, since it is going to read them again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from cag.topic import End
from processors.decode import Outcome, decode
from processors.fold import Fold, Slice
from processors.pipeline import UNTIMELY, Pipeline, timely
from schemas.dead_letters import DeadLetter, Foreign, Letter, read_letter, source_message
from schemas.documents import Target
from schemas.records import Alert, Coordinates, Filtered, KubernetesEvent, LogRecord, Message, Record, Rejected, Signal
from streams.letters.scan import Catalog, Found

FLUSH_LETTERS: Final = 5_000
FLUSH_BYTES: Final = 32 * 1024 * 1024


class Skip(StrEnum):
    """Why a letter is not replayed."""

    OTHER_GENERATION = "other_generation"
    UNACKNOWLEDGED = "unacknowledged"
    RUNBOOK = "runbook"
    CUT = "cut"
    VALUE_GONE = "value_gone"


SKIPPED: Final = {
    Skip.OTHER_GENERATION: "of another generation: the live generation has read the source record itself",
    Skip.UNACKNOWLEDGED: "not acknowledged yet: the worker is going to read the source record itself",
    Skip.RUNBOOK: "a runbook: mend it and publish it again",
    Skip.CUT: "cut: the message was too large for the dead-letter topic, which holds its head only",
    Skip.VALUE_GONE: "without a value: the letter that holds the message has been removed by retention",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """How far the live group has acknowledged the inputs."""

    topic_ids: Mapping[str, str]
    committed: Mapping[tuple[str, int], int]  # next offset to read

    def passed(self, at: Coordinates) -> bool:
        """Nobody is going to read this record again: it is acknowledged, or its topic is no more."""
        if self.topic_ids.get(at.topic) != at.topic_id:
            return True
        return at.offset < self.committed.get((at.topic, at.partition), 0)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the letters that were meant; each of them is in one place."""

    counted: Counter[str] = field(default_factory=Counter)  # by signal
    filtered: Counter[str] = field(default_factory=Counter)  # by rule
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    skipped: Counter[str] = field(default_factory=Counter)
    before: int = 0  # of those counted and filtered: as many were counted by an earlier replay

    def as_dict(self) -> dict[str, Any]:
        """For scripts; what is 0 is left out of the counts."""
        counts = ("counted", "filtered", "rejected", "skipped")
        return {name: dict(+getattr(self, name)) for name in counts} | {"counted_before": self.before}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which letters to replay, by the place of the message that holds their bytes."""

    wanted: Mapping[tuple[int, int], Sequence[Letter]]
    tally: Tally

    @property
    def letters(self) -> int:
        return sum(map(len, self.wanted.values()))


def plan(
    catalog: Catalog, filters: Callable[[Letter], bool], *, inputs: Collection[str], live: str, positions: Positions
) -> Plan:
    """Sort out what is not to be replayed."""
    tally, wanted = Tally(), defaultdict[tuple[int, int], list[Letter]](list)
    for letter in catalog.chosen(filters):
        holder = catalog.holder(letter)
        if letter.source.topic not in inputs:
            tally.skipped[Skip.RUNBOOK] += 1
        elif letter.generation != live:
            tally.skipped[Skip.OTHER_GENERATION] += 1
        elif not positions.passed(letter.source):
            tally.skipped[Skip.UNACKNOWLEDGED] += 1
        elif holder is None:
            tally.skipped[Skip.CUT if letter.holds in catalog.cut else Skip.VALUE_GONE] += 1
        else:
            wanted[holder.partition, holder.offset].append(letter)
    return Plan(wanted=wanted, tally=tally)


@dataclass(kw_only=True)
class Replayer:
    """Decodes letters with the present inputs and folds them; `write` blocks until a fold is durable."""

    pipeline: Pipeline
    topic_id: str  # of the dead-letter topic
    tally: Tally
    write: Callable[[Fold], list[DeadLetter]]
    slices: Callable[[Sequence[Target]], Mapping[Target, Mapping[str, Slice]]]
    _fold: Fold = field(default_factory=Fold)
    _kinds: dict[str, tuple[Counter[str], str]] = field(default_factory=dict)  # topic id -> where it was counted
    _bytes: int = 0

    def run(
        self,
        topic: Iterable[Message | End],
        wanted: Mapping[tuple[int, int], Sequence[Letter]],
        tick: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Read the topic once more, for the values this time."""
        missing = dict(wanted)
        for found in topic:
            if isinstance(found, End) or not (letters := missing.pop((found.partition, found.offset), None)):
                continue
            self.take(found, letters)
            tick(len(letters))
        for letters in missing.values():
            self.tally.skipped[Skip.VALUE_GONE] += len(letters)
        self.flush()

    def take(self, message: Message, letters: Sequence[Letter]) -> None:
        """`letters`: all that are wanted of one message."""
        holder = read_letter(message, self.pipeline.inputs)
        if not isinstance(holder, Letter) or {letter.holds for letter in letters} != {holder.holds}:
            self.tally.skipped[Skip.VALUE_GONE] += len(letters)  # the topic was made again meanwhile
            return
        self._bytes += holder.size_bytes
        items = decoded(self.pipeline, message, holder)
        for index, item in (each for letter in letters for each in records_of(letter, items)):
            if isinstance(item, Rejected):
                self.tally.rejected[item.reason] += 1
                continue
            counted = source_message(message, holder, topic_id=self.topic_id, index=index)
            rule = self.pipeline.add(item, counted.at(index), counted.timestamp_ms, self._fold)
            where = (self.tally.filtered, rule) if rule else (self.tally.counted, signal_of(item))
            where[0][where[1]] += 1
            self._kinds[counted.topic_id] = where
            self._fold.messages.append(counted)
            if len(self._fold.messages) >= FLUSH_LETTERS or self._bytes >= FLUSH_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write what is folded. A letter says nothing about how far live reading is: no watermarks."""
        fold, kinds, self._fold, self._kinds, self._bytes = self._fold, self._kinds, Fold(), {}, 0
        if not fold:
            return
        fold.sources.clear()
        fold.partitions.clear()
        counting = [change for change in fold if change.counted]
        stored = self.slices([change.target for change in counting])
        self.tally.before += sum(key in stored.get(change.target, {}) for change in counting for key in change.spots)
        for refused in self.write(fold):
            where, what = kinds[refused.message.topic_id]
            where[what] -= 1
            self.tally.rejected[refused.reason] += 1


def decoded(pipeline: Pipeline, message: Message, holder: Letter) -> list[Outcome]:
    """What the present inputs make of the message that a letter holds."""
    if not timely(holder.timestamp_ms):
        return [Rejected(reason=UNTIMELY)]
    source = source_message(message, holder, topic_id="", index=0)
    return decode(source, pipeline.inputs[holder.source.topic])


def records_of(letter: Letter, items: Sequence[Outcome]) -> list[tuple[int, Outcome]]:
    """The records that a letter stands for: one of its message, or all from there on (see `Letter.rest`)."""
    n = letter.source.index
    if n >= len(items):
        return [(n, Rejected(reason="the message holds fewer records by now"))]
    return list(enumerate(items))[n : None if letter.rest else n + 1]


def verdict(pipeline: Pipeline, found: Found) -> str:
    """What a replay would make of one letter, as far as that can be told without the index; '' if it is no letter."""
    letter = found.letter
    if isinstance(letter, Foreign) or letter.source.topic not in pipeline.inputs:
        return ""
    holder = read_letter(found.message, pipeline.inputs)
    if not isinstance(holder, Letter) or not holder.complete:
        return SKIPPED[Skip.CUT if isinstance(holder, Letter) and holder.cut_from is not None else Skip.VALUE_GONE]
    said = Counter(_told(item) for _, item in records_of(letter, decoded(pipeline, found.message, holder)))
    return "; ".join(f"{count:,} {what}" for what, count in sorted(said.items()))


def _told(item: Outcome) -> str:
    if isinstance(item, Rejected):
        return f"still rejected: {item.reason}"
    return f"filtered: {item.rule}" if isinstance(item, Filtered) else f"{signal_of(item)} record"


def signal_of(item: Record | Filtered) -> Signal:
    if isinstance(item, LogRecord):
        return Signal.LOG
    if isinstance(item, KubernetesEvent):
        return Signal.EVENT
    return Signal.ALERT if isinstance(item, Alert) else Signal.METRIC
