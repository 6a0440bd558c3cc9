"""Which runbook belongs to an alert, by what its rule says, and again with its name: ours against three rankings.

The peers rank whole documents: BM25 (the usual constants, plain words), MiniLM, and the fusion of both by rank. All see
the same texts in the same run. Relevance is by path; of ours, the sections are what is ranked, as `/v1/context` does.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from cag.library import Library, to_embed
from cag.runbooks import compile_runbook
from processors.embed import Embedder, make_embedder
from schemas import settings
from schemas.context import Plan, Scope, Span
from schemas.errors import StartupError
from schemas.runbooks import Corpus
from tests.benchmarks.bench import Bench, Summary

DATA: Final = Path(__file__).parents[3] / "shared" / "data" / "runbooks"
FIRST: Final = 10
K1, B, RANK_CONSTANT = 1.2, 0.75, 60
Scores = NDArray[np.float64]  # question x document
# What others measured of the three over the same pairs (MEASURES.md, row 11), with their own way of reading the texts.
STATED: Final = {"BM25": (0.929, 0.862), "MiniLM": (0.896, 0.789), "rank fusion": (0.951, 0.901)}
NOW: Final = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)


def run(bench: Bench) -> Summary:
    """Blocks for half a minute, most of it for loading the model."""
    texts, pairs = read(DATA)
    embedder = make_embedder(settings.Embedder())
    library = learned(texts, embedder)
    table = Table("alert to runbook", "nDCG@10", "recall@1", title=f"{len(pairs)} alerts, {len(texts)} runbooks")
    figures: dict[str, tuple[float, float]] = {}
    for named in (False, True):
        questions = [f"{alert} {said}" if named else said for alert, said, _ in pairs]
        right = [list(texts).index(path) for _, _, path in pairs]
        ranks = {
            name: _ranks(scores, right) for name, scores in peers(list(texts.values()), questions, embedder).items()
        }
        ranks["freshet"] = [rank(library, q, path, embedder) for q, (_, _, path) in zip(questions, pairs, strict=True)]
        for name, each in ranks.items():
            label = f"{name}, with its name" if named else name
            figures[label] = ndcg(each), sum(r == 1 for r in each) / len(each)
            table.add_row(label, *(f"{figure:.3f}" for figure in figures[label]))
    bench.out.print(table)
    ours = figures["freshet"]
    ok = all(ours[n] > max(figures[peer][n], STATED[peer][n]) for peer in STATED for n in (0, 1))
    best = max(*STATED.values(), *(figures[peer] for peer in STATED))
    return {
        "name": "runbooks",
        "ok": ok,
        "headline": f"nDCG@10 {ours[0]:.3f}, recall@1 {ours[1]:.3f} (the best of three: {best[0]:.3f}, {best[1]:.3f})",
        "pairs": len(pairs),
        "figures": {name: {"ndcg@10": round(n, 4), "recall@1": round(r, 4)} for name, (n, r) in figures.items()},
    }


def read(folder: Path) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """Texts by path; of each pair the alert, what its rule says, and the path of its runbook. Raises StartupError."""
    if not folder.is_dir():
        raise StartupError(f"no labelled pairs at {folder}: this benchmark needs the shared data beside the project")
    corpus = folder / "corpus"
    texts = {str(file.relative_to(corpus)): file.read_text() for file in sorted(corpus.rglob("*.md"))}
    lines = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    return texts, [(line["alert"], line["query"], line["expected"][0]) for line in lines]


def learned(texts: Mapping[str, str], embedder: Embedder) -> Library:
    """A library of these Markdown texts with all its vectors."""
    runbooks = tuple(compile_runbook(path, text) for path, text in texts.items())
    library = Library.of(Corpus(version="1", runbooks=runbooks))
    new = library.without_vector(10**9)
    library.learn(new, embedder.embed([to_embed(entry) for entries in new for entry in entries]))
    return library


def asked(question: str) -> Plan:
    """The plan of a question that names nothing which the index knows."""
    return Plan(question=question, search_text=question, span=Span(start=NOW, end=NOW))


def rank(library: Library, question: str, path: str, embedder: Embedder) -> int:
    """Place of the first section of the right runbook, from 1; 0: not among the first ten."""
    [vector] = embedder.embed([question])
    found = library.find(asked(question), (), Scope(), vector, FIRST)
    return next((place for place, piece in enumerate(found, 1) if piece.entity == f"runbook/{path}"), 0)


def ndcg(ranks: Sequence[int]) -> float:
    """At ten, of questions with one right document each."""
    return sum(1 / math.log2(r + 1) for r in ranks if 0 < r <= FIRST) / len(ranks)


def peers(texts: Sequence[str], questions: Sequence[str], embedder: Embedder) -> dict[str, Scores]:
    words = bm25([_plain(text) for text in texts], [_plain(question) for question in questions])
    meaning = np.asarray(embedder.embed(questions)) @ np.asarray(embedder.embed(texts)).T
    fused = sum(1 / (RANK_CONSTANT + 1 + _places(scores)) for scores in (words, meaning))
    return {"BM25": words, "MiniLM": meaning, "rank fusion": np.asarray(fused)}


def bm25(texts: Sequence[Sequence[str]], questions: Sequence[Sequence[str]]) -> Scores:
    counts = [Counter(text) for text in texts]
    holding = Counter(word for each in counts for word in each)
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    norms = K1 * (1 - B + B * lengths / lengths.mean())
    scores = np.zeros((len(questions), len(texts)))
    for row, question in enumerate(questions):
        for word in dict.fromkeys(question):
            often = np.array([each[word] for each in counts], dtype=np.float64)
            rarity = math.log(1 + (len(texts) - holding[word] + 0.5) / (holding[word] + 0.5))
            scores[row] += rarity * often * (K1 + 1) / (often + norms)
    return scores


def _plain(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _places(scores: Scores) -> Scores:
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(scores.shape[1])[None, :], axis=1)
    return places.astype(np.float64)


def _ranks(scores: Scores, right: Sequence[int]) -> list[int]:
    return [int(places[path]) + 1 for places, path in zip(_places(scores), right, strict=True)]
