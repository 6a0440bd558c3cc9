"""Times move in the notation they had; everything else stays."""

from typing import Any

import pytest

from streams.shift import shifted

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("value", "by_ms", "expected"),
    [
        ({"@timestamp": 1795200000.5, "log": "x"}, HOUR_MS, {"@timestamp": 1795203600.5, "log": "x"}),
        ({"timestamp": 1795200000}, 1500, {"timestamp": 1795200001}),
        ({"timestamp": 1795200000123}, 1500, {"timestamp": 1795200001623}),
        ({"timeUnixNano": "1795200000123456789"}, 1, {"timeUnixNano": "1795200000124456789"}),
        ({"time": "2026-11-20T23:59:59.999999999Z"}, 1, {"time": "2026-11-21T00:00:00.000999999Z"}),
        ({"time": "2026-11-20T20:00:00+02:00"}, -HOUR_MS, {"time": "2026-11-20T19:00:00+02:00"}),
        ({"timestamp": "2026-11-20 20:00:00,5"}, 100, {"timestamp": "2026-11-20 20:00:00,6"}),
        ({"alerts": [{"endsAt": "0001-01-01T00:00:00Z"}]}, HOUR_MS, {"alerts": [{"endsAt": "0001-01-01T00:00:00Z"}]}),
        ({"series": {"lastObservedTime": "2026-11-20T20:00:00.000001Z"}}, HOUR_MS,
         {"series": {"lastObservedTime": "2026-11-20T21:00:00.000001Z"}}),
        ({"firstTimestamp": None, "time": 3, "timestamp": True}, HOUR_MS,
         {"firstTimestamp": None, "time": 3, "timestamp": True}),
        ({"time": "soon", "timestamp": "9999-12-31T23:59:59Z"}, HOUR_MS,
         {"time": "soon", "timestamp": "9999-12-31T23:59:59Z"}),
        ({"value": "1795200000", "count": 1795200000}, HOUR_MS, {"value": "1795200000", "count": 1795200000}),
    ],
)  # fmt: skip
def test_shifted(value: Any, by_ms: int, expected: Any) -> None:
    assert shifted(value, by_ms) == expected
