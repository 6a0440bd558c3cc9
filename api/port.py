"""What the API needs from the assistant. `cag.assistant.Assistant` has this shape; tests bring their own."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

from cag.insight_reader import Listing
from schemas.answer import AnswerPart, Query
from schemas.context import Context, EvidenceDetail, Freshness, Scope
from schemas.insights import Insight, State


class Answering(Protocol):
    """All but `answer` may raise SinkUnavailable at once, `answer` at any part."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def context(self, query: Query) -> Context: ...

    def answer(self, query: Query) -> AsyncIterator[AnswerPart]: ...

    async def evidence(self, identity: str, /, *, scope: Scope, around: int = 0) -> EvidenceDetail | None: ...

    async def insights(
        self, *, scope: Scope, states: tuple[State, ...], since: datetime | None, limit: int
    ) -> Listing: ...

    async def insight(self, identity: str, /, *, scope: Scope) -> Insight | None: ...

    async def sources(self, *, scope: Scope, now: datetime) -> Freshness: ...

    async def readiness(self) -> dict[str, str]: ...
