"""Much to search: distinct texts made from words, who says each, how often, and questions about them.

Nothing is copied from real logs. Like there, some texts are said by one workload and some by forty, most lines are of
few patterns, and six patterns in a hundred are a warning or worse.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from rich.progress import track

from processors.embed import Embedder
from processors.fold import Fold, Slice, delta_of
from processors.index import OpenSearchIndex, Write
from processors.merge import join
from processors.pipeline import Pipeline
from processors.template import template
from schemas.errors import StartupError
from schemas.records import Coordinates, LogRecord, Resource

SEED: Final = 11
NAMESPACES: Final = 100
WORKLOADS: Final = 10  # in each
PODS: Final = 3  # of each
SAYERS: Final = (1, 1, 1, 1, 1, 1, 2, 2, 3, 6)  # workloads that say the same text; now and then forty
LOUD_TEXT: Final = 2_000  # every such text is said by forty
BANDS: Final = (9,) * 36 + (5,) * 11 + (13, 13, 17)  # severity numbers
BULK: Final = 1_000
SPAN_MS: Final = 3 * 3_600_000
TOPIC: Final = ("bench", "benchbenchbenchbenchbe")

_PARTS: Final = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").split("\n\n")
_DOING, _THING, _STATE = _PARTS[0].split(), _PARTS[1].split(), _PARTS[2].splitlines()
_ASKED: Final = (
    "why is {workload} {doing} {thing}", "{thing} {thing2} {state}", "what is wrong in {namespace}",
    "{workload}: {thing} {doing} {state}", "who is {doing} the {thing} of the {thing2}", "is {thing} {thing2} healthy",
    "how do I fix {thing} {doing} {state}", "errors about {thing} in {namespace} in the last 2 hours",
    "did {workload} have trouble with the {thing} 40 minutes ago",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One pattern to be: a text by one workload."""

    text: int
    namespace: int
    workload: int
    severity: int

    def resource(self, pod: int, cluster: str) -> Resource:
        name = workload(self.namespace, self.workload)
        return Resource(
            cluster=cluster, namespace=namespace(self.namespace), workload=name, pod=f"{name}-{pod}",
            node=f"node-{(self.namespace * 7 + self.workload * 3 + pod) % 40}",
        )  # fmt: skip


def namespace(number: int) -> str:
    return f"{_THING[number * 2]}-team"


def workload(space: int, number: int) -> str:
    return f"{_THING[space * 2 + 1]}-{_DOING[(space + number * 13) % len(_DOING)]}"


def texts(count: int) -> list[str]:
    """Different ones, of four to twenty words; no word holds a digit, so each is its own template."""
    rng = Random(SEED)
    made: dict[str, None] = {}
    while len(made) < count:
        parts = [rng.choice(_DOING), rng.choice(_THING), rng.choice(_THING)]
        if rng.random() < 0.7:
            parts += ["of", rng.choice(_THING), rng.choice(_STATE)]
        if rng.random() < 0.4:
            parts += ["while", rng.choice(_DOING), "the", rng.choice(_THING), rng.choice(_THING), rng.choice(_STATE)]
        made[template(" ".join(parts))] = None
    return list(made)


def patterns(count: int) -> list[Said]:
    """`count` of them; the texts that they need are numbered from 0."""
    rng = Random(SEED)
    made: list[Said] = []
    text = 0
    while len(made) < count:
        places = range(NAMESPACES * WORKLOADS)
        for place in rng.sample(places, 40 if text % LOUD_TEXT == 0 else rng.choice(SAYERS)):
            made.append(
                Said(text=text, namespace=place // WORKLOADS, workload=place % WORKLOADS, severity=rng.choice(BANDS))
            )
        text += 1
    return made[:count]


def questions(count: int, seed: int = 0) -> list[str]:
    """All different, so that no answer is remembered from the one before."""
    rng, asked = Random(f"{SEED}:{seed}:questions"), dict[str, None]()
    while len(asked) < count:
        space = rng.randrange(NAMESPACES)
        asked[
            _ASKED[len(asked) % len(_ASKED)].format(
                workload=workload(space, rng.randrange(WORKLOADS)), namespace=namespace(space),
                doing=rng.choice(_DOING), thing=rng.choice(_THING), thing2=rng.choice(_THING), state=rng.choice(_STATE),
            )
        ] = None  # fmt: skip
    return list(asked)


def vectors(every: Sequence[str], embedder: Embedder, cache: Path) -> Any:
    """One row per text, as the embedder gives them; kept in the cache, since a hundred thousand take minutes."""
    named = hashlib.sha256("\n".join((embedder.identity, *every)).encode()).hexdigest()[:16]
    kept = cache.expanduser() / "bench-vectors" / f"{named}.npy"
    if not kept.is_file():
        rows = []
        for start in track(range(0, len(every), 512), f"embedding {len(every):,} texts, kept in {kept.parent}"):
            rows += embedder.embed(every[start : start + 512])
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".part.npy")
        np.save(partial, np.asarray(rows, dtype=np.float32))
        partial.rename(kept)
    return np.load(kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What was written."""

    patterns: int
    occurrences: int
    lines: int


def fill(
    index: OpenSearchIndex,
    pipeline: Pipeline,
    said: Sequence[Said],
    text_of: Sequence[str],
    vector_of: Any,
    *,
    occurrences: int,
    lines: int,
    end_ms: int,
) -> Filled:
    """Write every pattern once with its vector, and occurrences that count `lines` in all, over the last hours.

    Records go through the worker's own pipeline, one per occurrence; only the counts are then made larger.
    """
    rng, done = Random(SEED + 2), Filled(patterns=0, occurrences=0, lines=0)
    spoken = islice(_spoken(said, rng, end_ms), occurrences)
    seen: set[str] = set()
    for start in track(range(0, occurrences, BULK), f"writing {len(said):,} patterns, {occurrences:,} occurrences"):
        fold = Fold()
        rows = {}
        for offset, (number, pod, time_ms) in enumerate(islice(spoken, BULK), start):
            one = said[number]
            record = LogRecord(
                time_ms=time_ms, resource=one.resource(pod, "bench"), severity=one.severity, body=text_of[one.text]
            )
            pipeline.add(record, Coordinates(*TOPIC, 0, offset, 0), time_ms + 1_000, fold)
            rows[text_of[one.text]] = one.text
        more = max(lines - done.lines, 1) / (occurrences - start)  # lines in each occurrence that is left
        writes = []
        for target, fixed in fold.patterns.items():
            if target.id + target.day not in seen:
                seen.add(target.id + target.day)
                vector = vector_of[rows[fixed["template"]]].tolist()
                writes.append(Write(target=target, fixed={**fixed, "vector": vector}, delta=None))
                done = replace(done, patterns=done.patterns + 1)
        for change in fold:
            count = 1 if start < len(said) else 1 + int(rng.expovariate(1 / more))  # first every pattern once
            slices = {key: Slice(start + BULK, count) for key in change.spots}
            if change.target.kind == "occurrences" and change.target.id not in seen:
                seen.add(change.target.id)
                writes.append(
                    Write(target=change.target, fixed=join(change.fixed, delta_of(change, slices)), delta=None)
                )
                done = replace(done, occurrences=done.occurrences + 1, lines=done.lines + count)
        index.ensure_days([write.target for write in writes])
        outcomes = index.bulk(writes)
        if outcomes is None or any(outcome.status != 201 for outcome in outcomes):
            raise StartupError("OpenSearch did not take what the benchmark wrote")
    return done


def _spoken(said: Sequence[Said], rng: Random, end_ms: int) -> Iterator[tuple[int, int, int]]:
    """(pattern, pod, moment): each pattern once in any order, then the loud ones again and again."""
    for number in rng.sample(range(len(said)), len(said)):
        yield number, rng.randrange(PODS), end_ms - rng.randrange(SPAN_MS)
    loudest = rng.sample(range(len(said)), len(said))
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(said))))
    while True:
        number = loudest[rng.choices(range(len(said)), cum_weights=weights)[0]]
        yield number, rng.randrange(PODS), end_ms - rng.randrange(SPAN_MS)
