"""OTLP in protobuf, read into the same plain form as OTLP/JSON."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from processors.decode.otlp import CUMULATIVE, NOT_A_METRIC, Attributes, Group, LogEntry, PlainLog, Point, telling
from processors.decode.timestamps import EARLIEST_S, LATEST_S
from processors.decode.values import name
from schemas.errors import InvalidRecord
from schemas.records import HIGHEST_SEVERITY, Rejected

_TRACE_BYTES: Final = 16
Generated = Any  # of protoc, which has no types: the field names below are those of opentelemetry-proto


def read_otlp_proto(value: bytes, *, metrics_first: bool) -> Iterator[Group]:
    """The groups of a batch; raises InvalidRecord when the bytes are no batch.

    A batch of logs and one of metrics look alike from the outside. They are told apart by the first field of a
    record: a name in a metric, a time of another wire type in a log record.
    """
    logs = None if metrics_first else _parsed(LogsData(), value)
    if logs is None or not _is_timed(logs):
        metrics = _parsed(MetricsData(), value)
        if metrics is not None and _is_named(metrics):
            return (Group(_resource(each), _points(each)) for each in metrics.resource_metrics)
        logs = _parsed(LogsData(), value)
    if logs is None or not logs.resource_logs:
        raise InvalidRecord("not otlp-proto")
    return (Group(_resource(each), _logs(each)) for each in logs.resource_logs)


def _parsed(message: Generated, value: bytes) -> Generated | None:
    try:
        message.ParseFromString(value)
    except DecodeError:
        return None
    return message


def _is_named(metrics: Generated) -> bool:
    return any(
        metric.name for group in metrics.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
    )


def _is_timed(logs: Generated) -> bool:
    return any(
        record.time_unix_nano or record.observed_time_unix_nano
        for group in logs.resource_logs
        for scope in group.scope_logs
        for record in scope.log_records
    )


def _resource(group: Generated) -> Attributes:
    return _attributes(group.resource.attributes)


def _logs(group: Generated) -> Iterator[LogEntry | PlainLog]:
    for scope in group.scope_logs:
        for record in scope.log_records:
            text, number, time = record.body.string_value, record.severity_number, record.time_unix_nano
            timed = EARLIEST_S <= time // 1_000_000_000 < LATEST_S
            if (
                text
                and timed
                and 0 < number <= HIGHEST_SEVERITY
                and not any(map(telling, [a.key for a in record.attributes]))
            ):
                yield time // 1_000_000, number, text, _trace_id(record.trace_id)
                continue
            yield LogEntry(
                time=record.time_unix_nano,
                observed=record.observed_time_unix_nano,
                number=record.severity_number,
                text=record.severity_text,
                body=_any(record.body),
                attributes={pair.key: _any(pair.value) for pair in record.attributes if telling(pair.key)},
                trace_id=_trace_id(record.trace_id),
                event_name=name(record.event_name),
            )


def _points(group: Generated) -> Iterator[Point | Rejected]:
    for scope in group.scope_metrics:
        for metric in scope.metrics:
            kind = metric.WhichOneof("data")
            if kind is None:
                yield NOT_A_METRIC
                continue
            content = getattr(metric, kind)
            cumulative = kind == "summary" or (kind != "gauge" and content.aggregation_temporality == CUMULATIVE)
            for each in content.data_points:
                yield Point(
                    metric=name(metric.name),
                    unit=name(metric.unit),
                    monotonic=cumulative and (kind != "sum" or content.is_monotonic),
                    time=each.time_unix_nano,
                    flags=each.flags,
                    values=_number(each) if kind in ("gauge", "sum") else _distribution(each, kind),
                    attributes=_attributes(each.attributes),
                )


def _number(point: Generated) -> tuple[tuple[str, object], ...]:
    chosen = point.WhichOneof("value")
    return (("", getattr(point, chosen) if chosen else None),)


def _distribution(point: Generated, kind: str) -> tuple[tuple[str, object], ...]:
    if kind == "summary" or point.HasField("sum"):
        return (("_count", point.count), ("_sum", point.sum))
    return (("_count", point.count),)


def _attributes(pairs: Generated) -> dict[str, object]:
    return {pair.key: _any(pair.value) for pair in pairs}


def _any(value: Generated) -> object:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_any(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return b64encode(value.bytes_value).decode()
    plain: object = getattr(value, kind)
    return plain


def _trace_id(value: bytes) -> str:
    return value.hex() if len(value) == _TRACE_BYTES and any(value) else ""
