"""Keeps one library in step with the runbooks in Redis, and its vectors with the library. Work in the background."""

import asyncio
import time
from typing import Final

from cag.library import Library, to_embed
from cag.store import RunbookReader
from processors.embed import Embedder
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.runbooks import Corpus

SYNC_EVERY_S: Final = 1.0
EMBEDDED_AT_ONCE: Final = 64  # sections, to the end of a runbook: about half a second


class RunbookFollower:
    """`library` is replaced, never changed: who holds one may go on searching it."""

    def __init__(self, runbooks: RunbookReader, embedder: Embedder) -> None:
        self._runbooks, self._embedder = runbooks, embedder
        self.library = Library.of(Corpus(version="", runbooks=()))
        self.trouble = "the runbooks are not loaded yet"  # one sentence; empty when all is well
        self._confirmed: float | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the library was last seen to be what Redis holds; None before the first time."""
        return None if self._confirmed is None else max(time.monotonic() - self._confirmed, 0.0)

    async def follow(self) -> None:
        """Swap in a new library when the corpus in Redis changes; keep the last one while Redis is away or empty."""
        while True:
            more = False
            try:
                corpus = await self._runbooks.snapshot()
                if corpus is not None and corpus is not self.library.corpus:
                    self.library = await asyncio.to_thread(Library.of, corpus, self.library)
                self.trouble = "" if corpus is not None else self._why_none()
                self._confirmed = time.monotonic() if corpus is not None else self._confirmed
                more = await self._embed_some()
            except (SinkUnavailable, SinkMisconfigured) as error:
                self.trouble = f"runbooks may be out of date ({error})"
            await asyncio.sleep(0 if more else SYNC_EVERY_S)

    def _why_none(self) -> str:
        if self.library.entries:
            return "runbooks may be out of date: Redis has lost them, a worker builds them again"
        return "runbooks are not loaded: none was published, or a worker is still building them"

    async def _embed_some(self) -> bool:
        """Vectors for a few sections; whether there may be more. An edit need not wait for thousands of others."""
        library = self.library
        runbooks = library.without_vector(EMBEDDED_AT_ONCE) if self._embedder.ready() else []
        if runbooks:
            texts = [to_embed(entry) for entries in runbooks for entry in entries]
            vectors = await asyncio.to_thread(self._embedder.embed, texts)
            await asyncio.to_thread(library.learn, runbooks, vectors)
        return bool(runbooks)
