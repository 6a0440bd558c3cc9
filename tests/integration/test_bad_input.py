"""Every bad message through a real worker, among good ones."""

import time
from pathlib import Path

import pytest

from deploy.local.services import Endpoints
from tests.bad_input import stack
from tests.bad_input.case import World

pytestmark = pytest.mark.integration
SMALL_BYTES = 1_100_000


def test_each_gets_its_letter_and_nobody_is_held_up(state: Path, endpoints: Endpoints) -> None:
    world = World(at_ms=int(time.time()) * 1000, large_bytes=1_000_000)
    with stack.installation(state, endpoints, "it-bad-input") as made:
        outcome = stack.through_worker(made, world, most_bytes=SMALL_BYTES)
    assert {family: faults for family, faults in outcome.wrong.items() if faults} == {}
    assert outcome.messages > 10_000
    assert outcome.letters > 10_000
    assert outcome.copies == 0
