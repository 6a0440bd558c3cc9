"""Processes that belong to a state directory: started detached, found again by their mark, stopped by id.

The mark `<name>@<state directory>` is in the environment and, where another user runs the process, in the arguments of
everything that is started here. So a process is known without a pid file: none is lost when a starter crashes between
starting and recording, and a recycled pid is never signalled.
"""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MARK: Final = "FRESHET_LOCAL"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user and group that a process runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process to start; `cwd` exists and `log` is appended to."""

    name: str
    argv: Sequence[str]
    cwd: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    account: Account | None = None  # None: as the caller


def mark(state: Path, name: str) -> str:
    """What tells the processes of this state directory from all others."""
    return f"{name}@{state}"


def spawn(state: Path, command: Command) -> None:
    """Start in an own session, child of init: it outlives us, and no zombie stays with us."""
    _execute(state, command, ["setsid", "--fork"])


def run_to_end(state: Path, command: Command) -> bool:
    """Run a preparing step, marked as well; returns whether it ended well."""
    return _execute(state, command, []) == 0


def _execute(state: Path, command: Command, prefix: list[str]) -> int:
    account = command.account
    with command.log.open("ab") as log:
        done = subprocess.run(
            [*prefix, *command.argv],
            check=False,
            cwd=command.cwd,
            env={
                "PATH": PATH,
                "HOME": str(command.cwd),
                **command.env,
                MARK: mark(state, command.name),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    return done.returncode


def running(state: Path) -> dict[str, list[int]]:
    """Live processes of this state directory by name; the one that leads its session comes first."""
    found: dict[str, list[int]] = {}
    ending = f"@{state}"
    for entry in PROC.iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        name = _marked(entry, ending)
        if name:
            found.setdefault(name, []).append(int(entry.name))
    for pids in found.values():
        pids.sort(key=lambda pid: (not _leads_session(pid), pid))
    return found


def _marked(entry: Path, ending: str) -> str:
    for file, lead in (("environ", f"{MARK}="), ("cmdline", "")):
        for item in _read(entry / file).decode(errors="replace").split("\0"):
            if item.endswith(ending) and item.startswith(lead):
                return item.removesuffix(ending).rpartition("=")[2]
    return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (
        FileNotFoundError,
        ProcessLookupError,
        PermissionError,
    ):  # gone meanwhile, or another user's
        return b""


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def stop(state: Path, names: set[str] | None = None, *, grace_s: float) -> list[str]:
    """TERM, then KILL after `grace_s`, until none of them is left; returns the names that ran. 0 kills at once."""
    stopped: set[str] = set()
    absent = 0
    while absent < 2:  # looked for twice: between fork and exec a process shows neither environment nor arguments
        pids = {pid: name for name, found in running(state).items() for pid in found if not names or name in names}
        absent = 0 if pids else absent + 1
        stopped.update(pids.values())
        if grace_s > 0:
            _signal_and_wait(pids, signal.SIGTERM, grace_s)
        _signal_and_wait(pids, signal.SIGKILL, 5.0)
    return sorted(stopped)


def send(state: Path, name: str, number: signal.Signals) -> None:
    """Send a signal to all processes of one service (SIGSTOP and SIGCONT make a hung one)."""
    for pid in running(state).get(name, []):
        os.kill(pid, number)


def _signal_and_wait(pids: Mapping[int, str], number: signal.Signals, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    watched = []
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        signal.pidfd_send_signal(descriptor, number)
        watched.append(descriptor)
    for descriptor in watched:
        try:
            wait_for_end(descriptor, deadline - time.monotonic())
        finally:
            os.close(descriptor)


def wait_for_end(descriptor: int, patience_s: float | None = None) -> None:
    """Block until the process behind a pidfd has ended; no longer than `patience_s` when that is given."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(None if patience_s is None else max(0, int(patience_s * 1000)))


def resident_mb(pids: Sequence[int]) -> int:
    """Resident memory of these processes together."""
    lines = (line for pid in pids for line in _read(PROC / str(pid) / "status").decode().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024
