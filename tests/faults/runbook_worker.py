"""The real runbooks worker with one thing wrong: `python -m tests.faults.runbook_worker careless`."""

import sys
from typing import Final

from cag import scripts
from schemas.settings import Settings
from streams import worker

_CHECK: Final = "known and tonumber(known) >= tonumber(offset) or mark and tonumber(mark) > tonumber(offset)"
_DELETE: Final = "changed = redis.call('HDEL', KEYS[at], entry)"
# Name -> what of the scripts is replaced by what.
BROKEN: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "careless": ((_CHECK, "false"),),  # applies whatever comes
    "forgetful": (  # forgets that something was deleted
        (_CHECK, "known and tonumber(known) >= tonumber(offset)"),
        (_DELETE, f"{_DELETE}\n        redis.call('HDEL', KEYS[at + 1], entry)"),
    ),
    "trusting": (("known[1] == server and ", ""), ("known[1] ~= server or ", "")),  # takes an older copy for current
}


def break_scripts(kind: str) -> None:
    for name in ("APPLY", "BEGIN", "FINISH", "MARKS", "READ"):
        text = getattr(scripts, name)
        for good, bad in BROKEN[kind]:
            text = text.replace(good, bad)
        setattr(scripts, name, text)


def main() -> None:
    break_scripts(sys.argv[1])
    worker.run(Settings.load(), [worker.RUNBOOKS])


if __name__ == "__main__":
    main()
