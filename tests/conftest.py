"""Fixtures that everything shares: settings without the environment, and the real services of a test run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import services
from deploy.local.services import Endpoints

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stack", help="use the services of this state directory (.local) instead of starting new ones")


@pytest.fixture(autouse=True, scope="session")
def _scrubbed_environment() -> Iterator[None]:
    """No test reads the developer's own settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("FRESHET_"):
                patch.delenv(name)
        patch.setenv("FRESHET_ENV_FILE", os.devnull)
        yield


@pytest.fixture(scope="session")
def endpoints(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """Real Kafka, OpenSearch, Redis and registry; they stop with this process, however it ends."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "freshet"
    given = request.config.getoption("--stack")
    if given:
        yield services.up(Path(given), cache)
        return
    state = tmp_path_factory.mktemp("stack")
    try:
        yield services.up(state, cache, until_pid=os.getpid())
    finally:
        services.down(state, wipe=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real labelled data beside the project: a user's clone has none, CI must."""
    if not SHARED_DATA.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SHARED_DATA} is absent, and CI=true")
        pytest.skip(f"no data at {SHARED_DATA}")
    return SHARED_DATA


def needs(program: str) -> None:
    """Skip on a laptop without the program, fail in CI."""
    if shutil.which(program) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed, and CI=true")
        pytest.skip(f"{program} is not installed")
