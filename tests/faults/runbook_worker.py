"""The real runbooks worker with one thing wrong: `python -m tests.faults.runbook_worker careless`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final

from cag import scripts
from cag.store import RunbookStore
from schemas.settings import Settings
from streams import worker

SEEN_S: Final = 0.02
_CHECK: Final = "known and tonumber(known) >= tonumber(offset) or mark and tonumber(mark) > tonumber(offset)"
_DELETE: Final = "changed = redis.call('HDEL', KEYS[at], entry)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    fault: str  # of `runbooks.py`: where it shows
    replaced: tuple[tuple[str, str], ...]  # parts of the scripts


BROKEN: Final = {
    "careless": Defect(fault="offsets reset", replaced=((_CHECK, "false"),)),  # applies whatever comes
    "forgetful": Defect(  # forgets that something was deleted
        fault="offsets reset",
        replaced=(
            (_CHECK, "known and tonumber(known) >= tonumber(offset)"),
            (_DELETE, f"{_DELETE}\n        redis.call('HDEL', KEYS[at + 1], entry)"),
        ),
    ),
    "trusting": Defect(  # takes an older copy for what was there
        fault="Redis back to an older copy",
        replaced=(("known[1] == server and ", ""), ("known[1] ~= server or ", "")),
    ),
}


@contextmanager
def broken_scripts(kind: str) -> Iterator[None]:
    """Stores that are opened meanwhile have this defect."""
    names = ("APPLY", "BEGIN", "FINISH", "MARKS", "READ")
    whole = {name: getattr(scripts, name) for name in names}
    for good, bad in BROKEN[kind].replaced if kind else ():
        for name in names:
            setattr(scripts, name, getattr(scripts, name).replace(good, bad))
        if whole == {name: getattr(scripts, name) for name in names}:
            raise ValueError(f"the scripts no longer hold {good!r}")
    try:
        yield
    finally:
        for name, text in whole.items():
            setattr(scripts, name, text)


def slowed(change: Callable[..., Any]) -> Callable[..., Any]:
    """So that a reader on a busy machine sees what it does."""

    @wraps(change)
    def slow(*arguments: Any) -> Any:
        time.sleep(SEEN_S)
        return change(*arguments)

    return slow


def main() -> None:
    RunbookStore._change = slowed(RunbookStore._change)  # type: ignore[method-assign]
    with broken_scripts(sys.argv[1]):
        worker.run(Settings.load(), [worker.RUNBOOKS])


if __name__ == "__main__":
    main()
