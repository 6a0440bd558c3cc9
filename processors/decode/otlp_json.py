"""OTLP/JSON as a Collector writes it: 64-bit integers as decimal strings, ids in hexadecimal, unknown keys ignored."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from processors.decode.otlp import (
    CUMULATIVE,
    NOT_A_METRIC,
    TELLING,
    Attributes,
    Group,
    LogEntry,
    PlainLog,
    Point,
    telling,
)
from processors.decode.timestamps import EARLIEST_S, LATEST_S
from processors.decode.values import mapping, name, scalar, sequence
from schemas.errors import InvalidRecord
from schemas.records import Rejected

_HEX: Final = frozenset("0123456789abcdef")
_TRACE_CHARS: Final = 32
_LOG: Final = Rejected(reason="not an OpenTelemetry log record")


def read_otlp_json(event: Mapping[str, object]) -> Iterator[Group]:
    """The groups of a batch of logs or metrics; raises InvalidRecord when it is neither."""
    if "resourceSpans" in event:
        raise InvalidRecord("traces are not supported")
    logs, metrics = event.get("resourceLogs"), event.get("resourceMetrics")
    if not isinstance(logs, list) and not isinstance(metrics, list):
        raise InvalidRecord("not otlp-json")
    for each in sequence(logs):
        yield Group(_resource(each), _logs(each))
    for each in sequence(metrics):
        yield Group(_resource(each), _points(each))


def _parts(whole: object, key: str) -> Iterator[Mapping[str, object] | None]:
    """The objects in a list of an object; None for what is neither absent nor one."""
    if not isinstance(whole, dict):
        yield None
        return
    found = whole.get(key)
    for each in found if isinstance(found, list) else () if found is None else (found,):
        yield each if isinstance(each, dict) and isinstance(found, list) else None


def _resource(group: object) -> Attributes:
    return _attributes(mapping(mapping(group).get("resource")).get("attributes"))


def _logs(group: object) -> Iterator[LogEntry | PlainLog | Rejected]:
    for scope in _parts(group, "scopeLogs"):
        records = None if scope is None else scope.get("logRecords")
        if isinstance(records, list):
            for record, plain in zip(records, plain_logs(records), strict=True):
                yield plain if plain is not None else _log(record) if isinstance(record, dict) else _LOG
        elif scope is None or records is not None:
            yield _LOG


def _no_plain_logs(records: list[object]) -> list[PlainLog | None]:
    return [None] * len(records)


plain_logs: Callable[[list[object]], list[PlainLog | None]]
try:
    from freshet_kernel import plain_logs as _plain_logs
except ImportError:  # every record goes the long way, which ends in the same
    plain_logs = _no_plain_logs
else:

    def plain_logs(records: list[object]) -> list[PlainLog | None]:
        return _plain_logs(records, TELLING, EARLIEST_S * 1000, LATEST_S * 1000)


def _log(record: Mapping[str, object]) -> LogEntry:
    return LogEntry(
        time=record.get("timeUnixNano"),
        observed=record.get("observedTimeUnixNano"),
        number=record.get("severityNumber"),
        text=record.get("severityText"),
        body=_any(record.get("body")),
        attributes=_telling(record.get("attributes")),
        trace_id=_trace_id(record.get("traceId")),
        event_name=name(record.get("eventName")),
    )


def _points(group: object) -> Iterator[Point | Rejected]:
    for scope in _parts(group, "scopeMetrics"):
        for metric in (None,) if scope is None else _parts(scope, "metrics"):
            yield from _metric(metric or {})


def _metric(metric: Mapping[str, object]) -> Iterator[Point | Rejected]:
    kinds = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
    kind = next((key for key in kinds if isinstance(metric.get(key), dict)), None)
    if kind is None:
        yield NOT_A_METRIC
        return
    content = mapping(metric[kind])
    cumulative = kind == "summary" or content.get("aggregationTemporality") == CUMULATIVE
    for each in _parts(content, "dataPoints"):
        if each is None:
            yield NOT_A_METRIC
            continue
        yield Point(
            metric=name(metric.get("name")),
            unit=name(metric.get("unit")),
            monotonic=kind != "gauge" and cumulative and (kind != "sum" or content.get("isMonotonic") is True),
            time=each.get("timeUnixNano"),
            flags=each.get("flags"),
            values=_number(each) if kind in ("gauge", "sum") else _distribution(each, kind),
            attributes=_attributes(each.get("attributes")),
        )


def _number(point: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    return (("", point["asDouble"] if "asDouble" in point else point.get("asInt")),)


def _distribution(point: Mapping[str, object], kind: str) -> tuple[tuple[str, object], ...]:
    # Zeros may be left out; a histogram of values that can be negative has no sum at all.
    count: tuple[tuple[str, object], ...] = (("_count", point.get("count", 0)),)
    return (*count, ("_sum", point.get("sum", 0))) if kind == "summary" or "sum" in point else count


def _attributes(pairs: object) -> dict[str, object]:
    return {scalar(pair.get("key")): _any(pair.get("value")) for pair in sequence(pairs) if isinstance(pair, dict)}


def _telling(pairs: object) -> dict[str, object]:
    return {
        key: _any(pair.get("value"))
        for pair in sequence(pairs)
        if isinstance(pair, dict) and telling(key := scalar(pair.get("key")))
    }


def _any(value: object) -> object:
    """An AnyValue as a plain value; what was written without its type is one already. None when it is empty."""
    if not isinstance(value, dict):
        return value
    if "stringValue" in value:
        return scalar(value["stringValue"])
    if "boolValue" in value:
        return value["boolValue"] is True
    if "intValue" in value:
        return _integer(value["intValue"])
    if "doubleValue" in value:
        return _double(value["doubleValue"])
    if "bytesValue" in value:
        return scalar(value["bytesValue"])
    if "arrayValue" in value:
        return [_any(each) for each in sequence(mapping(value["arrayValue"]).get("values"))]
    if "kvlistValue" in value:
        return _attributes(mapping(value["kvlistValue"]).get("values"))
    return None


def _integer(value: object) -> object:
    """A signed 64-bit integer, as it can come out of protobuf; anything else as the text that it is."""
    text = scalar(value)
    if len(text) <= 20 and text.isascii() and text.removeprefix("-").isdigit() and -(2**63) <= int(text) < 2**63:
        return int(text)
    return text


def _double(value: object) -> object:
    try:
        return float(scalar(value)[:64])
    except ValueError:
        return scalar(value)


def _trace_id(value: object) -> str:
    """A hexadecimal id, which is not the base64 that protobuf's own JSON rules would make of it."""
    text = value.lower() if isinstance(value, str) else ""
    return text if len(text) == _TRACE_CHARS and _HEX.issuperset(text) and text.strip("0") else ""
