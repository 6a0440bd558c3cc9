"""The second half, on the executors: parts of changes become documents, letters go to Kafka, new texts get vectors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from schemas import dead_letters
from schemas.documents import Target
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.records import Coordinates
from schemas.settings import Settings
from spark_jobs import messages
from spark_jobs.partials import folds, letter_of, parts_of

PATIENCE_S: Final = 600.0  # with a store that is away; then the job fails, and is started again
LETTERS_AT_ONCE: Final = 1_000
TEXTS_AT_ONCE: Final = 256
MOST_REFUSED: Final = 50_000  # documents, by one task
MOST_MISSING: Final = 10_000  # what one search may return; those beyond it are left to the workers' sweep

WRITTEN_SCHEMA: Final = "kind string, day string, id string, reason string, documents bigint"
NUMBER_SCHEMA: Final = "name string, number bigint"
ID_SCHEMA: Final = "id string"
REJECT_SCHEMA: Final = f"{messages.SPARK_SCHEMA}, index int, reason string, stage string"


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
        letters = (letter_of(part.body) for part in parts_of(batches))
        while some := list(islice(letters, LETTERS_AT_ONCE)):
            with patience() as stop:
                producer.deliver(some, stop)
            yield _batch([("letters", len(some))], ("name", "number"))


def letter_ids(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The source coordinates of the letters that a dead-letter topic holds; what is no letter has none."""
    for batch in batches:
        ids = (_source(dict(message.headers)) for message in messages.messages_of(batch))
        yield _batch([(each,) for each in ids if each], ("id",))


def _source(headers: Mapping[str, bytes | None]) -> str:
    """Our own headers come last, so that `dict` has kept them where a source had the same names."""
    said = [headers.get(name) for name in _WHERE]
    texts = [value.decode(errors="replace") for value in said if value is not None]
    try:
        return str(Coordinates(texts[0], texts[1], *map(int, texts[2:]))) if len(texts) == len(_WHERE) else ""
    except ValueError:
        return ""


_WHERE: Final = (
    dead_letters.TOPIC,
    dead_letters.TOPIC_ID,
    dead_letters.PARTITION,
    dead_letters.OFFSET,
    dead_letters.INDEX,
)


def rejects(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Letters as rows, for a folder instead of Kafka."""
    for batch in batches:
        letters = [letter_of(part.body) for part in parts_of([batch])]
        rows = messages.batch_of(letter.message for letter in letters)
        more = {
            "index": pa.array([letter.index for letter in letters], pa.int32()),
            "reason": pa.array([letter.reason for letter in letters], pa.string()),
            "stage": pa.array([letter.stage for letter in letters], pa.string()),
        }
        yield pa.RecordBatch.from_arrays([*rows.columns, *more.values()], names=[*rows.schema.names, *more])


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
