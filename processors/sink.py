"""One installation of the index, as a worker sees it: prepare it, write folds, keep house after them."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event, Lock
from typing import Any, Final

from processors.embed import Embedder, make_embedder
from processors.fold import Fold, PartitionProgress, SourceKey
from processors.generation import generation, generation_parts, label_of
from processors.index import ItemOutcome, OpenSearchIndex, Write, connect
from processors.vectors import Embedded, Vectorizer
from processors.writer import BULK_DOCUMENTS, Rejection, Writer
from schemas.dead_letters import DeadLetter
from schemas.documents import Names, Target, digest, slice_at
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.settings import Settings

CREATED: Final = 201  # HTTP status of an item
LIVE: Final = Target("meta", "", "live")
MARKS: Final = 10_000  # what one search returns at most: far more partitions than one installation has
NAMES_PER_REQUEST: Final = 40  # index names in one address: OpenSearch takes lines of 4 kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Offsets that were never read: retention took them first, or the topic was made again."""

    topic: str
    topic_id: str  # of the topic that lost them
    partition: int
    start: int
    end: int  # the first offset that is not missing; -1: unknown, all that was left of a topic that is gone
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The highest offset of a partition that is known to be indexed."""

    topic: str
    topic_id: str
    partition: int
    offset: int


class Sink:
    """Thread-safe as used by one worker: `write` from one thread, `tell` and `housekeeping` from others."""

    def __init__(
        self,
        settings: Settings,
        index: OpenSearchIndex,
        embedder: Embedder,
        parts: Mapping[str, str],
        *,
        live: bool,
        own: Collection[str] = (),
        changed: Callable[[Write], None] = lambda _: None,
        written: Callable[[Write], None] = lambda _: None,
    ) -> None:
        """`own`, `changed`, `written`: see `Writer`."""
        self._index, self._parts, self._url, self._live = index, dict(parts), settings.opensearch.address, live
        limits = settings.worker
        self._vectorizer = vectorizer = Vectorizer(index, embedder, limits.new_patterns_per_minute)

        def note(write: Write) -> None:
            changed(write)
            if write.target.kind == "patterns":
                vectorizer.offer(write.target, write.fixed)

        self._writer = Writer(
            index, bulk_bytes=limits.bulk_bytes, cached_slices=limits.cached_slices, own=own, changed=note,
            written=written,
        )  # fmt: skip
        self._teller = Writer(index, bulk_bytes=limits.bulk_bytes, cached_slices=1)  # `tell` has a thread of its own
        self._lock, self._publishing = Lock(), Lock()
        self._sources: dict[SourceKey, int] = {}
        self._partitions: dict[tuple[str, int], PartitionProgress] = {}
        self._touched: set[str] = set()

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        label: str = "",
        live: bool = True,
        own: Collection[str] = (),
        changed: Callable[[Write], None] = lambda _: None,
        written: Callable[[Write], None] = lambda _: None,
    ) -> "Sink":
        """`label`: which indices to write, see `generation.py`; `live`: readers see them."""
        parts = generation_parts(settings)
        index = open_index(settings, label or generation(parts))
        embedder = make_embedder(settings.embedder)
        return cls(settings, index, embedder, parts, live=live, own=own, changed=changed, written=written)

    @property
    def label(self) -> str:
        return self._index.names.generation

    @property
    def paused(self) -> str:
        """Why writing waits, '' while it runs."""
        return self._writer.paused or self._teller.paused

    def prepare(self) -> None:
        """Install templates and scripts, check the generation. Raises StartupError."""
        try:
            self._refuse_others()  # before aliases are touched
            self._index.install(live=self._live)
            self._claim_generation()
        except SinkMisconfigured as error:
            raise StartupError(f"{error}. Check FRESHET_OPENSEARCH__*.") from None
        except SinkUnavailable as error:
            raise StartupError(f"{error}. Start it (`make up`) or set FRESHET_OPENSEARCH__URL.") from None

    def write(self, fold: Fold, stop: Event) -> list[DeadLetter]:
        """Blocks until all is durable; returns a letter for each record whose document the index refuses."""
        rejections = self._writer.write(fold, stop)
        with self._lock:
            self._note(fold.sources, fold.partitions)
            self._touched.update(self._index.names.index(target) for target in (*fold.changes, *fold.patterns))
        return dead_letters(rejections, fold)

    def urgent(self, fold: Fold) -> Fold | None:
        """A copy of what must not wait for the rest of its fold; see `Fold.urgent`."""
        return fold.urgent(self._writer.known_patterns, self._writer.known_documents)

    def show(self, urgent: Fold, stop: Event) -> list[Target]:
        """Write it ahead of its fold. Blocks until it is durable; returns what is refused, to be refused again then."""
        refused = [rejection.target for rejection in self._writer.write(urgent, stop)]
        with self._lock:
            self._touched.update(self._index.names.index(target) for target in (*urgent.changes, *urgent.patterns))
        return refused

    def tell(self, writes: Sequence[Write], stop: Event) -> list[tuple[Write, str]]:
        """Write documents that count nothing. Blocks until all are durable; returns what is refused, and why."""
        refused = self._teller.store(writes, stop)
        with self._lock:
            self._touched.update(self._index.names.index(write.target) for write in writes)
        return refused

    def forget(self) -> None:
        """Partitions have moved: what was read back may be out of date."""
        self._writer.forget()

    def housekeeping(self) -> None:
        """Publish, then give new patterns their vectors. Blocks. Raises SinkUnavailable."""
        self.publish()
        self.embed()

    def embed(self) -> None:
        """Give patterns their vectors for a while. Blocks. Raises SinkUnavailable and SinkMisconfigured."""
        self._vectorizer.run()

    def embedded(self) -> Embedded:
        """What `embed` did since this was asked last."""
        return self._vectorizer.report()

    def publish(self) -> None:
        """Refresh what was written, then publish watermarks: what one names can be found. Raises SinkUnavailable."""
        with self._publishing:  # the last one before the end waits for the one that is under way
            with self._lock:
                touched, self._touched = self._touched, set()
                sources, self._sources = self._sources, {}
                partitions, self._partitions = self._partitions, {}
            try:
                names = sorted(touched)
                for start in range(0, len(names), NAMES_PER_REQUEST):
                    part = ",".join(names[start : start + NAMES_PER_REQUEST])
                    self._index.request("POST", f"/{part}/_refresh?ignore_unavailable=true")
                self._publish(watermarks(sources, partitions, searchable_ms=int(time.time() * 1000)))
            except (SinkUnavailable, SinkMisconfigured):
                with self._lock:
                    self._touched |= touched
                    self._note(sources, partitions)
                raise

    def marks(self, topics: Collection[str]) -> list[Mark]:
        """Of all partitions of these topics, those of earlier topics of the same name included.

        Blocks. Raises SinkUnavailable and SinkMisconfigured.
        """
        name = self._index.names.index(Target("watermarks", "", ""))
        self._index.request("POST", f"/{name}/_refresh?ignore_unavailable=true")
        query = {"bool": {"filter": [{"term": {"level": "partition"}}, {"terms": {"topic": sorted(topics)}}]}}
        path = f"/{name}/_search?ignore_unavailable=true"
        found = self._index.request("POST", path, {"size": MARKS, "query": query})["hits"]["hits"]
        read = (hit["_source"] for hit in found)
        return [
            Mark(topic=m["topic"], topic_id=m["topic_id"], partition=m["partition"], offset=m["offset"]) for m in read
        ]

    def live_labels(self) -> set[str]:
        """What readers see now: one label, or none. Raises SinkUnavailable."""
        return set(self._index.live(self._index.names.alias("meta")))

    def record_gaps(self, gaps: Sequence[Gap]) -> list[Gap]:
        """Kept with the watermarks, so that answers can say what was never seen; returns those that are new.

        Blocks until they are durable. Raises SinkUnavailable.
        """
        noticed_ms = int(time.time() * 1000)
        outcomes = self._publish([gap_write(gap, noticed_ms=noticed_ms) for gap in gaps])
        return [gap for gap, outcome in zip(gaps, outcomes, strict=True) if outcome.status == CREATED]

    def _note(self, sources: Mapping[SourceKey, int], partitions: Mapping[tuple[str, int], PartitionProgress]) -> None:
        """Keep the newest of each, in whatever order they come. The caller holds the lock."""
        for source, newest in sources.items():
            self._sources[source] = max(newest, self._sources.get(source, 0))
        for place, at in partitions.items():
            known = self._partitions.get(place, at)
            self._partitions[place] = replace(
                at, offset=max(at.offset, known.offset), newest_ms=max(at.newest_ms, known.newest_ms)
            )

    def _publish(self, writes: list[Write]) -> list[ItemOutcome]:
        """A lost watermark of a source that then falls silent would be wrong for good. Raises SinkUnavailable."""
        done: list[ItemOutcome] = []
        for start in range(0, len(writes), BULK_DOCUMENTS):
            outcomes = self._index.bulk(writes[start : start + BULK_DOCUMENTS])
            if outcomes is None or any(outcome.status not in (200, CREATED) for outcome in outcomes):
                raise SinkUnavailable(f"OpenSearch at {self._url} did not take all watermarks")
            done += outcomes
        return done

    def _claim_generation(self) -> None:
        """The first worker says which generation is live; one with other settings may not mix in."""
        names = self._index.names
        claim = Write(target=LIVE, fixed={"generation": names.generation, "parts": self._parts}, delta=None)
        outcomes = self._index.bulk([claim])
        if outcomes is None or outcomes[0].status not in (200, 201, 409):  # unclaimed, the next settings could mix in
            raise SinkUnavailable(f"OpenSearch at {self._url} did not take the name of the generation")
        self._refuse_others()

    def _refuse_others(self) -> None:
        names = self._index.names
        for found, parts in self._index.live(names.alias("meta")).items() if self._live else ():
            if found != names.generation:
                raise other_generation(self._url, names, self._parts, found, parts)


def gap_write(gap: Gap, *, noticed_ms: int) -> Write:
    """One document per range, however often it is noticed; a later notice may know better where it ends."""
    fixed = {
        "level": "gap",
        "topic": gap.topic,
        "topic_id": gap.topic_id,
        "partition": gap.partition,
        "from_offset": gap.start,
        "reason": gap.reason,
        "searchable_ms": noticed_ms,  # when it was noticed first
    }
    target = Target("watermarks", "", digest("gap", gap.topic_id, str(gap.partition), str(gap.start)))
    return Write(target=target, fixed=fixed, delta={"max": {"offset": gap.end}})


def open_index(settings: Settings, label: str) -> OpenSearchIndex:
    """Nothing connects yet."""
    names = Names(settings.opensearch.prefix, label)
    return OpenSearchIndex(connect(settings.opensearch), names, settings.opensearch, settings.embedder.dimensions)


def live_label(settings: Settings) -> str:
    """What a worker with these settings is to write: the label that is live. Raises StartupError if that is not ours.

    A shadow that was promoted stays under its own label.
    """
    parts = generation_parts(settings)
    ours = generation(parts)
    index, url = open_index(settings, ours), settings.opensearch.address
    try:
        live = index.live(index.names.alias("meta"))
    except SinkMisconfigured as error:
        raise StartupError(f"{error}. Check FRESHET_OPENSEARCH__*.") from None
    except SinkUnavailable as error:
        raise StartupError(f"{error}. Start it (`make up`) or set FRESHET_OPENSEARCH__URL.") from None
    for label, found in live.items():
        if found == parts and label == label_of(ours, label.partition("_")[2]):
            return label
        raise other_generation(url, index.names, parts, label, found)
    return ours


def other_generation(
    url: str, names: Names, ours: Mapping[str, str], found: str, parts: Mapping[str, str]
) -> StartupError:
    differing = sorted(k for k in ours if ours[k] != parts.get(k))
    return StartupError(
        f"the index at {url} with prefix {names.prefix!r} holds generation {found}, made with other "
        f"{', '.join(differing) or 'settings'}; this worker would write {names.generation}. Use the "
        "settings of before, or build the new generation beside it: `python -m streams replay --shadow NAME`."
    )


def dead_letters(rejections: list[Rejection], fold: Fold) -> list[DeadLetter]:
    """A letter per record of the rejected documents, with its original message."""
    if not rejections:
        return []
    messages = {slice_at(m.topic_id, m.partition, m.offset): m for m in fold.messages}
    return [
        DeadLetter(message=messages[key, place], index=number, reason=rejection.reason, stage="index")
        for rejection in rejections
        for key, spots in rejection.spots.items()
        for place, numbers in sorted(spots.items())
        for number in sorted(set(numbers))
    ]


def watermarks(
    sources: Mapping[SourceKey, int], partitions: Mapping[tuple[str, int], PartitionProgress], *, searchable_ms: int
) -> list[Write]:
    """The newest event time that can be found: per source, and per partition with its offset."""
    writes = []
    for source, newest in sources.items():
        fixed: dict[str, Any] = {"level": "source", **source._asdict()}
        delta = {"max": {"newest_ms": newest, "searchable_ms": searchable_ms}}
        writes.append(Write(target=Target("watermarks", "", digest("source", *source)), fixed=fixed, delta=delta))
    for (topic_id, partition), at in partitions.items():
        fixed = {"level": "partition", "topic": at.topic, "topic_id": topic_id, "partition": partition}
        delta = {"max": {"newest_ms": at.newest_ms, "offset": at.offset, "searchable_ms": searchable_ms}}
        target = Target("watermarks", "", digest("partition", topic_id, str(partition)))
        writes.append(Write(target=target, fixed=fixed, delta=delta))
    return writes
