"""Reads what an answer has to say about its own sight: watermarks, who has fallen silent, lag, letters, replays."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cag import queries
from cag.cadence import Speaker, Speech, activity, speeches
from cag.freshness import Seen, TextOnly, freshness
from cag.lag import LagReader
from cag.reads import IndexReader
from cag.scope import in_scope, visible_in
from schemas.context import Freshness, Plan, Scope, Span
from schemas.documents import Names
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.records import Signal

DAY: Final = timedelta(days=1)
CADENCE_EVERY_S: Final = 15.0  # it changes slowly, and all questions share it
CADENCE_OLD_S: Final = 60.0  # then a question waits for it
PAST: Final = timedelta(minutes=1)  # what was indexed so long after the asked moment makes it a past one


class CoverageReader:
    """One per process."""

    def __init__(self, reader: IndexReader, names: Names, lag: LagReader, steady: Mapping[str, Signal]) -> None:
        """`steady`: topics whose sources speak all the time; events and alerts come when something happens."""
        self._reader, self._names, self._lag, self._steady = reader, names, lag, steady
        self._cadence: dict[Speaker, Speech] = {}
        self._cadence_at = -CADENCE_OLD_S
        self._refresh: asyncio.Task[None] | None = None

    async def read(self, scope: Scope, now: datetime, plan: Plan | None, runbooks_age_s: float | None) -> Freshness:
        """What could be seen at `now`, of the range of a plan or of the day before; says what is away."""
        span = plan.span if plan else Span(start=now - DAY, end=now)
        trouble: list[str] = []
        marks: list[dict[str, Any]] = []
        text_only = None
        ends_task = asyncio.create_task(asyncio.to_thread(self._lag.ends))
        try:
            searches = [
                (self._names.alias("watermarks"), queries.watermarks(scope)),
                (self._names.alias("patterns"), queries.text_only(scope, span, plan.namespaces if plan else ())),
            ]
            found, unembedded = await self._reader.together(searches)
            text_only = TextOnly.of(unembedded)
            marks = [mark for hit in found["hits"]["hits"] if _may_know(mark := hit["_source"], scope)]
            past = any(mark.get("newest_ms", 0) > (now + PAST).timestamp() * 1000 for mark in marks)
            heard = await self._then(scope, now) if past else await self._lately(now)
        except (SinkUnavailable, SinkMisconfigured):
            trouble.append("the watermarks could not be read")
            past, heard = False, {}
        ends = await ends_task
        letters = await asyncio.to_thread(self._lag.dead_letters_since, int(span.start.timestamp() * 1000))
        seen = Seen(
            marks=marks, heard=heard, past=past, ends=ends, dead_letters=letters, text_only=text_only,
            runbooks_age_s=runbooks_age_s,
        )  # fmt: skip
        return freshness(seen, now=now, steady=self._steady, plan=plan, trouble=trouble)

    async def _then(self, scope: Scope, now: datetime) -> Mapping[Speaker, Speech]:
        """Who had spoken by a past moment: watermarks know only the present."""
        answer = await self._reader.search(self._names.alias("occurrences"), activity(now, in_scope(scope)))
        return {who: said for who, said in speeches(answer).items() if visible_in(scope, who.cluster, who.namespace)}

    async def _lately(self, now: datetime) -> Mapping[Speaker, Speech]:
        """The rhythm of all sources; brought up to date beside the question, unless nobody has asked for long."""
        age = asyncio.get_running_loop().time() - self._cadence_at
        if age > CADENCE_OLD_S:
            await self._listen(now)
        elif age > CADENCE_EVERY_S and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.create_task(self._listen(now))
        return self._cadence

    async def _listen(self, now: datetime) -> None:
        self._cadence_at = asyncio.get_running_loop().time()
        try:
            answer = await self._reader.search(self._names.alias("occurrences"), activity(now, []))
        except (SinkUnavailable, SinkMisconfigured):
            return  # the rhythm of a minute ago will do; that the index is away is said by whoever needs it
        heard = speeches(answer)
        # Who has fallen silent is no longer heard; its rhythm of before is what tells.
        self._cadence = {**{w: s for w, s in self._cadence.items() if now - s.newest < DAY}, **heard}


def _may_know(mark: Mapping[str, Any], scope: Scope) -> bool:
    """A partition, a gap and a replay belong to no namespace; a source is for those who may see what it says."""
    return mark["level"] != "source" or visible_in(scope, mark["cluster"], mark["namespace"])
