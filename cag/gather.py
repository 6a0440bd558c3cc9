"""Everything an answer may rest on: the plan of the question, ranked evidence, runbook sections, what could be seen."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from cag.coverage import CoverageReader
from cag.freshness import with_trouble
from cag.incidents import named_runbook
from cag.lag import LagReader
from cag.library import Library
from cag.question.plan import Catalog, plan
from cag.question.spelling import index_of
from cag.reads import IndexReader, Live, LiveGeneration, Partial
from cag.retrieval import Retrieval, Stopwatch
from cag.runbook_follower import RunbookFollower
from cag.scope import piece_visible_in
from processors.embed import Embedder
from processors.generation import group_of, names_for
from schemas.answer import Query
from schemas.context import Context, Evidence, Freshness, Plan, Scope
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.records import Signal
from schemas.runbooks import HEADING_SEPARATOR
from schemas.settings import Settings

CATALOG_REMEMBERED_S: Final = 5.0
JUDGED_WITHIN: Final = timedelta(minutes=1)  # of being seen; an incident takes seconds
CATALOGS: Final = 1_000  # scopes whose names are remembered
RUNBOOKS_SHOWN, MOST_RUNBOOKS = 3, 10  # sections: in an answer, and where the asker says how many pieces


class Gathering:
    """One per process. A store that is away makes the context poorer, and the context says so."""

    def __init__(
        self, settings: Settings, reader: IndexReader, embedder: Embedder, runbooks: RunbookFollower, lag: LagReader
    ) -> None:
        self._settings, self._embedder, self._runbooks = settings, embedder, runbooks
        self._lag = lag
        self._names = names_for(settings)
        self._retrieval = Retrieval(reader, self._names, settings.ranking)
        self._live = LiveGeneration(reader, self._names)
        steady = {i.topic: i.signal for i in settings.kafka.inputs if i.signal in (Signal.LOG, Signal.METRIC)}
        self._coverage = CoverageReader(reader, self._names, lag, steady)
        self._catalogs: dict[Scope, tuple[float, Catalog]] = {}

    async def plan(self, query: Query, trouble: list[str]) -> tuple[Plan, Catalog]:
        """What is asked; what stands in the way of understanding it is added to `trouble`."""
        catalog = await self._catalog(query.scope, query.now, trouble)
        made = plan(
            query.turns,
            now=query.now,
            catalog=catalog,
            default_window=timedelta(seconds=self._settings.api.default_window_s),
            zone=ZoneInfo(query.zone or self._settings.api.time_zone),
        )
        return made, catalog

    async def context(self, query: Query) -> Context:
        """Plan, ranked evidence and what could be seen; no model call."""
        watch, trouble = Stopwatch(), list[str]()
        made, catalog = await self.plan(query, trouble)
        watch.lap("plan")
        return await self.evidence(query, made, catalog, trouble, watch)

    async def evidence(
        self, query: Query, made: Plan, catalog: Catalog, trouble: list[str], watch: Stopwatch
    ) -> Context:
        """The context of a plan. A question about runbooks alone searches nothing else."""
        facts: list[Evidence] = []
        async with asyncio.TaskGroup() as beside:  # a client that hangs up ends all of it
            embedding = beside.create_task(self._vector(made, trouble, watch))
            live = None
            if made.about == "live":
                made, live = await self._anchored(made, query.scope, trouble)
            looking = beside.create_task(self._look(query.scope, query.now, made))
            judging = beside.create_task(self._judged(query, made, live))
            if made.about == "live":
                nearest = beside.create_task(self._nearest(embedding, live, trouble))
                facts = await self._facts(query, made, catalog, live, nearest, trouble, watch)
            count = min(query.limit, MOST_RUNBOOKS) if query.limit else RUNBOOKS_SHOWN
            guides = self._runbooks.library.find(made, facts, query.scope, await embedding, count)
            if made.incidents:
                guides = _with_named(guides, facts, self._runbooks.library, query.scope)[:count]
            watch.lap("runbooks")
            seen = await looking
            trouble += await judging
        watch.lap("freshness")
        seen = with_trouble(seen, [*trouble, *filter(None, [self._runbooks.trouble])])
        return Context(plan=made, evidence=(*facts, *guides), freshness=seen, timings_ms=watch.timings_ms)

    async def _anchored(self, made: Plan, scope: Scope, trouble: list[str]) -> tuple[Plan, Live | None]:
        """The plan with its range where the question means it, and the generation to search."""
        live, partial = None, Partial()
        try:
            live = await self._live.read()
            made = await self._retrieval.noting(partial).anchored(made, scope, live.names if live else None)
            trouble += partial.sentences
        except (SinkUnavailable, SinkMisconfigured) as error:
            trouble.append(f"the index could not be asked which generation is live ({error})")
        return made, live

    async def _judged(self, query: Query, made: Plan, live: Live | None) -> list[str]:
        """What stands in the way of knowing which incidents there are, where that is asked: an empty list is proof."""
        told = self._settings.insights
        if not made.incidents:
            return []
        if not told.enabled:
            return ["incidents are not told here (FRESHET_INSIGHTS__ENABLED is false)"]
        group = group_of(self._settings.kafka.group, live.names.generation if live else "")
        by_ms = int((query.now - JUDGED_WITHIN).timestamp() * 1000)
        judged = await asyncio.to_thread(self._lag.judged, told.summaries_topic, group, by_ms)
        if judged is None:
            return ["Kafka did not answer, so it is unknown whether incidents are up to date"]
        return (
            [] if judged else ["not all that was seen by a minute before has been judged, so incidents may be missing"]
        )

    async def _facts(
        self,
        query: Query,
        made: Plan,
        catalog: Catalog,
        live: Live | None,
        nearest: Awaitable[Sequence[float] | None],
        trouble: list[str],
        watch: Stopwatch,
    ) -> list[Evidence]:
        """Ranked evidence, runbooks excepted, checked against the scope once more."""
        limit, names = query.limit or self._settings.api.max_evidence, live.names if live else None
        partial = Partial()
        try:
            retrieval = self._retrieval.noting(partial)
            found = await retrieval.evidence(
                made, query.scope, names, nearest, catalog, limit, watch, asked_at=query.now
            )
        except (SinkUnavailable, SinkMisconfigured) as error:
            trouble.append(f"the index could not be searched ({error})")
            return []
        trouble += [said for said in partial.sentences if said not in trouble]
        return [piece for piece in found if piece_visible_in(query.scope, piece)]

    async def freshness(self, scope: Scope, now: datetime, made: Plan | None, trouble: Sequence[str]) -> Freshness:
        """What could be seen at `now`, of the range of a plan or of the day before; first what went wrong elsewhere."""
        seen = await self._look(scope, now, made)
        return with_trouble(seen, [*trouble, *filter(None, [self._runbooks.trouble])])

    def _look(self, scope: Scope, now: datetime, made: Plan | None) -> Coroutine[Any, Any, Freshness]:
        return self._coverage.read(scope, now, made, self._runbooks.age_s)

    async def _catalog(self, scope: Scope, now: datetime, trouble: list[str]) -> Catalog:
        loop_now = asyncio.get_running_loop().time()
        known = self._catalogs.get(scope)
        if known and loop_now - known[0] < CATALOG_REMEMBERED_S:
            return known[1]
        start = int((now - timedelta(days=self._settings.retention.occurrences)).timestamp() * 1000)
        try:
            catalog = await self._retrieval.catalog(scope, start)
        except (SinkUnavailable, SinkMisconfigured) as error:
            trouble.append(f"names could not be read from the index ({error})")
            return known[1] if known else Catalog()
        if len(self._catalogs) > CATALOGS:
            self._catalogs.clear()
        if known is None or known[1] != catalog:
            await asyncio.to_thread(index_of, catalog)  # of ten thousand names: 0.15 s, which others need not wait for
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


def _with_named(
    guides: Sequence[Evidence], facts: Sequence[Evidence], library: Library, scope: Scope
) -> list[Evidence]:
    """First the section that the first incident names, if the asker may see it."""
    text = next((piece.text for piece in facts if piece.kind == "incident"), "")
    said = named_runbook(text)
    of_it = [each for each in library.entries if said.startswith(each.runbook.path)] if said else []
    headed = [e for e in of_it if said.endswith(e.section.heading.replace(HEADING_SEPARATOR, ", "))]
    named = library.get((headed or of_it)[0].id, scope) if of_it else None
    return [*guides] if named is None else [named, *(guide for guide in guides if guide.id != named.id)]
