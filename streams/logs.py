"""Logging of the worker and its commands: readable on a terminal, JSON lines otherwise. Always to standard error."""

import logging
import re
import sys
from typing import Any, Final

import structlog

QUIET: Final = {
    **dict.fromkeys(("faust", "mode", "aiokafka", "asyncio", "httpx"), logging.WARNING),
    **dict.fromkeys(("opensearch", "urllib3"), logging.ERROR),  # the sink says what an answer meant
}
_CREDENTIALS: Final = re.compile(r"//[^/@\s]*@")


def without_credentials(text: str) -> str:
    """URLs in a text without their user and password."""
    return _CREDENTIALS.sub("//", text)


def _scrub(_: Any, __: str, event: Any) -> Any:
    return {key: without_credentials(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(level: str) -> None:
    """Send structlog and the standard library's logging through one formatter; libraries only warn."""
    terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _scrub,
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
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))
