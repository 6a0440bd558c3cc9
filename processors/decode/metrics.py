"""Metric samples of prometheus-kafka-adapter, Telegraf and Vector; OpenTelemetry's are made by the same `sample`."""

import math
from collections.abc import Iterator, Mapping
from typing import Final

from processors.decode.resource import Origin, labelled
from processors.decode.timestamps import epoch_ms
from processors.decode.values import first, mapping, name, names, scalar, sequence
from schemas.errors import InvalidRecord
from schemas.records import Filtered, MetricSample, Rejected, Resource

STALE: Final = Filtered(rule="stale-marker")
NOT_FINITE: Final = Filtered(rule="not-finite")
# Prometheus knows no types on this path; its naming rules say which series only ever grow.
_MONOTONIC_SUFFIXES: Final = ("_total", "_count", "_sum", "_bucket")

Outcome = MetricSample | Filtered | Rejected


def sample(
    *,
    resource: Resource,
    labels: Mapping[str, str],
    metric: str,
    value: object,
    time_ms: int | None,
    unit: str = "",
    monotonic: bool = False,
) -> Outcome:
    """One sample, or why it is none: a stale marker (NaN), an infinite value, no number, no name."""
    if not metric:
        return Rejected(reason="metric without a name")
    number = _number(value)
    if number is None:
        return Rejected(reason="metric value is not a number")
    if math.isnan(number):
        return STALE
    if math.isinf(number):
        return NOT_FINITE
    return MetricSample(
        time_ms=time_ms, resource=resource, name=metric, labels=labels, value=number, unit=unit, monotonic=monotonic
    )


def _number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            return float(value) if len(value) <= 64 and value.isascii() and "_" not in value else None
        except ValueError:
            return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return None


def prometheus(event: Mapping[str, object], origin: Origin) -> list[Outcome]:
    """One sample of prometheus-kafka-adapter, which writes numbers as strings and cuts times to the second."""
    labels = event.get("labels")
    if "value" not in event or not isinstance(labels, dict):
        raise InvalidRecord("not prometheus-kafka-adapter")
    pairs = names(labels)
    metric = name(event.get("name")) or pairs.get("__name__", "")
    pairs.pop("__name__", None)
    resource, rest = labelled(pairs, origin)
    return [
        sample(
            resource=resource,
            labels=rest,
            metric=metric,
            value=event["value"],
            time_ms=epoch_ms(event.get("timestamp")),
            monotonic=metric.endswith(_MONOTONIC_SUFFIXES),
        )
    ]


def telegraf(event: Mapping[str, object], origin: Origin) -> list[Outcome]:
    """Telegraf's JSON: one sample for each field that is a number or a truth value."""
    fields = event.get("fields")
    if not isinstance(fields, dict) or "name" not in event:
        raise InvalidRecord("not telegraf-json")
    measurement = name(event["name"])
    if not measurement:
        return [Rejected(reason="metric without a name")]
    resource, rest = labelled(names(mapping(event.get("tags"))), origin)
    time_ms = epoch_ms(event.get("timestamp"))
    samples = [
        sample(
            resource=resource,
            labels=rest,
            metric=measurement if field in ("value", "") else name(f"{measurement}_{field}"),
            value=value,
            time_ms=time_ms,
            monotonic=field.endswith(_MONOTONIC_SUFFIXES),
        )
        for field, value in fields.items()
        if isinstance(value, int | float)
    ]
    return samples or [Filtered(rule="no-numeric-field")]


def vector_metric(event: Mapping[str, object], origin: Origin) -> list[Outcome]:
    """Vector's metric event: counters, gauges and sets as they are, distributions as their count and sum."""
    event = mapping(event.get("metric")) or event
    metric = name(event.get("name"))
    if not metric:
        return [Rejected(reason="metric without a name")]
    if namespace := name(event.get("namespace")):
        metric = name(f"{namespace}_{metric}")
    resource, rest = labelled(names(_single_tags(mapping(event.get("tags")))), origin)
    time_ms = epoch_ms(event.get("timestamp"))
    growing = event.get("kind") == "absolute"  # an incremental counter is sent as differences
    samples = [
        sample(
            resource=resource,
            labels=rest,
            metric=metric + suffix,
            value=value,
            time_ms=time_ms,
            monotonic=growing and counts,
        )
        for suffix, value, counts in _vector_values(event)
    ]
    if not samples:
        raise InvalidRecord("not vector")
    return samples


def _vector_values(event: Mapping[str, object]) -> Iterator[tuple[str, object, bool]]:
    """Suffix of the name, value, and whether it only grows."""
    if "counter" in event:
        yield "", mapping(event["counter"]).get("value"), True
    elif "gauge" in event:
        yield "", mapping(event["gauge"]).get("value"), False
    elif "set" in event:
        yield "", len(sequence(mapping(event["set"]).get("values"))), False
    elif "distribution" in event:
        samples = [mapping(each) for each in sequence(mapping(event["distribution"]).get("samples"))]
        weighted = [(_number(each.get("value")) or 0.0, _number(each.get("rate")) or 0.0) for each in samples]
        yield "_count", sum(rate for _, rate in weighted), True
        yield "_sum", sum(value * rate for value, rate in weighted), True
    else:
        sketch = mapping(mapping(event.get("sketch")).get("sketch")).get("AgentDDSketch")
        whole = mapping(first(event, "aggregated_histogram", "aggregated_summary") or sketch)
        if "count" in whole:
            yield "_count", whole["count"], True
            yield "_sum", whole.get("sum"), True


def _single_tags(tags: Mapping[str, object]) -> dict[str, object]:
    """Tags with one value each: Vector may write several, or null, for a tag that is only present."""
    return {
        key: ",".join(filter(None, map(scalar, value)))
        if isinstance(value, list)
        else "true"
        if value is None
        else value
        for key, value in tags.items()
    }
