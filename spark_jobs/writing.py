"""The second half, on the executors: parts of changes become documents, letters go to Kafka, new texts get vectors."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from threading import Event, Timer
from typing import Any, Final

import orjson
import pyarrow as pa

from processors.embed import make_embedder
from processors.index import OpenSearchIndex
from processors.letters import LetterProducer
from processors.sink import open_index
from processors.writer import Stopped, Writer
from schemas.dead_letters import DeadLetter
from schemas.documents import Target
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.settings import Settings
from spark_jobs import messages
from spark_jobs.partials import folds, letters_of, parts_of

PATIENCE_S: Final = 600.0  # with a store that is away; then the job fails, and is started again
LETTERS_AT_ONCE: Final = 1_000
TEXTS_AT_ONCE: Final = 256
MOST_REFUSED: Final = 50_000  # documents, by one task
MOST_MISSING: Final = 10_000  # what one search may return; those beyond it are left to the workers' sweep

WRITTEN_SCHEMA: Final = "kind string, day string, id string, reason string, documents bigint"
NUMBER_SCHEMA: Final = "name string, number bigint"
REJECT_SCHEMA: Final = f"{messages.SPARK_SCHEMA}, rejects array<struct<index:int,reason:string,stage:string>>"
_REJECT: Final = [("index", pa.int32()), ("reason", pa.string()), ("stage", pa.string())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """Joins changes with the documents of `label`. A row for each fold, one for each document that is refused."""

    settings: Settings
    label: str

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        worker = self.settings.worker
        pen = Writer(
            open_index(self.settings, self.label), bulk_bytes=worker.bulk_bytes, cached_slices=worker.cached_slices
        )
        many = 0
        for fold in folds(parts_of(batches)):
            with patience() as stop:
                refused = pen.write(fold, stop)
            many += len(refused)
            if many > MOST_REFUSED:
                raise SinkMisconfigured(
                    f"OpenSearch refuses document after document ({refused[-1].reason}): not the records are wrong but "
                    "its mappings or limits. Mend them, then start again"
                )
            written = len(fold.changes) + len(fold.patterns)
            rows = [("", "", "", "", written), *((*_place(r.target), r.reason, 0) for r in refused)]
            yield _batch(rows, ("kind", "day", "id", "reason", "documents"))


def _place(target: Target) -> tuple[str, str, str]:
    return target.kind, target.day, target.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """Dead letters to Kafka, as a worker would send them."""

    settings: Settings
    label: str

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        producer = LetterProducer(self.settings.kafka, "spark", generation=self.label)
        waiting: list[DeadLetter] = []
        for part in parts_of(batches):
            waiting += letters_of(part.body)  # all of a message at once: they share its value when it is large
            if len(waiting) >= LETTERS_AT_ONCE:
                yield _sent(producer, waiting)
                waiting = []
        yield _sent(producer, waiting)


def _sent(producer: LetterProducer, letters: list[DeadLetter]) -> pa.RecordBatch:
    with patience() as stop:
        if letters:
            producer.deliver(letters, stop)
    return _batch([("letters", len(letters))], ("name", "number"))


def rejects(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Messages with their rejected records as rows, for a folder instead of Kafka."""
    for batch in batches:
        found = [list(letters_of(part.body)) for part in parts_of([batch])]
        rows = messages.batch_of(letters[0].message for letters in found)
        said = [[{"index": e.index, "reason": e.reason, "stage": e.stage} for e in letters] for letters in found]
        column = pa.array(said, pa.list_(pa.struct(_REJECT)))
        yield pa.RecordBatch.from_arrays([*rows.columns, column], names=[*rows.schema.names, "rejects"])


def texts(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The texts of patterns with their ids."""
    for batch in batches:
        rows = [(orjson.loads(part.body)["template"], part.id) for part in parts_of([batch])]
        yield _batch(rows, ("text", "id"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Vectors for those of these patterns that have none. Rows come sorted by text: each is embedded once."""

    settings: Settings
    label: str

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        index, embedder = open_index(self.settings, self.label), make_embedder(self.settings.embedder)
        ids = (each for batch in batches for each in batch.column("id").to_pylist())
        while some := list(islice(ids, TEXTS_AT_ONCE)):
            missing = _without_vector(index, some)
            wanted = sorted(set(missing.values()))
            vectors = dict(zip(wanted, embedder.embed(wanted), strict=True))
            if missing:
                index.set_vectors({target: vectors[text] for target, text in missing.items()})
            yield _batch([("patterns", len(missing))], ("name", "number"))
        yield _batch([("texts", embedder.model_texts)], ("name", "number"))


def _without_vector(index: OpenSearchIndex, ids: list[str]) -> dict[Target, str]:
    """Those of these patterns, of any day, that still miss their vector, with their text."""
    missing = {"must_not": {"exists": {"field": "vector"}}, "filter": {"ids": {"values": ids}}}
    body = {"size": MOST_MISSING, "query": {"bool": missing}, "_source": ["template"]}
    path = f"/{index.names.pattern('patterns')}/_search?search_pipeline=_none&allow_no_indices=true"
    hits = index.request("POST", path, body)["hits"]["hits"]
    return {Target("patterns", h["_index"].rsplit("-", 1)[1], h["_id"]): h["_source"]["template"] for h in hits}


@contextmanager
def patience() -> Iterator[Event]:
    """Set when a store has been away for too long. A job that waits for ever holds its cluster for nothing."""
    stop = Event()
    timer = Timer(PATIENCE_S, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield stop
    except Stopped as stopped:
        raise SinkUnavailable(f"gave up after {PATIENCE_S:.0f} s: {stopped}") from None
    finally:
        timer.cancel()


def _batch(rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> pa.RecordBatch:
    typed: Callable[[str], Any] = lambda name: pa.int64() if name in ("documents", "number") else pa.string()  # noqa: E731
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    return pa.RecordBatch.from_arrays(
        [pa.array(column, typed(name)) for column, name in zip(columns, names, strict=True)], names=list(names)
    )
