"""Writing a fold: slices made whole, bulk requests, patience. Done when every document is durable, or rejected.

Order matters: first the documents, then the tallies without the records whose document was rejected, so that each
record ends in exactly one place.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Final, TypeVar

import orjson
import structlog

from processors.fold import Change, Fold, Slice, Spots, advance, beyond, delta_of, pattern_of
from processors.index import Index, ItemOutcome, Write
from processors.outcomes import Verdict, classify
from processors.slices import SliceCache
from schemas.documents import Target
from schemas.errors import FreshetError, SinkMisconfigured, SinkUnavailable

log = structlog.get_logger()
T = TypeVar("T")
MGET_DOCUMENTS: Final = 5_000
BULK_DOCUMENTS: Final = 2_000
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.1, 10.0  # full jitter between 0 and a doubling bound
EAGER: Final = 5  # rounds of one batch in which lost races are run again without waiting


class Stopped(FreshetError):
    """The process is stopping while the sink waits; nothing of this fold may be acknowledged."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A document that the index will not have, with those of its records that are not counted yet."""

    target: Target
    reason: str
    spots: Mapping[str, Spots]  # slice key -> records


class Writer:
    """Writes folds, one at a time. `paused` says why it waits, '' while it runs; others may read it."""

    def __init__(
        self,
        index: Index,
        *,
        bulk_bytes: int,
        cached_slices: int,
        own: Collection[str] = (),
        changed: Callable[[Write], None] = lambda _: None,
        written: Callable[[Write], None] = lambda _: None,
    ) -> None:
        """`own`: slices whose block is read here from its start: what is stored of them is the same or too little.

        `changed` is told each write that changed a document; `written` each that is durable, changed or not, with its
        slices whole.
        """
        self._index, self._bulk_bytes = index, bulk_bytes
        self._own, self._changed, self._written = own, changed, written
        self._cache = SliceCache(cached_slices)
        self._known_patterns: dict[Target, None] = {}
        self._pattern_limit = cached_slices
        self.paused = ""

    def write(self, fold: Fold, stop: Event) -> list[Rejection]:
        """Blocks until all of it is durable. Raises Stopped when `stop` is set while a store is away."""
        documents = [c for c in fold if c.target.kind != "tallies" and not c.ahead]
        tallies = [c for c in fold if c.target.kind == "tallies"]
        self._patiently(lambda: self._index.ensure_days([*(c.target for c in fold), *fold.patterns]), stop)
        # Patterns before the occurrences that point to them. One that the index refuses leaves nothing that could be
        # found: its occurrences go the same way.
        refused = self._create(fold, stop)
        rejections = [Rejection(c.target, refused[p], c.spots) for c in documents if (p := pattern_of(c)) in refused]
        rejections += self._join([c for c in documents if pattern_of(c) not in refused], stop)
        take_out(tallies, rejections)
        return rejections + self._join([t for t in tallies if t.spots or t.whole], stop)

    def store(self, writes: Sequence[Write], stop: Event) -> list[tuple[Write, str]]:
        """Documents as they are, without slices. Blocks until all are durable; returns what the index refuses, and why.

        Raises Stopped when `stop` is set while a store is away.
        """
        self._patiently(lambda: self._index.ensure_days([write.target for write in writes]), stop)
        return self._store(writes, stop)

    @property
    def known_patterns(self) -> Container[Target]:
        """Patterns that are in the index, as far as is remembered."""
        return self._known_patterns

    @property
    def known_documents(self) -> Container[Target]:
        """Counted documents that are in the index, as far as is remembered."""
        return self._cache

    def forget(self) -> None:
        """Drop what was read back: partitions have moved, another worker may have written since."""
        self._cache.clear()

    def _create(self, fold: Fold, stop: Event) -> dict[Target, str]:
        """Create the patterns that may be new; returns those that are refused, with the reason."""
        new = [Write(target=p, fixed=f, delta=None) for p, f in fold.patterns.items() if p not in self._known_patterns]
        refused = {write.target: reason for write, reason in self._store(new, stop)}
        for write in new:
            if write.target not in refused:
                self._known_patterns[write.target] = None
        while len(self._known_patterns) > self._pattern_limit:
            del self._known_patterns[next(iter(self._known_patterns))]
        return refused

    def _join(self, changes: Sequence[Change], stop: Event) -> list[Rejection]:
        """Make slices whole, then send the deltas."""
        self._read_back(changes, stop)
        writes, whole = [], {}
        for change in changes:
            slices: dict[str, Slice] = dict(change.whole)
            if change.counted and change.spots:
                for key, spots in change.spots.items():
                    advanced = advance(self._cache.get(change.target, key), spots)
                    if advanced is not None:
                        slices[key] = advanced
                whole[change.target] = slices
            writes.append(Write(target=change.target, fixed=change.fixed, delta=delta_of(change, slices)))
        rejected = {w.target: reason for w, reason in self._store(writes, stop)}
        rejections = [Rejection(c.target, rejected[c.target], self._fresh(c)) for c in changes if c.target in rejected]
        for target, slices in whole.items():
            if target not in rejected:
                self._cache.put(target, slices)
        self._cache.evict()
        for write in writes:
            if write.target not in rejected:
                self._written(write)
        return rejections

    def _read_back(self, changes: Sequence[Change], stop: Event) -> None:
        unknown = [c.target for c in changes if c.counted and c.spots and c.target not in self._cache]
        for start in range(0, len(unknown), MGET_DOCUMENTS):
            part = unknown[start : start + MGET_DOCUMENTS]
            stored = self._patiently(lambda part=part: self._index.slices(part), stop)  # type: ignore[misc]
            if self._own and not self._cache.evicted:  # what was evicted was counted here, and is in the index
                stored = {t: {k: s for k, s in found.items() if k not in self._own} for t, found in stored.items()}
            self._cache.load(part, stored)

    def _fresh(self, change: Change) -> Mapping[str, Spots]:
        """The records of a change that its document does not count yet: what was delivered again may be in it."""
        if not change.counted:
            return change.spots
        marks = {key: self._cache.get(change.target, key) or Slice(-1, 0) for key in change.spots}
        return {key: beyond(spots, marks[key].mark) for key, spots in change.spots.items()}

    def _store(self, writes: Sequence[Write], stop: Event) -> list[tuple[Write, str]]:
        """Send until each item is terminal; returns those that are rejected, with the reason."""
        rejected: list[tuple[Write, str]] = []
        for batch in _batches(writes, self._bulk_bytes):
            rejected += self._store_batch(batch, stop)
        self.paused = ""
        return rejected

    def _store_batch(self, batch: list[Write], stop: Event) -> list[tuple[Write, str]]:
        rejected: list[tuple[Write, str]] = []
        suspects: set[Target] = set()  # refused once; what is refused twice is bad
        delay, rounds = BACKOFF_FIRST_S, 0
        while batch:
            outcomes = self._patiently(lambda: self._index.bulk(batch), stop)  # noqa: B023 - called at once
            if outcomes is None:  # unreadable: the outcome is unknown, ids make it safe to send it all again
                outcomes = [ItemOutcome(503, "unreadable answer")] * len(batch)
            judged: dict[Verdict, list[tuple[Write, str]]] = defaultdict(list)
            for write, outcome in zip(batch, outcomes, strict=True):
                if outcome.changed:
                    self._changed(write)
                verdict = classify(create=write.create, status=outcome.status, reason=outcome.reason)
                judged[verdict].append((write, _short(outcome.reason) or str(outcome.status)))
            judged.pop(Verdict.DONE, None)
            if Verdict.SPLIT in judged and len(batch) == 1:
                return [*rejected, *judged[Verdict.SPLIT]]
            refused = judged.pop(Verdict.REJECT, [])
            rejected += [(write, reason) for write, reason in refused if write.target in suspects]
            again = [write for write, _ in refused if write.target not in suspects]
            suspects.update(write.target for write in again)
            batch = again + [write for group in judged.values() for write, _ in group]
            if Verdict.SPLIT in judged:
                middle = (len(batch) + 1) // 2
                halves = (batch[:middle], batch[middle:])
                return rejected + [each for half in halves for each in self._store_batch(half, stop)]
            if Verdict.CREATE_INDEX in judged:
                self._known_patterns.clear()  # they went with their index
                self._index.forget_days()
                missing = [write.target for write, _ in judged[Verdict.CREATE_INDEX]]
                self._patiently(lambda: self._index.ensure_days(missing), stop)  # noqa: B023 - called at once
            rounds += 1
            if why := _why_wait(judged, rounds):
                self._wait(why, delay, stop)
                delay = min(delay * 2, BACKOFF_MOST_S)
        return rejected

    def _patiently(self, call: Callable[[], T], stop: Event) -> T:
        """Call until the store answers, without a limit in time; both errors are an alarm, neither is a verdict."""
        delay = BACKOFF_FIRST_S
        while True:
            try:
                return call()
            except (SinkUnavailable, SinkMisconfigured) as error:
                self._wait(str(error), delay, stop)
                delay = min(delay * 2, BACKOFF_MOST_S)

    def _wait(self, reason: str, bound_s: float, stop: Event) -> None:
        if reason != self.paused:
            log.warning("sink waits", reason=reason)
        self.paused = reason
        if stop.wait(random.uniform(0, bound_s)):  # noqa: S311 - jitter, not a secret
            raise Stopped(reason)


def _batches(writes: Sequence[Write], limit_bytes: int) -> Iterable[list[Write]]:
    """Cut by documents and by an estimate of the body's size."""
    batch: list[Write] = []
    size = 0
    for write in writes:
        weight = len(orjson.dumps((write.fixed, write.delta))) + 200
        if batch and (size + weight > limit_bytes or len(batch) >= BULK_DOCUMENTS):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += weight
    if batch:
        yield batch


def take_out(tallies: Sequence[Change], rejections: Sequence[Rejection]) -> None:
    """The records that end in a dead letter instead.

    Also those at or below a tally's mark: they may have been taken out before, by a worker that died before it wrote
    the letters. (One that was counted, and whose document is refused only now, ends in both: better than in neither.)
    """
    gone: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for rejection in rejections:
        for key, spots in rejection.spots.items():
            for place, numbers in spots.items():
                gone[key][place].update(numbers)
    for tally in tallies:
        for key in gone.keys() & tally.spots.keys():
            places = tally.spots[key]
            for place in gone[key].keys() & places.keys():
                places[place] = [number for number in places[place] if number not in gone[key][place]]
            tally.spots[key] = {place: numbers for place, numbers in places.items() if numbers}
        tally.spots = {key: spots for key, spots in tally.spots.items() if spots}


def _why_wait(judged: Mapping[Verdict, Sequence[tuple[Write, str]]], rounds: int) -> str:
    """A pause or overload waits at once, a lost race or a missing index only when it goes on and on."""
    for verdict in (Verdict.PAUSE, Verdict.RETRY, *((Verdict.CREATE_INDEX, Verdict.RACE) if rounds > EAGER else ())):
        if verdict in judged:
            return f"{verdict}: {judged[verdict][0][1]}"
    return ""


def _short(reason: str) -> str:
    """The error's type only: the text after it may quote the document."""
    return reason.split(":", 1)[0][:120]
