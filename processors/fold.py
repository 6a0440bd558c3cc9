"""Folding: many records become few documents, counted by slices. Pure and in memory; `sink.py` writes the result."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from processors import merge
from schemas.documents import Target, slice_at
from schemas.records import ERROR, Coordinates, Message, Resource

EXEMPLARS: Final = 3  # the k smallest by hash, kept beside the first and the last
IDENTIFIERS: Final = 16
OBSERVATIONS: Final = 60
POINTS: Final = 60  # one a minute: an hour's document is bounded by nature
STATES: Final = frozenset(("events", "alerts"))  # kinds of which each change is news
PRUNE_AT: Final = 64  # pending identifiers of one document before they are cut down, so that memory stays bounded
SAMPLES: Final = 32  # the same of those that may become exemplars


class Slice(NamedTuple):
    """Exact count of a document's records from the start of a block of offsets up to and including `mark`."""

    mark: int
    records: int


# Where the records of a document lie in a slice: by the offset of their message, their numbers in it. A number may
# stand there twice: one flush may have been handed a chunk twice.
Spots = Mapping[int, Sequence[int]]


def count_of(spots: Spots) -> int:
    """How many records."""
    return sum(1 if len(numbers) == 1 else len(set(numbers)) for numbers in spots.values())


def beyond(spots: Spots, mark: int) -> Spots:
    """Those that a slice with this mark does not count yet."""
    return {offset: numbers for offset, numbers in spots.items() if offset > mark}


def advance(stored: Slice | None, spots: Spots) -> Slice | None:
    """The slice after these records. Those at or below the mark are counted already; None: there is nothing at all."""
    mark, records = stored or Slice(-1, 0)
    fresh = beyond(spots, mark)
    return Slice(max(fresh), records + count_of(fresh)) if fresh else stored


@dataclass(slots=True)
class Change:
    """What one flush knows about one document: its immutable fields, and the delta to join."""

    target: Target
    fixed: Mapping[str, Any]
    counted: bool  # by slices; other documents are counted in a tally
    spots: dict[str, dict[int, list[int]]] = field(default_factory=dict)  # slice key -> records
    whole: dict[str, Slice] = field(default_factory=dict)  # slices that need no reading back: counted from their start
    first_ms: int | None = None
    last_ms: int | None = None
    clamped: bool = False
    samples: list["Sample"] = field(default_factory=list)  # not among the exemplars yet
    exemplars: dict[str, dict[str, Any]] = field(default_factory=dict)  # as they stood when `sampled` was called
    identifiers: set[str] = field(default_factory=set)
    delta: dict[str, Any] = field(default_factory=dict)  # state parts: max, items, latest
    records: int = 0
    shown: int = 0  # so many of them are in the index ahead of the fold

    @property
    def ahead(self) -> bool:
        """All of it was shown already."""
        return 0 < self.shown == self.records

    def add(self, at: Coordinates, time_ms: int, *, clamped: bool) -> None:
        self.count(at)
        self.span(time_ms, time_ms, clamped=clamped)

    def count(self, at: Coordinates) -> None:
        """The record alone, without its time: a tally may have to give it back."""
        key, place = slice_at(at.topic_id, at.partition, at.offset)
        self.count_all(key, place, (at.index,))

    def count_all(self, key: str, place: int, numbers: Sequence[int]) -> None:
        """Records of one message, by `slice_at` of its coordinates and their numbers in it."""
        self.records += len(numbers)
        places = self.spots.get(key)
        if places is None:
            places = self.spots[key] = {}
        known = places.get(place)
        if known is None:
            places[place] = list(numbers)
        else:
            known.extend(numbers)

    def span(self, first_ms: int, last_ms: int, *, clamped: bool) -> None:
        if self.first_ms is None or first_ms < self.first_ms:
            self.first_ms = first_ms
        if self.last_ms is None or last_ms > self.last_ms:
            self.last_ms = last_ms
        self.clamped = self.clamped or clamped

    def sample(self, sample: "Sample") -> None:
        """Offer a record as an exemplar."""
        self.samples.append(sample)
        if len(self.samples) >= SAMPLES:
            self.sampled()

    def sampled(self) -> dict[str, dict[str, Any]]:
        """The exemplars, all samples considered."""
        if self.samples:
            self.exemplars = prune(self.exemplars | {each["at"]: each for each in map(_exemplar, _best(self.samples))})
            self.samples.clear()
        return self.exemplars

    def settle(self, continued: Collection[str] = ()) -> None:
        """Keep numbers instead of records. Only for who reads each block from its start, but for the `continued` ones.

        The slices of those go on from what the index holds when this is written.
        """
        if not self.counted:
            self.spots.clear()
        for key in [key for key in self.spots if key not in continued]:
            part = advance(None, self.spots.pop(key))
            if part:
                self.whole[key] = _added(self.whole.get(key), part)

    def absorb(self, other: "Change") -> None:
        """Add what another reader found for the same document. No record may be in both."""
        for key, part in other.whole.items():
            self.whole[key] = _added(self.whole.get(key), part)
        for key, spots in other.spots.items():
            for place, numbers in spots.items():
                self.count_all(key, place, numbers)
        firsts, lasts = (self.first_ms, other.first_ms), (self.last_ms, other.last_ms)
        self.first_ms = min((time for time in firsts if time is not None), default=None)
        self.last_ms = max((time for time in lasts if time is not None), default=None)
        self.clamped = self.clamped or other.clamped
        if other.sampled():
            self.exemplars = prune(self.sampled() | other.exemplars)
        if other.identifiers:
            self.identifiers = set(merge.smallest(self.identifiers | other.identifiers, IDENTIFIERS))
        self.delta = merge.join_deltas(self.delta, other.delta)

    def copy(self) -> "Change":
        """As it is now, for someone who reads it while this one goes on."""
        return replace(
            self,
            spots={key: {at: list(numbers) for at, numbers in spots.items()} for key, spots in self.spots.items()},
            whole=dict(self.whole),
            exemplars=dict(self.sampled()),
            samples=[],
            identifiers=set(self.identifiers),
            delta=deepcopy(self.delta),
        )


def _added(mine: Slice | None, theirs: Slice) -> Slice:
    """Two parts of one slice that share no record."""
    return Slice(max(mine.mark, theirs.mark), mine.records + theirs.records) if mine else theirs


class SourceKey(NamedTuple):
    """The unit of freshness, silence and coverage."""

    topic: str
    cluster: str
    namespace: str
    workload: str


@lru_cache(maxsize=8192)
def source_of(topic: str, resource: Resource) -> SourceKey:
    return SourceKey(topic, resource.cluster, resource.namespace, resource.workload)


@dataclass(slots=True)
class PartitionProgress:
    """Newest event time and highest offset of one partition in this fold."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    newest_ms: int


@dataclass(slots=True)
class Fold:
    """Changes since the last flush, by document. Not safe for two writers at once."""

    changes: dict[Target, Change] = field(default_factory=dict)
    patterns: dict[Target, Mapping[str, Any]] = field(default_factory=dict)  # immutable: created, never updated
    sources: dict[SourceKey, int] = field(default_factory=dict)  # newest event time, epoch ms
    partitions: dict[tuple[str, int], PartitionProgress] = field(default_factory=dict)  # by topic id and partition
    messages: list[Message] = field(default_factory=list)  # for the dead letters of documents that are rejected
    fresh: dict[Target, Change] = field(default_factory=dict)  # begun, or of an event or alert, since `urgent`
    records: int = 0

    def __bool__(self) -> bool:
        return bool(self.messages)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes.values())

    def change(self, target: Target, fixed: Callable[[], Mapping[str, Any]], *, counted: bool) -> Change:
        """The pending change of a document; `fixed` is called the first time only (it is the same every time)."""
        found = self.changes.get(target)
        if found is None:
            found = self.changes[target] = self.fresh[target] = Change(target, fixed(), counted)
        elif target.kind in STATES:
            self.fresh[target] = found
        return found

    def urgent(self, patterns: Container[Target], documents: Container[Target]) -> "Fold | None":
        """A copy of what must not wait: new patterns, new errors, events and alerts that came since it was asked last.

        `patterns`, `documents`: those that are in the index.
        """
        fresh, self.fresh = self.fresh, {}
        own: dict[Target, Mapping[str, Any]] = {}
        changes: dict[Target, Change] = {}
        for target, change in fresh.items():
            pattern = pattern_of(change)
            news = target.kind in STATES or (pattern is not None and pattern not in patterns)
            if not news and (change.fixed.get("severity_number", 0) < ERROR or target in documents):
                continue
            if pattern is not None:
                own[pattern] = self.patterns[pattern]
            changes[target] = change.copy()
            change.shown = change.records
        return Fold(changes=changes, patterns=own, partitions=dict(self.partitions)) if changes else None

    def hide(self, targets: Iterable[Target]) -> None:
        """These were refused when they were shown, and are to be written with the rest."""
        for target in targets:
            self.changes[target].shown = 0

    def note(self, at: Coordinates, resource: Resource | None, time_ms: int, records: int = 1) -> None:
        """Account for records of one message and resource, the newest at `time_ms`: by them freshness is told."""
        self.records += records
        progress = self.partitions.get((at.topic_id, at.partition))
        if progress is None:
            progress = PartitionProgress(at.topic, at.topic_id, at.partition, at.offset, time_ms)
            self.partitions[at.topic_id, at.partition] = progress
        if at.offset > progress.offset:
            progress.offset = at.offset
        if time_ms > progress.newest_ms:
            progress.newest_ms = time_ms
        if resource is not None:
            source = source_of(at.topic, resource)
            if time_ms > self.sources.get(source, 0):
                self.sources[source] = time_ms


def pattern_of(change: Change) -> Target | None:
    """The pattern that an occurrence counts; it lies in the index of the same day."""
    identity = change.fixed.get("pattern_id")
    return Target("patterns", change.target.day, identity) if identity else None


class Sample(NamedTuple):
    """A record that may become an exemplar. `mixed`: 64 bits of its message's coordinates; `text` is redacted."""

    time_ms: int
    mixed: int
    at: Coordinates  # of its message
    number: int
    text: str


def _best(samples: Sequence[Sample]) -> list[Sample]:
    """Those among which `prune` finds what it would find among all; an exemplar takes longer to make than to refuse."""
    first_ms, last_ms = min(samples)[0], max(samples)[0]
    smallest = sorted({(each.mixed, each.number) for each in samples})[:EXEMPLARS]
    return [s for s in samples if s.time_ms in (first_ms, last_ms) or (s.mixed, s.number) in smallest]


def _exemplar(sample: Sample) -> dict[str, Any]:
    time_ms, mixed, at, number, text = sample
    return {"at": str(at._replace(index=number)), "h": f"{mixed:016x}{number:05d}", "t": time_ms, "text": text}


def prune(exemplars: dict[str, dict[str, Any]], limit: int = EXEMPLARS) -> dict[str, dict[str, Any]]:
    """What the join would keep of these anyway."""
    return {e["at"]: e for e in merge.exemplars(exemplars.values(), (), limit)}


def delta_of(change: Change, slices: Mapping[str, Slice]) -> dict[str, Any]:
    """The parameters of the merge script for a change whose slices have been made whole."""
    delta: dict[str, Any] = dict(change.delta)
    if slices:
        delta["slices"] = {key: list(value) for key, value in slices.items()}
    if change.first_ms is not None:
        delta |= {"first_ms": change.first_ms, "last_ms": change.last_ms, "clamped": change.clamped}
    if change.sampled():
        delta |= {"exemplars": list(prune(change.exemplars).values()), "exemplar_limit": EXEMPLARS}
    if change.identifiers:
        delta |= {"identifiers": sorted(change.identifiers), "identifier_limit": IDENTIFIERS}
    return delta
