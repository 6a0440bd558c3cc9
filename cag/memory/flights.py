"""The same question asked by many at once is worked on once: who comes later reads along from the start."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import structlog

from schemas.answer import AnswerPart, Status

log = structlog.get_logger()
TRIES: Final = 2  # times that a listener lives through the failure of others; then its work is its own
Work = Callable[[], AsyncGenerator[AnswerPart, None]]


class Flights:
    """One per process. The work belongs to no listener: it goes on until it is done, or until nobody listens."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def join(self, key: str, work: Work) -> AsyncGenerator[AnswerPart, None]:
        """All parts of one answer. Raises what `work` raises, but for the failures of others before any text."""
        for tries in range(TRIES, -1, -1):
            flight = self._flights.get(key) if tries else None
            mine, heard, said = flight is None, 0, False
            if flight is None:
                flight = _Flight(work())
                if tries:
                    self._flights[key] = flight
            flight.listeners += 1
            try:
                while (part := await flight.part(heard)) is not None:
                    heard, said = heard + 1, said or not isinstance(part, Status)
                    yield part
                return
            except Exception as error:
                if mine or said:
                    raise
                log.warning("another's work on the same question has failed", error=type(error).__name__)
            finally:
                flight.listeners -= 1
                if (flight.done or not flight.listeners) and self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.listeners:
                    await flight.stop()


class _Flight:
    def __init__(self, work: AsyncGenerator[AnswerPart, None]) -> None:
        self.listeners = 0
        self._parts: list[AnswerPart] = []
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._fly(work))
        self._task.add_done_callback(lambda _: self._more.set())

    @property
    def done(self) -> bool:
        return self._task.done()

    async def part(self, number: int) -> AnswerPart | None:
        """The part of this number, as soon as it is there; None behind the last one."""
        while number >= len(self._parts):
            if self._task.done():
                self._task.result()
                return None
            await self._more.wait()
        return self._parts[number]

    async def stop(self) -> None:
        """Returns when all that the work held is closed."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()  # has been seen by who listened

    async def _fly(self, work: AsyncGenerator[AnswerPart, None]) -> None:
        async with aclosing(work):
            async for part in work:
                self._parts.append(part)
                self._more.set()
                self._more = asyncio.Event()
