"""BM25 over texts in numbered rows, as arrays: a row is replaced without reading the others again. Pure."""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Scores = NDArray[np.float64]
_RUN: Final = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")  # what is written as one word
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[a-z0-9]+")
_LONGEST: Final = 60  # characters of a compound that is kept whole
_STOP: Final = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "by", "do", "does", "for", "from", "has", "have", "how", "i", "in",
    "is", "it", "my", "of", "on", "or", "our", "right", "now", "so", "that", "the", "this", "to", "was", "we",
    "what", "when", "where", "which", "why", "with",
})  # fmt: skip


def spaced(text: str) -> str:
    """`KubePodCrashLooping` as `Kube Pod Crash Looping`: as a model of language knows its words."""
    return _HUMP.sub(" ", text)


def words(text: str) -> tuple[str, ...]:
    """Lower-case stems without stop words; a compound gives its parts, and itself in one piece."""
    return tuple(word for run in _RUN.findall(text) for word in _parts(run))


@lru_cache(maxsize=50_000)
def _parts(run: str) -> tuple[str, ...]:
    parts = _WORD.findall(spaced(run).lower())
    whole = ["".join(parts)] if len(parts) > 1 and len(run) <= _LONGEST else []
    return tuple([_stem(part) for part in parts if part not in _STOP] + whole)


def _stem(word: str) -> str:
    """Enough of a stem to let plurals and -ing forms meet."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


@dataclass(frozen=True, slots=True, kw_only=True)
class WordIndex:
    """Never changed, only replaced: a question may be searching it.

    Okapi BM25: Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009.
    """

    k1: float
    b: float
    lengths: Scores = field(default_factory=lambda: np.zeros(0))  # in words, by row; 0: no text there
    postings: Mapping[str, tuple[Rows, Scores]] = field(default_factory=dict)  # word -> rows, and how often in each

    def replaced(
        self, gone: Mapping[int, Collection[str]], added: Mapping[int, Mapping[str, float]], rows: int
    ) -> "WordIndex":
        """Without the texts of some rows, whose words must be given, and with others; `rows`: how many there are."""
        lengths = np.zeros(rows)
        lengths[: len(self.lengths)] = self.lengths[:rows]
        lengths[[row for row in gone if row < rows]] = 0
        new: dict[str, dict[int, float]] = defaultdict(dict)
        for row, counts in added.items():
            lengths[row] = sum(counts.values())
            for word, count in counts.items():
                new[word][row] = count
        left = np.fromiter(gone, dtype=np.intp, count=len(gone))
        postings = dict(self.postings)
        for word in {word for each in gone.values() for word in each} | new.keys():
            at, often = postings.pop(word, (np.empty(0, dtype=np.intp), np.empty(0)))
            kept = ~np.isin(at, left) if len(left) else np.ones(len(at), dtype=bool)
            more = new.get(word, {})
            at = np.concatenate((at[kept], np.fromiter(more, dtype=np.intp, count=len(more))))
            if len(at):
                postings[word] = at, np.concatenate((often[kept], np.fromiter(more.values(), dtype=np.float64)))
        return WordIndex(k1=self.k1, b=self.b, lengths=lengths, postings=postings)

    def scores(self, query: Iterable[str]) -> Scores:
        """Of each row; 0 for those without any of these words."""
        scores = np.zeros(len(self.lengths))
        texts = np.count_nonzero(self.lengths)
        if not texts:
            return scores
        norms = self.k1 * (1 - self.b + self.b * self.lengths / (self.lengths.sum() / texts))
        for word, rarity in self.rarities(query).items():
            rows, counts = self.postings[word]
            scores[rows] += rarity * counts * (self.k1 + 1) / (counts + norms[rows])
        return scores

    def rarities(self, query: Iterable[str]) -> dict[str, float]:
        """Of the words that stand in some text: the weight of each by how few texts hold it."""
        texts = int(np.count_nonzero(self.lengths))
        holding = {word: len(self.postings[word][0]) for word in query if word in self.postings}
        return {word: math.log(1 + (texts - n + 0.5) / (n + 0.5)) for word, n in holding.items()}
