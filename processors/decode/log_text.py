"""From the text of a log record to what it says: message, severity, time, attributes. One path for every shipper."""

from collections.abc import Mapping
from typing import Final

from processors.decode.prefixes import take_prefix, time_within
from processors.decode.resource import Origin
from processors.decode.severity import severity_in
from processors.decode.structured import MOST_ATTRIBUTES, Said, read_fields, read_logfmt
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
    rest, severity, time_ms, caller = take_prefix(text, received_ms)
    if rest != text and wrappings < _MOST_WRAPPINGS and rest.startswith("{") and (fields := embedded_object(rest)):
        inner = interpret_fields(fields, received_ms, wrappings)
        return inner._replace(severity=inner.severity or severity, time_ms=time_ms or inner.time_ms)
    if "=" in rest and (said := read_logfmt(rest)) is not None:
        return Said(
            said.text or rest, said.severity or severity or severity_in(rest), time_ms or said.time_ms, said.attributes
        )
    if received_ms is not None and time_ms is None:
        time_ms = time_within(rest, received_ms)
    # A line that is nothing but its prefix is kept whole.
    return Said(rest or text, severity or severity_in(rest), time_ms, {"caller": caller} if caller else {})


def interpret_fields(fields: Mapping[str, object], received_ms: int | None, wrappings: int = 0) -> Said:
    """The same for a record that is an object; its message may itself be a line with a prefix, or an object."""
    said = read_fields(fields)
    if not said.has_message:
        return said._replace(text=visible(said.text[:LONGEST_TEXT]))
    inner = interpret(said.text, None if said.time_ms is not None else received_ms, wrappings + 1)
    attributes = {**inner.attributes, **said.attributes}
    if len(attributes) > MOST_ATTRIBUTES:
        attributes = dict(list(attributes.items())[:MOST_ATTRIBUTES])
    return Said(inner.text, said.severity or inner.severity, said.time_ms or inner.time_ms, attributes)


def log_record(
    origin: Origin,
    resource: Resource,
    text: str | Mapping[str, object],
    *,
    time_ms: int | None,
    severity: int = UNKNOWN,
    attributes: Mapping[str, str] | None = None,
) -> LogRecord | Filtered:
    """A record of what the shipper said about a line and what the line says itself; the shipper's word goes first."""
    received_ms = origin.received_ms if time_ms is None else None
    said = interpret(text, received_ms) if isinstance(text, str) else interpret_fields(text, received_ms)
    if not said.text:
        return EMPTY_LINE
    return LogRecord(
        time_ms=time_ms if time_ms is not None else said.time_ms,
        resource=resource,
        severity=severity or said.severity,
        body=said.text,
        attributes={**said.attributes, **attributes} if attributes else said.attributes,
    )
