"""Moments as people type them: ISO 8601, or how long ago."""

import datetime as dt
import re
from typing import Final

from schemas.errors import StartupError

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO: Final = re.compile(rf"(\d{{1,9}})([{''.join(_UNITS)}])", re.ASCII)


def moment_ms(text: str, now: dt.datetime, *, option: str) -> int:
    """Epoch milliseconds of `2026-11-20T14:05Z`, UTC where it names no zone, or of `2h` (ago). Raises StartupError."""
    try:
        if ago := _AGO.fullmatch(text):
            moment = now - dt.timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
        else:
            moment = dt.datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise StartupError(
            f"{option} {text}: give a moment such as 2026-11-20T14:05Z, or how long ago, such as 2h or 3d"
        ) from None
