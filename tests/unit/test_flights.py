"""One piece of work for many listeners: it outlives each of them, and fails for none but who began it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from cag.memory.flights import Flights
from schemas.answer import AnswerPart, Delta, Status


class Work:
    """Two deltas with a gate between them; the first `failing` calls fail, before any text or behind the first."""

    def __init__(self, failing: int = 0, *, late: bool = False) -> None:
        self.failing, self.late = failing, late
        self.calls = self.closed = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> AsyncGenerator[AnswerPart, None]:
        self.calls += 1
        fails = self.calls <= self.failing
        try:
            yield Status("searching", False)
            await asyncio.sleep(0.001)
            if fails and not self.late:
                raise RuntimeError("early")
            yield Delta("a")
            await self.gate.wait()
            if fails:
                raise RuntimeError("late")
            yield Delta("b")
        finally:
            self.closed += 1


async def text(flights: Flights, work: Work, key: str = "k") -> str:
    async with aclosing(flights.join(key, work)) as parts:
        return "".join([part.text async for part in parts if isinstance(part, Delta)])


async def test_a_stampede_is_one_piece_of_work() -> None:
    flights, work = Flights(), Work()
    all_of_them = [asyncio.create_task(text(flights, work)) for _ in range(100)]
    await asyncio.sleep(0.01)
    late = asyncio.create_task(text(flights, work))
    another = asyncio.create_task(text(flights, work, "another"))
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(*all_of_them, late, another) == ["ab"] * 102
    assert (work.calls, work.closed) == (2, 2)
    assert await text(flights, work) == "ab"  # it is over: asked again, worked on again
    assert work.calls == 3


async def test_who_hangs_up_takes_nobody_down() -> None:
    flights, work = Flights(), Work()
    leader, *others = [asyncio.create_task(text(flights, work)) for _ in range(5)]
    await asyncio.sleep(0.01)
    leader.cancel()
    await asyncio.sleep(0.01)
    work.gate.set()
    assert await asyncio.gather(*others) == ["ab"] * 4
    assert (leader.cancelled(), work.calls) == (True, 1)


async def test_work_that_nobody_waits_for_is_closed_at_once() -> None:
    flights, work = Flights(), Work()
    asking = [asyncio.create_task(text(flights, work)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert (work.calls, work.closed, flights._flights) == (1, 1, {})


@pytest.mark.parametrize(("failing", "answered", "calls"), [(1, 4, 2), (2, 3, 3), (3, 0, 5), (9, 0, 5)])
async def test_when_the_leader_fails_the_next_one_leads(failing: int, answered: int, calls: int) -> None:
    flights, work = Flights(), Work(failing)
    work.gate.set()
    said = await asyncio.gather(*(text(flights, work) for _ in range(5)), return_exceptions=True)
    assert said.count("ab") >= answered
    assert sum(isinstance(each, RuntimeError) for each in said) <= failing
    assert work.calls <= calls + 5


async def test_a_failure_behind_text_is_everyones() -> None:
    flights, work = Flights(), Work(1, late=True)
    asking = [asyncio.create_task(text(flights, work)) for _ in range(3)]
    await asyncio.sleep(0.01)
    work.gate.set()
    said = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(each) for each in said] == ["late"] * 3
    assert (work.calls, work.closed) == (1, 1)
