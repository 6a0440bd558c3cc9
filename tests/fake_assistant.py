"""An assistant without stores: one fixed answer from two pieces of evidence, and every kind of trouble on demand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cag.insight_reader import Listing
from cag.scope import whole_visible_in
from processors.insights.documents import namespaces_of
from schemas.answer import AnswerPart, Delta, Done, Query, Source, Status, Usage
from schemas.context import (
    Context,
    Evidence,
    EvidenceDetail,
    Freshness,
    Plan,
    Scope,
    SourceFreshness,
    Span,
    Turn,
)
from schemas.insights import Insight, State
from tests.unit.insight_cases import START, insight

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
LOG = Evidence(
    id="patterns/2026.11.20/abc",
    kind="log",
    text="HikariPool-1 - Connection is not available ![x](http://evil/x.png) ```",
    namespace="shop",
    workload="checkout",
    entity="pod/checkout-7d9f-abcde",
    first=NOW - timedelta(minutes=9),
    last=NOW - timedelta(seconds=4),
    count=412,
    severity="error",
    url="http://evil/",
    score=0.032,
    coordinates=("logs/Zm9v/3/1042/7",),
)
RUNBOOK = Evidence(
    id="runbook-123-pool",
    kind="runbook",
    text="Raise the pool size.",
    title="Pool exhausted",
    url="https://git.example/runbooks/pool.md",
    score=0.016,
)
EVIDENCE = (LOG, RUNBOOK)
INSIGHTS = (
    insight(),
    insight(id="5ec4e7", namespaces=("pay",), entities=(), causes=(), symptoms=(), state="resolved", resolved=START),
)


@dataclass
class FakeAssistant:
    """`trouble` is raised by every call, in an answer after its first text. It pauses before that text and after it."""

    trouble: Exception | None = None
    pause_s: float = 0.0
    late_pause_s: float = 0.0
    parts: dict[str, str] = field(default_factory=lambda: {"opensearch": "ok", "model": "ok"})
    asked: list[tuple[tuple[Turn, ...], Scope, datetime]] = field(default_factory=list)
    cancelled: int = 0
    closed: bool = False

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True

    async def context(self, query: Query) -> Context:
        now = query.now
        self.asked.append((query.turns, query.scope, now))
        await self._trouble()
        plan = Plan(question=query.turns[-1].content, span=Span(start=now - timedelta(minutes=30), end=now))
        newest = now - timedelta(seconds=4)
        source = SourceFreshness(topic="logs", namespace="shop", workload="checkout", newest=newest)
        fresh = Freshness(
            asked_at=now, newest=newest, sources=(source,), missing=("metrics: none",), statement="Fresh."
        )
        return Context(plan=plan, evidence=EVIDENCE[: query.limit], freshness=fresh)

    async def answer(self, query: Query) -> AsyncIterator[AnswerPart]:
        yield Status("Searching", False)
        trouble, self.trouble = self.trouble, None
        context = await self.context(query)
        self.trouble = trouble
        for number, evidence in enumerate(EVIDENCE, start=1):
            yield Source(number, evidence)
        yield Delta("The pool ")
        self.pause_s = self.late_pause_s
        await self._trouble()
        yield Delta("is exhausted [1]. Raise it [2].")
        yield Done(mode="model", reason="", context=context, usage=Usage(11, 5), finish_reason="stop")

    async def evidence(self, id: str, *, scope: Scope, around: int = 0) -> EvidenceDetail | None:
        await self._trouble()
        found = next((e for e in EVIDENCE if e.id == id and scope.namespaces in ((), (e.namespace,))), None)
        return EvidenceDetail(evidence=found, documents=({"pattern_id": "abc"},), records=()) if found else None

    async def insights(self, *, scope: Scope, states: tuple[State, ...], since: datetime | None, limit: int) -> Listing:
        await self._trouble()
        seen = [each for each in INSIGHTS if whole_visible_in(scope, each.cluster, namespaces_of(each))]
        found = [each for each in seen if not states or each.state in states]
        return Listing(insights=tuple(found[:limit]), more=len(found) > limit)

    async def insight(self, id: str, *, scope: Scope) -> Insight | None:
        found = await self.insights(scope=scope, states=(), since=None, limit=9)
        return next((each for each in found.insights if each.id == id), None)

    async def sources(self, *, scope: Scope, now: datetime) -> Freshness:
        await self._trouble()
        return Freshness(asked_at=now, newest=now)

    async def readiness(self) -> dict[str, str]:
        await self._trouble()
        return self.parts

    async def _trouble(self) -> None:
        try:
            await asyncio.sleep(self.pause_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.trouble:
            raise self.trouble
