"""Writing a fold: slices made whole, bulk requests, patience. Done when every document is durable, or rejected.

Order matters: first the documents, then the tallies without the records whose document was rejected, so that each
record ends in exactly one place.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from threading import Event
from typing import Final, TypeVar

import orjson
import structlog

from processors.fold import Change, Fold, Slice, Spot, advance, delta_of
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


class Stopped(FreshetError):
    """The process is stopping while the sink waits; nothing of this fold may be acknowledged."""


class Rejection:
    """A document that the index will not have, with the records that it stands for."""

    __slots__ = ("change", "reason")

    def __init__(self, change: Change, reason: str) -> None:
        self.change, self.reason = change, reason


class Writer:
    """Writes folds, one at a time. `paused` says why it waits, '' while it runs; others may read it."""

    def __init__(self, index: Index, *, bulk_bytes: int, cached_slices: int) -> None:
        self._index, self._bulk_bytes = index, bulk_bytes
        self._cache = SliceCache(cached_slices)
        self._known_patterns: dict[Target, None] = {}
        self._pattern_limit = cached_slices
        self.paused = ""

    def write(self, fold: Fold, stop: Event) -> list[Rejection]:
        """Blocks until all of it is durable. Raises Stopped when `stop` is set while a store is away."""
        documents = [c for c in fold if c.target.kind != "tallies"]
        tallies = [c for c in fold if c.target.kind == "tallies"]
        patterns = [p for p in fold.patterns if p not in self._known_patterns]
        created = [Write(target=p, fixed=fold.patterns[p], delta=None) for p in patterns]
        self._patiently(lambda: self._index.ensure_days([*(c.target for c in fold), *fold.patterns]), stop)
        rejected = self._store(created, stop)  # before the occurrences that point to them
        if rejected:
            # A pattern the index refuses has nothing that could be found: its occurrences go the same way.
            reasons = {w.target.id: reason for w, reason in rejected}
            refused = [c for c in documents if c.fixed.get("pattern_id") in reasons]
            documents = [c for c in documents if c.fixed.get("pattern_id") not in reasons]
        else:
            reasons, refused = {}, []
        rejections = [Rejection(c, reasons[c.fixed["pattern_id"]]) for c in refused]
        rejections += self._join(documents, stop)
        for rejection in rejections:
            if not rejection.change.counted:
                tallies = [_without(tally, rejection.change) for tally in tallies]
        rejections += self._join([t for t in tallies if t.spots], stop)
        self._remember_patterns(w.target for w in created)
        return rejections

    def forget(self) -> None:
        """Drop what was read back: partitions have moved, another worker may have written since."""
        self._cache.clear()

    def _join(self, changes: Sequence[Change], stop: Event) -> list[Rejection]:
        """Make slices whole, then send the deltas."""
        counted = [c for c in changes if c.counted]
        unknown = [c.target for c in counted if c.target not in self._cache]
        for start in range(0, len(unknown), MGET_DOCUMENTS):
            part = unknown[start : start + MGET_DOCUMENTS]
            self._cache.load(part, self._patiently(lambda part=part: self._index.slices(part), stop))  # type: ignore[misc]
        writes, whole = [], {}
        for change in changes:
            slices: dict[str, Slice] = {}
            if change.counted:
                for key, spots in change.spots.items():
                    advanced = advance(self._cache.get(change.target, key), spots)
                    if advanced is not None:
                        slices[key] = advanced
                whole[change.target] = slices
            writes.append(Write(target=change.target, fixed=change.fixed, delta=delta_of(change, slices)))
        rejected = {w.target: reason for w, reason in self._store(writes, stop)}
        for target, slices in whole.items():
            if target not in rejected:
                self._cache.put(target, slices)
        self._cache.evict()
        return [Rejection(c, rejected[c.target]) for c in changes if c.target in rejected]

    def _store(self, writes: Sequence[Write], stop: Event) -> list[tuple[Write, str]]:
        """Send until each item is terminal; returns those that are rejected, with the reason."""
        rejected: list[tuple[Write, str]] = []
        for batch in _batches(writes, self._bulk_bytes):
            rejected += self._store_batch(batch, stop)
        return rejected

    def _store_batch(self, batch: list[Write], stop: Event) -> list[tuple[Write, str]]:
        rejected: list[tuple[Write, str]] = []
        delay = BACKOFF_FIRST_S
        while batch:
            outcomes = self._patiently(lambda: self._index.bulk(batch), stop)  # noqa: B023 - called at once
            if outcomes is None:  # unreadable: the outcome is unknown, ids make it safe to send it all again
                self._wait("unreadable answer", delay, stop)
                delay = min(delay * 2, BACKOFF_MOST_S)
                continue
            again, pause = [], ""
            for write, outcome in zip(batch, outcomes, strict=True):
                verdict = classify(create=write.create, status=outcome.status, reason=outcome.reason)
                if verdict is Verdict.DONE:
                    continue
                if verdict is Verdict.REJECT:
                    alone = self._alone(write, outcome, stop) if len(batch) > 1 else outcome
                    if alone is not None:
                        rejected.append((write, _short(alone.reason)))
                    continue
                again.append(write)
                if verdict is Verdict.CREATE_INDEX:
                    self._index.forget_days()
                    self._patiently(lambda write=write: self._index.ensure_days([write.target]), stop)  # type: ignore[misc]
                elif verdict is not Verdict.RACE:
                    pause = pause or f"{verdict}: {_short(outcome.reason) or outcome.status}"
            batch = again
            if pause:
                self._wait(pause, delay, stop)
                delay = min(delay * 2, BACKOFF_MOST_S)
        self.paused = ""
        return rejected

    def _alone(self, write: Write, first: ItemOutcome, stop: Event) -> ItemOutcome | None:
        """A rejected document is tried once by itself; None when it went in after all."""
        outcomes = self._patiently(lambda: self._index.bulk([write]), stop)
        outcome = outcomes[0] if outcomes else first
        return None if classify(create=write.create, status=outcome.status) is Verdict.DONE else outcome

    def _patiently(self, call: Callable[[], T], stop: Event) -> T:
        """Call until the store answers, without a limit in time; both errors are an alarm, neither is a verdict."""
        delay = BACKOFF_FIRST_S
        while True:
            try:
                answer = call()
            except (SinkUnavailable, SinkMisconfigured) as error:
                self._wait(str(error), delay, stop)
                delay = min(delay * 2, BACKOFF_MOST_S)
            else:
                self.paused = ""
                return answer

    def _wait(self, reason: str, bound_s: float, stop: Event) -> None:
        if reason != self.paused:
            log.warning("sink waits", reason=reason)
        self.paused = reason
        if stop.wait(random.uniform(0, bound_s)):  # noqa: S311 - jitter, not a secret
            raise Stopped(reason)

    def _remember_patterns(self, targets: Iterable[Target]) -> None:
        for target in targets:
            self._known_patterns[target] = None
        while len(self._known_patterns) > self._pattern_limit:
            del self._known_patterns[next(iter(self._known_patterns))]


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


def _without(tally: Change, rejected: Change) -> Change:
    """The tally less the records that end in a dead letter instead."""
    gone: dict[str, set[Spot]] = {key: set(spots) for key, spots in rejected.spots.items()}
    tally.spots = {key: [spot for spot in spots if spot not in gone.get(key, ())] for key, spots in tally.spots.items()}
    tally.spots = {key: spots for key, spots in tally.spots.items() if spots}
    return tally


def _short(reason: str) -> str:
    """Error types only: the text after them may quote the document."""
    return reason.split(":", 1)[0][:120]
