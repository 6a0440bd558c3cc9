"""Whole retrieval (embedding the question, the searches, join, rank) beside the same searches one after another.

The index holds a hundred thousand patterns and ten million lines' worth of occurrences, and a worker goes on writing a
thousand lines a second into it. Ours is `cag.retrieval` as the API runs it. The peer is the plain way to write it: the
stock `encode` of sentence-transformers, then the same searches, each when the one before has answered. Both sides take
turns, question by question, and each asks at its own moment, so that neither finds the other's answers in a cache.

Recall is of the kNN search against an exact one over the same documents: a text counts as found when it scores as high
as the tenth best text does.
"""

import asyncio
import itertools
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import mean, median
from typing import Any, Final
from unittest.mock import patch
from zoneinfo import ZoneInfo

from rich.table import Table

from cag import queries
from cag.question.plan import plan
from cag.reads import IndexReader
from cag.retrieval import Retrieval, Stopwatch
from cag.scope import in_scope
from deploy.installation import Installation
from deploy.shop.delivery import paced, publish
from processors.embed import PACKAGED_MODEL, _model_folder, make_embedder
from processors.index import OpenSearchIndex
from processors.pipeline import Pipeline
from processors.sink import Sink, open_index
from schemas.context import Plan, Scope, Turn
from schemas.documents import Target, day_of
from schemas.errors import StartupError
from schemas.settings import Settings
from tests.benchmarks import corpus, said
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.freshness import at
from tests.benchmarks.reads import Reads

QUESTIONS: Final = 200
SCOPED: Final = 60  # more, asked by who may see one namespace in a hundred
JUDGED: Final = 40  # of the questions, for recall
WARM_UP: Final = 20
PER_SECOND: Final = 1_000.0  # lines while questions are asked, of the reference load
BLOCK_S: Final = 10.0  # drawn at a time
EVIDENCE: Final = 12
GOAL_MS, GOAL_RATIO, GOAL_RECALL, GOAL_SEGMENTS = 60.0, 2.0, 0.98, 15
MERGED_S: Final = 120.0  # how long to wait for merges of what was written in one go
BEST: Final = 10


class OneAfterAnother(IndexReader):
    """Never two searches at once."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings.opensearch)
        self._turn = asyncio.Lock()

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._turn:
            return await super().search(index, body)


@dataclass(slots=True)
class Sides:
    """Milliseconds of whole retrieval on both sides, question by question; stages are ours."""

    ours: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def ratios(self) -> list[float]:
        return [peer / ours for ours, peer in zip(self.ours, self.peer, strict=True)]

    def figures(self) -> dict[str, Any]:
        ours, peer = sorted(self.ours), sorted(self.peer)
        return {
            **{f"p{share}_ms": at(ours, share / 100) for share in (50, 95, 99)},
            **{f"peer_p{share}_ms": at(peer, share / 100) for share in (50, 95, 99)},
            "ratio": round(median(self.ratios), 2),
            "worst": round(min(self.ratios), 2),
            "stages_p50_ms": {name: round(median(each), 1) for name, each in self.stages.items()},
        }


class Asker:
    """Asks both sides. Loads both models."""

    def __init__(self, settings: Settings, index: OpenSearchIndex) -> None:
        # Imported here because it takes seconds, and most benchmarks do without.
        from sentence_transformers import SentenceTransformer

        self._settings, self._names = settings, index.names
        self.embedder = make_embedder(settings.embedder)
        self.embedder.load()
        folder = str(_model_folder(PACKAGED_MODEL))
        self._stock = SentenceTransformer(folder, device="cpu", local_files_only=True)
        self._readers = IndexReader(settings.opensearch), OneAfterAnother(settings)
        self._ours, self._peer = (Retrieval(reader, index.names) for reader in self._readers)

    async def close(self) -> None:
        for reader in self._readers:
            await reader.close()

    async def ask(self, questions: Sequence[str], scopes: Sequence[Scope]) -> Sides:
        sides = Sides()
        for number, (question, scope) in enumerate(zip(questions, scopes, strict=True)):
            for ours in (True, False) if number % 2 else (False, True):
                (sides.ours if ours else sides.peer).append(await self._once(question, scope, sides, ours=ours))
        return sides

    async def warm(self) -> None:
        """Read the names that exist; the assistant remembers them for some seconds."""
        self._catalog = await self._ours.catalog(Scope(), 0)
        await self.ask(said.questions(WARM_UP, seed=1), [Scope()] * WARM_UP)

    def plan(self, question: str) -> Plan:
        turns, window = [Turn(role="user", content=question)], timedelta(seconds=self._settings.api.default_window_s)
        return plan(turns, now=datetime.now(UTC), catalog=self._catalog, default_window=window, zone=ZoneInfo("UTC"))

    async def _once(self, question: str, scope: Scope, sides: Sides, *, ours: bool) -> float:
        asked, catalog, watch = self.plan(question), self._catalog, Stopwatch()
        began = time.perf_counter()
        if ours:
            embedding = asyncio.create_task(asyncio.to_thread(self._embed, asked.search_text, watch))
            await self._ours.evidence(asked, scope, self._names, embedding, catalog, EVIDENCE, watch)
            for stage, ms in watch.timings_ms.items():
                sides.stages[stage].append(ms)
        else:
            vector = self._stock.encode(asked.search_text, show_progress_bar=False).tolist()
            await self._peer.evidence(asked, scope, self._names, known(vector), catalog, EVIDENCE, watch)
        return (time.perf_counter() - began) * 1000

    def _embed(self, text: str, watch: Stopwatch) -> list[float]:
        with watch.beside("embed"):
            return self.embedder.embed([text])[0]


async def known(vector: list[float]) -> list[float]:
    return vector


def recall(index: OpenSearchIndex, asked: Plan, scope: Scope, vector: list[float]) -> float:
    """Of the best texts by an exact search over the same documents, how many score as high in the approximate one."""
    near = queries.by_meaning(asked, scope, vector)
    field_, space = {"field": "vector", "query_value": vector}, {"space_type": "innerproduct"}
    every = {"bool": {"filter": [{"exists": {"field": "vector"}}, *in_scope(scope), *queries.named(asked)]}}
    exact = {"script": {"source": "knn_score", "lang": "knn", "params": {**field_, **space}}, "query": every}
    approximate, best = (_scores(index, {**near, **more}) for more in ({}, {"query": {"script_score": exact}}))
    return sum(score >= min(best) - 1e-4 for score in approximate) / len(best) if best else 1.0


def _scores(index: OpenSearchIndex, body: dict[str, Any]) -> list[float]:
    """Of the best different texts."""
    path = f"/{index.names.pattern('patterns')}/_search?search_pipeline=_none"
    hits = index.request("POST", path, {**body, "docvalue_fields": ["template_hash"]})["hits"]["hits"]
    by_text = {hit["fields"]["template_hash"][0]: hit["_score"] for hit in reversed(hits)}
    return sorted(by_text.values(), reverse=True)[:BEST]


def segments(index: OpenSearchIndex) -> int:
    """Of the pattern index, those that are searched."""
    found = index.request("GET", f"/{index.names.pattern('patterns')}/_stats/segments")
    return int(found["_all"]["primaries"]["segments"]["count"])


def build(bench: Bench, settings: Settings, index: OpenSearchIndex) -> said.Filled:
    """Everything but what the worker adds; refreshed once it is all there, and merged as the index's policy has it."""
    patterns, now_ms = said.patterns(bench.lines), int(time.time() * 1000)
    texts = said.texts(patterns[-1].text + 1)
    embedder = make_embedder(settings.embedder)
    vectors = said.vectors(texts, embedder, bench.cache)
    days = {day_of(now_ms - said.SPAN_MS), day_of(now_ms)}
    index.ensure_days([Target(kind, day, "") for kind in ("patterns", "occurrences") for day in days])
    seldom = f"{index.names.pattern('patterns')},{index.names.pattern('occurrences')}"
    index.request("PUT", f"/{seldom}/_settings", {"index": {"refresh_interval": "30s"}})
    filled = said.fill(
        index, Pipeline.from_settings(settings), patterns, texts, vectors,
        occurrences=3 * bench.lines, lines=100 * bench.lines, end_ms=now_ms,
    )  # fmt: skip
    often = f"{round(settings.opensearch.refresh_interval_s * 1000)}ms"
    index.request("PUT", f"/{seldom}/_settings", {"index": {"refresh_interval": often}})
    index.request("POST", f"/{seldom}/_refresh")
    deadline = time.monotonic() + MERGED_S
    while time.monotonic() < deadline and merging(index, seldom):
        time.sleep(1)
    return filled


def merging(index: OpenSearchIndex, names: str) -> bool:
    found = index.request("GET", f"/{names}/_stats/merge")
    return bool(found["_all"]["primaries"]["merges"]["current"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    all: Sides
    scoped: Sides
    recall: float
    scoped_recall: float
    lines_per_s: float
    segments: Sequence[int]  # before, between and after the questions


async def measure(settings: Settings, index: OpenSearchIndex, reads: Reads) -> Measured:
    """Ask everything; lines are being written meanwhile."""
    asker = Asker(settings, index)
    every = said.questions(QUESTIONS + SCOPED)  # none twice: a vector is remembered by its text
    questions, others = every[:QUESTIONS], every[QUESTIONS:]
    mine = [Scope(namespaces=(said.namespace(number % said.NAMESPACES),)) for number in range(SCOPED)]
    await asker.warm()
    counted, began, seen = reads.counted(), time.monotonic(), [segments(index)]
    everywhere = await asker.ask(questions, [Scope()] * len(questions))
    seen.append(segments(index))
    scoped = await asker.ask(others, mine)
    seen.append(segments(index))
    rate = (reads.counted() - counted) / (time.monotonic() - began)
    found = []
    for scopes in ([Scope()] * JUDGED, mine):
        pairs = zip(questions[:JUDGED], scopes, strict=False)
        made = [recall(index, asker.plan(q), scope, asker.embedder.embed([q])[0]) for q, scope in pairs]
        found.append(round(mean(made), 4))
    await asker.close()
    return Measured(
        all=everywhere, scoped=scoped, recall=found[0], scoped_recall=found[1], lines_per_s=round(rate), segments=seen
    )


@contextmanager
def feeding(installation: Installation) -> Iterator[None]:
    """The reference load in real time, from a process of its own."""
    spawned = multiprocessing.get_context("spawn")
    feeder = spawned.Process(target=_feed, args=(installation.endpoints.kafka, installation.topics), daemon=True)
    feeder.start()
    try:
        yield
        if not feeder.is_alive():
            raise StartupError("the process that sends lines has ended early")
    finally:
        feeder.terminate()
        feeder.join()


def _feed(bootstrap: str, topics: Mapping[str, str]) -> None:
    for draw in itertools.count():
        end_s, count = time.time() + BLOCK_S, int(BLOCK_S * PER_SECOND)
        messages = corpus.by_the_hundred(count, end_s, keyed=True, draw=draw, per_second=PER_SECOND)
        due = paced(messages, lambda message: message.timestamp_ms / 1000, clock=time.time)
        publish(due, bootstrap, topics=topics)


def run(bench: Bench) -> Summary:
    with bench.installed("retrieval", 4) as installation, patch.dict(os.environ, installation.environment):
        settings = Settings.load()
        sink = Sink.from_settings(settings)
        sink.prepare()
        index = open_index(settings, sink.label)
        filled = build(bench, settings, index)
        bench.out.print(
            f"retrieval: {filled.patterns:,} patterns, {filled.occurrences:,} occurrences of {filled.lines:,} lines in "
            f"{said.SPAN_MS // 3_600_000} hours, {QUESTIONS} questions, {PER_SECOND:,.0f} lines/s meanwhile, one node"
        )
        with closing(Reads(installation)) as reads, feeding(installation):
            installation.start_worker()
            installation.wait(lambda: reads.counted() > filled.lines + 10 * PER_SECOND, "the worker", "worker-1", 120)
            measured = asyncio.run(measure(settings, index, reads))
    return summed(bench, filled, measured)


def summed(bench: Bench, filled: said.Filled, measured: Measured) -> Summary:
    every, scoped = measured.all.figures(), measured.scoped.figures()
    table = Table("", "p50", "p95", "p99", "one after another p50", "p95", "ratio", "worst", "recall@10")
    for name, f, share in (("all", every, measured.recall), ("1 % in scope", scoped, measured.scoped_recall)):
        ms = (f"{f[key]:.0f} ms" for key in ("p50_ms", "p95_ms", "p99_ms", "peer_p50_ms", "peer_p95_ms"))
        table.add_row(name, *ms, f"{f['ratio']:.1f}", f"{f['worst']:.1f}", f"{share:.3f}")
    bench.out.print(table)
    bench.out.print(f"median of each stage, ms: {every['stages_p50_ms']}; segments of patterns: {measured.segments}")
    guards = {
        "recall": min(measured.recall, measured.scoped_recall) >= GOAL_RECALL,
        "few_segments": max(measured.segments) <= GOAL_SEGMENTS,
        "ingest_ran": measured.lines_per_s >= 0.9 * PER_SECOND,
    }
    fast = max(every["p95_ms"], scoped["p95_ms"]) <= GOAL_MS and every["ratio"] >= GOAL_RATIO
    headline = (
        f"p95 {every['p95_ms']:.0f} ms (goal {GOAL_MS:.0f}), {every['ratio']:.1f}x one after another (goal "
        f"{GOAL_RATIO:.0f}x), recall {measured.recall:.3f}"
    )
    return {
        "name": "retrieval", "ok": fast and all(guards.values()), "headline": headline,
        "ratio": every["ratio"], "worst": every["worst"], "all": every, "scoped": scoped, "recall": measured.recall,
        "scoped_recall": measured.scoped_recall, "lines_per_s": measured.lines_per_s, "segments": measured.segments,
        "patterns": filled.patterns, "occurrences": filled.occurrences, "lines": filled.lines, "guards": guards,
    }  # fmt: skip
