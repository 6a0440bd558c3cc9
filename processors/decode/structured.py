"""Log records that the application wrote as fields, in JSON or logfmt: which field is the message, which the level."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Final, NamedTuple

import orjson

from processors.decode.severity import level_of, otel_severity
from processors.decode.timestamps import epoch_ms
from processors.decode.values import MORE, first, mapping, name, scalar
from schemas.records import IDENTIFIER, UNKNOWN

_MOST_FIELDS: Final = 1_000  # of an object without a message, whose fields are its text
ERROR_LENGTH: Final = 256  # characters of an error that are put behind the message

MESSAGE_KEYS: Final = ("message", "msg", "log", "MESSAGE", "short_message", "@m", "body", "event", "text")
LEVEL_KEYS: Final = (
    "level", "severity", "lvl", "log.level", "loglevel", "logLevel", "log_level", "levelname", "severity_text",
    "severityText", "priority", "@l", "s",
)  # fmt: skip
TIME_KEYS: Final = ("time", "ts", "timestamp", "@timestamp", "datetime", "asctime", "date", "t", "@t", "eventTime")
_LEVEL_KEYS: Final = frozenset((*LEVEL_KEYS, "severityNumber", "severity_number"))
_NOT_SAID: Final = _LEVEL_KEYS.union(TIME_KEYS)
ERROR_KEYS: Final = ("error", "err", "exception", "exc", "error.message", "exception.message", "error.msg", "reason")
_TRACE_KEYS: Final = ("trace_id", "traceId", "traceID", "trace.id", "traceid", "dd.trace_id")
TRACE_KEYS: Final = frozenset((*_TRACE_KEYS, "trace", "dd"))
_LOOKED_INTO: Final = TRACE_KEYS.union(ERROR_KEYS)

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
    trace_id: str = ""
    has_message: bool = True  # False: no field was the message, `text` is all fields as JSON


def read_fields(fields: Mapping[str, object]) -> Said:
    """Message, level and time of an application's own JSON object; its other fields tell its error and its trace."""
    message_key = ""
    for key in MESSAGE_KEYS:
        if key in fields and _is_said(fields[key]):
            message_key = key
            break
    others = {
        key: value
        for key, value in islice(fields.items(), _MOST_FIELDS)
        if key != message_key and key not in _NOT_SAID and value is not None and value != ""
    }
    if len(fields) > _MOST_FIELDS and not message_key:
        others[MORE] = len(fields) - _MOST_FIELDS
    severity, time_ms = read_severity(fields), read_time(fields)
    if not message_key:
        return Said(orjson.dumps(others).decode() if others else "", severity, time_ms, has_message=False)
    return Said(with_error(scalar(fields[message_key]), others), severity, time_ms, trace_id_of(others))


def is_logfmt(text: str) -> bool:
    return "=" in text and _LOGFMT.match(text) is not None


def read_logfmt(text: str) -> Said | None:
    """The same for `level=info msg="..." key=value`; None unless the text starts so and names a level or a message."""
    if not is_logfmt(text):
        return None
    pairs, kept, position = _pairs(text)
    severity = read_severity(pairs)
    if not severity and not pairs.keys() & {"msg", "message"}:
        return None
    rest = text[position:]
    if rest.strip() or first(pairs, "msg", "message") is None:
        return Said("".join((*kept, rest)).strip(), severity, read_time(pairs))
    return read_fields(pairs)._replace(severity=severity)


def reads_alike(form: str) -> bool:
    """Whether `read_logfmt` finds severity and message at the same places in all lines of this canonical form."""
    pairs, _, _ = _pairs(form)
    levels = "".join(str(pairs[key]) for key in _LEVEL_KEYS & pairs.keys())
    return "\\" not in form and "0" not in levels and pairs.keys().isdisjoint(_LOOKED_INTO)


def _pairs(text: str) -> tuple[dict[str, object], list[str], int]:
    """Keys with their values, the pairs that a text without a message keeps, and where the pairs end."""
    pairs: dict[str, object] = {}
    kept: list[str] = []
    position = 0
    for _ in range(_MOST_PAIRS):
        found = _PAIR.match(text, position)
        if found is None:
            break
        key, value = found.groups()
        pairs.setdefault(key, _unquoted(value))
        if key not in _NOT_SAID and key != "caller":
            kept.append(found[0])
        position = found.end()
    return pairs, kept, position


def trace_id_of(fields: Mapping[str, object]) -> str:
    """The trace that a record belongs to, under any of the usual keys; '' without one that looks like one."""
    if TRACE_KEYS.isdisjoint(fields):
        return ""
    inner = mapping(fields.get("trace")).get("id") or mapping(fields.get("dd")).get("trace_id")
    found = name(first(fields, *_TRACE_KEYS) or inner)
    return found if IDENTIFIER.fullmatch(found) else ""


def _is_said(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def read_severity(fields: Mapping[str, object]) -> int:
    """The severity of whatever level field there is; UNKNOWN without one."""
    if not _LEVEL_KEYS.isdisjoint(fields):
        if number := otel_severity(fields.get("severityNumber", fields.get("severity_number")), None):
            return number
        for key in LEVEL_KEYS:
            if key in fields and (number := level_of(fields[key])):
                return number
    nested = fields.get("log")
    return level_of(nested.get("level")) if isinstance(nested, dict) else UNKNOWN


def read_time(fields: Mapping[str, object]) -> int | None:
    """Epoch milliseconds of the first time field that holds a believable one."""
    for key in TIME_KEYS:
        if key in fields:
            value = fields[key]
            value = value.get("$date") if isinstance(value, dict) else value  # MongoDB
            if (time_ms := epoch_ms(value)) is not None:
                return time_ms
    return None


def with_error(text: str, fields: Mapping[str, object]) -> str:
    """The message with the first line of its error: `request failed` alone would hide why."""
    for key in ERROR_KEYS:
        value = fields.get(key)
        if value is None:
            continue
        if isinstance(value, dict):
            value = first(value, "message", "msg", "type")
        line = scalar(value).partition("\n")[0].strip() if not isinstance(value, bool) else ""
        if line:
            return text if line in text else f"{text.rstrip()}: {line[:ERROR_LENGTH]}"
    return text


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), value[1:-1])
