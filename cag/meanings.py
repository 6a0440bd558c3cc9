"""Vectors of runbook sections as the rows of one matrix: ten thousand are compared in a few milliseconds."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

DIGITS: Final = 6  # of a cosine: beyond them float32 and the order of summation decide, not the meaning
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """How near one vector is: to each section, to the nearest section of each runbook, to each runbook as a whole."""

    meanings: "Meanings"
    sections: Floats  # in the order of the matrix
    closest: Floats  # by block
    whole: Floats  # by block: cosine to the mean of its sections

    def of(self, owner: int) -> Floats:
        """The sections of one runbook, in their order."""
        block = self.meanings.blocks[owner]
        starts = self.meanings.starts
        return self.sections[starts[block] : starts[block + 1] if block + 1 < len(starts) else None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meanings:
    """One block of rows for each runbook. Never changed, only replaced: a question may be comparing with it."""

    rows: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    starts: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))  # of each block
    owners: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))  # the runbook's number
    lengths: Floats = field(default_factory=lambda: np.empty(0))  # of the sum of a block's vectors
    blocks: Mapping[int, int] = field(default_factory=dict)  # runbook's number -> block

    def __contains__(self, owner: object) -> bool:
        return owner in self.blocks

    def joined(self, vectors: Mapping[int, Sequence[Sequence[float]]]) -> "Meanings":
        """With these runbooks too: of each the vectors of its sections, in order and at least one."""
        if not vectors:
            return self
        kept = self.without(vectors)
        more = [np.asarray(each, dtype=np.float32) for each in vectors.values()]
        sizes = np.array([len(each) for each in more], dtype=np.intp)
        new = np.concatenate(more)
        starts = len(kept.rows) + np.cumsum(sizes) - sizes
        lengths = np.array([np.linalg.norm(each.sum(axis=0, dtype=np.float64)) for each in more])
        return _made(
            np.concatenate((kept.rows, new)) if len(kept.rows) else new,
            np.concatenate((kept.starts, starts)),
            np.concatenate((kept.owners, np.fromiter(vectors, dtype=np.intp))),
            np.concatenate((kept.lengths, lengths)),
        )

    def without(self, gone: Container[int]) -> "Meanings":
        stay = np.array([owner not in gone for owner in self.owners.tolist()], dtype=bool)
        if stay.all():
            return self
        sizes = self._sizes()
        starts = np.cumsum(sizes[stay]) - sizes[stay]
        return _made(self.rows[np.repeat(stay, sizes)], starts, self.owners[stay], self.lengths[stay])

    def near(self, vector: Sequence[float]) -> Near:
        """Of a vector of length 1; there must be something to compare with."""
        # Row by row: a tenth of the time of a matrix product, whose threads wait for each other on a busy machine.
        cosines = np.vecdot(self.rows, np.asarray(vector, dtype=np.float32))
        sections: Floats = cosines.astype(np.float64).round(DIGITS)
        whole = np.add.reduceat(sections, self.starts) / np.maximum(self.lengths, 1e-9)
        closest = np.maximum.reduceat(sections, self.starts)
        return Near(meanings=self, sections=sections, closest=closest, whole=whole)

    def _sizes(self) -> NDArray[np.intp]:
        return np.diff(self.starts, append=len(self.rows))


def _made(rows: NDArray[np.float32], starts: NDArray[np.intp], owners: NDArray[np.intp], lengths: Floats) -> Meanings:
    blocks = {owner: block for block, owner in enumerate(owners.tolist())}
    return Meanings(rows=rows, starts=starts, owners=owners, lengths=lengths, blocks=blocks)
