"""Services and an installation for one run; what was started and made for it is gone afterwards."""

from collections.abc import Iterator
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
