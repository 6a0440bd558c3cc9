"""Lines a second on one core, over lines without a secret."""

import gc
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from processors.decode import decode
from processors.redact import Redactor
from schemas.records import Format, LogRecord, Message, Signal
from schemas.settings import Redaction
from schemas.topics import Input
from tests.redaction import clean

RUNS: Final = 5
GOAL: Final = 200_000


def rate(lines: Sequence[str]) -> float:
    """Median over the runs, by processor time of this process.

    Every run has a redactor of its own, which remembers nothing yet: lines count as often as they stand in the data.
    """
    seconds = []
    for _ in range(RUNS):
        redact = Redactor(Redaction())
        gc.collect()
        started = time.process_time()
        for line in lines:
            redact(line)
        seconds.append(time.process_time() - started)
    return len(lines) / statistics.median(seconds)


def corpora(shared: Path | None) -> dict[str, tuple[list[str], list[str]]]:
    """By system: bodies, which is what a worker redacts, and whole lines with their time and level."""
    systems: dict[str, list[str]] = {}
    for source, line in clean.real(shared) if shared else ():
        if len(systems.setdefault(source, [])) < 2_000:
            systems[source].append(line)
    if not systems:
        systems["made"] = [line for _, line in clean.made(1, 200)]
    return {name: ([_body(line) for line in lines], lines) for name, lines in systems.items()}


def _body(line: str) -> str:
    """What the decoder of plain text makes of a line: the time and the level before it are fields."""
    message = Message(
        topic="logs", topic_id="", partition=0, offset=0, timestamp_ms=0, key=None, value=line.encode(errors="replace")
    )
    for record in decode(message, Input(topic="logs", signal=Signal.LOG, format=Format.TEXT)):
        if isinstance(record, LogRecord):
            return record.body
    return line
