"""What a runbook store promises, and a store in memory that keeps the promise.

A *generation* is one topic id compiled by one version of the compiler. The laws, for every store:

- A record changes its own entry only, and only with a higher offset: redelivery and old values change nothing, and a
  deletion is remembered.
- A partition's mark is an offset below which every record is applied, so a record below it changes nothing either:
  a deletion outlives its tombstone, which compaction takes away. A mark moves past a record only from exactly that
  record's offset; so a store that missed one has a low mark (`behind`), however many records are applied afterwards,
  and a rebuild from the topic's beginning repairs it.
- A store that was lost, or may have gone back to an older copy of itself, serves nothing until it was rebuilt.
- A new generation is built beside the one that is served and takes its place in one step when it has been read to the
  end. Until then readers see the old one, or none.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from schemas.errors import InvalidRecord, SinkMisconfigured
from schemas.runbooks import COMPILER, Corpus, Runbook


class Outcome(StrEnum):
    APPLIED = "applied"
    OLDER = "older"  # this record or a newer one of the same path is already in: nothing changed
    UNBUILT = "unbuilt"  # the topic has no generation here, or Redis lost it: a rebuild must read the record again
    RETIRED = "retired"  # the topic was deleted and made again: its records are history


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a runbook record stands. Of two partitions that hold the same path, the newer record is served."""

    topic_id: str
    partition: int
    offset: int
    path: str


class WritableStore(Protocol):
    """What the worker needs of a store. Every call may raise SinkUnavailable or SinkMisconfigured."""

    def apply(self, place: Place, runbook: Runbook | None) -> Outcome:
        """Serve this version of the runbook, or none; at once and as a whole."""

    def apply_all(self, changes: Sequence[tuple[Place, Runbook | None]]) -> list[Outcome]:
        """`apply` for each, in order, in one exchange with the server; not one transaction."""

    def pass_over(self, place: Place) -> Outcome:
        """Note that this record holds nothing to serve (it is a dead letter)."""

    def behind(self, topic_id: str, positions: Mapping[int, int]) -> frozenset[int]:
        """Partitions of which the store cannot hold all that was read: `positions` are the next offsets to read."""

    def begin(self, topic_id: str, token: str) -> str | None:
        """Start, or join, a rebuild; returns its token. None: that topic id is retired. `token` is fresh and random."""

    def finish(self, topic_id: str, token: str, ends: Mapping[int, int], seen: Collection[Place]) -> bool:
        """End a rebuild that read every partition up to `ends` and found `seen`, the newest record of each path.

        What it did not find, and nobody applied since, is removed. False: another rebuild ended first, or Redis lost
        its content meanwhile; ask `behind` again.
        """

    def corpus_version(self) -> str | None:
        """Changes with every change of what is served; None while nothing was ever built."""

    def snapshot(self) -> Corpus | None:
        """Everything that is served, at one version."""


def generation(topic_id: str) -> str:
    return f"{topic_id}/{COMPILER}"


def entry_name(partition: int, path: str) -> str:
    return f"{partition}:{path}"


def decode_entries(entries: Mapping[bytes, bytes]) -> dict[str, Runbook]:
    """What the entries of a store hold. Raises SinkMisconfigured when they are not ours."""
    decoded = {}
    for name, raw in entries.items():
        try:
            decoded[name.decode()] = Runbook.from_json(raw)
        except InvalidRecord as error:
            raise SinkMisconfigured(
                f"Redis holds runbook {split_entry(name.decode())[1]!r} in a form that this version does not read: "
                "run one version of worker and API, the worker rebuilds the rest"
            ) from error
    return decoded


def corpus_of(version: str, runbooks: Mapping[str, Runbook]) -> Corpus:
    """One runbook for each path: of several partitions that hold it, the newest record's."""
    newest: dict[str, tuple[int, int, Runbook]] = {}
    for name, runbook in runbooks.items():
        partition, path = split_entry(name)
        candidate = (runbook.published_ms, -partition, runbook)
        if path not in newest or candidate[:2] > newest[path][:2]:
            newest[path] = candidate
    return Corpus(version=version, runbooks=tuple(newest[path][2] for path in sorted(newest)))


def split_entry(name: str) -> tuple[int, str]:
    partition, _, path = name.partition(":")
    return int(partition), path


# -- in memory ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Slot:
    generation: str = ""
    entries: dict[str, Runbook] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    build: str | None = None


class FakeRunbookStore:
    """A `WritableStore` without a server, for tests and for trying things."""

    def __init__(self) -> None:
        self._live = _Slot()
        self._next = _Slot()
        self._retired: set[str] = set()
        self._incarnation = ""
        self._version = 0

    def apply(self, place: Place, runbook: Runbook | None) -> Outcome:
        slot = self._slot(place.topic_id)
        if slot is None:
            return Outcome.RETIRED if place.topic_id in self._retired else Outcome.UNBUILT
        name = entry_name(place.partition, place.path)
        outcome = Outcome.OLDER
        if max(slot.offsets.get(name, -1), slot.marks.get(place.partition, 0) - 1) < place.offset:
            outcome = Outcome.APPLIED
            slot.offsets[name] = place.offset
            changed = runbook is not None or name in slot.entries
            if runbook is None:
                slot.entries.pop(name, None)
            else:
                slot.entries[name] = runbook
            self._version += changed and slot is self._live
        return self._move_mark(slot, place, outcome)

    def apply_all(self, changes: Sequence[tuple[Place, Runbook | None]]) -> list[Outcome]:
        return [self.apply(place, runbook) for place, runbook in changes]

    def pass_over(self, place: Place) -> Outcome:
        slot = self._slot(place.topic_id)
        if slot is None:
            return Outcome.RETIRED if place.topic_id in self._retired else Outcome.UNBUILT
        outcome = Outcome.OLDER if slot.marks.get(place.partition, 0) > place.offset else Outcome.APPLIED
        return self._move_mark(slot, place, outcome)

    def _move_mark(self, slot: _Slot, place: Place, outcome: Outcome) -> Outcome:
        if slot.marks.get(place.partition) == place.offset:
            slot.marks[place.partition] = place.offset + 1
        return outcome

    def _slot(self, topic_id: str) -> _Slot | None:
        return next((s for s in (self._live, self._next) if s.generation == generation(topic_id)), None)

    def behind(self, topic_id: str, positions: Mapping[int, int]) -> frozenset[int]:
        if self._live.generation != generation(topic_id):
            return frozenset(positions)
        return frozenset(p for p, at in positions.items() if self._live.marks.get(p, -1) < at)

    def begin(self, topic_id: str, token: str) -> str | None:
        if topic_id in self._retired:
            return None
        slot = self._slot(topic_id)
        if slot is None:
            slot = self._next = _Slot(generation=generation(topic_id))
        slot.build = slot.build or token
        return slot.build

    def finish(self, topic_id: str, token: str, ends: Mapping[int, int], seen: Collection[Place]) -> bool:
        slot = self._slot(topic_id)
        if slot is None or slot.build != token:
            return False
        slot.build = None
        found = {entry_name(p.partition, p.path) for p in seen}
        gone = [
            name
            for name, offset in slot.offsets.items()
            if name not in found and name in slot.entries and offset < ends.get(split_entry(name)[0], 0)
        ]
        for name in gone:
            del slot.entries[name]
        for partition, end in ends.items():
            slot.marks[partition] = max(end, slot.marks.get(partition, 0))
        if slot is self._next:
            old = self._live.generation.rpartition("/")[0]
            if old and old != topic_id:
                self._retired.add(old)
            self._live, self._next = slot, _Slot()
            self._incarnation, self._version = token, 1
        else:
            self._version += bool(gone)
        return True

    def corpus_version(self) -> str | None:
        return f"{self._incarnation}-{self._version}" if self._live.generation else None

    def snapshot(self) -> Corpus | None:
        version = self.corpus_version()
        if version is None:
            return None
        return corpus_of(version, self._live.entries)
