"""The API as a process: takes its port, serves until it is told to stop, lets answers under way end."""

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Final

import uvicorn

from api.app import create_app
from api.routes_chat import SHUTDOWN_GRACE_S
from cag.assistant import Assistant
from schemas.answer_settings import Api
from schemas.errors import StartupError
from schemas.settings import Settings

BACKLOG: Final = 2048
SWITCH_S: Final = 0.0005  # a tenth of the usual


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Blocks until SIGTERM or SIGINT. Stores that are away are no reason not to start: /readyz tells.

    `announce` gets the URL once the port is taken. Raises StartupError when it cannot be.
    """
    # Threads redact audit lines and embed questions; the loop need not wait for them as long as Python lets it.
    sys.setswitchinterval(SWITCH_S)
    listener = listen(settings.api)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        create_app(settings, Assistant.from_settings(settings)),
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        # Above the time that streams get to end by themselves.
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S + 5,
    )
    announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def listen(settings: Api) -> socket.socket:
    """The bound socket; port 0 takes a free one. Raises StartupError in one line."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "another process has it" if taken else os.strerror(error.errno) if error.errno else str(error)
        raise StartupError(
            f"cannot listen on {settings.host} port {settings.port}: {why}. "
            "Choose another with --port; --port 0 takes a free one"
        ) from error
    # asyncio does this only for sockets that it made itself; without it each answer waits 40 ms for the client's ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
