"""Remembered answers in Redis. Without Redis nothing is remembered: answers take longer, and are the same.

All keys share a hash tag, so that they live in one slot of a cluster:

    {NAMESPACE}:answers:one:EXACT      string  the answer, until it expires
    {NAMESPACE}:answers:like:BUCKET    list    the newest questions that differ in wording only, each with its vector
    {NAMESPACE}:answers:lead:EXACT     string  the process that is working on it, for a few seconds
    {NAMESPACE}:answers:all            zset    EXACT by the time of its making: the oldest go first when there are many

A lost or late answer of Redis is a miss. What is read is checked: a value of another version or shape is a miss too.
"""

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import redis.asyncio
import structlog
from numpy.typing import NDArray

from cag.memory.remembered import MOST_BYTES, AnswerKey, Remembered
from cag.memory.same_question import same_meaning
from cag.store import opened, redis_address, translated
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.settings import Redis, Settings

log = structlog.get_logger()
T = TypeVar("T")
TIMEOUT_S: Final = 0.25  # ten times what a busy Redis takes; an answer is never worth waiting longer for
REST_S: Final = 5.0  # after a failure nothing is asked: a dead Redis costs one question the timeout, the others nothing
QUESTIONS: Final = 128  # of a bucket
MOST_ANSWERS: Final = 10_000
LEAD_MS: Final = 10_000  # a process that died holds nobody up for longer
_ID: Final = 32  # characters of an exact key


class AnswerStore(Protocol):
    async def exact(self, key: AnswerKey) -> Remembered | None: ...

    async def alike(self, key: AnswerKey, vector: Sequence[float]) -> Remembered | None:
        """An answer to a question that means the same, of the same bucket."""

    async def questions(self, key: AnswerKey) -> int:
        """How many of the bucket there are to compare with."""

    async def keep(self, key: AnswerKey, answer: Remembered, vector: Sequence[float] | None) -> None: ...

    async def lead(self, key: AnswerKey) -> bool:
        """Whether this process shall work on it; false: another one does, and may be waited for."""

    async def led(self, key: AnswerKey) -> bool: ...

    async def release(self, key: AnswerKey) -> None: ...

    async def aclose(self) -> None: ...


class AnswerCache:
    """One per process. Nothing here raises because of Redis; `aclose` it at the end."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: "redis.asyncio.Redis | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        quick: Redis = settings.redis.model_copy(update={"timeout_s": min(settings.redis.timeout_s, TIMEOUT_S)})
        self._redis: Any = client or opened(redis.asyncio.Redis.from_url, quick)
        self._address = redis_address(settings.redis)
        self._prefix = f"{{{settings.redis.namespace}}}:answers"
        self._least = settings.answer_cache.paraphrase
        self._clock, self._rests_until = clock, 0.0
        self._token = secrets.token_hex(8)

    async def exact(self, key: AnswerKey) -> Remembered | None:
        raw = await self._asked(lambda: self._redis.get(self._one(key.exact)), None)
        return Remembered.read(raw, key.exact)

    async def questions(self, key: AnswerKey) -> int:
        if not key.bucket:
            return 0
        return int(await self._asked(lambda: self._redis.llen(self._like(key.bucket)), 0))

    async def alike(self, key: AnswerKey, vector: Sequence[float]) -> Remembered | None:
        if not key.bucket:
            return None
        none: list[bytes] = []
        raw = await self._asked(lambda: self._redis.lrange(self._like(key.bucket), 0, QUESTIONS - 1), none)
        for exact in alike_ones(key.question, vector, raw, self._least):
            found = Remembered.read(await self._asked(lambda: self._redis.get(self._one(exact)), None), exact)  # noqa: B023 - awaited at once
            if found is not None and same_meaning(key.question, found.question):
                return found
        return None

    async def keep(self, key: AnswerKey, answer: Remembered, vector: Sequence[float] | None) -> None:
        value = answer.to_bytes()
        if len(value) <= MOST_BYTES:
            await self._asked(lambda: self._keep(key, value, answer.made_at.timestamp(), vector), None)

    async def _keep(self, key: AnswerKey, value: bytes, made: float, vector: Sequence[float] | None) -> None:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(self._one(key.exact), value, ex=key.ttl_s)
            pipe.zadd(f"{self._prefix}:all", {key.exact: made})
            pipe.expire(f"{self._prefix}:all", 30 * 86_400)
            if key.bucket and vector is not None:
                pipe.lpush(self._like(key.bucket), packed(key.exact, key.question, vector))
                pipe.ltrim(self._like(key.bucket), 0, QUESTIONS - 1)
                pipe.expire(self._like(key.bucket), key.ttl_s)
            pipe.zcard(f"{self._prefix}:all")
            held = int((await pipe.execute())[-1])
        if held > MOST_ANSWERS:
            oldest = await self._redis.zpopmin(f"{self._prefix}:all", held - MOST_ANSWERS)
            await self._redis.delete(*(self._one(exact.decode()) for exact, _ in oldest))

    async def lead(self, key: AnswerKey) -> bool:
        return bool(await self._asked(lambda: self._redis.set(self._lead(key), self._token, nx=True, px=LEAD_MS), True))

    async def led(self, key: AnswerKey) -> bool:
        return bool(await self._asked(lambda: self._redis.exists(self._lead(key)), 0))

    async def release(self, key: AnswerKey) -> None:
        """When the work is over. Looking and deleting are two steps: at worst someone works on it once more."""
        if await self._asked(lambda: self._redis.get(self._lead(key)), None) == self._token.encode():
            await self._asked(lambda: self._redis.delete(self._lead(key)), 0)

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def delete_everything(self) -> None:
        """Remove every answer of this namespace: for tests and benchmarks. Raises what Redis raises."""
        keys = [key async for key in self._redis.scan_iter(match=f"{self._prefix}:*", count=1_000)]
        if keys:
            await self._redis.delete(*keys)

    @property
    def _awake(self) -> bool:
        return self._clock() >= self._rests_until

    async def _asked(self, ask: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What Redis says; `otherwise` when it does not, and for a while after that without asking."""
        if not self._awake:
            return otherwise
        try:
            with translated(self._address):
                return await ask()
        except (SinkUnavailable, SinkMisconfigured) as error:
            self._rests_until = self._clock() + REST_S
            log.warning("answers are not remembered for now", reason=str(error))
            return otherwise

    def _one(self, exact: str) -> str:
        return f"{self._prefix}:one:{exact}"

    def _like(self, bucket: str) -> str:
        return f"{self._prefix}:like:{bucket}"

    def _lead(self, key: AnswerKey) -> str:
        return f"{self._prefix}:lead:{key.exact}"


def packed(exact: str, question: str, vector: Sequence[float]) -> bytes:
    numbers = np.asarray(vector, dtype=np.float16).tobytes()
    return exact.encode() + len(numbers).to_bytes(4, "big") + numbers + question.encode(errors="replace")


def alike_ones(question: str, vector: Sequence[float], raw: Sequence[bytes], least: float) -> list[str]:
    """Exact keys of the questions that mean the same as this one, the nearest first."""
    asked = np.asarray(vector, dtype=np.float32)
    size = 2 * len(asked)
    good = [each for each in raw if len(each) > _ID + 4 + size and int.from_bytes(each[_ID : _ID + 4], "big") == size]
    if not good:
        return []
    rows = np.stack([np.frombuffer(each, dtype=np.float16, count=len(asked), offset=_ID + 4) for each in good])
    near: NDArray[np.float32] = rows.astype(np.float32) @ asked
    order = [int(row) for row in np.argsort(-near, kind="stable") if near[row] >= least]
    texts = ((good[row], good[row][_ID + 4 + size :].decode(errors="replace")) for row in order)
    return list(
        dict.fromkeys(each[:_ID].decode(errors="replace") for each, text in texts if same_meaning(question, text))
    )
