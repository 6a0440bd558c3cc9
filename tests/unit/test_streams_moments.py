"""Moments as people type them."""

import datetime as dt
import re

import pytest

from schemas.errors import StartupError
from streams.moments import moment_ms

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-11-20T10:30+00:00"),
        ("2h", "2026-11-20T10:00+00:00"),
        ("3d", "2026-11-17T12:00+00:00"),
        ("2026-11-20T11:30", "2026-11-20T11:30+00:00"),
        ("2026-11-20T11:30Z", "2026-11-20T11:30+00:00"),
        ("2026-11-20T11:30+02:00", "2026-11-20T09:30+00:00"),
    ],
)
def test_a_moment_is_iso_or_so_long_ago(text: str, expected: str) -> None:
    assert moment_ms(text, NOW, option="--from") == dt.datetime.fromisoformat(expected).timestamp() * 1000


@pytest.mark.parametrize("text", ["soon", "", "5y", "-3d", "999999999w"])
def test_anything_else_is_told_in_one_line(text: str) -> None:
    with pytest.raises(StartupError, match=re.escape(f"--since {text}: give a moment")):
        moment_ms(text, NOW, option="--since")
