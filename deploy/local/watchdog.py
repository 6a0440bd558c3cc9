"""Stop what runs for a state directory when a process ends: `python -m deploy.local.watchdog STATE PID [PREFIX]`."""

import os
import sys
from pathlib import Path

from deploy.local.processes import running, stop, wait_for_end


def watch(state: Path, pid: int, prefix: str = "", *, grace_s: float = 20.0) -> None:
    """Block until the process has ended, however it ended, then stop what runs (and has a name that begins so)."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # ended before we looked
        pass
    else:
        wait_for_end(descriptor)
        os.close(descriptor)
    if not prefix:
        stop(state, grace_s=grace_s)
    elif names := {name for name in running(state) if name.startswith(prefix)}:
        stop(state, names, grace_s=grace_s)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4])
