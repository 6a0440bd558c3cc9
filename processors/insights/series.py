"""Metric series against their own band: level shift, spike, trend, missing data."""

from collections.abc import Iterable
from typing import Any

from schemas.insight_settings import Detection
from schemas.insights import Sign
from schemas.summaries import Sampled

Json = dict[str, Any]


class SeriesBands:
    def __init__(self, settings: Detection) -> None:
        self._settings = settings

    def see(self, summary: Sampled, now_ms: int) -> Iterable[Sign]:
        return ()

    def advance(self, now_ms: int) -> Iterable[Sign]:
        return ()

    def dump(self) -> Json:
        return {}

    @classmethod
    def load(cls, dumped: Json, settings: Detection) -> "SeriesBands":
        return cls(settings)
