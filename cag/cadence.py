"""How often each source speaks: one that has stopped is told from one that speaks rarely. Pure.

A source that says r lines a second is silent for longer than 7/r once in a thousand times (Poisson: e^-7). Bursts, as
those of a job that runs each minute, show in the gap between the last line of one minute and the first of the next.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

Json = dict[str, Any]
LOOKED_BACK: Final = timedelta(minutes=10)
SOONEST: Final = timedelta(seconds=20)  # counts of known patterns may be ten seconds late
LATEST: Final = timedelta(minutes=3)  # also for a source that is not known yet
GAPS: Final = 2  # times the longest silence of the last minutes
ODDS: Final = 7
MOST_SOURCES: Final = 2_000


class Speaker(NamedTuple):
    """Whose lines they are."""

    cluster: str
    namespace: str
    workload: str


class Speech(NamedTuple):
    newest: datetime
    patience: timedelta  # longer than this it is seldom silent


def activity(now: datetime, filters: list[Json]) -> Json:
    """A search of occurrences: who spoke in the ten minutes before `now`, minute by minute.

    Only documents that were whole by then count: what a minute adds later says nothing about this moment.
    """
    end = int(now.timestamp() * 1000)
    start = end - int(LOOKED_BACK.total_seconds() * 1000)
    when: list[Json] = [{"range": {"minute_ms": {"gte": start, "lte": end}}}, {"range": {"last_ms": {"lte": end}}}]
    by_minute = {
        "terms": {"field": "minute_ms", "size": int(LOOKED_BACK.total_seconds() // 60) + 1, "order": {"_key": "asc"}},
        "aggs": {
            "lines": {"sum": {"field": "count"}},
            "first": {"min": {"field": "first_ms"}},
            "last": {"max": {"field": "last_ms"}},
        },
    }
    who = [{"field": name} for name in Speaker._fields]
    speakers = {"multi_terms": {"terms": who, "size": MOST_SOURCES}, "aggs": {"minutes": by_minute}}
    return {"size": 0, "track_total_hits": False, "query": {"bool": {"filter": [*when, *filters]}},
            "aggs": {"speakers": speakers}}  # fmt: skip


def speeches(answer: Mapping[str, Any]) -> dict[Speaker, Speech]:
    """What the index says to `activity`."""
    buckets = answer.get("aggregations", {}).get("speakers", {}).get("buckets", [])
    return {Speaker(*bucket["key"]): _speech(bucket["minutes"]["buckets"]) for bucket in buckets}


def _speech(minutes: list[Any]) -> Speech:
    last = minutes[-1]["last"]["value"]
    lines = sum(minute["lines"]["value"] for minute in minutes)
    spoke_s = max((last - minutes[0]["first"]["value"]) / 1000, 1.0)
    turns = pairwise(minutes)
    gap_s = max(((two["first"]["value"] - one["last"]["value"]) / 1000 for one, two in turns), default=0.0)
    usual = max(GAPS * gap_s, ODDS * spoke_s / max(lines, 1))
    # One minute alone tells no rhythm: whoever has just begun may speak once an hour.
    patience = LATEST if len(minutes) < 2 else min(max(timedelta(seconds=usual), SOONEST), LATEST)
    return Speech(datetime.fromtimestamp(last / 1000, UTC), patience)
