"""Log patterns against their own history: new, a burst, silence."""

from collections.abc import Iterable
from typing import Any

from schemas.insight_settings import Detection
from schemas.insights import Sign
from schemas.summaries import Said

Json = dict[str, Any]


class Patterns:
    def __init__(self, settings: Detection) -> None:
        self._settings = settings

    def see(self, summary: Said, now_ms: int) -> Iterable[Sign]:
        return ()

    def advance(self, now_ms: int) -> Iterable[Sign]:
        return ()

    def dump(self) -> Json:
        return {}

    @classmethod
    def load(cls, dumped: Json, settings: Detection) -> "Patterns":
        return cls(settings)
