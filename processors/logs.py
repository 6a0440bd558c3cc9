"""Logging of every process: readable on a terminal, JSON lines otherwise. Always to standard error."""

import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from processors.redact import Redactor
from schemas.settings import Redaction

QUIET: Final = {
    **dict.fromkeys(("faust", "mode", "aiokafka", "asyncio", "httpx", "httpx2"), logging.WARNING),
    "uvicorn.access": logging.WARNING,
    **dict.fromkeys(("opensearch", "urllib3"), logging.ERROR),  # the sink says what an answer meant
}
REMEMBERED: Final = 1_000
_CREDENTIALS: Final = re.compile(r"//[^/@\s]*@")
_REDACT: Final = Redactor(Redaction())


def without_credentials(text: str) -> str:
    """URLs in a text without their user and password."""
    return _CREDENTIALS.sub("//", text)


def _scrub(_: Any, __: str, event: Any) -> Any:
    return {key: without_credentials(value) if isinstance(value, str) else value for key, value in event.items()}


def _redacted(_: Any, __: str, line: Any) -> Any:
    """The finished line, tracebacks included: an error of a library may quote what we gave it."""
    return _REDACT(line) if isinstance(line, str) else line


class Seldom(logging.Filter):
    """Lets a library say the same thing again only after a while: an outage is one line, not a hundred a minute."""

    def __init__(self, clock: Callable[[], float], every_s: float = 30.0) -> None:
        super().__init__()
        self._clock, self._every_s = clock, every_s
        self._said: dict[tuple[str, str], float] = {}  # by logger and text before its arguments are put in

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, str(record.msg)[:200]), self._clock()
        if not record.name.startswith(tuple(QUIET)) or now - self._said.get(key, -self._every_s) >= self._every_s:
            if len(self._said) > REMEMBERED:
                self._said.clear()
            self._said[key] = now
            return True
        return False


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
            [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # never local variables
            if terminal
            else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        ),
        _redacted,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    handler.addFilter(Seldom(time.monotonic))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.getLogger("uvicorn.error").addFilter(_not_told_yet)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))


def _not_told_yet(record: logging.LogRecord) -> bool:
    """The API has logged a defect with its request id; the server would repeat it without."""
    return not record.getMessage().startswith("Exception in ASGI application")
