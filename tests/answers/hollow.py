"""The real API and assistant over empty stores, in a thread: for trials of requests, where nothing has to be found."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import uvicorn

from api.app import create_app
from api.port import Answering
from api.serve import listen
from cag.assistant import Assistant
from cag.lag import LagReader
from cag.model import OpenAIModel
from cag.reads import IndexReader
from cag.store import RunbookReader
from processors.embed import HashingEmbedder
from schemas.settings import Settings

EMPTY: Mapping[str, Any] = {"hits": {"hits": [], "total": {"value": 0}}, "aggregations": {}, "timed_out": False}


class EmptyIndex(IndexReader):
    async def _call(self, method: str, path: str, body: bytes | None) -> Any:
        return {"status": "green"} if path.startswith("/_cluster") else dict(EMPTY)


def hollow(settings: Settings) -> Assistant:
    """Redis is at its address in the settings, or away."""
    return Assistant(
        settings,
        reader=EmptyIndex(settings.opensearch),
        runbooks=RunbookReader(settings.redis),
        model=OpenAIModel.from_settings(settings.model),
        embedder=HashingEmbedder(settings.embedder.dimensions),
    )


@contextmanager
def served(settings: Settings, assistant: Answering | None = None) -> Iterator[str]:
    """Its URL, until the block ends; then it has ended too."""
    with mock.patch.object(LagReader, "_offsets", return_value={}), listen(settings.api) as listener:
        app = create_app(settings, assistant or hollow(settings))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=3))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not end"
