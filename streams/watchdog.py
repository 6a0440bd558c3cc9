"""What runs beside the event loop, in daemon threads: rounds at an interval, and the watchdog as one of them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from schemas.errors import SinkMisconfigured, SinkUnavailable
from streams.exits import Exit, leave

log = structlog.get_logger()

STUCK_AFTER_S: Final = 120.0


def rounds(name: str, every_s: float, call: Callable[[], None], put_off: Callable[[], None]) -> threading.Event:
    """Call now and then every so often in a daemon thread; setting the returned event ends it.

    A service that is away puts the work off until the next round; any other error ends the process.
    """
    stop = threading.Event()

    def run() -> None:
        complaint = ""
        while not stop.is_set():
            try:
                call()
                complaint = ""
            except (SinkUnavailable, SinkMisconfigured) as error:
                put_off()
                if str(error) != complaint:
                    log.warning("put off", work=name, reason=str(error))
                complaint = str(error)
            except BaseException as error:  # noqa: BLE001 - never a silent end of a thread
                if not stop.is_set():
                    leave(Exit.DEFECT, f"{name} failed", error)
            stop.wait(every_s)

    threading.Thread(target=run, name=name, daemon=True).start()
    return stop


@dataclass(slots=True)
class Progress:
    """What the event loop writes and the watchdog reads: plain numbers, so no lock is needed."""

    taken: int = 0  # chunks handed to agents
    acknowledged: int = 0
    beats: int = 0  # grows about once a second while the event loop runs

    @property
    def pending(self) -> int:
        return self.taken - self.acknowledged


class Pulse:
    """Notices that the whole process stood still for so long that others may have been given its partitions.

    What it then still publishes could come after what they did. `beat` every second or so, in a thread of its own.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._at: float | None = None  # it has not begun

    def beat(self) -> None:
        """Leaves when the beat before was too long ago."""
        self.check()
        self._at = self._clock()

    def check(self) -> None:
        """The same, for whoever is about to publish: on waking it may be quicker than the thread that beats."""
        still_s = 0.0 if self._at is None else self._clock() - self._at
        if still_s > self._limit_s:
            leave(Exit.STUCK, "the process was frozen, others may own its partitions", seconds=round(still_s, 1))


class Watchdog:
    """Notices a worker that makes no progress although nothing is said to be away."""

    def __init__(
        self,
        progress: Progress,
        paused: Callable[[], bool],
        clock: Callable[[], float],
        limit_s: float = STUCK_AFTER_S,
    ) -> None:
        self._progress, self._paused, self._clock, self._limit_s = progress, paused, clock, limit_s
        self._acknowledged = self._beats = -1
        self._moved_at = self._beat_at = clock()

    def check(self) -> str:
        """What is wrong, '' when nothing is. Call every few seconds."""
        now, progress = self._clock(), self._progress
        if progress.acknowledged != self._acknowledged or not progress.pending or self._paused():
            self._acknowledged, self._moved_at = progress.acknowledged, now
        if progress.beats != self._beats:
            self._beats, self._beat_at = progress.beats, now
        if now - self._beat_at > self._limit_s:
            return f"the event loop has been blocked for {now - self._beat_at:.0f} s"
        if now - self._moved_at > self._limit_s:
            return f"{progress.pending} chunks are pending, none was acknowledged for {now - self._moved_at:.0f} s"
        return ""

    def bark(self) -> None:
        """End the process when something is wrong."""
        if wrong := self.check():
            leave(Exit.STUCK, "no progress", reason=wrong)
