"""Quotas over a real Redis and without one: the same limits, one round trip, and answers while Redis is away."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from api.errors import ApiError
from api.quota import RETRY_REDIS_S, Counts, Meter, Window
from schemas.access import Principal, Quota
from schemas.answer_settings import Quotas
from schemas.context import Scope
from schemas.settings import Redis
from tests.redis_server import redis_server

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as (port, _):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(params=["redis", "memory"])
async def meter(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Meter]:
    url = redis_url if request.param == "redis" else NOWHERE
    made = Meter(Quotas(warn_at=0.8), Counts(Redis(url=url)))
    yield made
    await made.close()


def principal(requests: int = 0, tokens: int = 0) -> Principal:
    return Principal(
        kind="key", name=secrets.token_hex(4), scope=Scope(), quota=Quota(requests=requests, tokens=tokens)
    )


async def test_requests_end_at_the_limit_with_a_warning_before(meter: Meter) -> None:
    asker, other = principal(requests=5), principal(requests=5)
    said = [await meter.admit(asker) for _ in range(5)]
    assert [bool(warning) for warning in said] == [False, False, False, True, True]
    assert said[3] == "In the last minute you used 4 of your 5 requests."
    for _ in range(2):  # what is refused is not counted
        with pytest.raises(ApiError) as caught:
            await meter.admit(asker)
    wait_s = int(caught.value.headers["Retry-After"])
    assert caught.value.status == 429
    assert 1 <= wait_s <= 120
    assert f"5 requests of a minute. Ask again in {wait_s} s." in str(caught.value)
    assert await meter.admit(other) == ""


async def test_tokens_are_counted_after_the_answer_also_beyond_the_limit(meter: Meter) -> None:
    asker = principal(tokens=1000)
    assert await meter.admit(asker) == ""
    meter.charge(asker, 850)
    await meter.settled()
    assert await meter.admit(asker) == "In the last minute you used 850 of your 1000 tokens."
    meter.charge(asker, 3000)
    await meter.settled()
    with pytest.raises(ApiError, match="1000 tokens of a minute"):
        await meter.admit(asker)


async def test_whoever_is_unlimited_costs_no_look() -> None:
    counts = Counts(Redis(url=NOWHERE))
    with capture_logs() as lines:
        assert [await Meter(Quotas(), counts).admit(principal()) for _ in range(3)] == ["", "", ""]
    assert lines == []


async def test_an_outage_is_said_once_and_redis_is_tried_again_later(redis_url: str) -> None:
    now = 0.0
    counts = Counts(Redis(url=NOWHERE), clock=lambda: now)
    with capture_logs() as lines:
        for _ in range(3):
            assert (await counts.admit("a", 10, 10))[0]
            await counts.charge("a", 3)
            now += RETRY_REDIS_S + 1
        assert (await counts.admit("a", 10, 10))[2].used() == 9
    assert [line["event"] for line in lines] == ["quotas are counted in memory: Redis is away"]
    await counts.close()


@pytest.mark.parametrize(
    ("window", "used", "wait_s"),
    [
        (Window(), 0, 1),
        (Window(0, 0, 10, 90), 10, 31),  # 30 s of this minute are left, then it slides out
        (Window(10, 30, 5, 90), 10, 1),
        (Window(60, 1, 0, 61), 1, 1),
        (Window(0, 0, 10_000, 120), 10_000, 120),
    ],
)
def test_the_wait_is_until_the_window_has_slid_far_enough(window: Window, used: int, wait_s: int) -> None:
    assert (window.used(), window.wait_s(10)) == (used, wait_s)
