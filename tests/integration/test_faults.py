"""The faults campaign at the size that CI runs, with the broken pipelines that its checker must catch."""

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.services import Endpoints
from tests.faults.__main__ import everything, show
from tests.faults.run import SMALL

pytestmark = [pytest.mark.integration, pytest.mark.slow]
SEED = 1


def test_every_record_is_accounted_for_and_broken_pipelines_are_caught(
    state: Path, endpoints: Endpoints, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    shared = request.config.getoption("--stack")  # others may be using it: its broker is not killed
    size = replace(SMALL, broker_kills=0) if shared else SMALL
    summary, more = everything(size, seed=SEED, state=state, endpoints=endpoints, folder=tmp_path)
    show(summary, more)
    assert summary["ok"], f"seed {SEED}: {more['findings'] or more['wrong']}"
    assert summary["sampled"] > 500, "commit safety was hardly looked at"
