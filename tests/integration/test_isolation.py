"""Two tenants on real services: nothing of one reaches the other, whatever it asks; with the filter off it would."""

from pathlib import Path

import pytest

from deploy.local.services import Endpoints
from tests.answers import attacks, isolation

pytestmark = pytest.mark.integration


def test_no_canary_of_the_other_tenant_comes_back(state: Path, endpoints: Endpoints) -> None:
    outcome = isolation.play(state, endpoints, 8 * len(attacks.KINDS), note=lambda text: None)
    assert outcome.ok, outcome.figures
