"""Recorded telemetry on its way back into Kafka: read it, tell its times, move them, batch it. Pure but for reading."""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import IO, Any, Final, Protocol, cast

import orjson

from processors.decode import decode
from processors.decode.text import entries
from schemas.records import Filtered, Message, Rejected
from schemas.topics import Input
from streams.shift import shifted

GZIP_MAGIC: Final = b"\x1f\x8b"
ENVELOPE: Final = frozenset(("value", "key", "headers", "timestamp_ms"))  # a line that is more than a value
BLOCK_LINES: Final = 2_000  # of plain text, in which stack traces are kept together


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One value to send. `time_ms`: newest event time in it, None where it tells none."""

    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    time_ms: int | None = None
    lines: int = 1

    @property
    def plain(self) -> bool:
        return self.value.lstrip()[:1] not in (b"{", b"[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Who speaks, for plain lines that do not say so."""

    cluster: str = ""
    namespace: str = ""
    pod: str = ""

    def __bool__(self) -> bool:
        return bool(self.cluster or self.namespace or self.pod)


@dataclass(slots=True)
class Survey:
    """What a recording holds."""

    items: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    records: int = 0

    @property
    def span_ms(self) -> int:
        return 0 if self.first_ms is None or self.last_ms is None else self.last_ms - self.first_ms


class Peekable(Protocol):
    """What `open(..., "rb")`, a temporary file and standard input's buffer have in common."""

    def peek(self, size: int = ..., /) -> bytes: ...


def opened(raw: IO[bytes]) -> IO[bytes]:
    """The stream itself, or what it holds when it is compressed with gzip."""
    compressed = cast(Peekable, raw).peek(2)[:2] == GZIP_MAGIC
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if compressed else raw


def read(stream: IO[bytes]) -> Iterator[Item]:
    """Values in order: one a line, or the elements of one JSON document that is written over many lines."""
    first = stream.readline()
    if first.strip() not in (b"{", b"["):
        return _lines(chain((first,), stream))
    raw = first + stream.read()
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _lines(raw.splitlines())
    if isinstance(document, dict) and isinstance(document.get("items"), list):  # as `kubectl get -o json` writes it
        document = document["items"]
    return (Item(value=orjson.dumps(value)) for value in (document if isinstance(document, list) else [document]))


def _lines(lines: Iterable[bytes]) -> Iterator[Item]:
    block: list[bytes] = []
    for line in lines:
        line = line.rstrip(b"\r\n")
        if line.startswith((b"{", b"[")):
            yield from _texts(block)
            block = []
            yield _item(line)
        elif line.strip():
            block.append(line)
            if len(block) >= BLOCK_LINES:
                found = list(_texts(block))
                yield from found[:-1]
                block = [last.value for last in found[-1:]]  # what follows may belong to it
    yield from _texts(block)


def _item(line: bytes) -> Item:
    """A JSON line: a value, or an object that holds a value and what goes with it."""
    if b'"value"' not in line:
        return Item(value=line)
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Item(value=line)
    if not isinstance(parsed, dict) or not parsed.keys() <= ENVELOPE:
        return Item(value=line)
    headers = parsed.get("headers")
    time_ms = parsed.get("timestamp_ms")
    return Item(
        value=_bytes(parsed["value"]) or b"",
        key=_bytes(parsed.get("key")),
        headers=tuple((k, _bytes(v)) for k, v in headers.items()) if isinstance(headers, dict) else (),
        time_ms=time_ms if isinstance(time_ms, int) else None,
    )


def _bytes(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode(errors="surrogatepass") if isinstance(value, str) else orjson.dumps(value)


def _texts(lines: list[bytes]) -> Iterator[Item]:
    """Plain lines, a stack trace as one item with the line that it explains."""
    for entry in entries(b"\n".join(lines).decode(errors="surrogateescape")):
        yield Item(value=entry.encode(errors="surrogateescape"))


class Dated:
    """Items with their times, told by the decoders that the worker uses. `survey` grows while this is iterated."""

    def __init__(self, items: Iterable[Item], source: Input, now_ms: int) -> None:
        self._items, self._source, self._now_ms = items, source, now_ms
        self.survey = Survey()

    def __iter__(self) -> Iterator[Item]:
        last_ms: int | None = None
        for item in self._items:
            time_ms = self._tell(item)
            last_ms = time_ms if time_ms is not None else last_ms  # a line without a time was written after the last
            self.survey.items += 1
            if last_ms is not None:
                first, last = self.survey.first_ms, self.survey.last_ms
                self.survey.first_ms = last_ms if first is None else min(first, last_ms)
                self.survey.last_ms = last_ms if last is None else max(last, last_ms)
            yield replace(item, time_ms=last_ms)

    def _tell(self, item: Item) -> int | None:
        message = Message(
            topic=self._source.topic, topic_id="", partition=0, offset=0, timestamp_ms=item.time_ms or self._now_ms,
            key=item.key, value=item.value, headers=item.headers,
        )  # fmt: skip
        newest = item.time_ms
        for record in decode(message, self._source):
            self.survey.records += 1
            if isinstance(record, Rejected):
                self.survey.rejected[record.reason] += 1
            elif not isinstance(record, Filtered) and record.time_ms is not None and item.time_ms is None:
                newest = record.time_ms if newest is None else max(newest, record.time_ms)
        return newest


def moved(items: Iterable[Item], by_ms: int, place: Place) -> Iterator[Item]:
    """Items `by_ms` later; plain lines that have to say when or who are wrapped as Fluent Bit would write them."""
    for item in items:
        time_ms = None if item.time_ms is None else item.time_ms + by_ms
        if item.plain:
            wrap = place or (by_ms and time_ms is not None)
            yield replace(item, value=wrapped(item.value, time_ms, place) if wrap else item.value, time_ms=time_ms)
        elif by_ms:
            yield replace(item, value=_moved_json(item.value, by_ms), time_ms=time_ms)
        else:
            yield item


def _moved_json(value: bytes, by_ms: int) -> bytes:
    try:
        return orjson.dumps(shifted(orjson.loads(value), by_ms))
    except orjson.JSONDecodeError:
        return value  # not ours to judge: the worker writes the dead letter


def wrapped(line: bytes, time_ms: int | None, place: Place) -> bytes:
    """A plain line as Fluent Bit's kafka output writes it. Without a time the worker takes Kafka's."""
    names = {"cluster_name": place.cluster, "namespace_name": place.namespace, "pod_name": place.pod}
    event: dict[str, Any] = {} if time_ms is None else {"@timestamp": time_ms / 1000}
    event["log"] = line.decode(errors="replace")
    event["kubernetes"] = {name: text for name, text in names.items() if text}
    return orjson.dumps(event)


def keyed(items: Iterable[Item], path: str) -> Iterator[Item]:
    """Items keyed by a field of theirs, such as `kubernetes.pod_name`; those without it stay as they are."""
    for item in items:
        found = None if item.plain else _at(item.value, path.split("."))
        yield item if found is None else replace(item, key=_bytes(found))


def _at(value: bytes, path: list[str]) -> Any:
    try:
        found: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def batched(items: Iterable[Item], size: int) -> Iterator[Item]:
    """Up to `size` neighbours with the same key in one value, a line each. The newest time is that of the batch."""
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) >= size or (item.key, item.headers) != (batch[0].key, batch[0].headers)):
            yield _joined(batch)
            batch = []
        batch.append(item)
    if batch:
        yield _joined(batch)


def _joined(batch: list[Item]) -> Item:
    if len(batch) == 1:
        return batch[0]
    times = [item.time_ms for item in batch if item.time_ms is not None]
    value = b"\n".join(item.value for item in batch)
    return replace(batch[0], value=value, time_ms=max(times, default=None), lines=len(batch))
