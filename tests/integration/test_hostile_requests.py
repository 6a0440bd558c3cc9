"""Requests that nobody would send on purpose, and clients that do not wait: the trials of `make answers`, whole."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.answers import disconnects, requests

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # schemathesis uses what others deprecate


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Each refused request has its line, and there are thousands."""
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, cache_logger_on_first_use=False)  # others' tests want theirs back
    yield
    structlog.reset_defaults()


def test_no_request_gets_a_server_error_or_breaks_the_contract() -> None:
    found = requests.play(5_000, lambda label: None)
    assert not found.wrong, found.wrong[:5]
    assert sum(found.answers.values()) >= 4_500
    assert {200, 400, 404} <= {status for _, status in found.answers}


async def test_clients_that_hang_up_leave_nothing_behind() -> None:
    hung_up = await disconnects.hang_up(100, lambda phase: None)
    assert hung_up.done.total() == 500
    assert not any(hung_up.left.values()), hung_up.left


async def test_cancelled_calls_never_cross_and_a_bad_client_does() -> None:
    found = await disconnects.crossed(200, lambda name: None)
    assert found.pop(disconnects.BAD)[1] > 0
    assert [wrong for _, wrong in found.values()] == [0, 0, 0]
    assert all(calls >= 100 for calls, _ in found.values())
