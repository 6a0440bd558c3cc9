"""Stop the services of a state directory when a process ends: `python -m deploy.local.watchdog STATE PID`."""

import os
import sys
from pathlib import Path

from deploy.local.processes import stop, wait_for_end


def watch(state: Path, pid: int, *, grace_s: float = 20.0) -> None:
    """Block until the process has ended, however it ended, then stop what runs."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # ended before we looked
        pass
    else:
        wait_for_end(descriptor)
        os.close(descriptor)
    stop(state, grace_s=grace_s)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]))
