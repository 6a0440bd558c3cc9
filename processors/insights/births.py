"""What we saw begin a short while ago: most of what is wrong with it is ordinary and passes. Pure."""

from typing import Any, Final

from schemas.documents import MINUTE_MS
from schemas.records import Resource
from schemas.summaries import Happened

YOUNG: Final = 10  # minutes: so long Kubernetes lets a rollout take before it calls it stuck (progressDeadlineSeconds)
MOST: Final = 20_000
_BIRTHS: Final = frozenset({"SuccessfulCreate", "Scheduled", "FailedScheduling", "FailedCreate", "RegisteredNode"})


class Births:
    """Workloads and nodes of one cluster; what was there before we listened is old."""

    def __init__(self, born: dict[str, int] | None = None) -> None:
        self._born = born or {}  # minutes since the epoch, the oldest first

    def see(self, told: Happened, *, known: bool, minute: int) -> None:
        """New is whose first event tells how it was made, before anything else was heard; rolled out is not new."""
        key, text = _key(told.resource), told.observations[0].text if told.observations else ""
        if text.startswith("Scaled down"):
            self._born.pop(key, None)
        elif key and not known and (told.reason in _BIRTHS or text.startswith("Scaled up")):
            self._born[key] = minute
        while self._born and (len(self._born) > MOST or next(iter(self._born.values())) < minute - YOUNG):
            del self._born[next(iter(self._born))]

    def young(self, resource: Resource, time_ms: int) -> bool:
        born = self._born.get(_key(resource))
        return born is not None and time_ms // MINUTE_MS - born < YOUNG

    def rows(self) -> list[list[Any]]:
        return [[key, minute] for key, minute in self._born.items()]


def _key(resource: Resource) -> str:
    return f"{resource.namespace}/{resource.workload}" if resource.workload else resource.node
