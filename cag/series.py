"""A series becomes evidence: what it is now, what it was at first or in the compared period. Pure."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from cag.evidence import SHOWN_CHARS, Candidate, moment
from schemas.context import Evidence, Span
from schemas.documents import MINUTE_MS
from schemas.evidence_id import minutes_id

Json = Mapping[str, Any]
Points = list[tuple[int, Json]]  # minute, and its last sample
SHORTEST_SERIES: Final = 4  # minutes; fewer say nothing about what is usual


def metric_candidate(hours: Sequence[Json], span: Span, compared: Sequence[Json] | None = None) -> Candidate | None:
    """One series over the range: its value now, and how far that is from what it was.

    That is at first, or in the compared period, of which the hours are given then.
    """
    start_ms, end_ms = span.start.timestamp() * 1000, span.end.timestamp() * 1000
    points = [each for each in _points(hours) if _sampled_ms(each[1]) <= end_ms]
    inside = [(minute, point) for minute, point in points if minute >= start_ms - MINUTE_MS]
    if not inside:
        return None
    latest = hours[-1]
    unit = "/s" if latest["monotonic"] else latest["unit"]
    shown = _values(points if compared is None else inside, latest)
    early = shown[: max(len(shown) // 4, 1)] if compared is None else _values(_points(compared), latest)
    if not shown:
        return None
    usual, now = statistics.median(early or shown), shown[-1]
    spread = max(_deviation(early or shown), abs(usual) * 0.1, 1e-9)
    extreme = max(shown[-len(inside) :], key=lambda value: abs(value - usual))
    deviation = abs(extreme - usual) / spread if len(shown) >= SHORTEST_SERIES else 0.0
    labels = ", ".join(f"{name}={value}" for name, value in sorted(latest["labels"].items()))
    named = f"{latest['name']}{{{labels}}}" if labels else latest["name"]
    before = f"at first {_number(usual)}{unit}"
    if compared is not None:
        before = f"{_number(usual)}{unit} in the compared period" if early else "not seen in the compared period"
    text = (
        f"{named} of {latest['entity']}: now {_number(now)}{unit}, "
        f"{before}, range {_number(min(shown))} to {_number(max(shown))}{unit} "
        f"over {len(shown)} minutes"
    )
    return Candidate(
        evidence=Evidence(
            id=minutes_id("metric", latest["series_id"], inside[0][0], inside[-1][0]),
            kind="metric",
            text=text[:SHOWN_CHARS],
            title=latest["name"],
            cluster=latest["cluster"],
            namespace=latest["namespace"],
            workload=latest["workload"],
            entity=latest["entity"],
            first=moment(inside[0][0]),
            last=moment(inside[-1][0]),
            count=len(inside),
            coordinates=(inside[-1][1]["o"].split("/", 1)[1],),
        ),
        severity=min(deviation / 20, 0.6),
        novel=min(deviation / 20, 1.0),
        pod=latest["pod"],
        node=latest["node"],
        words=frozenset({latest["name"], latest["workload"]}),  # one pod stands for its replicas
    )


def within(hours: Iterable[Json], span: Span) -> list[Json]:
    """These hours without the samples outside of a period."""
    start_ms, end_ms = span.start.timestamp() * 1000, span.end.timestamp() * 1000
    return [
        {**hour, "points": {m: p for m, p in hour["points"].items() if start_ms <= _sampled_ms(p) <= end_ms}}
        for hour in hours
    ]


def _points(hours: Iterable[Json]) -> Points:
    return sorted(((int(minute), point) for hour in hours for minute, point in hour["points"].items()), key=_minute)


def _minute(point: tuple[int, Json]) -> int:
    return point[0]


def _sampled_ms(point: Json) -> int:
    """A minute goes on: its last sample may be later than the moment that is asked about."""
    return int(point["o"].partition("/")[0])


def _values(points: Points, series: Json) -> list[float]:
    return _rates(points) if series["monotonic"] else [point["v"] for _, point in points]


def _deviation(values: Sequence[float]) -> float:
    """Of a population. The one in `statistics` counts in fractions, which takes a hundred times as long."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _rates(points: Sequence[tuple[int, Json]]) -> list[float]:
    """Per second, between neighbouring minutes; a counter that falls has been reset and starts from zero."""
    rates = []
    for (before, one), (after, two) in pairwise(points):
        rise = two["v"] - one["v"] if two["v"] >= one["v"] else two["v"]
        rates.append(rise / ((after - before) / 1000))
    return rates


def _number(value: float) -> str:
    if abs(value) >= 1 << 20 and float(value).is_integer():
        return f"{value / (1 << 20):,.0f}Mi" if value < 1 << 34 else f"{value / (1 << 30):,.1f}Gi"
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
