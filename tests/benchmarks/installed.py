"""Services and an installation for one run; what was started and made for it is gone afterwards."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.installation import Installation
from deploy.local import services
from deploy.local.services import Endpoints
from deploy.shop.topology import CLUSTER


@contextmanager
def stack(state: Path, cache: Path) -> Iterator[Endpoints]:
    """The services of this state directory; those that were found running stay."""
    found_running = any(service.state == "running" for service in services.status(state))
    try:
        yield services.up(state, cache)
    finally:
        if not found_running:
            services.down(state)


@contextmanager
def kept_or_own(
    state: Path | None, cache: Path, report: Callable[[str, str], object] = lambda _, __: None
) -> Iterator[tuple[Path, Endpoints]]:
    """The services of a folder, which stay as they are; or own ones, which end with this process, however it ends."""
    if state is not None:
        yield state, services.up(state, cache)
        return
    with tempfile.TemporaryDirectory(prefix="freshet-own-") as folder:
        home = Path(folder)
        try:
            yield home, services.up(home, cache, until_pid=os.getpid(), report=report)
        finally:
            services.down(home, wipe=True)


@contextmanager
def installed(
    name: str, state: Path, endpoints: Endpoints, partitions: int, *, insights: bool = False
) -> Iterator[Installation]:
    """An installation of our own with empty topics; nothing of it is left behind."""
    installation = Installation(
        name=name, state=state.resolve(), endpoints=endpoints, cluster=CLUSTER, insights=insights
    )
    installation.extra["FRESHET_KAFKA__PARTITIONS"] = str(partitions)
    try:
        clear(installation)
        installation.run("streams", "topics", "create")
        yield installation
    finally:
        clear(installation)


def clear(installation: Installation) -> None:
    """Stop and delete everything of this name."""
    installation.stop()
    installation.remove()
