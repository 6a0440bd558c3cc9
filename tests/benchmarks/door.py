"""What the door costs a request: telling who asks, each way in, and counting its quota on a real Redis.

One after another in this process. Goals are for the quietest of many short stretches, since other programs may share
the cores; the medians over all of them stand beside it, and processor time, which is this process' own.
"""

import asyncio
import hashlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import jwt
import yaml
from rich.table import Table
from starlette.datastructures import Headers

from api.access import Doorkeeper
from api.quota import Counts, Meter
from schemas.access import Principal, Quota
from schemas.answer_settings import Access, Quotas
from schemas.context import Scope
from schemas.settings import Redis
from tests.benchmarks.bench import Bench, Summary

LOOKS: Final = 3_000
STRETCH: Final = 100
WARM: Final = 200
QUOTA_GOAL_MS: Final = 0.3
DOOR_GOAL_MS: Final = 0.1
Figures = tuple[float, float, float, float]
SECRET, WEBUI_SECRET = "s" * 32, "w" * 32
KEYS: Final = 100


def run(bench: Bench) -> Summary:
    times = asyncio.run(_measure(bench.endpoints.redis))
    table = Table("one request", "quietest p50 ms", "p50 ms", "p99 ms", "processor ms")
    for what, figures in times.items():
        table.add_row(what, *(f"{figure:.3f}" for figure in figures))
    bench.out.print(table)
    goals = {what: QUOTA_GOAL_MS if what.startswith("quota") else DOOR_GOAL_MS for what in times}
    quota = times["quota in Redis"][0]
    return {
        "name": "door",
        "ok": all(times[what][0] <= goal for what, goal in goals.items()),
        "quietest_p50_ms": {what: round(quiet, 4) for what, (quiet, *_) in times.items()},
        "p50_ms": {what: round(p50, 4) for what, (_, p50, *_) in times.items()},
        "processor_ms": {what: round(used, 4) for what, (*_, used) in times.items()},
        "headline": f"quota {quota:.2f} ms a request (goal {QUOTA_GOAL_MS}), a token {times['token, known'][0]:.3f} ms",
    }


async def _measure(redis_url: str) -> dict[str, Figures]:
    with tempfile.TemporaryDirectory() as folder:
        policy = Path(folder) / "policy.yaml"
        groups = {"ops": {"grants": [{"namespaces": ["a", "b-*"]}]}}
        keys = [_entry(number) for number in range(KEYS)]
        policy.write_text(yaml.safe_dump({"groups": groups, "keys": keys}))
        access = Access.model_validate({"policy_file": policy, "jwt_secret": SECRET, "webui_jwt_secret": WEBUI_SECRET})
        door = Doorkeeper(access, [], Quotas())
        nobody = Doorkeeper(Access(), [], Quotas())
        now = int(time.time())
        claims = {"sub": "ann", "iat": now, "exp": now + 600, "groups": ["ops"]}
        key = {"authorization": f"Bearer key-{KEYS // 2}"}
        forwarded = jwt.encode(claims | {"iss": "open-webui"}, WEBUI_SECRET)
        token = Headers({"authorization": f"Bearer {jwt.encode(claims, SECRET)}"})
        tokens = iter(jwt.encode(claims | {"jti": str(number)}, SECRET) for number in range(LOOKS + WARM))
        fresh = [Headers({"authorization": f"Bearer {each}"}) for each in tokens]
        meter = Meter(Quotas(), Counts(Redis(url=redis_url, namespace="bench-door")))
        limited = Quota(requests=1_000_000, tokens=1_000_000)
        asker = Principal(kind="key", name="bench", scope=Scope(), quota=limited)
        try:
            return {
                "anonymous": await _timed(lambda: nobody.admit(Headers({}))),
                f"one of {KEYS} keys": await _timed(lambda: door.admit(Headers(key))),
                "token, known": await _timed(lambda: door.admit(token)),
                "token, new": await _timed(lambda: door.admit(fresh.pop())),
                "key and forwarded user": await _timed(
                    lambda: door.admit(Headers(key | {"x-openwebui-user-jwt": forwarded}))
                ),
                "quota in Redis": await _timed(lambda: meter.admit(asker)),
            }
        finally:
            await meter.close()


def _entry(number: int) -> dict[str, Any]:
    digest = hashlib.sha256(f"key-{number}".encode()).hexdigest()
    return {"name": f"key-{number}", "sha256": digest, "groups": ["ops"]}


async def _timed(look: Callable[[], Awaitable[object]]) -> Figures:
    """Of one, in milliseconds: p50 of the quietest stretch, p50, p99, processor time."""
    for _ in range(WARM):
        await look()
    walls = []
    used = time.process_time()
    for _ in range(LOOKS):
        began = time.perf_counter()
        await look()
        walls.append((time.perf_counter() - began) * 1000)
    used = (time.process_time() - used) * 1000 / LOOKS
    quietest = min(statistics.median(walls[at : at + STRETCH]) for at in range(0, LOOKS, STRETCH))
    return quietest, statistics.median(walls), statistics.quantiles(walls, n=100)[98], used
