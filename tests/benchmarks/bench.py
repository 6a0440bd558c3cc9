"""What every benchmark is given, and what it returns: a summary that ends as one JSON line."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from deploy.installation import Installation
from deploy.local.services import Endpoints
from tests.benchmarks.installed import installed, stack

# At least `name`, `ok`, and `headline`: the figure, its goal and the peer's figure in a few words, for the table.
Summary = Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Bench:
    """The options of the command, and services that are started when they are first asked for."""

    out: Console
    state: Path
    cache: Path
    seconds: float
    lines: int
    partitions: int
    per_second: float  # log lines of the shop in the background
    minutes: float  # of backlog
    services: ExitStack = field(default_factory=ExitStack)
    _endpoints: Endpoints | None = None

    @property
    def endpoints(self) -> Endpoints:
        """Of the real services; they stay until the command ends."""
        if self._endpoints is None:
            self._endpoints = self.services.enter_context(stack(self.state, self.cache))
        return self._endpoints

    def installed(
        self, name: str, partitions: int = 0, *, insights: bool = False
    ) -> AbstractContextManager[Installation]:
        """An installation of our own with empty topics; nothing of it is left behind."""
        return _named(self, name, partitions or self.partitions, insights=insights)


@contextmanager
def _named(bench: Bench, name: str, partitions: int, *, insights: bool) -> Iterator[Installation]:
    name = f"bench-{name}"
    with installed(name, bench.state, bench.endpoints, partitions, insights=insights) as installation:
        yield installation


Measure = Callable[[Bench], Summary]
