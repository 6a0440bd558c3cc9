"""Quotas per principal in a moving minute: requests are counted when they come, tokens when an answer has ended.

One round trip to Redis for a request. While Redis is away requests are answered all the same, and counted in memory.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from math import floor
from typing import Any, Final, cast

import redis.asyncio
import structlog
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.storage.redis.bridge import RedisBridge
from redis.exceptions import RedisError

from api.errors import ApiError
from cag.store import opened
from schemas.access import Principal
from schemas.answer_settings import Quotas
from schemas.settings import Redis as RedisSettings

MINUTE_S: Final = 60
TIMEOUT_S: Final = 0.25  # for one round trip; a request does not wait longer for its count
RETRY_REDIS_S: Final = 5.0  # in between everything is counted in memory
UNLIMITED: Final = 2**53


def _text(script: bytes) -> str:
    return script.decode()


# The two scripts of `limits` in one call: both windows are looked at, and the request is counted if neither is full.
_ADMIT: Final = f"""
local function acquire(KEYS, ARGV) {_text(RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW)}
end
local function window(KEYS, ARGV) {_text(RedisBridge.SCRIPT_SLIDING_WINDOW)}
end
local tokens = window({{KEYS[3], KEYS[4]}}, {{ARGV[1]}})
local ttl = math.max(tonumber(tokens[2]) or 0, 0)
local used = (tonumber(tokens[1]) or 0) * ttl / (ARGV[1] * 1000) + (tonumber(tokens[3]) or 0)
local allowed = math.floor(used) < tonumber(ARGV[3]) and acquire({{KEYS[1], KEYS[2]}}, {{ARGV[2], ARGV[1], 1}})
return {{allowed and 1 or 0, window({{KEYS[1], KEYS[2]}}, {{ARGV[1]}}), tokens}}
"""

_log = structlog.get_logger("api")


@dataclass(frozen=True, slots=True)
class Window:
    """What is counted of the minute now and of the one before it, which slides out; seconds until each ends."""

    previous: int = 0
    previous_s: float = 0.0
    current: int = 0
    current_s: float = 0.0  # a whole minute more than is left of it, as `limits` counts

    @classmethod
    def of(cls, answer: Sequence[Any]) -> "Window":
        """From what the script says: nulls where nothing was counted, and milliseconds."""
        previous, previous_ms, current, current_ms = (max(int(value or 0), 0) for value in answer)
        return cls(previous, previous_ms / 1000, current, current_ms / 1000)

    def used(self, after_s: float = 0.0) -> int:
        """Now, or some seconds later when nothing more comes."""
        left = max(self.current_s - MINUTE_S, 0.0)
        if after_s <= left:
            return floor(self.previous * max(self.previous_s - after_s, 0.0) / MINUTE_S) + self.current
        return floor(self.current * max(MINUTE_S - (after_s - left), 0.0) / MINUTE_S)

    def wait_s(self, limit: int) -> int:
        """Whole seconds until one more fits."""
        return next((s for s in range(1, 2 * MINUTE_S) if self.used(s) < limit), 2 * MINUTE_S)


class Counts:
    """Where it is counted: Redis, or memory while Redis is away. `clock`: monotonic seconds."""

    def __init__(self, settings: RedisSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = opened(redis.asyncio.Redis.from_url, settings.model_copy(update={"timeout_s": TIMEOUT_S}))
        self._redis = RedisStorage(
            "async+redis://",  # the pool knows where
            implementation="redispy",
            key_prefix=f"{settings.namespace}:quota",
            connection_pool=cast(Any, self._client.connection_pool),
        )
        self._admit = self._client.register_script(_ADMIT)
        self._memory = MemoryStorage()
        self._clock, self._retry_at, self._away = clock, float("-inf"), False

    async def admit(self, key: str, requests: int, tokens: int) -> tuple[bool, Window, Window]:
        """Whether it was let in and counted, and both windows after that: of requests, and of tokens."""
        if self._clock() >= self._retry_at:
            windows = [f"{{{key}:requests}}/-1", f"{{{key}:requests}}", f"{{{key}:tokens}}/-1", f"{{{key}:tokens}}"]
            keys = [self._redis.bridge.prefixed_key(window) for window in windows]
            try:
                allowed, asked, used = cast(list[Any], await self._admit(keys, [MINUTE_S, requests, tokens]))
            except RedisError as error:
                self._went(error)
            else:
                self._came_back()
                return bool(allowed), Window.of(asked), Window.of(used)
        used_here = Window(*await self._memory.get_sliding_window(f"{key}:tokens", MINUTE_S))
        fits = used_here.used() < tokens
        fits = fits and await self._memory.acquire_sliding_window_entry(f"{key}:requests", requests, MINUTE_S)
        return fits, Window(*await self._memory.get_sliding_window(f"{key}:requests", MINUTE_S)), used_here

    async def charge(self, key: str, tokens: int) -> None:
        """Count tokens that were used, also beyond the limit."""
        if self._clock() >= self._retry_at:
            try:
                await self._redis.acquire_sliding_window_entry(f"{key}:tokens", UNLIMITED, MINUTE_S, tokens)
            except RedisError as error:
                self._went(error)
            else:
                return
        await self._memory.acquire_sliding_window_entry(f"{key}:tokens", UNLIMITED, MINUTE_S, tokens)

    async def close(self) -> None:
        await self._client.aclose()

    def _went(self, error: RedisError) -> None:
        self._retry_at = self._clock() + RETRY_REDIS_S
        if not self._away:
            _log.warning("quotas are counted in memory: Redis is away", reason=type(error).__name__)
        self._away = True

    def _came_back(self) -> None:
        if self._away:
            _log.info("quotas are counted in Redis again")
        self._away = False


class Meter:
    """Lets requests in while their principal's limits last."""

    def __init__(self, settings: Quotas, counts: Counts) -> None:
        self._warn_at, self._counts = settings.warn_at, counts
        self._charging: set[asyncio.Task[None]] = set()

    async def admit(self, principal: Principal) -> str:
        """Count one request; what to tell the asker, empty while all is well. Raises ApiError (429)."""
        limits = principal.quota
        if not limits.requests and not limits.tokens:
            return ""
        allowed, asked, used = await self._counts.admit(
            principal.pseudonym, limits.requests or UNLIMITED, limits.tokens or UNLIMITED
        )
        standings = [("requests", asked, limits.requests), ("tokens", used, limits.tokens)]
        if not allowed:
            what, window, limit = max(standings, key=lambda each: each[1].used() / (each[2] or UNLIMITED))
            raise _refused(what, limit, max(window.wait_s(limit), 1))
        near = [
            f"{window.used()} of your {limit} {what}"
            for what, window, limit in standings
            if limit and window.used() >= self._warn_at * limit
        ]
        return f"In the last minute you used {' and '.join(near)}." if near else ""

    def charge(self, principal: Principal, tokens: int) -> None:
        """Count an answer's tokens, in the background: whoever reads the answer does not wait for it."""
        if principal.quota.tokens and tokens > 0:
            task = asyncio.create_task(self._counts.charge(principal.pseudonym, tokens))
            self._charging.add(task)
            task.add_done_callback(self._charging.discard)

    async def settled(self) -> None:
        """Until what was charged so far is counted."""
        await asyncio.gather(*self._charging)

    async def close(self) -> None:
        await self.settled()
        await self._counts.close()


def _refused(what: str, limit: int, wait_s: int) -> ApiError:
    return ApiError(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"You have used your {limit} {what} of a minute. Ask again in {wait_s} s.",
        code="rate_limit_exceeded",
        kind=what,
        headers={"Retry-After": str(wait_s)},
    )
