"""Vectors of runbook sections as the rows of one matrix: ten thousand are compared in a few milliseconds."""

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DIGITS: Final = 6  # of a cosine: beyond them float32 and the order of summation decide, not the meaning


@dataclass(frozen=True, slots=True)
class Meanings:
    """Never changed, only replaced: a question may be comparing with it."""

    rows: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    places: Mapping[str, int] = field(default_factory=dict)  # id -> row, in the order of the rows

    def __contains__(self, identity: object) -> bool:
        return identity in self.places

    def joined(self, vectors: Mapping[str, Sequence[float]]) -> "Meanings":
        """With these ones too, which must be of one length."""
        if not vectors:
            return self
        kept = self.without(vectors)
        more = np.asarray(list(vectors.values()), dtype=np.float32)
        rows = np.concatenate((kept.rows, more)) if kept.places else more
        return Meanings(rows, {identity: row for row, identity in enumerate((*kept.places, *vectors))})

    def without(self, gone: Container[str]) -> "Meanings":
        left = [identity for identity in self.places if identity not in gone]
        if len(left) == len(self.places):
            return self
        rows = self.rows[[self.places[identity] for identity in left]]
        return Meanings(rows, {identity: row for row, identity in enumerate(left)})

    def closest(self, vector: Sequence[float], hidden: Collection[str], count: int) -> list[str]:
        """Ids by cosine, the nearest first and equally near ones by id; vectors are of length 1."""
        if not self.places:
            return []
        near = np.round(self.rows @ np.asarray(vector, dtype=np.float32), DIGITS)
        return best(near, self.places, hidden, count)


def best(scores: NDArray[Any], places: Mapping[str, int], hidden: Collection[str], count: int) -> list[str]:
    """Ids by score, equal ones by id; `places` in the order of the scores. Those of minus infinity are left out.

    `scores` is changed.
    """
    scores[[row for identity in hidden if (row := places.get(identity)) is not None]] = -np.inf
    worst = np.partition(scores, -count)[-count] if count < len(scores) else -np.inf
    identities = list(places)
    good = [(-scores[row], identities[row]) for row in np.flatnonzero((scores >= worst) & (scores > -np.inf))]
    return [identity for _, identity in sorted(good)[:count]]
