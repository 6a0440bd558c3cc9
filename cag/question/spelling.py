"""How the names of the index may be spelled: with blanks, in part, with a slip of the pen. Pure."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cag.question.ordinary import ordinary

Kind = Literal["cluster", "namespace", "workload", "node", "alert", "metric"]
Named = tuple[Kind, str]

FEW: Final = 3  # names that a part may stand for; more, and it is a word like any other
CLOSE: Final = 60  # names that a slip is compared with letter by letter
MOST_PARTS: Final = 12  # of a name
TYPED: Final = 64  # letters of the longest word that is looked at for slips

_NO_DIGITS: Final = re.compile(r"[^0-9]+")
_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_PARTS: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Names that exist in the index: only these are taken for entities."""

    clusters: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    workloads: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    alerts: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()

    def of(self, kind: Kind) -> frozenset[str]:
        return {
            "cluster": self.clusters, "namespace": self.namespaces, "workload": self.workloads, "node": self.nodes,
            "alert": self.alerts, "metric": self.metrics,
        }[kind]  # fmt: skip


class Parts(NamedTuple):
    each: tuple[str, ...]
    squashed: str
    ends: frozenset[int]  # where its parts end, in letters


@lru_cache(maxsize=20_000)  # of half a kilobyte or so
def parts_of(name: str) -> Parts:
    parts = tuple(part.lower() for part in _PARTS.split(name) if part)[:MOST_PARTS]
    return Parts(parts, squash(name), frozenset(accumulate(map(len, parts))))


@lru_cache(maxsize=20_000)  # of a kilobyte or so
def _runs(name: str) -> tuple[str, ...]:
    """Neighbouring parts of a name, but not all of them; single ones first."""
    parts = parts_of(name).each
    sizes = range(1, len(parts))
    return tuple("".join(parts[first : first + size]) for size in sizes for first in range(len(parts) - size + 1))


def unsaid(name: str, letters: str) -> tuple[str, ...] | None:
    """The parts of a name that are left beside two or more which are written; None if there are no two."""
    parts = parts_of(name).each
    for first in range(len(parts)):
        for last in range(first + 2, len(parts) + 1):
            if "".join(parts[first:last]) == letters:
                return parts[:first] + parts[last:]
    return None


def squash(text: str) -> str:
    return _PLAIN.sub("", text.lower())


class Index:
    """All spellings of a catalog's names; looking one up does not depend on how many there are."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.whole: dict[str, list[Named]] = {}
        self.runs: dict[str, list[Named]] = {}
        self._single: list[str] = []  # parts of names
        self.owners = {name.lower(): name for name in sorted(catalog.workloads)}
        kinds: tuple[Kind, ...] = ("cluster", "namespace", "node", "workload", "alert", "metric")
        for kind in kinds:
            for name in sorted(catalog.of(kind)):
                self._add(kind, name)
        self.nodes = {name.lower() for name in catalog.nodes} | {n.lower().split(".")[0] for n in catalog.nodes}
        self._workloads = sorted((parts_of(name).squashed, name) for name in catalog.workloads)
        self._slips: _Slips | None = None

    def _add(self, kind: Kind, name: str) -> None:
        parts, named = parts_of(name), (kind, name)
        spellings = {parts.squashed, squash(name.split(".")[0])} if kind == "node" else (parts.squashed,)
        for spelling in spellings:
            if (known := self.whole.get(spelling)) is None:
                self.whole[spelling] = [named]
            else:
                known.append(named)
        if kind in ("node", "cluster"):
            return
        runs = self.runs
        for place, run in enumerate(_runs(name)):
            if (known := runs.get(run)) is None:
                runs[run] = [named]
                if place < len(parts.each) and len(run) >= 5:
                    self._single.append(run)
            elif len(known) < 4 * FEW:
                known.append(named)

    def beginning(self, letters: str) -> list[str]:
        """Workloads whose name begins so; None of them if they are many."""
        at = bisect_left(self._workloads, (letters, ""))
        found = [name for squashed, name in self._workloads[at : at + FEW + 1] if squashed.startswith(letters)]
        return found if len(found) <= FEW else []

    def meant(self, letters: str) -> str | None:
        """The spelling that was meant by these letters, if one is nearest."""
        if self._slips is None:
            single = (run for run in self._single if not ordinary(run))
            self._slips = _Slips(dict.fromkeys([*self.whole, *single]))
        best = self._slips.nearest(letters)
        if len(best) > 1:  # what is a whole name goes before what is part of one
            best = [spelling for spelling in best if spelling in self.whole]
        return best[0] if len(best) == 1 else None


class _Slips:
    """Spellings by their digits, which nobody means to change: node-7 is no slip for node-3."""

    def __init__(self, spellings: Iterable[str]) -> None:
        grouped: dict[str, list[str]] = {}
        for spelling in spellings:
            if 5 <= len(spelling) <= TYPED:
                grouped.setdefault(_digits(spelling), []).append(spelling)
        self._groups = {
            digits: (
                names,
                np.array([len(name) for name in names], dtype=np.int16),
                np.array([_letters(name) for name in names], dtype=np.uint32),
            )
            for digits, names in grouped.items()
        }

    def nearest(self, letters: str) -> list[str]:
        """The closest spellings: one slip away, or two where nine letters or more are meant."""
        if len(letters) > TYPED:
            return []
        names, lengths, masks = self._groups.get(_digits(letters), _NONE)
        allowed = np.where(lengths >= 9, 2, 1)
        apart = np.bitwise_count(masks ^ np.uint32(_letters(letters)))  # a slip changes two kinds of letters at most
        rows = np.flatnonzero((np.abs(lengths - len(letters)) <= allowed) & (apart <= 2 * allowed))
        found: dict[int, list[str]] = {}
        for row in rows[np.argsort(apart[rows], kind="stable")][:CLOSE]:
            distance = slips(letters, names[row], int(allowed[row]))
            if distance <= allowed[row] and (distance < 2 or letters[0] == names[row][0]):
                found.setdefault(distance, []).append(names[row])
        return found[min(found)] if found and 0 not in found else []


_NONE: Final[tuple[list[str], NDArray[np.int16], NDArray[np.uint32]]] = (
    [], np.array([], dtype=np.int16), np.array([], dtype=np.uint32),
)  # fmt: skip


def _digits(text: str) -> str:
    return _NO_DIGITS.sub("", text)


@lru_cache(maxsize=100_000)
def _letters(text: str) -> int:
    mask = 0
    for letter in set(text):
        mask |= 1 << (ord(letter) - 97) if "a" <= letter <= "z" else 0
    return mask


def slips(one: str, two: str, most: int) -> int:
    """Damerau-Levenshtein distance (a pair is swapped once), or anything above `most`."""
    if abs(len(one) - len(two)) > most:
        return most + 1
    before, row = list[int](), list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        last, before, row = before, row, [i]
        for j, b in enumerate(two, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and b == one[i - 2]:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]


@lru_cache(maxsize=8)  # of some ten megabytes each, where there are ten thousand workloads
def index_of(catalog: Catalog) -> Index:
    return Index(catalog)
