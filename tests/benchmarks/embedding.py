"""New patterns into vectors: ours against `SentenceTransformer.encode` as it comes, in one process, alternated.

The texts are templates of the labelled systems, and more of them with words exchanged; no text comes twice. Both sides
have one thread on one core. Ours gets batches as a worker makes them, theirs gets each text by itself (what a pipeline
does that embeds every line) and the whole batch at once, which it sorts by length.

A question is embedded by itself: with nothing beside it, and while another thread embeds batches without pause.
"""

import csv
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from statistics import fmean, median, quantiles
from typing import Any, Final

from rich.table import Table

from deploy.shop.noise import noise_logs
from deploy.shop.topology import HOME, build_estate
from processors.embed import PACKAGED_MODEL, Embedder, SentenceTransformerEmbedder, _model_folder
from processors.template import template
from processors.vectors import BATCH
from schemas import settings
from tests.benchmarks.bench import Bench, Summary

SEED: Final = 7
ROUNDS: Final = 7
BY_LINE: Final = 48  # texts of a round that theirs is given one by one
QUESTIONS: Final = 400
THREADS: Final = 1
SORTED_GOAL, LINE_GOAL, COSINE_GOAL, QUERY_GOAL_MS = 3.0, 5.0, 0.99, 10.0
LOGS: Final = Path("../shared/data/logs/loghub")
ASKED: Final = (
    "why is {} failing",
    "is {} slow, and since when",
    "{} connection refused",
    "what changed before {} began to answer with errors at half past ten",
    "pods of {} restart",
    "{} and {}: which of the two is the cause of the timeouts that customers see in the shop",
)


def texts(count: int, random: Random) -> list[str]:
    """Different templates: those of the systems first, then with words of others in their place; shuffled."""
    found = sorted({template(line) for line in _lines()})
    words = sorted({word for text in found for word in text.split() if word.isalpha() and len(word) > 3})
    made = dict.fromkeys(found)
    while len(made) < count:
        parts = [
            random.choice(words) if part.isalpha() and random.random() < 0.25 else part
            for part in random.choice(found).split()
        ]
        made[" ".join(parts)] = None
    kept = list(made)[:count]
    random.shuffle(kept)
    return kept


def _lines() -> Iterator[str]:
    """Those of the labelled systems; without them, the shop's."""
    files = sorted(LOGS.glob("*/*_structured_corrected.csv"))
    for file in files:
        with file.open(newline="") as stream:
            yield from (row["Content"] for row in csv.DictReader(stream))
    if not files:
        estate = build_estate((HOME,), seed=SEED)
        yield from (log.text for log in islice(noise_logs(estate, seed=SEED, start_s=0.0, per_second=50.0), 20_000))


def run(bench: Bench) -> Summary:
    # Imported here: seconds that no other benchmark should wait for.
    import torch
    from sentence_transformers import SentenceTransformer

    random = Random(SEED)
    config = settings.Embedder(threads=THREADS)
    ours = SentenceTransformerEmbedder(config)
    ours.load()
    theirs = SentenceTransformer(str(_model_folder(PACKAGED_MODEL)), device="cpu", local_files_only=True)
    theirs.encode(["warm up"])
    torch.set_num_threads(THREADS)
    every = texts(ROUNDS * BATCH, random)
    bench.out.print(
        f"embedding: {ROUNDS} rounds of {BATCH} different templates, of the labelled systems as far as they go, then "
        f"with words exchanged; {THREADS} thread; bfloat16 instructions: {torch.cpu._is_avx512_bf16_supported()}"
    )
    rates: list[dict[str, float]] = []
    cosines: list[float] = []
    with _one_core():
        for start in range(0, len(every), BATCH):
            batch = every[start : start + BATCH]
            wanted, sorted_s = _timed(lambda batch=batch: theirs.encode(batch).tolist())
            vectors, ours_s = _timed(lambda batch=batch: ours.embed(batch))
            _, line_s = _timed(lambda batch=batch: [theirs.encode(text) for text in batch[:BY_LINE]])
            rates.append({"ours": BATCH / ours_s, "sorted": BATCH / sorted_s, "by line": BY_LINE / line_s})
            cosines += [sum(map(float.__mul__, *pair)) for pair in zip(vectors, wanted, strict=True)]
    alone, beside = _questions(ours, every, random)
    return _summary(bench, rates, cosines, alone, beside)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds it took."""
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


@contextmanager
def _one_core() -> Iterator[None]:
    """For the calling thread: the last of those it may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _questions(ours: Embedder, every: Sequence[str], random: Random) -> tuple[list[float], list[float]]:
    """Milliseconds for each question alone, and for each while another thread embeds."""
    names = sorted({pod.service.name for pod in build_estate((HOME,), seed=SEED).pods})
    asked = [random.choice(ASKED).format(*random.choices(names, k=2)) for _ in range(QUESTIONS)]
    stop = threading.Event()

    def embed_on() -> None:
        for start in range(0, 1 << 30, BATCH):
            ours.embed([every[(start + i) % len(every)] for i in range(BATCH)])
            if stop.is_set():
                return

    def ask() -> list[float]:
        return [1_000 * _timed(lambda text=text: ours.embed([text]))[1] for text in asked]

    alone = ask()
    busy = threading.Thread(target=embed_on)
    busy.start()
    try:
        return alone, ask()
    finally:
        stop.set()
        busy.join()


def _summary(
    bench: Bench, rates: Sequence[dict[str, float]], cosines: Sequence[float], alone: list[float], beside: list[float]
) -> Summary:
    ratios = {peer: sorted(rate["ours"] / rate[peer] for rate in rates) for peer in ("sorted", "by line")}
    p50, p95 = (quantiles(alone, n=100)[q - 1] for q in (50, 95))
    busy_p50, busy_p95 = (quantiles(beside, n=100)[q - 1] for q in (50, 95))
    table = Table("", "texts a second", "ours is faster by", "worst pair", "goal")
    table.add_row("ours", f"{median(rate['ours'] for rate in rates):,.0f}", "", "", "")
    for peer, goal in (("sorted", SORTED_GOAL), ("by line", LINE_GOAL)):
        faster = ratios[peer]
        rate = median(rate[peer] for rate in rates)
        table.add_row(f"encode, {peer}", f"{rate:,.0f}", f"{median(faster):.1f}", f"{faster[0]:.1f}", f"{goal:g}")
    bench.out.print(table)
    bench.out.print(f"cosine to float32: mean {fmean(cosines):.5f}, lowest {min(cosines):.5f}")
    bench.out.print(
        f"a question alone: p50 {p50:.1f} ms, p95 {p95:.1f} ms (goal {QUERY_GOAL_MS:g}); "
        f"beside batches without pause: p50 {busy_p50:.1f} ms, p95 {busy_p95:.1f} ms"
    )
    guards = {"cosine": fmean(cosines) >= COSINE_GOAL, "query_p95": p95 <= QUERY_GOAL_MS}
    figures: dict[str, Any] = {
        "ratio": round(median(ratios["sorted"]), 2),
        "worst": round(ratios["sorted"][0], 2),
        "ratio_by_line": round(median(ratios["by line"]), 2),
        "worst_by_line": round(ratios["by line"][0], 2),
        "texts_per_s": {name: round(median(rate[name] for rate in rates)) for name in rates[0]},
        "cosine": round(fmean(cosines), 5),
        "lowest_cosine": round(min(cosines), 5),
        "query_ms": {"p50": round(p50, 2), "p95": round(p95, 2), "busy_p50": round(busy_p50, 2),
                     "busy_p95": round(busy_p95, 2)},
    }  # fmt: skip
    ok = figures["ratio"] >= SORTED_GOAL and figures["ratio_by_line"] >= LINE_GOAL and all(guards.values())
    headline = (
        f"{figures['ratio']} times encode sorted (goal {SORTED_GOAL:g}), {figures['ratio_by_line']} times line by line "
        f"(goal {LINE_GOAL:g}), cosine {figures['cosine']}, question p95 {p95:.1f} ms"
    )
    return {"name": "embedding", "ok": ok, "headline": headline, **figures, "guards": guards}
