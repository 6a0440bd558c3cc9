"""Noticing when there are too many dead letters."""

from collections import deque
from typing import Final

from schemas.errors import FreshetError

WINDOW_RECORDS: Final = 10_000
WINDOW_LEAST: Final = 1_000  # judge nothing before this many records have been seen
MESSAGE_MOST: Final = 100  # what one message counts for, whatever it holds: one giant must neither stop nor excuse


class DeadLetterLimit(FreshetError):
    """Most of what is read is rejected: a wrong format or a bad deploy, which must not drain a topic."""


class RejectShare:
    """The share of rejects among the last records. Not a rate: time plays no part."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._parts: deque[tuple[int, int]] = deque()
        self._records = self._rejects = 0

    @staticmethod
    def weigh(records: int, rejects: int) -> tuple[int, int]:
        """What one message counts for."""
        if records > MESSAGE_MOST:
            return MESSAGE_MOST, round(MESSAGE_MOST * rejects / records)
        return records, rejects

    def add(self, records: int, rejects: int) -> None:
        """Count what messages weigh together. Raises DeadLetterLimit."""
        self._parts.append((records, rejects))
        self._records += records
        self._rejects += rejects
        while self._records - self._parts[0][0] >= WINDOW_RECORDS:
            oldest = self._parts.popleft()
            self._records -= oldest[0]
            self._rejects -= oldest[1]
        if self._records >= WINDOW_LEAST and self._rejects > self._limit * self._records:
            raise DeadLetterLimit(f"{self._rejects} of the last {self._records} records were rejected")
