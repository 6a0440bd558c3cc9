"""Row 13: our chat endpoint beside the LiteLLM proxy, one worker each, before the same model server.

Added time is what a request takes through a gateway less what it takes without one, one request at a time. Ours has a
key, a policy's scope, quotas in Redis, checking of each sentence and metrics on; LiteLLM a key.
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.table import Table

from deploy.demo import free_port
from schemas.errors import StartupError
from tests.benchmarks import peers
from tests.benchmarks.bench import Bench, Summary

KEY: Final = "sk-bench-0123456789"
ROUNDS: Final = 5  # ours and theirs in turn
ONE_BY_ONE, AT_ONCE, EACH, LONG = 40, 16, 160, 2_000  # requests, clients, requests in all, events of a long stream
STREAMS: Final = 4
STARTS_S: Final = 120.0
GOALS: Final = {"added_ms": 5.0, "requests_s": 4.0, "events_s": 10.0}


def run(bench: Bench) -> Summary:
    with ExitStack() as running:
        upstream = f"http://127.0.0.1:{free_port(0)}/v1"
        running.enter_context(
            _started([sys.executable, "-m", "tests.benchmarks.gateway_upstream", _port(upstream)], {})
        )
        ours, theirs = (f"http://127.0.0.1:{free_port(0)}/v1" for _ in range(2))
        running.enter_context(_started(_module("gateway_server"), _settings(bench, ours, upstream)))
        command = peers.command("litellm", _port(theirs), upstream, KEY)
        running.enter_context(_started(command, peers.environment("litellm", bench.cache)))
        measured = asyncio.run(_measure({"direct": upstream, "ours": ours, "litellm": theirs}))
    return _summary(bench, measured)


def _settings(bench: Bench, ours: str, upstream: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "FRESHET_ENV_FILE": "/dev/null",
        "FRESHET_API__PORT": _port(ours),
        "FRESHET_API__API_KEYS": f'["{KEY}"]',
        "FRESHET_MODEL__BASE_URL": upstream,
        "FRESHET_EMBEDDER__KIND": "hashing",
        "FRESHET_REDIS__URL": bench.endpoints.redis,
        "FRESHET_REDIS__NAMESPACE": "bench-gateway",
        "FRESHET_QUOTAS__REQUESTS_PER_MINUTE": "100000000",
        "FRESHET_QUOTAS__TOKENS_PER_MINUTE": "100000000000",
    }


def _module(name: str, *args: str) -> list[str]:
    return [sys.executable, "-m", f"tests.benchmarks.{name}", *args]


def _port(url: str) -> str:
    return url.removesuffix("/v1").rpartition(":")[2]


@contextmanager
def _started(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=environment, cwd=Path.cwd(), start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def _measure(sides: dict[str, str]) -> dict[str, dict[str, list[float]]]:
    """By side and figure, a value for each round."""
    found: dict[str, dict[str, list[float]]] = {side: {} for side in sides}
    async with _client() as client:
        for url in sides.values():
            await _ready(client, url)
        for url in sides.values():
            await asyncio.gather(*(_ask(client, url, 24, stream) for stream in (False, True) for _ in range(20)))
        for _ in range(ROUNDS):
            for side, url in sides.items():
                times = [await _timed(_ask(client, url, 24, False)) for _ in range(ONE_BY_ONE)]
                spent = await _timed(_crowd(client, url))
                streamed = await _timed(asyncio.gather(*(_ask(client, url, LONG, True) for _ in range(STREAMS))))
                for name, value in (
                    ("p50_ms", statistics.median(times) * 1000),
                    ("requests_s", EACH / spent),
                    ("events_s", STREAMS * LONG / streamed),
                ):
                    found[side].setdefault(name, []).append(value)
    return found


@asynccontextmanager
async def _client() -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"authorization": f"Bearer {KEY}"}
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
    ) as client:
        yield client


async def _ready(client: aiohttp.ClientSession, url: str) -> None:
    deadline = time.monotonic() + STARTS_S
    while time.monotonic() < deadline:
        try:
            async with client.get(f"{url}/models") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.3)
    raise StartupError(f"nothing answers at {url} after {STARTS_S:g} s")


async def _timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _crowd(client: aiohttp.ClientSession, url: str) -> None:
    async def one() -> None:
        for _ in range(EACH // AT_ONCE):
            await _ask(client, url, 24, True)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


async def _ask(client: aiohttp.ClientSession, url: str, events: int, stream: bool) -> None:
    """Raises StartupError when what comes back is not the whole answer."""
    model = "freshet" if "/v1" in url else ""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"why? events:{events}"}]}
    async with client.post(f"{url}/chat/completions", json=body) as response:
        said = await response.read()
        whole = said.count(b"refused") >= max(events // 20, 1) and (not stream or b"[DONE]" in said[-40:])
        if response.status != 200 or not whole:
            raise StartupError(f"{url} answered {response.status}: {said[-300:].decode(errors='replace')}")


def _summary(bench: Bench, found: dict[str, dict[str, list[float]]]) -> Summary:
    direct = statistics.median(found["direct"]["p50_ms"])
    added = {side: [value - direct for value in found[side]["p50_ms"]] for side in ("ours", "litellm")}
    pairs = {
        "added_ms": [two / max(one, 0.01) for one, two in zip(added["ours"], added["litellm"], strict=True)],
        **{
            name: [one / two for one, two in zip(found["ours"][name], found["litellm"][name], strict=True)]
            for name in ("requests_s", "events_s")
        },
    }
    table = Table("", "ours", "LiteLLM", "times", "worst pair", "goal", title="chat gateway, one worker each")
    shown = {"added_ms": added, **{n: {s: found[s][n] for s in added} for n in ("requests_s", "events_s")}}
    for name, sides in shown.items():
        ours, theirs = (statistics.median(sides[side]) for side in ("ours", "litellm"))
        ratio = statistics.median(pairs[name])
        table.add_row(
            name, f"{ours:,.2f}", f"{theirs:,.2f}", f"{ratio:.1f}", f"{min(pairs[name]):.1f}", f">= {GOALS[name]:g}"
        )
    bench.out.print(table)
    ratios = {name: round(statistics.median(values), 2) for name, values in pairs.items()}
    return {
        "name": "gateway",
        "ok": all(ratios[name] >= goal for name, goal in GOALS.items()),
        "headline": ", ".join(f"{name} {ratio:g}x of {GOALS[name]:g}x" for name, ratio in ratios.items()),
        "ratio": ratios["requests_s"],
        "worst": round(min(pairs["requests_s"]), 2),
        "ratios": ratios,
        "worst_pairs": {name: round(min(values), 2) for name, values in pairs.items()},
        "figures": {n: {s: round(statistics.median(v), 2) for s, v in sides.items()} for n, sides in shown.items()},
        "direct_p50_ms": round(direct, 2),
        "size": f"{ROUNDS} rounds: {ONE_BY_ONE} one by one, {EACH} by {AT_ONCE} clients, {STREAMS} streams of {LONG}",
        "guards": {"every answer whole": True},
    }
