"""Start, stop and look at the local services of one state directory; safe to repeat, safe after a crash.

    endpoints = up(state, cache)      # a second call starts only what does not run
    kill(state, "kafka"); start(state, "kafka")
    down(state)

A state directory holds `freshet.env` for the product, `stack.json` (ports and choices), `logs/`, a folder a service.
"""

import shutil
import signal
import sys
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local import (
    accounts,
    artifacts,
    kafka,
    opensearch,
    processes,
    redis,
    registry,
    stack,
)
from deploy.local.artifacts import Report
from deploy.local.locks import held
from deploy.local.processes import Command
from deploy.local.service import Service, Site, accepts, is_free, log_of
from deploy.local.stack import Stack
from schemas.errors import StartupError

SERVICES: Final = {s.name: s for s in (kafka.SERVICE, opensearch.SERVICE, redis.SERVICE, registry.SERVICE)}
GRACE_S: Final = 20.0
POLL_S: Final = 0.1
CHECKOUT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the services answer; empty for one that was left out."""

    kafka: str = ""
    opensearch: str = ""
    redis: str = ""
    registry: str = ""

    def environment(self) -> dict[str, str]:
        """The settings of the product that point at these services."""
        named = {
            "FRESHET_KAFKA__BOOTSTRAP_SERVERS": self.kafka,
            "FRESHET_OPENSEARCH__URL": self.opensearch,
            "FRESHET_REDIS__URL": self.redis,
            "FRESHET_REGISTRY__URL": self.registry,
        }
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One service as it is now; `state` is running, starting or stopped."""

    name: str
    state: str
    address: str
    pid: int
    memory_mb: int
    log: str


def _silent(service: str, text: str) -> None:
    """Report to nobody."""


def up(
    state: Path,
    cache: Path,
    *,
    only: Collection[str] = tuple(SERVICES),
    report: Report = _silent,
    java_home: Path | None = None,
    opensearch_heap_mb: int = 512,
    until_pid: int | None = None,
) -> Endpoints:
    """Start what does not run and wait until everything answers; downloads first where the cache is empty.

    With `until_pid` the services stop when that process ends, however it ends. Raises StartupError that names the
    service, its address, its log and what to do; the other services then keep running.
    """
    state, cache = state.resolve(), cache.expanduser().resolve()
    unknown = set(only) - SERVICES.keys()
    if unknown:
        raise StartupError(f"no such service: {', '.join(sorted(unknown))}; there are {', '.join(SERVICES)}")
    (state / "logs").mkdir(parents=True, exist_ok=True)
    state.chmod(0o711)  # an unprivileged service walks through it to its own folder
    with held(state / "lock"):
        if until_pid is not None:
            _spawn_watchdog(state, until_pid)
        before = stack.load(state)
        now = Stack(
            cache=str(cache),
            java_home=str(java_home or ""),
            opensearch_heap_mb=opensearch_heap_mb,
            ports=before.ports if before else {},
        )
        stack.save(state, now)
        with ThreadPoolExecutor(len(SERVICES)) as pool:
            futures = [pool.submit(_bring_up, state, now, SERVICES[name], report) for name in SERVICES if name in only]
        artifacts.tidy(cache)
        for future in futures:
            future.result()
        endpoints = _endpoints(state)
        lines = [f"{name}={value}\n" for name, value in endpoints.environment().items()]
        stack.write_whole(state / "freshet.env", "".join(lines))
        return endpoints


def down(state: Path, *, wipe: bool = False) -> list[str]:
    """Stop everything that was started for this state directory; `wipe` deletes what it holds. Returns what ran."""
    state = state.resolve()
    stopped = set(processes.stop(state, grace_s=GRACE_S))
    if state.is_dir():
        # A starter that still lives fails as its services go; what it started meanwhile goes in the second round.
        with held(state / "lock", patience_s=30):
            stopped.update(processes.stop(state, grace_s=GRACE_S))
    if wipe and stack.load(state):  # never a folder that is no state directory
        shutil.rmtree(accounts.sheltered(state / "opensearch"), ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)
    return sorted(stopped & SERVICES.keys())


def start(state: Path, name: str, *, report: Report = _silent) -> str:
    """Start one service on the port and the data that it had; returns its address. Raises StartupError."""
    state = state.resolve()
    known = stack.load(state)
    if known is None or name not in known.ports:
        raise StartupError(f"{name} was never started in {state}: run `up` first")
    with held(state / "lock"):
        return _bring_up(state, known, SERVICES[name], report)


def halt(state: Path, name: str) -> None:
    """Stop one service in good order."""
    processes.stop(state.resolve(), {name}, grace_s=GRACE_S)


def kill(state: Path, name: str) -> None:
    """End one service with SIGKILL, as a crash would."""
    processes.stop(state.resolve(), {name}, grace_s=0)


def restart(state: Path, name: str) -> str:
    """Stop one service in good order and start it on the same port; returns its address."""
    halt(state, name)
    return start(state, name)


def pause(state: Path, name: str) -> None:
    """Make one service hang: its connections stay open and nothing answers."""
    processes.send(state.resolve(), name, signal.SIGSTOP)


def resume(state: Path, name: str) -> None:
    """Let a paused service go on."""
    processes.send(state.resolve(), name, signal.SIGCONT)


def status(state: Path) -> list[Status]:
    """Every service that was ever started in this state directory."""
    state = state.resolve()
    known, found = stack.load(state), processes.running(state)
    rows = []
    for service in SERVICES.values() if known else ():
        ports = known.ports.get(service.name) if known else None
        if ports is None:
            continue
        pids = found.get(service.name, [])
        running = "running" if pids and accepts(ports["client"]) else "starting" if pids else "stopped"
        rows.append(
            Status(
                name=service.name,
                state=running,
                address=service.address(ports["client"]),
                pid=pids[0] if pids else 0,
                memory_mb=processes.resident_mb(pids),
                log=str(log_of(state, service.name)),
            )
        )
    return rows


def _endpoints(state: Path) -> Endpoints:
    return Endpoints(**{row.name: row.address for row in status(state) if row.state != "stopped"})


def _bring_up(state: Path, known: Stack, service: Service, report: Report) -> str:
    """Start one service unless it runs, and wait until it answers; returns its address."""
    name, began = service.name, time.monotonic()
    ports = known.ports.get(name, {})
    for _ in range(3):
        alive = bool(ports) and name in processes.running(state)
        if not alive:
            # Parts of one that crashed, or one whose ports are no longer known, would be in the way.
            processes.stop(state, {name}, grace_s=GRACE_S)
            ports = _start(state, known, service, ports, report)
        address = service.address(ports["client"])
        if _wait(state, service, ports["client"]):
            report(
                name,
                f"{'runs already' if alive else 'ready'} at {address} ({time.monotonic() - began:.1f} s)",
            )
            return address
        if not alive and all(is_free(port) for port in ports.values()):
            break
        report(name, "ended while it was starting, trying again" if alive else "its port was taken, choosing another")
    log = log_of(state, name)
    raise StartupError(
        f"{name} at {address} ended before it was ready: {_last_words(log)} (log: {log}); "
        "mend that and run `up` again, which goes on with what is missing"
    )


def _start(state: Path, known: Stack, service: Service, ports: dict[str, int], report: Report) -> dict[str, int]:
    """Start the process, on these ports where they are still free; returns the ports."""
    ports = stack.choose_ports(state, service, ports)
    site = Site(
        state=state,
        name=service.name,
        cache=Path(known.cache),
        ports=ports,
        heap_mb=known.opensearch_heap_mb,
        preferred_java=Path(known.java_home) if known.java_home else None,
        report=report,
    )
    *preparing, last = service.commands(site)
    stack.remember_ports(state, service.name, ports)
    for command in preparing:
        report(service.name, "preparing")
        if not processes.run_to_end(state, command):
            raise StartupError(f"{service.name} could not be prepared: {_last_words(site.log)} (log: {site.log})")
    report(service.name, "starting")
    processes.spawn(state, last)
    return ports


def _wait(state: Path, service: Service, port: int) -> bool:
    """True when it answers, False when its process has ended. Raises StartupError when neither happens in time."""
    deadline, absent = time.monotonic() + service.timeout_s, 0
    while time.monotonic() < deadline:
        # For an instant between fork and exec a process shows neither environment nor arguments.
        absent = 0 if service.name in processes.running(state) else absent + 1
        if absent == 3:
            return False
        if not absent and service.answers(port):
            return True
        time.sleep(POLL_S)
    log = log_of(state, service.name)
    raise StartupError(
        f"{service.name} at {service.address(port)} does not answer after {service.timeout_s:.0f} s: "
        f"{_last_words(log)} (log: {log}); `down` stops it, then run `up` again"
    )


def _last_words(log: Path) -> str:
    """The last line of a log that looks like a reason, else its last line."""
    lines = log.read_bytes()[-20_000:].decode(errors="replace").splitlines() if log.is_file() else []
    lines = [line.strip() for line in lines if line.strip()]
    for signs in (("Likely root cause",), ("ERROR", "FATAL", "Exception", "error"), ("",)):
        reasons = [line for line in lines if any(sign in line for sign in signs)]
        if reasons:
            return reasons[-1][:300]
    return "its log is empty"


def _spawn_watchdog(state: Path, pid: int) -> None:
    name = f"watchdog-{pid}"
    if name in processes.running(state):
        return
    argv = [sys.executable, "-m", "deploy.local.watchdog", str(state), str(pid)]
    processes.spawn(state, Command(name=name, argv=argv, cwd=CHECKOUT, log=log_of(state, "watchdog")))
