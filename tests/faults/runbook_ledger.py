"""What was sent to the runbooks topic, what readers saw of it, and the laws that bind the two. No I/O.

Every edit and every deletion has a number of its own that only grows, and an edit's text says its number. So a reader
can tell which version it sees, and the laws can be checked at each reading:

- a path never shows a lower number than before, and never one that was not sent for it;
- a path that was seen deleted stays away until a later edit is sent;
- a path does not vanish without a deletion, or a topic that was made again.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

NEVER: Final = -1.0


class State(StrEnum):
    INTENT = "intent"  # written down before it is sent
    OK = "ok"  # acknowledged by all replicas
    UNKNOWN = "unknown"  # no answer: it may be in the topic or not


@dataclass(slots=True, kw_only=True)
class Sent:
    number: int
    path: str
    deletes: bool
    topic: int  # grows by one each time the topic is made again
    at_s: float
    state: State = State.INTENT
    coordinates: str = ""  # partition/offset
    served_s: float = NEVER  # first seen by the reader, it or a later one
    visible: bool = True  # False: made and deleted again while the path was away, so no reader can say when


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    law: str
    path: str
    at_s: float
    seen: str
    sent: str  # all that was sent for this path, oldest first


@dataclass(slots=True)
class _Seen:
    floor: int = 0  # the number that was shown last, or that of the deletion behind an absence
    shown: bool = False


@dataclass(slots=True)
class Ledger:
    """Written by the sender, read by the observer; both hold `lock`."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    topic: int = 1
    by_number: dict[int, Sent] = field(default_factory=dict)
    by_path: dict[str, list[Sent]] = field(default_factory=dict)
    made_again: list[int] = field(default_factory=list)  # numbers sent later are in a new topic

    def intend(self, path: str, *, deletes: bool, at_s: float) -> Sent:
        with self.lock:
            sent = Sent(number=len(self.by_number) + 1, path=path, deletes=deletes, topic=self.topic, at_s=at_s)
            self.by_number[sent.number] = sent
            self.by_path.setdefault(path, []).append(sent)
            return sent

    def new_topic(self) -> None:
        with self.lock:
            self.topic += 1
            self.made_again.append(len(self.by_number))

    def final(self) -> dict[str, set[int]]:
        """For each path the numbers that may be served in the end; 0 stands for none. More than one: unknown sends."""
        with self.lock:
            return {path: set(self._last(sends)) for path, sends in self.by_path.items()}

    def _last(self, sends: list[Sent]) -> Iterator[int]:
        for sent in reversed(sends):
            if sent.topic != self.topic:
                break
            yield 0 if sent.deletes else sent.number
            if sent.state is State.OK:
                return
        yield 0


@dataclass(slots=True)
class Observer:
    """Checks each reading against the ledger."""

    ledger: Ledger
    breaches: list[Breach] = field(default_factory=list)
    readings: int = 0
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def observe(self, numbers: Mapping[str, int], at_s: float) -> None:
        """`numbers`: what is served, by path."""
        self.readings += 1
        with self.ledger.lock:
            for path in numbers.keys() - self.ledger.by_path.keys():
                self._breach("never sent", path, numbers[path], at_s)
            for path, sends in self.ledger.by_path.items():
                seen = self._seen.setdefault(path, _Seen())
                self._look(path, numbers.get(path, 0), sends, seen, at_s)
                for sent in reversed(sends):
                    if sent.served_s != NEVER:
                        break
                    if sent.number <= seen.floor:
                        sent.served_s = at_s

    def _look(self, path: str, number: int, sends: list[Sent], seen: _Seen, at_s: float) -> None:
        if number:
            sent = self.ledger.by_number.get(number)
            if sent is None or sent.path != path or sent.deletes:
                self._breach("never sent", path, number, at_s)
            elif number < seen.floor:
                self._breach("went back" if seen.shown else "a deleted one returned", path, number, at_s)
            seen.floor, seen.shown = max(seen.floor, number), True
        elif seen.shown:
            gone = [sent.number for sent in sends if sent.deletes and sent.number > seen.floor]
            gone += [number for number in self.ledger.made_again if number >= seen.floor]
            if not gone:
                self._breach("vanished", path, number, at_s)
            seen.floor, seen.shown = min(gone, default=seen.floor), False
        elif sends[-1].deletes:
            for sent in reversed(sends):
                if sent.served_s != NEVER:
                    break
                sent.visible = False

    def _breach(self, law: str, path: str, number: int, at_s: float) -> None:
        sends = self.ledger.by_path.get(path, [])
        history = " ".join(f"{'-' if s.deletes else '+'}{s.number}({s.coordinates or s.state})" for s in sends)
        before = self._seen.get(path, _Seen())
        seen = f"{number or 'nothing'} after {'' if before.shown else 'absence since '}{before.floor}"
        self.breaches.append(Breach(law=law, path=path, at_s=at_s, seen=seen, sent=history))
