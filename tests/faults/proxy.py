"""One proxy in front of OpenSearch that breaks what a network, a balancer or a tired cluster breaks, by a seeded draw.

What it claims is true: an item that is answered with 429 was taken out of the request and is not applied; a reply that
is lost belongs to a request that was.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

HEAD_BYTES: Final = 65_536
LATEST_S: Final = 0.3
ITEM_SHARE: Final = 0.3  # of a bulk request's items, where items are hit


class Fault(StrEnum):
    LATENCY = "latency"
    RESET = "reset"  # before anything is forwarded
    LOST_REPLY = "lost-reply"  # forwarded and applied, then the connection breaks
    CUT_REPLY = "cut-reply"  # forwarded and applied, half of the answer arrives
    ITEM_429 = "item-429"
    ITEM_503 = "item-503"
    ITEM_409 = "item-409"  # a lost race of a scripted update
    READ_ONLY = "read-only"  # every item 403, as at the flood stage of a disk
    UNAUTHORIZED = "401"
    FORBIDDEN = "403"
    OVERLOAD = "429"  # the whole request
    UNAVAILABLE = "503"
    HTML = "html"  # somebody's page with status 200


_ITEMS: Final = {
    Fault.ITEM_429: (429, "rejected_execution_exception"),
    Fault.ITEM_503: (503, "unavailable_shards_exception"),
    Fault.ITEM_409: (409, "version_conflict_engine_exception"),
    Fault.READ_ONLY: (403, "cluster_block_exception"),
}
_WHOLE: Final = {
    Fault.UNAUTHORIZED: (b"401 Unauthorized", b'{"error":{"type":"security_exception"},"status":401}'),
    Fault.FORBIDDEN: (b"403 Forbidden", b'{"error":{"type":"security_exception"},"status":403}'),
    Fault.OVERLOAD: (b"429 Too Many", b'{"error":{"type":"circuit_breaking_exception"},"status":429}'),
    Fault.UNAVAILABLE: (b"503 Unavailable", b'{"error":{"type":"cluster_manager_not_discovered"},"status":503}'),
    Fault.HTML: (b"200 OK", b"<html><body>Please sign in</body></html>"),
}


@dataclass(slots=True)
class Exchange:
    """A request or an answer."""

    head: list[bytes]  # first line, then header lines
    body: bytes

    @property
    def path(self) -> bytes:
        return self.head[0].split()[1]

    def encode(self) -> bytes:
        return b"\r\n".join([*self.head, b"content-length: %d" % len(self.body), b"", self.body])


@dataclass
class Proxy:
    """Runs in a thread of its own from `start` to `stop`. Change `weather` and `outage` at any time.

    `weather`: odds of each fault for a write or a read-back (`_bulk`, `_mget`); `outage`: what happens to everything.
    """

    upstream: str  # http://host:port
    seed: int
    weather: Mapping[Fault, float] = field(default_factory=dict)
    outage: Fault | None = None
    happened: Counter[Fault] = field(default_factory=Counter)
    url: str = ""

    def __post_init__(self) -> None:
        self._rng = Random(f"{self.seed}/proxy")
        self._loop = asyncio.new_event_loop()
        self._serving = set[asyncio.Task[None]]()  # the event loop holds them weakly
        self._ready, self._stopped = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> "Proxy":
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._live())
        self._loop.close()

    async def _live(self) -> None:
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD_BYTES) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self._ready.set()
            await self._stopped.wait()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = urlsplit(self.upstream)
        try:
            up_reader, up_writer = await asyncio.open_connection(there.hostname, there.port, limit=HEAD_BYTES)
        except OSError:
            writer.transport.abort()
            return
        try:
            while await self._exchange(reader, writer, up_reader, up_writer):
                pass
        except (OSError, EOFError):  # one of the two has gone, in the middle of a message or between two
            pass
        finally:
            writer.transport.abort()
            up_writer.transport.abort()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; False: break the connection."""
        request = await _read(reader)
        fault = self._draw(request)
        if fault is not None:
            self.happened[fault] += 1
        if fault == Fault.RESET:
            return False
        if fault == Fault.LATENCY:
            await asyncio.sleep(self._rng.uniform(0, LATEST_S))
        if fault in _WHOLE:
            status, body = _WHOLE[fault]
            kind = b"text/html" if fault == Fault.HTML else b"application/json"
            answer = Exchange([b"HTTP/1.1 " + status, b"content-type: " + kind], body)
        else:
            items = list(split(request.body)) if fault in _ITEMS else []
            hit = self._hit(items, fault)
            request.body = b"".join(item for n, item in enumerate(items) if n not in hit) if hit else request.body
            if request.body or not hit:
                up_writer.write(request.encode())
                answer = await _read(up_reader, bodyless=request.head[0].startswith(b"HEAD"))
            else:  # nothing is left to forward
                answer = Exchange([b"HTTP/1.1 200 OK", b"content-type: application/json"], b'{"took":0,"items":[]}')
            if hit and fault is not None:
                answer.body = with_refused(answer.body, items, hit, *_ITEMS[fault])
        if fault == Fault.LOST_REPLY:
            return False
        sent = answer.encode()
        writer.write(sent[: len(sent) // 2] if fault == Fault.CUT_REPLY else sent)
        await writer.drain()
        return fault != Fault.CUT_REPLY

    def _draw(self, request: Exchange) -> Fault | None:
        bulk = request.path.startswith(b"/_bulk")
        if self.outage is not None:
            return self.outage if self.outage not in _ITEMS or bulk else None
        if not bulk and not request.path.startswith(b"/_mget"):
            return None
        if b"-meta-" in request.body[:100]:  # a worker that starts and is refused ends with one line: not our subject
            return None
        for fault, odds in self.weather.items():
            if (bulk or fault not in _ITEMS) and self._rng.random() < odds:
                return fault
        return None

    def _hit(self, items: list[bytes], fault: Fault | None) -> set[int]:
        """Which items are refused: all by a read-only block, races only among updates."""
        if fault == Fault.READ_ONLY:
            return set(range(len(items)))
        able = [n for n, item in enumerate(items) if fault != Fault.ITEM_409 or item.startswith(b'{"update"')]
        return set(self._rng.sample(able, max(1, int(len(able) * ITEM_SHARE)))) if able else set()


def split(body: bytes) -> Iterator[bytes]:
    """The items of a bulk request: each an action line with its document line."""
    lines = body.splitlines(keepends=True)
    return (b"".join(lines[n : n + 2]) for n in range(0, len(lines), 2))


def with_refused(answer: bytes, items: list[bytes], hit: set[int], status: int, kind: str) -> bytes:
    """The answer to the items that were forwarded, with those that were not in their places."""
    said: dict[str, Any] = orjson.loads(answer)
    applied = iter(said.get("items", ()))
    said["items"] = [_refused(item, status, kind) if n in hit else next(applied) for n, item in enumerate(items)]
    return orjson.dumps(said | {"errors": True})


def _refused(item: bytes, status: int, kind: str) -> dict[str, Any]:
    [(action, place)] = orjson.loads(item.split(b"\n", 1)[0]).items()
    error = {"type": kind, "reason": f"{kind} by the proxy"}
    return {action: {"_index": place["_index"], "_id": place["_id"], "status": status, "error": error}}


async def _read(reader: asyncio.StreamReader, *, bodyless: bool = False) -> Exchange:
    """A whole message, in plain: chunks are put together, so that the length is known."""
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
    kept = [
        h for h in head if h.lower().split(b":")[0] not in (b"content-length", b"transfer-encoding", b"accept-encoding")
    ]
    if bodyless or head[0].split()[1] in (b"204", b"304"):
        return Exchange(kept, b"")
    if fields.get(b"transfer-encoding", b"").lower() != b"chunked":
        return Exchange(kept, await reader.readexactly(int(fields.get(b"content-length", 0))))
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return Exchange(kept, b"".join(parts))
