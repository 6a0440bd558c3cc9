"""How much it says that a workload complains of something that it has never said before. Pure.

-log10 of how probable it is by the time that its workload was heard; as only what is new is judged here, one in ten
thousand is enough.
"""

from typing import Final

from processors.insights.births import YOUNG
from processors.insights.usual import Usual
from processors.insights.voices import Line
from schemas.documents import MINUTE_MS
from schemas.records import ERROR

CRITICAL: Final = 18  # as `processors/decode/severity.py` reads critical, panic and fatal: what a process ends with
OPENS: Final = 4.0
LINES: Final = 3  # one error line alone does not page
DEATHS: Final = 2  # what ends a process once is a restart: of a controller that is no longer the leader, for one
SPREAD_MS: Final = 15_000  # nor do the tries of one moment
ALMOST: Final = 0.75  # the strength of what complains but does not open: it takes another as strong beside it
STEADY, STEADY_MS = 0.86, 30_000  # once it has gone on for so long: the weakest sign of another kind is enough


def surprise(line: Line) -> float:
    minutes = max((line.last_ms - line.first_ms) / MINUTE_MS, 1.0)
    return Usual().silent(int(line.before)).surprise(line.total, minutes)


def judged(line: Line) -> tuple[bool, float]:
    """Whether it opens an incident by itself, and its strength. What is new to a short history says less."""
    often, lasted_ms = line.total >= LINES, line.last_ms - line.first_ms
    heard, surprised, error = min(line.before / YOUNG, 1.0), surprise(line), line.severity >= ERROR
    grave = error and often and lasted_ms >= SPREAD_MS and surprised >= OPENS and heard == 1.0
    if grave or (line.severity >= CRITICAL and line.total >= DEATHS):
        return True, 0.8 + min(surprised, 20.0) / 100
    most = STEADY if often and lasted_ms >= STEADY_MS else ALMOST
    return False, heard * min(0.4 + 0.1 * error + 0.1 * surprised, most)
