"""A door in front of one TCP service: open, shut, or slow."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Door:
    """`delay_s` holds back whatever comes through; while `shut`, nobody is let in."""

    host: str
    port: int
    address: str = ""  # host:port to connect to
    delay_s: float = 0.0
    shut: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._enter, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            if self.shut:
                return
            other_reader, other_writer = await asyncio.open_connection(self.host, self.port)
            self._writers |= {writer, other_writer}
            await asyncio.gather(self._carry(reader, other_writer), self._carry(other_reader, writer))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sink):
            while piece := await source.read(65_536):
                await asyncio.sleep(self.delay_s)
                sink.write(piece)
                await sink.drain()

    async def end(self, server: asyncio.Server) -> None:
        self.shut = True
        server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)


@contextmanager
def door(url: str) -> Iterator[tuple[Door, str]]:
    """A door to the service at `url`, and the URL that leads through it."""
    parts = urlsplit(url)
    made = Door(parts.hostname or "", parts.port or 0)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="door", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(made.serve(), loop).result(5)
    try:
        yield made, parts._replace(netloc=made.address).geturl()
    finally:
        asyncio.run_coroutine_threadsafe(made.end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()
