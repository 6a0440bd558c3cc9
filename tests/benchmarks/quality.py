"""Whether what we keep is found as well as every single line would be: the same questions to both indices.

Two kinds of question for each pattern: a line of it that was never sent, and a few of its words. Two kinds of search:
by vector, and by words. A hit counts when it holds a line of the pattern: ours shows the lines that it was made from.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from deploy.installation import Installation
from deploy.shop.wording import fill
from processors.embed import make_embedder
from processors.index import connect
from schemas import settings
from tests.benchmarks import corpus
from tests.benchmarks.corpus import Pattern
from tests.benchmarks.dialogue import Dialogue

HITS: Final = 10
LINES: Final = 3  # of each pattern, in the peer's index; ours has all that were sent
WORDS: Final = 4  # of a pattern, the longest
GOAL: Final = 0.99  # of the peer's


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Shares of the questions with a right hit among the first ten, by kind of question and search."""

    patterns: int
    ours: Mapping[str, float]
    theirs: Mapping[str, float]

    @property
    def ratio(self) -> float:
        return sum(self.ours.values()) / sum(self.theirs.values())


def questions(patterns: Sequence[Pattern]) -> dict[str, list[str]]:
    """By kind, one for each pattern."""
    rng = Random(f"{corpus.SEED}:questions")
    words = [sorted({*_words(pattern)}, key=lambda word: (-len(word), word))[:WORDS] for pattern in patterns]
    return {
        "line": [fill(pattern.sentence, rng) for pattern in patterns],
        "words": [" ".join(sorted(each)) for each in words],
    }


def _words(pattern: Pattern) -> list[str]:
    return [word for word in pattern.sentence.replace("\n", " ").split() if word.isalpha()]


def share(patterns: Sequence[Pattern], hits: Sequence[Sequence[str]]) -> float:
    """Of the questions, those with a hit in which a line of the pattern stands."""
    right = sum(any(p.said.search(text) for text in found) for p, found in zip(patterns, hits, strict=True))
    return round(right / len(patterns), 4)


def measure(installation: Installation, naive: Dialogue) -> Quality:
    """Asks both, when the peer has indexed a few lines of each pattern. Blocks for about 20 s."""
    patterns, rng = corpus.patterns(), Random(f"{corpus.SEED}:sample")
    naive.ask({"index": [fill(pattern.sentence, rng) for pattern in patterns for _ in range(LINES)]})
    ours, theirs = {}, {}
    with closing(_Ours(installation)) as index:
        for kind, asked in questions(patterns).items():
            answer = naive.ask({"queries": asked})
            vectors = index.embedder.embed(asked)
            theirs[f"{kind}, by vector"] = share(patterns, answer["near"])
            theirs[f"{kind}, by words"] = share(patterns, answer["words"])
            near = [{"knn": {"vector": {"vector": vector, "k": HITS}}} for vector in vectors]
            ours[f"{kind}, by vector"] = share(patterns, [index.hits(query) for query in near])
            ours[f"{kind}, by words"] = share(
                patterns, [index.hits({"match": {"search_text": question}}) for question in asked]
            )
    return Quality(patterns=len(patterns), ours=ours, theirs=theirs)


class _Ours:
    """The patterns, each with the lines that its occurrences show."""

    def __init__(self, installation: Installation) -> None:
        self.embedder = make_embedder(settings.Embedder())
        self._prefix = installation.name
        self._client = connect(settings.OpenSearch.model_validate({"url": installation.endpoints.opensearch}))
        self._lines: dict[str, list[str]] = {}
        for source in self._search("occurrences", {"size": 10_000, "_source": ["pattern_id", "exemplars"]}):
            self._lines.setdefault(source["pattern_id"], []).extend(each["text"] for each in source["exemplars"])

    def close(self) -> None:
        self._client.close()

    def hits(self, query: Mapping[str, Any]) -> list[str]:
        found = self._search("patterns", {"size": HITS, "query": query, "_source": ["pattern_id"]})
        return [line for source in found for line in self._lines.get(source["pattern_id"], ())]

    def _search(self, kind: str, body: Mapping[str, Any]) -> list[Any]:
        path, options = f"/{self._prefix}-{kind}-*/_search", {"search_pipeline": "_none"}
        found = self._client.transport.perform_request("POST", path, params=options, body=body)
        return [hit["_source"] for hit in found["hits"]["hits"]]
