"""Work that ends when its client hangs up, so that nobody computes an answer for no one."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from api.errors import ClientGone

_T = TypeVar("_T")


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The outcome of `work`; cancels it and raises ClientGone when the connection closes first."""
    task = asyncio.create_task(work)
    watcher = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        task.cancel()
        watcher.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    # The body has been read before any route runs, so the next message of note is the end of the connection.
    while (await request.receive())["type"] != "http.disconnect":
        pass
