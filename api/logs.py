"""Logging of the API: readable on a terminal, JSON lines otherwise. Always to standard error."""

import logging
import sys
from typing import Any

import structlog


def configure(level: str) -> None:
    """Our own log and the server's warnings; requests are logged by the gate, not by the server."""
    terminal = sys.stderr.isatty()
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, force=True)
    logging.getLogger("uvicorn.error").addFilter(_not_told_yet)


def _not_told_yet(record: logging.LogRecord) -> bool:
    """The gate has logged a defect with its request id; the server would repeat it without."""
    return not record.getMessage().startswith("Exception in ASGI application")
