"""A budget for new patterns, so that a burst in one workload does not make the others wait for the embedding model.

Pure. What is beyond the budget is not remembered: the index knows which patterns have no vector.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from enum import StrEnum
from typing import Final, Generic, TypeVar

T = TypeVar("T")
MINUTE_S: Final = 60.0
MOST_WAITING: Final = 20_000  # of all workloads: more than the model does in a minute
MOST_WORKLOADS: Final = 10_000  # with a budget of their own in one minute


class Turns(Generic[T]):
    """A queue in which workloads take turns: however much one has waiting, another one's next is soon served."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, workload: Hashable, item: T) -> None:
        self._queues.setdefault(workload, deque()).append(item)
        self._size += 1

    def take(self, most: int) -> list[T]:
        """Up to so many, one of each workload in turn; of one workload the oldest first."""
        taken: list[T] = []
        while self._queues and len(taken) < most:
            workload, queue = self._queues.popitem(last=False)
            taken.append(queue.popleft())
            if queue:
                self._queues[workload] = queue
        self._size -= len(taken)
        return taken


class Why(StrEnum):
    """Why a pattern is embedded later. Values are labels of a metric."""

    WORKLOAD = "workload"  # its workload has spent the minute's budget
    TOTAL = "total"  # too many wait already, or too many workloads have something new


class Budget(Generic[T]):
    """So many new patterns of a workload wait for the model in a minute. `now_s`: of a clock that never goes back."""

    def __init__(
        self, per_minute: int, *, most_waiting: int = MOST_WAITING, most_workloads: int = MOST_WORKLOADS
    ) -> None:
        self._per_minute, self._most_waiting, self._most_workloads = per_minute, most_waiting, most_workloads
        self._minute = -1
        self._spent: dict[Hashable, int] = {}
        self._turns: Turns[T] = Turns()

    def __len__(self) -> int:
        return len(self._turns)

    def offer(self, workload: Hashable, item: T, now_s: float) -> Why | None:
        """None: it waits for the model now. Otherwise why not."""
        minute = int(now_s // MINUTE_S)
        if minute != self._minute:
            self._minute, self._spent = minute, {}
        spent = self._spent.get(workload, 0)
        if spent >= self._per_minute:
            return Why.WORKLOAD
        if len(self._turns) >= self._most_waiting or (not spent and len(self._spent) >= self._most_workloads):
            return Why.TOTAL
        self._spent[workload] = spent + 1
        self._turns.put(workload, item)
        return None

    def take(self, most: int) -> list[T]:
        return self._turns.take(most)
