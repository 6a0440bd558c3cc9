"""Errors, named by what the caller does next.

    FreshetError
    +-- InvalidRecord      the record is bad        -> dead letter, go on
    +-- SinkUnavailable    the service is overloaded or away -> wait and try the same again
    +-- SinkMisconfigured  credentials, mapping or limits are wrong -> pause, raise an alarm, never acknowledge
    +-- StartupError       a process cannot start   -> one line for the operator, exit 1

Anything else is a defect: crash loudly, acknowledge nothing.
"""

from typing import Final

STAGES: Final = ("decode", "redact", "template", "index")


class FreshetError(Exception):
    """Root of the errors that this project raises on purpose."""


class InvalidRecord(FreshetError):
    """One record (or a whole message) cannot be used; `reason` never quotes the payload."""

    def __init__(self, reason: str, *, stage: str = "decode") -> None:
        super().__init__(reason)
        self.reason = reason
        self.stage = stage


class SinkUnavailable(FreshetError):
    """A store does not answer for now; the same call may succeed later."""


class SinkMisconfigured(FreshetError):
    """A store answers, but refuses us for a reason that only an operator can mend."""


class StartupError(FreshetError):
    """A process cannot start; the text names the service, its address and what to do."""
