"""An answer that was made before, else one made now and kept: for one question, however many ask it at once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Final

from cag.memory.answer_cache import AnswerStore
from cag.memory.flights import Flights, Work
from cag.memory.remembered import AnswerKey, Keys, Remembered, remembered, worth_keeping
from schemas.answer import AnswerPart, Cached, Delta, Done, Query, Source, Status, Usage
from schemas.context import Context, Freshness, Plan

WAIT_S: Final = 8.0  # for another process that works on the same; then we do it ourselves
LOOK_EVERY_S: Final = 0.1
DELTA_CHARS: Final = 400
Vector = Callable[[], Awaitable[Sequence[float] | None]]


class CachedAnswers:
    """One per process. `model`: whether one is configured; without one, extractive answers are the best there is."""

    def __init__(self, store: AnswerStore, keys: Keys, *, model: bool, wait_s: float = WAIT_S) -> None:
        self._store, self._keys, self._model, self._wait_s = store, keys, model, wait_s
        self._flights = Flights()

    async def parts(
        self,
        query: Query,
        plan: Plan,
        corpus: str,
        trouble: Sequence[str],
        *,
        make: Work,
        vector: Vector,
        freshness: Callable[[], Awaitable[Freshness]],
    ) -> AsyncGenerator[AnswerPart, None]:
        """`corpus`: version of the runbooks; `trouble`: what goes wrong, told to while `make` is at work."""
        key = None if trouble else self._keys.of(query, plan, corpus)

        async def work() -> AsyncGenerator[AnswerPart, None]:
            assert key is not None
            found = await self._found(key, vector)
            if found is None and not await self._store.lead(key):
                found = await self._awaited(key)
            if found is not None:
                context = Context(plan=plan, evidence=found.evidence, freshness=await freshness())
                for part in replay(found, key, context, query.now):
                    yield part
                return
            try:
                async with aclosing(self._kept(key, query, trouble, make, vector)) as made:
                    async for part in made:
                        yield part
            finally:
                await self._store.release(key)

        async with aclosing(self._flights.join(key.exact, work) if key else make()) as parts:
            async for part in parts:
                yield part

    async def _found(self, key: AnswerKey, vector: Vector) -> Remembered | None:
        found = await self._store.exact(key)
        if found is None and await self._store.questions(key) and (asked := await vector()) is not None:
            found = await self._store.alike(key, asked)
        return found

    async def _awaited(self, key: AnswerKey) -> Remembered | None:
        """What another process is about to keep; None when it does not in time."""
        ends = asyncio.get_running_loop().time() + self._wait_s
        while (found := await self._store.exact(key)) is None:
            if asyncio.get_running_loop().time() > ends or not await self._store.led(key):
                return await self._store.exact(key)  # kept between our two looks
            await asyncio.sleep(LOOK_EVERY_S)
        return found

    async def _kept(
        self, key: AnswerKey, query: Query, trouble: Sequence[str], make: Work, vector: Vector
    ) -> AsyncGenerator[AnswerPart, None]:
        texts: list[Delta] = []
        async with aclosing(make()) as parts:
            async for part in parts:
                if isinstance(part, Delta):
                    texts.append(part)
                if isinstance(part, Done) and worth_keeping(part, model=self._model, trouble=trouble):
                    answer = remembered(key, texts, part, query.now)
                    await self._store.keep(key, answer, await vector() if key.bucket else None)
                yield part

    async def aclose(self) -> None:
        await self._store.aclose()


def replay(found: Remembered, key: AnswerKey, context: Context, now: datetime) -> list[AnswerPart]:
    """The parts of a kept answer, with what can be seen now and how old the answer is."""
    parts: list[AnswerPart] = [Source(number, piece) for number, piece in enumerate(found.evidence, 1)]
    parts.append(Status("This was asked before", True))
    text = found.text
    parts += [Delta(text[at : at + DELTA_CHARS]) for at in range(0, len(text), DELTA_CHARS)]
    since = "what was seen then" if key.live else f"runbooks version {found.corpus}, unchanged since"
    parts.append(Delta(f"\n\n*Answer of {_ago(now - found.made_at)}, from {since}.*"))
    how: Cached = "exact" if found.exact == key.exact else "paraphrase"
    return [
        *parts,
        Done(
            mode=found.mode,
            reason=found.reason,
            context=context,
            usage=Usage(),
            finish_reason=found.finish_reason,
            verification=found.verification,
            cached=how,
            prefix_hash=found.prefix_hash,
        ),
    ]


def _ago(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    minutes = seconds // 60
    if minutes < 2:
        return f"{seconds} s ago"
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"
