"""Moving recorded telemetry in time: every time field of a JSON value, in the notation that it had."""

import datetime as dt
import re
from typing import Any, Final

# The time fields of the formats in `schemas.records.Format`, wherever they stand in a message.
TIME_FIELDS: Final = frozenset((
    "@timestamp", "time", "timestamp", "timereported", "timegenerated",
    "timeUnixNano", "observedTimeUnixNano", "startTimeUnixNano",
    "firstTimestamp", "lastTimestamp", "eventTime", "lastObservedTime", "creationTimestamp",
    "deprecatedFirstTimestamp", "deprecatedLastTimestamp", "startsAt", "endsAt",
))  # fmt: skip
# Seconds, milliseconds, microseconds, nanoseconds since 1970: told apart by size, good for the years 1973 to 5138.
_PER_SECOND: Final = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (float("inf"), 1_000_000_000))
_EARLIEST: Final = 1e8
_ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)([.,]\d{1,9})?(Z|[+-]\d\d:?\d\d)?")
_UNSET_YEAR: Final = "0001"  # Go's zero time: "has not ended"


def shifted(value: Any, by_ms: int) -> Any:
    """A copy with all time fields moved; what does not read as a time stays."""
    if isinstance(value, dict):
        return {k: _moved(v, by_ms) if k in TIME_FIELDS else shifted(v, by_ms) for k, v in value.items()}
    if isinstance(value, list):
        return [shifted(item, by_ms) for item in value]
    return value


def _moved(value: Any, by_ms: int) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _moved_number(value, by_ms)
    if isinstance(value, str):
        if value.isascii() and value.isdigit():
            return str(_moved_number(int(value), by_ms))
        return _moved_text(value, by_ms)
    return shifted(value, by_ms)


def _moved_number(value: float, by_ms: int) -> float:
    if not _EARLIEST <= value < float("inf"):
        return value
    per_second = next(scale for below, scale in _PER_SECOND if value < below)
    if isinstance(value, int):
        return value + by_ms * per_second // 1000
    return round(value + by_ms * per_second / 1000, 6)


def _moved_text(text: str, by_ms: int) -> str:
    match = _ISO.fullmatch(text)
    if match is None or text.startswith(_UNSET_YEAR):
        return text
    seconds, fraction, zone = match[1], match[2] or "", match[3] or ""
    digits = len(fraction) - 1 if fraction else 0
    try:
        whole = dt.datetime.fromisoformat(seconds)
        part_ns = int(fraction[1:].ljust(9, "0")) if fraction else 0
        carry, rest_ns = divmod(part_ns + by_ms % 1000 * 1_000_000, 1_000_000_000)
        moved = whole + dt.timedelta(seconds=by_ms // 1000 + carry)
    except (ValueError, OverflowError):
        return text
    shown = f"{fraction[0]}{rest_ns:09d}"[: digits + 1] if fraction else ""
    return moved.isoformat(sep=seconds[10]) + shown + zone
