"""One suite over the answer cache with a Redis in memory and with a real one, which the tests start themselves."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import fakeredis
import pytest

from cag.memory.answer_cache import MOST_ANSWERS, QUESTIONS, REST_S, AnswerCache
from cag.memory.remembered import MOST_BYTES, AnswerKey, Remembered
from schemas.settings import Settings
from tests.redis_server import redis_server

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NORTH, EAST, NORTH_EAST = [1.0, 0.0], [0.0, 1.0], [0.8, 0.6]


def settings(url: str = "redis://127.0.0.1:1/0") -> Settings:
    return Settings.model_validate({"redis": {"url": url, "namespace": "answers-test"}})


def key(question: str = "how do I fix TargetDown", *, bucket: str = "b" * 32, ttl_s: int = 60) -> AnswerKey:
    exact = f"{abs(hash((question, bucket))):032x}"[:32]
    return AnswerKey(exact=exact, bucket=bucket, question=question, ttl_s=ttl_s, corpus="1", live=False)


def answer(of: AnswerKey, text: str = "Restart it [1].") -> Remembered:
    return Remembered(
        exact=of.exact, question=of.question, corpus=of.corpus, made_at=NOW, mode="model", reason="", text=text,
        evidence=(), finish_reason="stop", verification=None, prefix_hash="p",
    )  # fmt: skip


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_server() as (port, _):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[AnswerCache]:
    if request.param == "memory":
        made = AnswerCache(settings(), client=fakeredis.FakeAsyncRedis())
    else:
        made = AnswerCache(settings(request.getfixturevalue("url")))
        await made.delete_everything()
    yield made
    await made.aclose()


async def test_what_is_kept_is_found_by_its_key_only(cache: AnswerCache) -> None:
    one = key()
    assert await cache.exact(one) is None
    await cache.keep(one, answer(one), NORTH)
    assert await cache.exact(one) == answer(one)
    assert await cache.exact(key(bucket="c" * 32)) is None


@pytest.mark.parametrize(
    ("question", "vector", "bucket", "found"),
    [
        ("how can we resolve TargetDown?", NORTH_EAST, "b", True),
        ("how can we resolve TargetDown?", NORTH_EAST, "c", False),  # another scope, corpus, plan, model, ...
        ("how can we resolve TargetDown?", EAST, "b", False),  # too far
        ("how can we resolve TargetUp?", NORTH, "b", False),  # another word
        ("how can we resolve TargetDown?", [0.8, 0.6, 0.0], "b", False),  # vectors of another model
    ],
)
async def test_a_paraphrase(cache: AnswerCache, question: str, vector: list[float], bucket: str, found: bool) -> None:
    one, asked = key(), key(question, bucket=bucket * 32)
    await cache.keep(one, answer(one), NORTH)
    assert await cache.alike(asked, vector) == (answer(one) if found else None)
    assert await cache.questions(asked) == (bucket == "b")


async def test_conversations_have_no_paraphrase(cache: AnswerCache) -> None:
    one = key(bucket="")
    await cache.keep(one, answer(one), NORTH)
    assert await cache.exact(one) == answer(one)
    assert (await cache.questions(one), await cache.alike(one, NORTH)) == (0, None)


@pytest.mark.parametrize("raw", [b"", b"{", b"\x00\xff", b'{"version":2}', b"[]", b"x" * (MOST_BYTES + 1)])
async def test_what_cannot_be_read_is_a_miss(cache: AnswerCache, raw: bytes) -> None:
    one = key()
    await cache.keep(one, answer(one), NORTH)
    await cache._redis.set(cache._one(one.exact), raw)
    assert await cache.exact(one) is None
    assert await cache.alike(key("how can we resolve TargetDown"), NORTH) is None
    await cache._redis.lpush(cache._like(one.bucket), raw, b"y" * 36, b"z" * 40)
    assert await cache.alike(key("how can we resolve TargetDown"), NORTH) is None


async def test_an_answer_under_another_key_is_a_miss(cache: AnswerCache) -> None:
    one, other = key(), key("how do I fix NodeDown")
    await cache._redis.set(cache._one(one.exact), answer(other).to_bytes())
    assert await cache.exact(one) is None


async def test_bounds(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cag.memory.answer_cache.MOST_ANSWERS", 150)
    keys = [key(f"how do I fix disk{n}") for n in range(160)]
    for number, one in enumerate(keys):
        made = answer(one).model_copy(update={"made_at": datetime.fromtimestamp(number, UTC)})
        await cache.keep(one, made, NORTH)
    assert [await cache.exact(one) is not None for one in keys] == [False] * 10 + [True] * 150
    assert await cache.questions(keys[0]) == QUESTIONS
    assert MOST_ANSWERS * MOST_BYTES < 4 * 2**30
    assert 0 < await cache._redis.ttl(cache._one(keys[-1].exact)) <= 60
    huge = key("how do I fix everything")
    await cache.keep(huge, answer(huge, "x" * MOST_BYTES), NORTH)
    assert await cache.exact(huge) is None


async def test_one_process_leads(cache: AnswerCache) -> None:
    other = AnswerCache(settings(), client=cache._redis)
    one = key()
    assert (await cache.lead(one), await other.lead(one), await other.led(one)) == (True, False, True)
    await other.release(one)  # not theirs
    assert await cache.led(one)
    await cache.release(one)
    assert (await cache.led(one), await other.lead(one)) == (False, True)
    await other.release(one)


async def test_a_dead_redis_is_a_miss_and_is_left_alone_for_a_while() -> None:
    now = [0.0]
    server = fakeredis.FakeServer()
    server.connected = False
    cache = AnswerCache(settings(), client=fakeredis.FakeAsyncRedis(server=server), clock=lambda: now[0])
    one = key()
    for _ in range(3):
        assert await cache.exact(one) is None
        assert (await cache.questions(one), await cache.alike(one, NORTH)) == (0, None)
        await cache.keep(one, answer(one), NORTH)
        assert (await cache.lead(one), await cache.led(one)) == (True, False)  # everyone does the work himself
        await cache.release(one)
    server.connected = True
    await cache.keep(one, answer(one), NORTH)
    assert await cache.exact(one) is None  # still resting
    now[0] += REST_S
    await cache.keep(one, answer(one), NORTH)
    assert await cache.exact(one) == answer(one)
    await cache.aclose()


class Careless:
    """A known-bad client: one connection, on which a cancelled reader leaves its reply for the next one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._lock = reader, writer, asyncio.Lock()

    @classmethod
    async def opened(cls, url: str) -> "Careless":
        return cls(*await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0])))

    async def get(self, name: str) -> bytes:
        async with self._lock:
            self._writer.write(f"GET {name}\r\n".encode())
            size = int((await self._reader.readline())[1:])
            return (await self._reader.readexactly(size + 2))[:-2]

    async def aclose(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


@pytest.mark.parametrize("careless", [False, True])
async def test_cancelled_readers_leave_nothing_for_others(url: str, careless: bool) -> None:
    """Readers are cancelled at random moments: none of the others may see a value that is not its own."""
    cache, rng = AnswerCache(settings(url)), random.Random(6)
    await cache.delete_everything()
    keys = [key(f"how do I fix disk{n}") for n in range(50)]
    for one in keys:
        await cache.keep(one, answer(one), NORTH)
    client = await Careless.opened(url) if careless else cache._redis
    wrong = seen = cancelled = 0

    async def read(one: AnswerKey) -> None:
        nonlocal wrong, seen
        raw = await client.get(cache._one(one.exact))
        seen += 1
        wrong += Remembered.read(raw, one.exact) is None

    for _ in range(60):
        readers = [asyncio.create_task(read(rng.choice(keys))) for _ in range(50)]
        await asyncio.sleep(rng.random() * 0.004)
        for reader in rng.sample(readers, 25):
            cancelled += reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    assert (wrong > 0) is careless
    assert seen > 1_000
    assert cancelled > 200
    if careless:
        await client.aclose()
    await cache.aclose()
