"""Clients that hang up at every phase of a request, and cancelled calls of each pooled client under load.

After the first nothing may be left: no task, no connection, no stream at the model server. In the second each call
carries a number and has to get it back; a client that keeps its connection after a cancelled call must fail at that.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson
from aiohttp import web
from redis.asyncio import Redis
from rich.table import Table

from cag.assistant import Assistant
from cag.model import OpenAIModel
from cag.model_stream import ModelUnavailable
from cag.reads import IndexReader
from deploy.demo import free_port
from processors import logs
from schemas.answer_settings import Model
from schemas.context import Turn
from schemas.settings import OpenSearch, Settings
from tests.answers.hollow import EmptyIndex, hollow, served
from tests.answers.trial import Outcome, Trial
from tests.loopback import running
from tests.redis_server import redis_server
from tests.standin_model import StandIn

PHASES: Final = ("half a body", "searching", "before the first token", "in the middle", "not streamed")
SETTLES_S: Final = 5.0
CALLS: Final = 400  # of each pooled client, a half of them cancelled
WORDS: Final = 4  # requests in flight at once


def run(trial: Trial) -> Outcome:
    logs.configure("CRITICAL")
    each = 400 if trial.full else 100
    hung_up = asyncio.run(hang_up(each, trial.note))
    table = Table("", "calls", "left behind or foreign", title=f"{each * len(PHASES):,} disconnects")
    for phase in PHASES:
        table.add_row(f"hung up: {phase}", f"{hung_up.done[phase]:,}", "")
    for what, left in hung_up.left.items():
        table.add_row(f"left: {what}", "", str(left))
    foreign = asyncio.run(crossed(CALLS * (5 if trial.full else 1), trial.note))
    for client, (calls, wrong) in foreign.items():
        table.add_row(f"cancelled under load: {client}", f"{calls:,}", f"{wrong:,}")
    clean = not any(hung_up.left.values()) and not any(wrong for client, (_, wrong) in foreign.items() if client != BAD)
    crossing = {client: wrong for client, (_, wrong) in foreign.items()}
    figures = {"disconnects": hung_up.done.total(), "left": hung_up.left, "foreign": crossing}
    return Outcome(ok=clean and crossing[BAD] > 0, table=table, figures=figures)


# -- clients that hang up ----------------------------------------------------------------------------------------------


@dataclass
class HungUp:
    done: Counter[str] = field(default_factory=Counter)
    left: dict[str, int] = field(default_factory=dict)


class SlowIndex(EmptyIndex):
    pause_s = 0.0

    async def _call(self, method: str, path: str, body: bytes | None) -> Any:
        await asyncio.sleep(self.pause_s)
        return await super()._call(method, path, body)


async def hang_up(each: int, note: Callable[[str], None]) -> HungUp:
    found, standin = HungUp(), StandIn(behaviour="slow")
    with running(standin.app()) as model:
        settings = _settings(model)
        assistant = hollow(settings)
        reader = SlowIndex(settings.opensearch)
        assistant._gather._retrieval._reader = reader
        with served(settings, assistant) as url:
            await _ask(url, 0.3, stream=True)  # what is made once is made
            await _settled(assistant, standin, lambda tasks, streams: streams == 0)
            before = await _tasks(assistant)
            for phase in PHASES:
                note(phase)
                reader.pause_s = 0.4 if phase == "searching" else 0.0
                standin.behaviour = "late" if phase == "before the first token" else "slow"
                for _ in range(each // WORDS):
                    await asyncio.gather(*(_one(url, phase) for _ in range(WORDS)))
                    found.done[phase] += WORDS
            await _settled(assistant, standin, lambda tasks, streams: tasks <= before and streams == 0)
            found.left = {
                "tasks": max(await _tasks(assistant) - before, 0),
                "streams at the model server": standin.open,
                "connections of the model client": _busy(assistant),
            }
    return found


async def _one(url: str, phase: str) -> None:
    chance = random.random()
    if phase == "half a body":
        await _half(url)
    else:
        longest = {"searching": 0.3, "in the middle": 0.5}.get(phase, 0.3)
        await _ask(url, longest * chance + 0.02, phase != "not streamed")


async def _half(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    writer.write(head + b"content-length: 999\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(random.random() * 0.05)
    writer.close()


async def _ask(url: str, patience_s: float, stream: bool) -> None:
    body = {"model": "freshet", "stream": stream, "messages": [{"role": "user", "content": "why is checkout failing?"}]}
    async with httpx.AsyncClient(timeout=patience_s) as client:
        with contextlib.suppress(httpx.TimeoutException, TimeoutError):
            async with (
                asyncio.timeout(patience_s),
                client.stream("POST", f"{url}/v1/chat/completions", json=body) as got,
            ):
                async for _ in got.aiter_raw():
                    pass


async def _tasks(assistant: Assistant) -> int:
    """In the server's loop, the asking one not counted."""
    loop = assistant._tasks[0].get_loop()

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(count(), loop))


async def _settled(assistant: Assistant, standin: StandIn, enough: Callable[[int, int], bool]) -> None:
    ends = asyncio.get_running_loop().time() + SETTLES_S
    while asyncio.get_running_loop().time() < ends and not enough(await _tasks(assistant), standin.open):
        await asyncio.sleep(0.05)


def _busy(assistant: Assistant) -> int:
    """Connections that the model client still holds for a call."""
    model = assistant._model
    assert isinstance(model, OpenAIModel)
    pool: Any = getattr(model._client, "_transport")._pool  # noqa: B009 - httpx does not say it in public
    return sum(not connection.is_idle() and not connection.is_closed() for connection in pool.connections)


def _settings(model: str) -> Settings:
    return Settings.model_validate(
        {
            "api": {"port": 0},
            "model": {"base_url": f"{model}/v1"},
            "kafka": {"bootstrap_servers": "127.0.0.1:1"},
            "redis": {"url": "redis://127.0.0.1:1/0"},
            "embedder": {"kind": "hashing"},
        }
    )


# -- cancelled calls under load ----------------------------------------------------------------------------------------

BAD: Final = "control: a client that keeps its connection"
Call = Callable[[int], Awaitable[int]]


async def crossed(calls: int, note: Callable[[str], None]) -> dict[str, tuple[int, int]]:
    """By client: calls that were answered, and answers that belonged to another call."""
    found = {}
    async with contextlib.AsyncExitStack() as opened:
        echo = await opened.enter_async_context(_echo())
        port, _ = opened.enter_context(redis_server())
        redis = f"redis://127.0.0.1:{port}/0"
        clients = {
            "model (httpx)": _model(echo),
            "index (aiohttp)": _index(echo),
            "redis": _store(redis),
            BAD: _bad(redis),
        }
        for name, client in clients.items():
            note(name)
            async with client as call:
                found[name] = await _storm(call, calls)
    return found


async def _storm(call: Call, calls: int) -> tuple[int, int]:
    answered = wrong = 0
    chance = random.Random(5)

    async def one(number: int) -> None:
        nonlocal answered, wrong
        patience = chance.random() * 0.004 if number % 2 else 5.0
        with contextlib.suppress(TimeoutError, ConnectionError, OSError, ModelUnavailable):
            async with asyncio.timeout(patience):
                got = await call(number)
            answered += 1
            wrong += got != number

    for start in range(0, calls, 20):
        await asyncio.gather(*(one(number) for number in range(start, start + 20)))
    return answered, wrong


@contextlib.asynccontextmanager
async def _model(echo: str) -> AsyncIterator[Call]:
    model = OpenAIModel(Model.model_validate({"base_url": f"{echo}/v1"}))

    async def call(number: int) -> int:
        async with contextlib.aclosing(model.stream((Turn(role="user", content=str(number)),))) as tokens:
            return int("".join([token.text async for token in tokens]))

    yield call
    await model.close()


@contextlib.asynccontextmanager
async def _index(echo: str) -> AsyncIterator[Call]:
    reader = IndexReader(OpenSearch.model_validate({"url": echo}))

    async def call(number: int) -> int:
        return int((await reader.search("x", {"size": number}))["hits"]["size"])

    yield call
    await reader.close()


@contextlib.asynccontextmanager
async def _store(url: str) -> AsyncIterator[Call]:
    async with Redis.from_url(url, max_connections=100) as client:
        await client.mset({f"n{n}": n for n in range(10_000)})

        async def call(number: int) -> int:
            return int(await client.get(f"n{number}"))

        yield call


@contextlib.asynccontextmanager
async def _bad(url: str) -> AsyncIterator[Call]:
    host, port = url.removeprefix("redis://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lock = asyncio.Lock()

    async def call(number: int) -> int:
        async with lock:  # one call at a time, and yet the answer to a cancelled one stays in the connection
            writer.write(f"GET n{number}\r\n".encode())
            await asyncio.sleep(random.random() * 0.004)  # as long as a busy server takes
            await reader.readline()
            return int(await reader.readline())

    yield call
    writer.close()


@contextlib.asynccontextmanager
async def _echo() -> AsyncIterator[str]:
    """Answers with the number that it was asked with, after a moment, as a search and as a stream."""

    async def search(request: web.Request) -> web.Response:
        size = orjson.loads(await request.read())["size"]
        await asyncio.sleep(random.random() * 0.004)
        return web.json_response({"hits": {"hits": [], "size": size}})

    async def chat(request: web.Request) -> web.StreamResponse:
        number = orjson.loads(await request.read())["messages"][0]["content"]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for delta, finish in (*((digit, None) for digit in number), ("", "stop")):
            await asyncio.sleep(random.random() * 0.001)
            choice = {"delta": {"content": delta}, "finish_reason": finish}
            await response.write(b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", chat), web.post("/x/_search", search)])
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port(0)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()
