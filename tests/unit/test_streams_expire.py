"""Only whole days older than their kind's retention are dropped, and only our own dated indices."""

import datetime as dt

import pytest

from schemas.settings import Retention
from streams.expire import day_indices, expired

NOW = dt.datetime(2026, 11, 20, 0, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("freshet-occurrences-g1-2026.11.05", True),
        ("freshet-occurrences-g1-2026.11.06", False),  # 14 days ago: a record of its last minute is still young enough
        ("freshet-occurrences-g0-2026.11.05", True),  # of an older generation
        ("freshet-series-g1-2026.11.12", True),  # 7 days
        ("freshet-series-g1-2026.11.13", False),
        ("freshet-insights-v1-2026.10.20", True),  # 30 days
        ("freshet-insights-v1-2026.10.21", False),
        ("freshet-watermarks-g1", False),
        ("freshet-other-g1-2020.01.01", False),
        ("freshet-two-series-g1-2020.01.01", False),  # prefix `freshet-two`
        ("freshetx-series-g1-2020.01.01", False),
        ("freshet-series-g1-2020.01.01-copy", False),
    ],
)
def test_expired(name: str, goes: bool) -> None:
    found = day_indices([{"index": name, "docs.count": "5", "store.size": None}], "freshet")
    assert [i.name for i in expired(found, Retention(), NOW)] == ([name] if goes else [])


def test_the_day_is_told_in_utc() -> None:
    found = day_indices([{"index": "freshet-series-g1-2026.11.12"}], "freshet")
    east = dt.datetime(2026, 11, 20, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))  # still the 19th in UTC
    assert expired(found, Retention(), east) == []
