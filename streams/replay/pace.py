"""How fast a replay may go: a rate, and the live group first."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from streams.topics import Broker

BURST_S: Final = 0.25
MOST: Final = 1_000  # messages read at once


@dataclass(kw_only=True)
class Pace:
    """`clock` is in monotonic seconds. `behind` is told from outside, every second or so."""

    clock: Callable[[], float]
    rate: float | None  # records a second; None: as fast as it goes
    max_live_lag: int
    waits: bool = field(default=False, init=False)
    behind: int = field(default=0, init=False)  # records that the live group has not committed yet
    _allowed: float = field(default=0.0, init=False)
    _at: float | None = field(default=None, init=False)

    def live_is_behind(self, records: int) -> None:
        """Stop above the limit, go on below half of it: between the two nothing changes."""
        self.behind = records
        self.waits = records > (self.max_live_lag / 2 if self.waits else self.max_live_lag)

    def room(self) -> int:
        """How many messages may be read now."""
        if self.waits:
            return 0
        if self.rate is None:
            return MOST
        now = self.clock()
        passed = now - self._at if self._at is not None else BURST_S
        self._at, most = now, max(1.0, self.rate * BURST_S)
        self._allowed = min(self._allowed + passed * self.rate, most)
        return max(0, min(MOST, int(self._allowed)))

    def read(self, records: int) -> None:
        """A message may hold many records: what was read too much is waited for afterwards."""
        self._allowed -= records


def live_lag(broker: Broker, group: str, topics: Collection[str]) -> int:
    """Records that this group is behind in the partitions that its members read; 0 without members: none to protect.

    Blocks; raises SinkUnavailable.
    """
    read = [place for place in broker.group(group).assigned if place[0] in topics]
    return sum(broker.lag(group, read).values())
