"""Question in, grounded answer out: plan, search, rank, assemble, one model call, verify, say what was seen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog

from cag import queries
from cag.assemble import Prompt, assemble
from cag.detail import EvidenceReader
from cag.extract import extractive_answer
from cag.freshness import TextOnly, freshness
from cag.lag import LagReader
from cag.library import Library
from cag.model import ModelClient, ModelUnavailable, OpenAIModel
from cag.plan import Catalog, plan
from cag.reads import IndexReader, Live, LiveGeneration
from cag.retrieval import Retrieval, Stopwatch
from cag.source_records import SourceRecords
from cag.store import RunbookReader
from cag.verify import Verifier
from processors.embed import Embedder, make_embedder
from processors.generation import names_for
from schemas.answer import AnswerPart, Delta, Done, FinishReason, Source, Status, Usage
from schemas.context import Context, Evidence, EvidenceDetail, Freshness, Plan, Scope, Span, Turn
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.records import Signal
from schemas.runbooks import Corpus
from schemas.settings import Settings

log = structlog.get_logger()
CATALOG_DAYS: Final = 7
CATALOG_REMEMBERED_S: Final = 5.0
RUNBOOKS_SHOWN: Final = 3
SYNC_EVERY_S: Final = 1.0
EMBEDDER_EVERY_S: Final = 5.0
EMBEDDED_AT_ONCE: Final = 64  # sections: about half a second
NO_MODEL: Final = "no model is configured"


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
    ) -> None:
        self._settings, self._reader, self._runbooks = settings, reader, runbooks
        self._model, self._embedder = model, embedder
        self._names = names_for(settings)
        self._retrieval = Retrieval(reader, self._names)
        self._live = LiveGeneration(reader, self._names)
        self._lag = LagReader(settings.kafka)
        self._detail = EvidenceReader(reader, self._names, SourceRecords(settings))
        self._zone = ZoneInfo(settings.api.time_zone)
        self._library = Library.of(Corpus(version="", runbooks=()))
        self._runbook_trouble = "the runbooks are not loaded yet"
        self._steady = frozenset(i.topic for i in settings.kafka.inputs if i.signal in (Signal.LOG, Signal.METRIC))
        self._catalogs: dict[Scope, tuple[float, Catalog]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def from_settings(cls, settings: Settings) -> "Assistant":
        return cls(
            settings,
            reader=IndexReader(settings.opensearch),
            runbooks=RunbookReader(settings.redis),
            model=OpenAIModel.from_settings(settings.model),
            embedder=make_embedder(settings.embedder),
        )

    async def start(self) -> None:
        """Load the embedder and keep the runbooks in step, both in the background."""
        self._tasks = [asyncio.create_task(self._keep_embedder()), asyncio.create_task(self._follow_runbooks())]
        for task in self._tasks:
            task.add_done_callback(_tell)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reader.close()
        await self._runbooks.aclose()
        if self._model is not None:
            await self._model.close()
        await asyncio.to_thread(self._detail.close)

    async def context(self, turns: Sequence[Turn], *, scope: Scope, now: datetime, limit: int | None = None) -> Context:
        """Plan, ranked evidence and what could be seen; no model call."""
        watch = Stopwatch()
        limit = limit or self._settings.api.max_evidence
        trouble: list[str] = []
        catalog = await self._catalog(scope, now, trouble)
        made = plan(
            turns,
            now=now,
            catalog=catalog,
            default_window=timedelta(seconds=self._settings.api.default_window_s),
            zone=self._zone,
        )
        watch.lap("plan")
        embedding = asyncio.create_task(self._vector(made, trouble, watch))
        facts: list[Evidence] = []
        try:
            live = await self._live.read()
            nearest = self._nearest(embedding, live, trouble)
            found = await self._retrieval.evidence(
                made, scope, live.names if live else None, nearest, catalog, limit, watch
            )
            facts = [piece for piece in found if queries.visible_in(scope, piece.cluster, piece.namespace)]
        except (SinkUnavailable, SinkMisconfigured) as error:
            trouble.append(f"the index could not be searched ({error})")
        guides = self._library.find(made, facts, scope, await embedding, RUNBOOKS_SHOWN)
        watch.lap("runbooks")
        if self._runbook_trouble:
            trouble.append(self._runbook_trouble)
        seen = await self._freshness(scope, now, made, trouble)
        watch.lap("freshness")
        return Context(plan=made, evidence=(*facts, *guides), freshness=seen, timings_ms=watch.timings_ms)

    async def answer(self, turns: Sequence[Turn], *, scope: Scope, now: datetime) -> AsyncIterator[AnswerPart]:
        """Status, sources, text, one `Done`. Whatever the model does, an answer comes."""
        yield Status("Searching logs, events, metrics, alerts and runbooks", False)
        context = await self.context(turns, scope=scope, now=now)
        prompt = assemble(
            context,
            turns[:-1],
            headings=self._library.headings(),
            budget_tokens=self._settings.api.evidence_tokens,
        )
        for number, piece in enumerate(prompt.cited, 1):
            yield Source(number, piece)
        yield Status(f"Found {len(prompt.cited)} pieces of evidence", True)
        reason, usage, finish = NO_MODEL, Usage(), "stop"
        if self._model is not None:
            verifier, said = Verifier(len(prompt.cited)), False
            try:
                async with contextlib.aclosing(self._model.stream(prompt.turns, cache_salt=_salt(scope))) as stream:
                    async for token in stream:
                        usage, finish = token.usage or usage, token.finish_reason or finish
                        if text := verifier.feed(token.text):
                            said = True
                            yield Delta(text)
                reason = ""
            except ModelUnavailable as error:
                reason = error.reason
            if text := verifier.finish():
                said = True
                yield Delta(text)
            if reason and said:
                yield Delta(f"\n\n*The model stopped ({reason}). What the evidence says by itself:*\n\n")
        if reason:
            text = extractive_answer(context, prompt.cited, self._zone)
            yield Delta(text)
            finish = "stop"
        yield Delta(_closing(context, reason))
        mode: Any = "extractive" if reason else "model"
        yield Done(
            mode=mode, reason=reason, context=_as_cited(context, prompt), usage=usage, finish_reason=_finish(finish)
        )

    async def evidence(self, identity: str, *, scope: Scope) -> EvidenceDetail | None:
        """The documents behind a citation and the records behind those; None outside the scope."""
        guide = self._library.get(identity, scope)
        if guide is not None:
            return EvidenceDetail(evidence=guide, documents=({"path": guide.entity, "text": guide.text},), records=())
        return await self._detail.read(identity, scope)

    async def sources(self, *, scope: Scope, now: datetime) -> Freshness:
        return await self._freshness(scope, now, None, [self._runbook_trouble] if self._runbook_trouble else [])

    async def readiness(self) -> dict[str, str]:
        """Each part with `ok` or one sentence; only the index is needed to answer at all."""
        ends = await asyncio.to_thread(self._lag.ends)
        return {
            "opensearch": await self._reader.health(),
            "redis": self._runbook_trouble or "ok",
            "kafka": "ok" if ends is not None else f"Kafka at {self._settings.kafka.bootstrap_servers} does not answer",
            "embedder": "ok" if self._embedder.ready() else "still loading: questions are matched by words only",
            "model": await self._model.readiness() if self._model is not None else "ok (extractive answers)",
        }

    async def _catalog(self, scope: Scope, now: datetime, trouble: list[str]) -> Catalog:
        loop_now = asyncio.get_running_loop().time()
        known = self._catalogs.get(scope)
        if known and loop_now - known[0] < CATALOG_REMEMBERED_S:
            return known[1]
        start = int((now - timedelta(days=CATALOG_DAYS)).timestamp() * 1000)
        try:
            catalog = await self._retrieval.catalog(scope, start)
        except (SinkUnavailable, SinkMisconfigured) as error:
            trouble.append(f"names could not be read from the index ({error})")
            return known[1] if known else Catalog()
        if len(self._catalogs) > 1_000:
            self._catalogs.clear()
        self._catalogs[scope] = (loop_now, catalog)
        return catalog

    async def _vector(self, made: Plan, trouble: list[str], watch: Stopwatch) -> Sequence[float] | None:
        if not self._embedder.ready():
            trouble.append("the embedding model is still loading, so patterns were matched by words only")
            return None
        try:
            with watch.beside("embed"):
                vectors = await asyncio.to_thread(self._embedder.embed, [made.search_text])
        except (SinkUnavailable, SinkMisconfigured) as error:
            trouble.append(f"the question could not be embedded ({error})")
            return None
        return vectors[0]

    async def _nearest(
        self, embedding: Awaitable[Sequence[float] | None], live: Live | None, trouble: list[str]
    ) -> Sequence[float] | None:
        """The question's vector, if patterns may be compared with it: never with those of another model."""
        vector = await embedding
        if vector is None or live is None:
            return None
        if live.embedder != self._embedder.identity:
            trouble.append(
                f"the index was built with another embedding model ({live.embedder}), so patterns were matched by "
                "words only"
            )
            return None
        return vector

    async def _freshness(self, scope: Scope, now: datetime, made: Plan | None, trouble: Sequence[str]) -> Freshness:
        marks: list[dict[str, Any]] = []
        said, text_only = list(trouble), None
        try:
            span = made.span if made else Span(start=now - timedelta(days=1), end=now)
            searches = [
                (self._names.alias("watermarks"), queries.watermarks(scope)),
                (self._names.alias("patterns"), queries.text_only(scope, span, made.namespaces if made else ())),
            ]
            found, unembedded = await self._reader.together(searches)
            text_only = TextOnly.of(unembedded)
            marks = [mark for hit in found["hits"]["hits"] if _may_know(mark := hit["_source"], scope)]
        except (SinkUnavailable, SinkMisconfigured):
            said.append("the watermarks could not be read")
        since = int(made.span.start.timestamp() * 1000) if made else int((now.timestamp() - 86_400) * 1000)
        ends = await asyncio.to_thread(self._lag.ends)
        letters = await asyncio.to_thread(self._lag.dead_letters_since, since)
        return freshness(
            marks, now=now, steady=self._steady, plan=made, ends=ends, dead_letters=letters, text_only=text_only,
            trouble=said,
        )  # fmt: skip

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

    async def _follow_runbooks(self) -> None:
        """Swap in a new library when the corpus in Redis changes; keep the last one while Redis is away or empty."""
        while True:
            more = False
            try:
                corpus = await self._runbooks.snapshot()
                if corpus is not None and corpus is not self._library.corpus:
                    self._library = await asyncio.to_thread(Library.of, corpus, self._library)
                self._runbook_trouble = "" if corpus is not None else self._why_none()
                more = await self._embed_some()
            except (SinkUnavailable, SinkMisconfigured) as error:
                self._runbook_trouble = f"runbooks may be out of date ({error})"
            await asyncio.sleep(0 if more else SYNC_EVERY_S)

    def _why_none(self) -> str:
        if self._library.entries:
            return "runbooks may be out of date: Redis has lost them, a worker builds them again"
        return "runbooks are not loaded: none was published, or a worker is still building them"

    async def _embed_some(self) -> bool:
        """Vectors for a few sections; whether there may be more. An edit need not wait for thousands of others."""
        library = self._library
        entries = library.without_vector(EMBEDDED_AT_ONCE) if self._embedder.ready() else []
        if entries:
            texts = [entry.section.plain[:1_500] for entry in entries]
            vectors = await asyncio.to_thread(self._embedder.embed, texts)
            library.meanings = library.meanings.joined({e.id: v for e, v in zip(entries, vectors, strict=True)})
        return bool(entries)


def _closing(context: Context, reason: str) -> str:
    """What every answer ends with: how fresh, what is missing, and whether a model wrote it."""
    mode = "" if not reason else f"\n\n*Extractive answer, no model wrote this: {reason}.*"
    return f"\n\n*{context.freshness.statement}*{mode}"


def _as_cited(context: Context, prompt: Prompt) -> Context:
    return context.model_copy(update={"evidence": prompt.cited})


def _finish(reason: str) -> FinishReason:
    return "length" if reason == "length" else "stop"


def _salt(scope: Scope) -> str:
    """Scopes never share the model server's prefix cache, whatever characters their names hold."""
    return repr((sorted(scope.clusters), sorted(scope.namespaces)))


def _may_know(mark: Mapping[str, Any], scope: Scope) -> bool:
    """A partition belongs to no namespace; a source is for those who may see what it says."""
    return mark["level"] in ("partition", "gap") or queries.visible_in(scope, mark["cluster"], mark["namespace"])


def _tell(task: asyncio.Task[None]) -> None:
    """Work in the background does not end by itself: when it does, that is a defect, and never a silent one."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("work in the background has ended", error=type(error).__name__, reason=str(error))
