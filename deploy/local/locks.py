"""A lock between processes that the kernel releases when its holder dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(path: Path, *, patience_s: float | None = None) -> Iterator[bool]:
    """Hold the lock; with `patience_s`, go on without it after that time. Yields whether it is held."""
    with path.open("a") as file:
        if patience_s is None:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield True
            return
        deadline = time.monotonic() + patience_s
        locked = _try_lock(file.fileno())
        while not locked and time.monotonic() < deadline:
            time.sleep(0.05)
            locked = _try_lock(file.fileno())
        yield locked


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
