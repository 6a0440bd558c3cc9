"""Log records that the application wrote as fields, in JSON or logfmt: which field is the message, which the level."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import orjson

from processors.decode.severity import level_of, otel_severity
from processors.decode.timestamps import epoch_ms
from processors.decode.values import first, mapping, name, scalar

MOST_ATTRIBUTES: Final = 16
ATTRIBUTE_LENGTH: Final = 256  # characters

MESSAGE_KEYS: Final = ("message", "msg", "log", "MESSAGE", "short_message", "@m", "body", "event", "text")
LEVEL_KEYS: Final = (
    "level", "severity", "lvl", "log.level", "loglevel", "logLevel", "log_level", "levelname", "severity_text",
    "severityText", "priority", "@l", "s",
)  # fmt: skip
TIME_KEYS: Final = ("time", "ts", "timestamp", "@timestamp", "datetime", "asctime", "date", "t", "@t", "eventTime")
_ERROR_KEYS: Final = ("error", "err", "exception", "exc", "error.message", "exception.message", "error.msg", "reason")
_ALIASES: Final = {
    "traceId": "trace_id", "traceID": "trace_id", "trace.id": "trace_id", "traceid": "trace_id",
    "dd.trace_id": "trace_id", "spanId": "span_id", "spanID": "span_id", "span.id": "span_id", "spanid": "span_id",
    "dd.span_id": "span_id", "logger_name": "logger", "loggerName": "logger", "log.logger": "logger",
    "error.type": "exception.type", "error.stack_trace": "exception.stacktrace", "stack_trace": "exception.stacktrace",
    "stacktrace": "exception.stacktrace", "exc_info": "exception.stacktrace", "log.iostream": "stream",
}  # fmt: skip
# Kept before all others where there are more than MOST_ATTRIBUTES.
_FIRST_ATTRIBUTES: Final = (
    "trace_id",
    "span_id",
    "logger",
    "error",
    "err",
    "exception.type",
    "exception.message",
    "code",
)

_LOGFMT: Final = re.compile(r"[A-Za-z_@][\w.-]{0,63}=(?:\S|$)", re.ASCII)
_PAIR: Final = re.compile(r'([A-Za-z_@][\w./-]{0,63})=("(?:[^"\\]+|\\.)*+"|[^\s"]*+)(?:\s+|$)', re.ASCII | re.DOTALL)
_MOST_PAIRS: Final = 64
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED: Final = {"n": "\n", "t": "\t", "r": "\r"}


class Said(NamedTuple):
    """What a log record says. `text` is empty when it says nothing."""

    text: str
    severity: int
    time_ms: int | None
    attributes: dict[str, str]
    has_message: bool = True  # False: no field was the message, `text` is all fields as JSON


def read_fields(fields: Mapping[str, object]) -> Said:
    """Message, level and time of an application's own JSON object; its other scalars become attributes."""
    message_key = next((key for key in MESSAGE_KEYS if _is_said(fields.get(key))), "")
    others = {
        key: value
        for key, value in fields.items()
        if key != message_key and key not in LEVEL_KEYS and key not in TIME_KEYS and value not in (None, "")
    }
    severity, time_ms = read_severity(fields), read_time(fields)
    if not message_key:
        return Said(orjson.dumps(others).decode() if others else "", severity, time_ms, {}, has_message=False)
    return Said(with_error(scalar(fields[message_key]), others), severity, time_ms, read_attributes(others))


def read_logfmt(text: str) -> Said | None:
    """The same for `level=info msg="..." key=value`; None unless the text starts so and names a level or a message."""
    if not _LOGFMT.match(text):
        return None
    pairs: dict[str, object] = {}
    kept: list[str] = []
    position = 0
    while len(pairs) < _MOST_PAIRS and (found := _PAIR.match(text, position)):
        key, value = found.groups()
        pairs.setdefault(key, _unquoted(value))
        if key not in LEVEL_KEYS and key not in TIME_KEYS and key != "caller":
            kept.append(found[0])
        position = found.end()
    severity = read_severity(pairs)
    if not severity and not pairs.keys() & {"msg", "message"}:
        return None
    rest = text[position:]
    if rest.strip() or first(pairs, "msg", "message") is None:
        return Said("".join((*kept, rest)).strip(), severity, read_time(pairs), {})
    return read_fields(pairs)._replace(severity=severity)


def read_attributes(fields: Mapping[str, object]) -> dict[str, str]:
    """At most MOST_ATTRIBUTES scalars, the identifying ones first, objects flattened once with dotted names."""
    flat = {_ALIASES.get(key, key): value for key, value in _flatten(fields)}
    chosen: list[str] = [key for key in _FIRST_ATTRIBUTES if key in flat]
    chosen.extend(key for key in flat if key not in _FIRST_ATTRIBUTES)
    return {name(key): name(flat[key], ATTRIBUTE_LENGTH) for key in chosen[:MOST_ATTRIBUTES]}


def _flatten(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    seen = 0
    for key, value in fields.items():
        inner = value.items() if isinstance(value, dict) else ((None, value),)
        for inner_key, inner_value in inner:
            if inner_value not in (None, "") and isinstance(inner_value, str | int | float):
                yield (key if inner_key is None else f"{key}.{inner_key}"), inner_value
            seen += 1
            if seen > 4 * MOST_ATTRIBUTES:  # whoever writes thousands of keys does not get them all
                return


def _is_said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def read_severity(fields: Mapping[str, object]) -> int:
    """The severity of whatever level field there is; UNKNOWN without one."""
    number = otel_severity(fields.get("severityNumber", fields.get("severity_number")), None)
    if number:
        return number
    for key in LEVEL_KEYS:
        if (value := fields.get(key)) is not None and (number := level_of(value)):
            return number
    return level_of(mapping(fields.get("log")).get("level"))


def read_time(fields: Mapping[str, object]) -> int | None:
    """Epoch milliseconds of the first time field that holds a believable one."""
    for key in TIME_KEYS:
        value = fields.get(key)
        value = value.get("$date") if isinstance(value, dict) else value  # MongoDB
        if value is not None and (time_ms := epoch_ms(value)) is not None:
            return time_ms
    return None


def with_error(text: str, fields: Mapping[str, object]) -> str:
    """The message with the first line of its error: `request failed` alone would hide why."""
    for key in _ERROR_KEYS:
        value = fields.get(key)
        if isinstance(value, dict):
            value = first(value, "message", "msg", "type")
        line = scalar(value).partition("\n")[0].strip() if not isinstance(value, bool) else ""
        if line:
            return text if line in text else f"{text.rstrip()}: {line[:ATTRIBUTE_LENGTH]}"
    return text


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), value[1:-1])
