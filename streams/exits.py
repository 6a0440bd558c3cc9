"""How a worker leaves when it must not go on: one log line, no clean-up, nothing acknowledged. To be restarted."""

import logging
import os
from enum import IntEnum
from typing import NoReturn

import structlog

log = structlog.get_logger()


class Exit(IntEnum):
    """Exit codes; 1 is a failed start. Where sysexits.h has the meaning, its number is used."""

    DEFECT = 70  # EX_SOFTWARE: an error that nobody expected
    STUCK = 71  # no progress although nothing is said to be away
    REJECTS = 72  # too many dead letters
    REPLACED = 73  # a topic was deleted and made again under the worker
    SUPERSEDED = 74  # another generation is live: a restart follows it
    UNFINISHED = 75  # EX_TEMPFAIL: told to stop while a store was away; what is not written is read again


def leave(code: Exit, event: str, error: BaseException | None = None, **fields: object) -> NoReturn:
    """End the process now. Python's own exit would run handlers that could still acknowledge or wait for ever."""
    log.critical(event, exit_code=int(code), exc_info=error, **fields)
    logging.shutdown()
    os._exit(code)
