"""Plain text: one record a line, stack traces kept with the line that they explain."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from processors.decode.log_text import log_record
from processors.decode.prefixes import take_syslog
from processors.decode.resource import Origin, resource_of
from processors.decode.values import TORN, embedded_object, plain_text
from schemas.records import Filtered, LogRecord, Rejected

# Lines that only make sense together with the one before.
_CONTINUES: Final = re.compile(
    r"\s|[}\])]+[,;]?\s*$|at [\w$.<]|Caused by: |Suppressed: |\.\.\. |\.\.\.$|Traceback \(most recent call last\):"
    r"|During handling of the above exception|The above exception was the direct cause"
    r"|goroutine \d+ \[|\[signal |created by |exit status \d",
    re.ASCII,
)
_TRACEBACK: Final = "Traceback (most recent call last):"
_GOROUTINE: Final = re.compile(r"goroutine \d+ \[")
_GO_FRAME: Final = re.compile(r"[\w./*()\[\]{}-]{1,500}\(.{0,500}\)$|panic\(", re.ASCII)


def text_lines(raw: bytes, origin: Origin, *, syslog: bool = False) -> Iterator[LogRecord | Filtered | Rejected]:
    """The records of a text; `syslog` believes a header without a process id, too. Raises InvalidRecord."""
    text, torn = plain_text(raw)
    for entry in entries(text):
        if torn and TORN.search(entry):
            yield Rejected(reason="not UTF-8")
        else:
            yield text_line(entry, origin, syslog=syslog)


def text_line(entry: str, origin: Origin, *, syslog: bool = False) -> LogRecord | Filtered:
    """One record of one line and what continues it."""
    header = take_syslog(entry, origin.received_ms, any_program=syslog)
    if header is None:
        return log_record(origin, resource_of(cluster=origin.cluster), entry, time_ms=None)
    resource = resource_of(cluster=origin.cluster, node=header.host, service=header.program)
    return log_record(origin, resource, header.rest, time_ms=header.time_ms, severity=header.severity)


def application_object(fields: Mapping[str, object], origin: Origin) -> LogRecord | Filtered:
    """A JSON line that no shipper has wrapped: the application's own fields."""
    return log_record(origin, resource_of(cluster=origin.cluster), fields, time_ms=None)


def entries(text: str) -> Iterator[str]:
    """Lines with their continuations, without the blank ones between; a text that is one JSON object is one entry."""
    text = text.strip("\r\n\x00")
    if "\n" not in text or embedded_object(text.strip()) is not None:
        if text.strip():
            yield text
        return
    gathered: list[str] = []
    inside = _Inside()
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if not line:
            continue
        if gathered and not inside.continues(line):
            yield "\n".join(gathered)
            gathered = []
        inside.follow(line)
        gathered.append(line)
    if gathered:
        yield "\n".join(gathered)


class _Inside:
    """Whether the lines so far end in a Python traceback or a Go stack, whose unindented lines belong to it."""

    def __init__(self) -> None:
        self._traceback = False
        self._framed = False  # the traceback has shown a frame: the next unindented line is its exception
        self._stack = False

    def continues(self, line: str) -> bool:
        if _CONTINUES.match(line):
            return True
        if self._traceback and self._framed:
            return True
        return self._stack and _GO_FRAME.match(line) is not None

    def follow(self, line: str) -> None:
        if line.startswith(_TRACEBACK):
            self._traceback, self._framed = True, False
        elif self._traceback:
            if line[0].isspace():
                self._framed = True
            else:
                self._traceback = False
        if _GOROUTINE.match(line):
            self._stack = True
        elif self._stack and not line[0].isspace() and not _GO_FRAME.match(line) and not _CONTINUES.match(line):
            self._stack = False
