"""Logging of the worker and its commands: readable on a terminal, JSON lines otherwise. Always to standard error."""

import logging
import sys
from typing import Any, Final

import structlog

NOISY: Final = ("faust", "mode", "aiokafka", "asyncio", "opensearch", "httpx", "urllib3")


def configure(level: str) -> None:
    """Send structlog and the standard library's logging through one formatter; libraries speak from WARNING on."""
    terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    last: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        *(
            [structlog.dev.ConsoleRenderer()]
            if terminal
            else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        ),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
