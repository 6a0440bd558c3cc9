"""A piece of evidence taken apart, each part when it is first needed, and looking things up in it. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

from cag.verification import amounts, stated_times
from cag.verification.amounts import Amount
from cag.verification.wording import STANDS_IN, normal, squeezed, stems
from schemas.context import Evidence

LEAST_QUOTE: Final = 12  # squeezed characters of a quote from which white space may differ
LEAST_NAME: Final = 8  # squeezed characters of a name that may be spelled with other gaps
_LEFT_OUT: Final = re.compile(r"\[?\.{3}\]?|\(link removed\)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the asker is."""

    zone: ZoneInfo
    offset_s: int


class Piece:
    """What one piece says. `said` is in lower case, its fields separated by lines."""

    def __init__(
        self, text: str, place: Place, *, moments: Sequence[datetime] = (), count: int = 0, guide: bool = False
    ) -> None:
        self._text = normal(text)
        self._place = place
        self.when = moments
        self.said = self._text.lower()
        self.counts = (count,) if count else ()
        self.guide = guide
        self.lasting_s = (moments[1] - moments[0]).total_seconds() if moments else 0.0

    @classmethod
    def of(cls, evidence: Evidence, place: Place) -> "Piece":
        where = (evidence.title, evidence.entity, evidence.workload, evidence.namespace, evidence.cluster)
        moments = (evidence.first, evidence.last) if evidence.first and evidence.last else ()
        return cls(
            "\n".join((evidence.text, *where, evidence.kind, evidence.severity, evidence.url)),
            place,
            moments=moments,
            count=evidence.count,
            guide=evidence.kind == "runbook",
        )

    @cached_property
    def squeezed(self) -> str:
        return squeezed(self.said)

    @cached_property
    def stems(self) -> frozenset[str]:
        return stems(self._text)

    @cached_property
    def moments(self) -> stated_times.Known:
        """When it began and ended."""
        known = stated_times.Known(self._place.zone, self._place.offset_s)
        for moment in self.when:
            known.add(moment)
        return known

    @cached_property
    def written(self) -> stated_times.Known:
        """Times in its text."""
        known = stated_times.Known(self._place.zone, self._place.offset_s)
        known.add_text(self._text)
        return known

    @cached_property
    def numbers(self) -> tuple[Amount, ...]:
        return tuple(amounts.amounts(amounts.in_digits(stated_times.without(self._text))))


def spelled(stated: Amount, pieces: Sequence[Piece]) -> bool:
    """Whether a number stands in the evidence just as it was stated, unit included; a quick look."""
    said = stated.said.lower()
    for piece in pieces:
        at = piece.said.find(said)
        while at >= 0:
            around = piece.said[max(at - 1, 0) : at] + piece.said[at + len(said) : at + len(said) + 1]
            if not any(c.isalnum() or c in "-._:" for c in around):
                return True
            at = piece.said.find(said, at + 1)
    return False


def holds_any(pieces: Sequence[Piece], name: str) -> bool:
    return any(_holds(piece.said, name) for piece in pieces)


def known_name(token: str, pieces: Sequence[Piece]) -> bool:
    """Whether a name stands in the evidence, or what it is another word for."""
    lowered = token.lower()
    if holds_any(pieces, lowered):
        return True
    if lowered.endswith("s") and holds_any(pieces, lowered[:-1]):
        return True
    if stand_in := STANDS_IN.get(lowered):
        return any(stand_in.search(piece.said) for piece in pieces)
    close = squeezed(lowered)
    return len(close) >= LEAST_NAME and close.isalpha() and any(close in piece.squeezed for piece in pieces)


def said_in(quote: str, pieces: Sequence[Piece]) -> bool:
    """Whether one piece has all parts of a quote."""
    parts = [part.strip(" .,;:!?") for part in _LEFT_OUT.split(quote.lower())]
    parts = [" ".join(part.split()) for part in parts if part]
    if any(all(_holds(piece.said, part) for part in parts) for piece in pieces):
        return True
    close = [squeezed(part) for part in parts]
    if any(len(part) < LEAST_QUOTE for part in close):
        return not parts
    return any(all(part in piece.squeezed for part in close) for piece in pieces)


def _holds(said: str, name: str) -> bool:
    """Whether a name stands in a text by itself or as a part between punctuation."""
    at = said.find(name)
    while at >= 0:
        end = at + len(name)
        if not (at and said[at - 1].isalnum()) and not said[end : end + 1].isalnum():
            return True
        at = said.find(name, at + 1)
    return False
