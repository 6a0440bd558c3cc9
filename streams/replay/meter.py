"""How far a replay is: a bar with the time that is left on a terminal, a line now and then elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S: Final = 10.0


class Meter:
    """`total` messages; 0: without an end. `clock` is in monotonic seconds."""

    def __init__(self, console: Console, total: int, clock: Callable[[], float]) -> None:
        self._console, self._total, self._clock = console, total, clock
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[said]}"), console=console)
            self._task = self._bar.add_task("", total=total or None, said="")
        self._began = self._told = clock()
        self._first: int | None = None
        self._said = (0, "")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, left: int, records: int, waits: str) -> None:
        """`left`: messages up to the end; `records`: read so far by this process."""
        now = self._clock()
        if self._first is None:
            self._first = left
        if self._bar:
            self._bar.update(self._task, completed=self._total - left, said=waits or self._rate(records, now))
        elif now - self._told >= LINE_EVERY_S and (records, waits) != self._said:
            self._told, self._said = now, (records, waits)
            self._console.print(self._line(left, records, waits, now), markup=False)

    def _line(self, left: int, records: int, waits: str, now: float) -> str:
        done, passed = (self._first or 0) - left, now - self._began
        parts = [f"{self._total - left:,} of {self._total:,} messages"] if self._total else []
        parts.append(self._rate(records, now))
        if self._total and done and passed > 0:
            parts.append(f"{left * passed / done:,.0f} s left")
        return ", ".join([*parts, waits] if waits else parts)

    def _rate(self, records: int, now: float) -> str:
        return f"{records:,} records, {records / max(now - self._began, 0.001):,.0f} a second"
