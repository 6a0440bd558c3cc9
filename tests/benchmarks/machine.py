"""What a figure was measured on, and what the worker's process has used."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.installation import Installation
from deploy.local import processes

PROC: Final = Path("/proc")
CORES: Final = len(os.sched_getaffinity(0))


def hardware() -> str:
    """Processor, cores, memory, and how busy the machine is already."""
    model = _field(PROC / "cpuinfo", "model name")
    clock_mhz = _field(PROC / "cpuinfo", "cpu MHz")
    memory_kb = int(_field(PROC / "meminfo", "MemTotal").split()[0])
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{model} at {clock_mhz} MHz, {CORES} cores, {memory_kb / 2**20:.0f} GiB, load average at start {load}"


def _field(file: Path, name: str) -> str:
    """The value of the first line `name : value`."""
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerProcess:
    """A worker of an installation, seen from outside."""

    pid: int
    metrics_url: str = ""

    @classmethod
    def of(cls, installation: Installation, metrics_port: int = 0, *, number: int = 1) -> "WorkerProcess":
        pids = processes.running(installation.state)[f"{installation.name}.worker-{number}"]
        return cls(pid=pids[0], metrics_url=f"http://127.0.0.1:{metrics_port}/metrics")

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The process does nothing meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def cpu_s(self) -> float:
        """Processor time of all its threads."""
        after_name = (PROC / str(self.pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> int:
        """Largest resident memory so far; the process must be running."""
        return int(_field(PROC / str(self.pid) / "status", "VmHWM").split()[0]) // 1024

    def total(self, metric: str) -> float:
        """The sum over all labels of one metric; 0 while the worker does not answer yet."""
        return sum(self._samples(metric))

    def _samples(self, metric: str) -> Iterator[float]:
        try:
            text = httpx.get(self.metrics_url, timeout=5).text
        except httpx.TransportError:
            return
        for family in text_string_to_metric_families(text):
            if family.name == metric:
                yield from (sample.value for sample in family.samples if not sample.name.endswith("_created"))
