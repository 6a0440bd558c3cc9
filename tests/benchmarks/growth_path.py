"""The pure path in a process of its own: what a worker does to a message, without Kafka and without OpenSearch.

`measure` feeds messages to the child through a pipe, so that making them costs the child neither time nor memory. The
child folds, writes each fold through the real sink into a client that takes everything, and says what that cost.

    python -m tests.benchmarks.growth_path '{"lines": 100000, ...}' < frames
"""

import functools
import gc
import json
import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from threading import Event
from typing import IO, Any, Final, cast

import orjson
from opensearchpy import OpenSearch

from deploy.shop.telemetry import Message as Played
from processors.embed import make_embedder
from processors.fold import Fold
from processors.generation import generation, generation_parts
from processors.index import FakeIndex, OpenSearchIndex, Write
from processors.pipeline import Pipeline
from processors.sink import Sink
from schemas.documents import Names, Target
from schemas.errors import StartupError
from schemas.records import Message
from schemas.settings import Settings
from tests.benchmarks.machine import PROC

PRODUCT: Final = ("schemas", "processors", "streams", "cag")
SAMPLES: Final = 60
TOPIC_ID: Final = "growthgrowthgrowthgrow"
_FRAME: Final = struct.Struct(">iqi")  # partition, timestamp in ms, bytes of the value


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    lines: int  # that will come, roughly: it places the samples
    partitions: int = 24
    fold_lines: int = 50_000  # the update interval's ten seconds, at the reference rate
    shown_lines: int = 2_500  # the flush interval's half second
    cached_slices: int = 200_000  # FRESHET_WORKER__CACHED_SLICES
    workers: int = 1  # partitions are dealt to so many; each has a fold of its own
    count: bool = False  # documents; costs a little memory
    keep: bool = False  # them too, to look at their sizes; costs much


def measure(messages: Iterable[Played], options: Options) -> dict[str, Any]:
    """What the child says of these messages. Raises StartupError when it fails."""
    command = [sys.executable, "-m", "tests.benchmarks.growth_path", json.dumps(asdict(options))]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")}
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean)
    with child:
        pipe, said = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
        try:
            for number, message in enumerate(messages):
                place = zlib.crc32(message.key) if message.key else number
                pipe.write(_FRAME.pack(place % options.partitions, message.timestamp_ms, len(message.value)))
                pipe.write(message.value)
            pipe.close()
        except BrokenPipeError:
            pass  # it says why on standard error
        answer = said.read()
    if child.returncode:
        raise StartupError(f"the pure path failed ({child.returncode}); its last words are above")
    result: dict[str, Any] = json.loads(answer)
    return result


class Taking:
    """A client of OpenSearch that takes every write. `transport` is itself; what it costs is measured apart."""

    def __init__(self, options: Options) -> None:
        self.transport = self
        self.index, self.seen = FakeIndex(), set[int]()
        self.options, self.spent_s = options, 0.0
        self.writes = self.bytes = self.creates = 0

    def perform_request(self, method: str, path: str, body: Any = None, **_: Any) -> Any:
        began = time.thread_time()
        try:
            return self._bulk(body) if path == "/_bulk" else self._read(path, body)
        finally:
            self.spent_s += time.thread_time() - began

    def _read(self, path: str, body: Any) -> Any:
        if path != "/_mget":
            return {"hits": {"total": {"value": 0}, "hits": []}}
        asked = [(doc["_index"], doc["_id"]) for doc in orjson.loads(body)["docs"]]
        stored = (self.index.documents.get(Target("", *place)) for place in asked)
        return {
            "docs": [
                {"_index": i, "_id": d, "found": True, "_source": s} if s else {"_index": i, "_id": d, "found": False}
                for (i, d), s in zip(asked, stored, strict=True)
            ]
        }

    def _bulk(self, body: bytes) -> Any:
        lines = iter(body.splitlines())
        items = []
        self.bytes += len(body)
        for line in lines:
            ((operation, place),) = orjson.loads(line).items()
            source = next(lines)
            self.writes += 1
            self.creates += operation == "create"
            if self.options.count:
                self.seen.add(hash((place["_index"], place["_id"])))
            if self.options.keep:
                self._store(operation, Target("", place["_index"], place["_id"]), orjson.loads(source))
            items.append({operation: {"_id": place["_id"], "_index": place["_index"], "status": 201}})
        return {"errors": False, "items": items}

    def _store(self, operation: str, target: Target, source: Mapping[str, Any]) -> None:
        if operation == "create":
            self.index.bulk([Write(target=target, fixed=source, delta=None)])
        elif "upsert" in source:
            delta = source["script"]["params"]["delta"]
            self.index.bulk([Write(target=target, fixed=source["upsert"], delta=delta)])


def _frames(pipe: IO[bytes], options: Options) -> Iterator[Message]:
    offsets = [0] * options.partitions
    while head := pipe.read(_FRAME.size):
        partition, stamp_ms, size = _FRAME.unpack(head)
        at = offsets[partition]
        offsets[partition] += 1
        yield Message(
            topic="logs", topic_id=TOPIC_ID, partition=partition, offset=at, timestamp_ms=stamp_ms, key=None,
            value=pipe.read(size),
        )  # fmt: skip


def rss_mb(process: int | str = "self") -> float:
    return round(int((PROC / str(process) / "statm").read_text().split()[1]) * resource.getpagesize() / 1e6, 1)


class Worker:
    """One worker's part: a fold at a time into a sink of its own."""

    def __init__(self, settings: Settings, client: Taking) -> None:
        self.pipeline = Pipeline.from_settings(settings)
        parts = generation_parts(settings)
        names = Names("growth", generation(parts))
        index = OpenSearchIndex(cast(OpenSearch, client), names, settings.opensearch, settings.embedder.dimensions)
        self.sink = Sink(settings, index, make_embedder(settings.embedder), parts, live=True)
        self.fold, self.shown = Fold(), 0


def run(options: Options, pipe: IO[bytes]) -> dict[str, Any]:
    limits = {"cached_slices": options.cached_slices, "new_patterns_per_minute": 1_000_000}
    settings = Settings(embedder={"kind": "hashing"}, worker=limits)  # type: ignore[arg-type]
    client, stop = Taking(options), Event()
    paths = [Worker(settings, client) for _ in range(options.workers)]
    started_mb, samples, due = rss_mb(), [], options.lines / SAMPLES
    lines = rejected = 0
    fold_s = write_s = 0.0

    def flush(path: Worker) -> None:
        fold, path.fold, path.shown = path.fold, Fold(), 0
        with writing():
            assert not path.sink.write(fold, stop)
        path.sink.housekeeping()

    def show(path: Worker) -> None:
        path.shown = path.fold.records
        with writing():
            if urgent := path.sink.urgent(path.fold):
                assert not path.sink.show(urgent, stop)

    @contextmanager
    def writing() -> Iterator[None]:
        nonlocal write_s
        began, outside = time.thread_time(), client.spent_s
        yield
        write_s += time.thread_time() - began - (client.spent_s - outside)

    def sample() -> None:
        samples.append([lines, rss_mb(), round(fold_s, 4), round(write_s, 4)])

    for message in _frames(pipe, options):
        path = paths[message.partition % options.workers]
        before, began = path.fold.records, time.thread_time()
        rejected += len(path.pipeline.run(message, path.fold))
        fold_s += time.thread_time() - began
        lines += path.fold.records - before
        if path.fold.records >= options.fold_lines // options.workers:
            flush(path)
        elif path.fold.records - path.shown >= options.shown_lines // options.workers:
            show(path)
        if lines >= due * (len(samples) + 1):
            sample()
    for path in paths:
        if path.fold:
            flush(path)
    sample()
    return {
        "lines": lines, "rejected": rejected, "started_mb": started_mb, "samples": samples,
        "fold_s": round(fold_s, 3), "write_s": round(write_s, 3), "writes": client.writes, "creates": client.creates,
        "bulk_bytes": client.bytes, "documents": len(client.seen), "kept": _documents(client.index),
        "memories": memories(),
    }  # fmt: skip


def _documents(index: FakeIndex) -> dict[str, Any]:
    slices = sorted(len(d["slices"]) for d in index.documents.values() if "slices" in d)
    sizes = [len(orjson.dumps(document)) for document in index.documents.values()]
    return {
        "count": len(sizes),
        "bytes": sum(sizes),
        "slices_median": slices[len(slices) // 2] if slices else 0,
        "slices_most": slices[-1] if slices else 0,
        "slice_bytes": sum(len(orjson.dumps(d["slices"])) for d in index.documents.values() if "slices" in d),
    }


def memories() -> list[dict[str, Any]]:
    """Every `lru_cache` of the product in this process: what it holds, and what it may hold."""
    found = []
    for each in gc.get_objects():
        module = getattr(each, "__module__", "") or ""
        if isinstance(each, functools._lru_cache_wrapper) and module.partition(".")[0] in PRODUCT:
            held = each.cache_info()
            found.append({"name": f"{module}.{each.__qualname__}", "held": held.currsize, "most": held.maxsize})
    return sorted(found, key=lambda memory: memory["name"])


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Options(**json.loads(sys.argv[1])), sys.stdin.buffer)))
