"""Fixtures that everything shares: settings without the environment, and the real services of a test run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from deploy.local import services
from deploy.local.services import Endpoints

CACHE = Path(os.environ.get("FRESHET_CACHE", "~/.cache/freshet"))
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stack", help="use the services of this state directory (.local) instead of starting new ones")


# The same examples on every run in CI: what fails there fails here. A developer's run explores.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


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
def state(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state directory of the services: ours, or the one that was given."""
    given = request.config.getoption("--stack")
    return Path(given) if given else tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def endpoints(request: pytest.FixtureRequest, state: Path) -> Iterator[Endpoints]:
    """Real Kafka, OpenSearch, Redis and registry; they stop with this process, however it ends."""
    if request.config.getoption("--stack"):
        yield services.up(state, CACHE)
        return
    try:
        yield services.up(state, CACHE, until_pid=os.getpid())
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
