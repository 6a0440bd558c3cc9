"""Question in, grounded answer out: plan, search, rank, assemble, one model call, verify, say what was seen."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from cag.assemble import Assembler
from cag.breaker import Breaker
from cag.detail import EvidenceReader
from cag.gather import Gathering
from cag.generate import Generator, Written
from cag.insight_reader import InsightReader, Listing
from cag.lag import LagReader
from cag.memory.answer_cache import AnswerCache, AnswerStore
from cag.memory.cached_answers import CachedAnswers
from cag.memory.remembered import Keys
from cag.model import ModelClient
from cag.question.plan import Catalog
from cag.reads import IndexReader
from cag.retrieval import Stopwatch
from cag.runbook_follower import RunbookFollower
from cag.source_records import SourceRecords
from cag.store import RunbookReader
from processors.embed import Embedder, make_embedder
from processors.generation import names_for
from schemas.answer import AnswerPart, Delta, Done, Query, Source, Status
from schemas.context import Context, EvidenceDetail, Freshness, Plan, Scope
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.insights import Insight, State
from schemas.settings import Settings

log = structlog.get_logger()
EMBEDDER_EVERY_S: Final = 5.0


class Assistant:
    """One per process. Stores that are away make answers poorer, and the answers say so; they never make them fail."""

    def __init__(
        self,
        settings: Settings,
        *,
        reader: IndexReader,
        runbooks: RunbookReader,
        model: ModelClient | None,
        embedder: Embedder,
        answers: AnswerStore | None = None,
    ) -> None:
        self._settings, self._reader, self._store = settings, reader, runbooks
        self._model, self._embedder = model, embedder
        self._runbooks = RunbookFollower(runbooks, embedder)
        self._lag = LagReader(settings.kafka)
        self._gather = Gathering(settings, reader, embedder, self._runbooks, self._lag)
        self._assembler = Assembler(settings.model, settings.api)
        self._generate = Generator(model, settings)
        names = names_for(settings)
        self._answers = CachedAnswers(
            answers or AnswerCache(settings),
            Keys(settings, names.generation, embedder.identity),
            model=model is not None,
        )
        self._detail = EvidenceReader(reader, names, SourceRecords(settings))
        self._insights = InsightReader(reader, names)
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def from_settings(cls, settings: Settings) -> "Assistant":
        return cls(
            settings,
            reader=IndexReader(settings.opensearch),
            runbooks=RunbookReader(settings.redis),
            model=Breaker.from_settings(settings.model),
            embedder=make_embedder(settings.embedder),
        )

    async def start(self) -> None:
        """Load the embedder and keep the runbooks in step, both in the background."""
        self._tasks = [asyncio.create_task(self._keep_embedder()), asyncio.create_task(self._runbooks.follow())]
        for task in self._tasks:
            task.add_done_callback(_tell)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.close()
        await self._store.aclose()
        await self._answers.aclose()
        if self._model is not None:
            await self._model.close()
        await asyncio.to_thread(self._detail.close)

    async def context(self, query: Query) -> Context:
        """Plan, ranked evidence and what could be seen; no model call."""
        return await self._gather.context(query)

    async def answer(self, query: Query) -> AsyncIterator[AnswerPart]:
        """Status, sources, text, one `Done`. Whatever the model does, an answer comes; one made before comes again."""
        ends = asyncio.get_running_loop().time() + self._settings.api.deadline_s
        yield Status("Searching logs, events, metrics, alerts and runbooks", False)
        trouble, watch = [self._runbooks.trouble] if self._runbooks.trouble else [], Stopwatch()
        made, catalog = await self._gather.plan(query, trouble)
        watch.lap("plan")
        parts = self._answers.parts(
            query,
            made,
            self._runbooks.library.corpus.version,
            trouble,
            make=lambda: self._written(query, made, catalog, trouble, watch, ends),
            vector=partial(self._vector, made),
            freshness=partial(self._gather.freshness, query.scope, query.now, made, ()),
        )
        async with aclosing(parts):
            async for part in parts:
                if isinstance(part, Done):
                    yield Delta(_closing(part.context, part.reason))
                yield part

    async def _written(
        self, query: Query, made: Plan, catalog: Catalog, trouble: list[str], watch: Stopwatch, ends: float
    ) -> AsyncGenerator[AnswerPart, None]:
        """An answer made now, until the loop's time is `ends`."""
        context = await self._gather.evidence(query, made, catalog, trouble, watch)
        prompt = self._assembler.prompt(context, query, self._runbooks.library.corpus)
        for number, piece in enumerate(prompt.cited, 1):
            yield Source(number, piece)
        yield Status(f"Found {len(prompt.cited)} pieces of evidence", True)
        written = Written(mode="extractive", reason="nothing was written")
        left_s = ends - asyncio.get_running_loop().time()
        names = catalog.namespaces | catalog.workloads
        async for part in self._generate.write(query, context, prompt, left_s=left_s, names=names):
            if isinstance(part, Written):
                written = part
            else:
                yield part
        yield Done(
            mode=written.mode,
            reason=written.reason,
            context=context.model_copy(update={"evidence": prompt.cited}),
            usage=written.usage,
            finish_reason=written.finish_reason,
            verification=written.verification,
            prefix_hash=prompt.prefix_hash,
        )

    async def _vector(self, made: Plan) -> Sequence[float] | None:
        """Of what is asked; the embedder remembers it for the search."""
        if not self._embedder.ready():
            return None
        try:
            return (await asyncio.to_thread(self._embedder.embed, [made.search_text]))[0]
        except (SinkUnavailable, SinkMisconfigured):
            return None  # no paraphrase is found; the search will say why

    async def evidence(self, identity: str, *, scope: Scope, around: int = 0) -> EvidenceDetail | None:
        """The documents behind a citation and the records behind those; None outside the scope.

        `around`: so many lines of the same entity before the cited one, and as many after it.
        """
        guide = self._runbooks.library.get(identity, scope)
        if guide is not None:
            return EvidenceDetail(evidence=guide, documents=({"path": guide.entity, "text": guide.text},), records=())
        return await self._detail.read(identity, scope, around=around)

    async def insights(self, *, scope: Scope, states: tuple[State, ...], since: datetime | None, limit: int) -> Listing:
        """Incidents as of now, the one that changed last first."""
        return await self._insights.list(scope, states=states, since=since, limit=limit)

    async def insight(self, identity: str, *, scope: Scope) -> Insight | None:
        return await self._insights.get(identity, scope)

    async def sources(self, *, scope: Scope, now: datetime) -> Freshness:
        return await self._gather.freshness(scope, now, None, ())

    async def readiness(self) -> dict[str, str]:
        """Each part with `ok` or one sentence; only the index is needed to answer at all."""
        ends = await asyncio.to_thread(self._lag.ends)
        return {
            "opensearch": await self._reader.health(),
            "redis": self._runbooks.trouble or "ok",
            "kafka": "ok" if ends is not None else f"Kafka at {self._settings.kafka.bootstrap_servers} does not answer",
            "embedder": "ok" if self._embedder.ready() else "still loading: questions are matched by words only",
            "model": await self._model.readiness() if self._model is not None else "ok (extractive answers)",
        }

    async def _keep_embedder(self) -> None:
        """Load the embedder, and again when a remote one was away: questions are embedded only while it is ready."""
        while True:
            try:
                if not self._embedder.ready():
                    await asyncio.to_thread(self._embedder.load)
                    await asyncio.to_thread(self._embedder.embed, ["warm up"])
            except (SinkUnavailable, SinkMisconfigured) as error:
                log.warning("the embedder is not ready", reason=str(error))
            await asyncio.sleep(EMBEDDER_EVERY_S)


def _closing(context: Context, reason: str) -> str:
    """What every answer ends with: how fresh, what is missing, and whether a model wrote it."""
    mode = "" if not reason else f"\n\n*Extractive answer, no model wrote this: {reason}.*"
    return f"\n\n*{context.freshness.statement}*{mode}"


def _tell(task: asyncio.Task[None]) -> None:
    """Work in the background does not end by itself: when it does, that is a defect, and never a silent one."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("work in the background has ended", error=type(error).__name__, reason=str(error))
