"""Kubernetes events, restarts and alerts: what says by itself that something is wrong."""

from collections.abc import Iterable
from typing import Any

from schemas.insight_settings import Detection
from schemas.insights import Sign
from schemas.summaries import Fired, Happened

Json = dict[str, Any]


class States:
    def __init__(self, settings: Detection) -> None:
        self._settings = settings

    def see(self, summary: Happened | Fired, now_ms: int) -> Iterable[Sign]:
        return ()

    def advance(self, now_ms: int) -> Iterable[Sign]:
        return ()

    def dump(self) -> Json:
        return {}

    @classmethod
    def load(cls, dumped: Json, settings: Detection) -> "States":
        return cls(settings)
