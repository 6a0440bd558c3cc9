"""While it runs: nothing below a committed offset may be unfinished, nothing in the index may go back.

A record is in a document when joining it once more changes nothing. That is the whole test, for every kind.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from processors import merge
from processors.fold import Change, Slice, delta_of
from processors.generation import names_for
from processors.sink import open_index
from schemas.documents import Target
from schemas.errors import SinkUnavailable
from schemas.settings import Settings
from streams.topics import Broker
from tests.faults.check import Findings, LetterKey, read_letters, tracer
from tests.faults.crew import ANSWER_S
from tests.faults.ledger import Book, Place
from tests.faults.traffic import REJECTED

LAST, RANDOM = 2, 1  # offsets a partition: right below the committed one, and anywhere below
MESSAGES: Final = 240  # a sample
REMEMBERED: Final = 1_000  # documents that are watched for going back
READ: Final = 500  # documents a request
POLL_S: Final = 0.5


class Sampler:
    """Compares committed offsets with the index and the dead letters, at any moment."""

    def __init__(self, book: Book, settings: Settings, ids: Mapping[str, str], findings: Findings, seed: int) -> None:
        self._book, self._settings, self._ids, self._findings = book, settings, dict(ids), findings
        self._index = open_index(settings, names_for(settings).generation)
        self._broker = Broker(settings.kafka, ANSWER_S)
        self._run, self._rng = tracer(settings, ids), Random(f"{seed}/samples")
        self._seen: dict[Target, dict[str, Any]] = {}
        self.checked = 0

    def sample(self) -> None:
        """Call right after a kill. Positions are read first: what they promise must be there already."""
        acknowledged = self._book.acknowledged()
        if not acknowledged:
            return
        committed = self._broker.committed(self._settings.kafka.group, acknowledged)
        picked = list[tuple[Place, int]]()
        for place, offsets in acknowledged.items():
            below = sorted(offset for offset in offsets if offset < committed.get(place, 0))
            more = self._rng.sample(below, min(RANDOM, len(below)))
            picked += [(place, offset) for offset in {*below[-LAST:], *more}]
        changes, letters = list[tuple[str, Change]](), list[tuple[str, LetterKey]]()
        for place, offset in self._rng.sample(picked, min(MESSAGES, len(picked))):
            sent = self._book.traffic.message(acknowledged[place][offset])
            at = f"{place[0]}/{place[1]}/{offset}, committed to {committed[place]}"
            changes += [(at, change) for change in self._run(place, offset, sent)]
            rejected = [n for n, outcome in enumerate(sent.outcomes) if outcome == REJECTED]
            letters += [(at, (self._ids[place[0]], place[1], offset, n)) for n in rejected]
            self.checked += len(sent.outcomes)
        self._look_at([change.target for _, change in changes])
        for at, change in changes:
            held = self._seen.get(change.target)
            if held is None or not absorbed(held, change):
                self._findings.add("commit", 1, f"{at}: {change.target.kind} {change.target.id} does not hold it")
        for target in list(self._seen)[:-REMEMBERED]:
            del self._seen[target]
        written = {key for key, _ in read_letters(self._settings)} if letters else set()
        for at, key in letters:
            if key not in written:
                self._findings.add("commit", 1, f"{at}: no dead letter for record {key[3]}")

    def _look_at(self, targets: Iterable[Target]) -> None:
        """Read these and all that were seen before, in real time: none of them may have gone back."""
        asked = sorted({*targets, *self._seen}, key=lambda t: (t.kind, t.day, t.id))
        for start in range(0, len(asked), READ):
            part = asked[start : start + READ]
            for target, source in zip(part, self._read(part), strict=True):
                before = self._seen.get(target)
                if before is not None and (source is None or not ahead(source, before)):
                    self._findings.add("went back", 1, f"{target.kind} {target.id}: {source}, was {before}"[:300])
                if source is not None:
                    self._seen[target] = source

    def _read(self, targets: Sequence[Target]) -> list[dict[str, Any] | None]:
        docs = [{"_index": self._index.names.index(t), "_id": t.id} for t in targets]
        found = self._index.request("POST", "/_mget?_source_excludes=vector", {"docs": docs})["docs"]
        return [doc["_source"] if doc.get("found") else None for doc in found]


def absorbed(stored: Mapping[str, Any], change: Change) -> bool:
    """The document holds these records already: joining them once more leaves it as it is."""
    slices = {key: Slice(max(spots), 0) for key, spots in change.spots.items()} if change.counted else {}
    return merge.join(stored, delta_of(change, slices)) == stored


def ahead(now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """No count, mark or order is lower than it was."""
    slices = now.get("slices") or {}
    return (
        (now.get("count") or 0) >= (before.get("count") or 0)
        and (now.get("latest") or {}).get("order", "") >= (before.get("latest") or {}).get("order", "")
        and all(key in slices and slices[key] >= held for key, held in (before.get("slices") or {}).items())
    )


@dataclass(slots=True, kw_only=True)
class Pulse:
    """One look at the positions."""

    at_s: float
    behind: dict[Place, int]  # messages not committed yet
    committed: dict[Place, int]


@dataclass(slots=True)
class Watch:
    """Looks at the positions twice a second, in a thread of its own: how long until work goes on, how long it stood."""

    book: Book
    settings: Settings
    pulses: list[Pulse] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)  # stretches in which standing still is right
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> "Watch":
        threading.Thread(target=self._run, name="watch", daemon=True).start()
        return self

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        broker = Broker(self.settings.kafka, timeout_s=3.0)
        while not self._stop.wait(POLL_S):
            try:
                self.pulses.append(look(broker, self.settings.kafka.group, self.book))
            except SinkUnavailable:
                continue

    def recovered_s(self, since_s: float) -> float | None:
        """From a moment until every partition that had work then has moved; None if some have not."""
        later = [pulse for pulse in self.pulses if pulse.at_s >= since_s]
        if not later:
            return None
        first = later[0]
        waiting = {place for place, behind in first.behind.items() if behind}
        for pulse in later:
            waiting -= {p for p in waiting if pulse.committed.get(p, 0) > first.committed.get(p, 0)}
            if not waiting:
                return pulse.at_s - since_s
        return None

    def longest_stand_s(self) -> float:
        """Longest stretch in which there was work and no position of the group moved, declared pauses left out."""
        longest, began, before = 0.0, None, None
        for pulse in self.pulses:
            paused = any(start <= pulse.at_s <= end for start, end in self.pauses)
            if paused or not sum(pulse.behind.values()) or pulse.committed != before or began is None:
                began = pulse.at_s
            longest, before = max(longest, pulse.at_s - began), pulse.committed
        return longest


def look(broker: Broker, group: str, book: Book) -> Pulse:
    ends = book.ends()
    committed = broker.committed(group, ends) if ends else {}
    behind = {place: max(0, end - committed.get(place, 0)) for place, end in ends.items()}
    return Pulse(at_s=time.monotonic(), behind=behind, committed=committed)
