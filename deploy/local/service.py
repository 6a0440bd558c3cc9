"""What a service is to the runner, and what it gets to know when it is started."""

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import artifacts, java, processes
from deploy.local.artifacts import Component, Report
from deploy.local.java import Java
from deploy.local.processes import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a service is started: its ports, its folder, and ways to get a Java runtime and its own software."""

    state: Path
    name: str
    cache: Path
    ports: Mapping[str, int]
    heap_mb: int
    preferred_java: Path | None
    report: Report

    @property
    def folder(self) -> Path:
        return self.state / self.name

    @property
    def log(self) -> Path:
        return log_of(self.state, self.name)

    @property
    def mark(self) -> str:
        return processes.mark(self.state, self.name)

    def java(self) -> Java:
        """Raises StartupError when there is none."""
        return java.find(self.preferred_java)

    def install(self, component: Component) -> Path:
        """May download; raises StartupError."""
        return artifacts.install(component, self.cache, self.report)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One server. `commands` writes the configuration; all but the last run to their end before the next."""

    name: str
    ports: tuple[str, ...]  # the first one is for clients
    timeout_s: float  # generous, for a busy machine: a server that ends early is noticed at once
    address: Callable[[int], str]
    answers: Callable[[int], bool]
    commands: Callable[[Site], Sequence[Command]]


def log_of(state: Path, name: str) -> Path:
    """Where a service's output goes."""
    return state / "logs" / f"{name}.log"


def accepts(port: int) -> bool:
    """Whether something listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT does not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
