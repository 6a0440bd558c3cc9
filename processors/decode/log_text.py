"""From the text of a log record to what it says: message, severity, time, trace. One path for every shipper."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from processors.canonical import MOST_CHARS, canonical
from processors.decode.prefixes import may_tell_time, take_prefix, time_within
from processors.decode.resource import Origin
from processors.decode.severity import severity_in
from processors.decode.structured import Said, is_logfmt, read_fields, read_logfmt, reads_alike
from processors.decode.values import embedded_object, visible
from schemas.records import UNKNOWN, Filtered, LogRecord, Resource

LONGEST_TEXT: Final = 1 << 20  # characters that are looked at; what is kept of a body is far less
_MOST_WRAPPINGS: Final = 3  # JSON in JSON, such as Docker's log file around an application's own
EMPTY_LINE: Final = Filtered(rule="empty-line")


def interpret(text: str, received_ms: int | None, wrappings: int = 0) -> Said:
    """Read a line; `received_ms` is the time of its Kafka message, or None when the event time is known already."""
    text = visible(text[:LONGEST_TEXT]).strip()
    if text.startswith("{") and wrappings < _MOST_WRAPPINGS and (fields := embedded_object(text)):
        return interpret_fields(fields, received_ms, wrappings)
    rest, severity, time_ms = take_prefix(text, received_ms)
    if rest != text and wrappings < _MOST_WRAPPINGS and rest.startswith("{") and (fields := embedded_object(rest)):
        inner = interpret_fields(fields, received_ms, wrappings)
        return inner._replace(severity=inner.severity or severity, time_ms=time_ms or inner.time_ms)
    if (said := read_logfmt(rest)) is not None:
        return Said(
            said.text or rest, said.severity or severity or severity_in(rest), time_ms or said.time_ms, said.trace_id
        )
    if received_ms is not None and time_ms is None:
        time_ms = time_within(rest, received_ms)
    # A line that is nothing but its prefix is kept whole.
    return Said(rest or text, severity or severity_in(rest), time_ms)


def interpret_fields(fields: Mapping[str, object], received_ms: int | None, wrappings: int = 0) -> Said:
    """The same for a record that is an object; its message may itself be a line with a prefix, or an object."""
    said = read_fields(fields)
    if not said.has_message:
        return said._replace(text=visible(said.text[:LONGEST_TEXT]))
    inner = interpret(said.text, None if said.time_ms is not None else received_ms, wrappings + 1)
    trace_id = said.trace_id or inner.trace_id
    return Said(inner.text, said.severity or inner.severity, said.time_ms or inner.time_ms, trace_id)


class Heading(NamedTuple):
    """Where the message of a plain line stands, and what stands before it says; the same for every like line."""

    start: int
    end: int
    severity: int
    timed: bool  # there may be a time to read


@lru_cache(maxsize=1 << 15)  # of at most some 1.5 kB each
def _heading(form: str) -> Heading | None:
    """Of lines with this canonical form; None where more than that has to be looked at: fields, colours, many lines."""
    text = form.strip()
    if not form.isprintable() or not text or text.startswith("{"):
        return None
    rest, severity, _ = take_prefix(text, None)
    if rest.startswith("{"):
        return None
    if is_logfmt(rest):
        return _logfmt_heading(form, rest, severity)
    end = form.index(text) + len(text)
    timed = rest != text or may_tell_time(rest)
    return Heading(end - len(rest or text), end, severity or severity_in(rest), timed)


def _logfmt_heading(form: str, rest: str, severity: int) -> Heading | None:
    said = read_logfmt(rest) if reads_alike(rest) else None
    if said is None or not said.text or form.count(said.text) != 1:
        return None
    start = form.index(said.text)
    return Heading(start, start + len(said.text), said.severity or severity or severity_in(rest), True)


def log_record(
    origin: Origin,
    resource: Resource,
    text: str | Mapping[str, object],
    *,
    time_ms: int | None,
    severity: int = UNKNOWN,
    trace_id: str = "",
) -> LogRecord | Filtered:
    """A record of what the shipper said about a line and what the line says itself; the shipper's word goes first."""
    if isinstance(text, str):
        if len(text) <= MOST_CHARS and text.isascii():
            form = canonical(text)
            heading = _heading(form)
            if heading is not None and not (heading.timed and time_ms is None):
                start, end, level, _ = heading
                # What LogRecord(...) does, for less: once for every line.
                return tuple.__new__(
                    LogRecord, (time_ms, resource, severity or level, text[start:end], trace_id, form[start:end])
                )
        said = interpret(text, origin.received_ms if time_ms is None else None)
    else:
        said = interpret_fields(text, origin.received_ms if time_ms is None else None)
    if not said.text:
        return EMPTY_LINE
    return LogRecord(
        time_ms if time_ms is not None else said.time_ms,
        resource,
        severity or said.severity,
        said.text,
        trace_id or said.trace_id,
    )
