"""Runs an ASGI app on a free loopback port in a thread, for tests that need a real socket."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

PATIENCE_S = 20.0


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The URL of `app` while it runs."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        # Connections wait in the backlog until the app has started, so the first answer says that it has.
        httpx.get(url, timeout=PATIENCE_S, trust_env=False)
        yield url
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listener.close()
