"""Event times in epoch milliseconds, from every spelling that shippers use; None is "not said" or "not believable"."""

import re
from datetime import UTC, datetime
from typing import Final

# A time before 1971 or after 2200 is a defect of the shipper. In these bounds the ranges of seconds, milliseconds,
# microseconds and nanoseconds do not overlap, so that a number tells its own unit.
EARLIEST_S: Final = int(datetime(1971, 1, 1, tzinfo=UTC).timestamp())
LATEST_S: Final = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp())
DAY_MS: Final = 86_400_000
_DAY_LENGTH: Final = 10
_NANOSECOND_DIGITS: Final = 19
_LONGEST: Final = 40  # characters of a timestamp

MONTHS: Final = {
    month: number
    for number, month in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_NUMBER: Final = re.compile(r"\d{8,20}(?:\.\d{0,9})?", re.ASCII)
_SLASHED_DATE: Final = re.compile(r"(\d{4})[/.](\d\d)[/.](\d\d)", re.ASCII)
_ZONE_NAME: Final = re.compile(r" ?(?:UTC|GMT|Z)$")
_GO_ZONE: Final = re.compile(r" ([+-]\d{4}) [A-Z]{3,4}$")  # how Go prints a time: offset and name


def epoch_ms(value: object) -> int | None:
    """Epoch milliseconds of a number (unit by magnitude) or of an RFC 3339 or digit string."""
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_number(value)
    return None


def _from_number(value: float) -> int | None:
    if EARLIEST_S <= value < LATEST_S:
        # To the microsecond first: a double holds no more, and 0.123 must not become 122.
        return value * 1000 if isinstance(value, int) else round(value * 1e6) // 1000
    if EARLIEST_S * 1000 <= value < LATEST_S * 1000:
        return int(value)
    if EARLIEST_S * 1_000_000 <= value < LATEST_S * 1_000_000:
        return int(value) // 1000
    if EARLIEST_S * 1_000_000_000 <= value < LATEST_S * 1_000_000_000:
        return int(value) // 1_000_000
    return None


def _from_text(text: str) -> int | None:
    if len(text) == _NANOSECOND_DIGITS and text.isascii() and text.isdigit():  # OTLP's, one or two for every line
        return _from_number(int(text))
    if len(text) > _LONGEST:
        return None
    if len(text) <= _DAY_LENGTH and not text.isdigit():
        return None  # `2019-03-01` is somebody's date of birth; no logger leaves out the hour
    if text[4:5] == "-":
        return _from_iso(text) or _from_iso(_plainer(text))
    if _NUMBER.fullmatch(text):
        return _from_number(float(text) if "." in text else int(text))
    return _from_iso(_plainer(text))


def _from_iso(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return _milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _plainer(text: str) -> str:
    """ISO 8601 of its looser relatives: slashes in the date, a zone by name, Go's own form, a leap second."""
    text = _SLASHED_DATE.sub(r"\1-\2-\3", text.strip(), count=1)
    text = _ZONE_NAME.sub("+00:00", _GO_ZONE.sub(r"\1", text))
    return text.replace(":60", ":59", 1) if text[16:19] == ":60" else text


def _milliseconds(moment: datetime) -> int | None:
    if not 1971 <= moment.year <= 2200:
        return None
    return round(moment.timestamp() * 1e6) // 1000


def from_calendar(year: int, month: str, day: str, clock: str, zone: str = "") -> int | None:
    """Epoch milliseconds of `Nov`, `20`, `20:00:00.5` and a zone such as `+0100`; UTC without one."""
    number = MONTHS.get(month)
    return None if number is None else _from_iso(_plainer(f"{year:04}-{number:02}-{int(day):02}T{clock}{zone}"))


def without_year(month: str, day: str, clock: str, received_ms: int) -> int | None:
    """A syslog or klog time, placed in the last year that does not make it later than its Kafka message by a day."""
    if not EARLIEST_S * 1000 <= received_ms < LATEST_S * 1000:
        return None
    year = datetime.fromtimestamp(received_ms / 1000, UTC).year
    for candidate in (year + 1, year, year - 1):
        found = from_calendar(candidate, month, day, clock)
        if found is not None and found <= received_ms + DAY_MS:
            return found
    return None
