"""What a trial gets and returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    full: bool  # the long run
    state: str  # folder of running services; empty: the trial starts none, or its own
    note: Callable[[str], None]  # progress, to standard error


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`figures` go into the JSON line; `ok` is theirs to decide, a broken control included."""

    ok: bool
    table: Table
    figures: dict[str, Any] = field(default_factory=dict)
