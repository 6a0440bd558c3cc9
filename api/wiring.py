"""What routes get from the app: settings, assistant, metrics, and the moment of a request."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request

from api.port import Answering
from api.telemetry import ApiMetrics
from schemas.answer_settings import Api
from schemas.context import Scope


def wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    settings: Api
    assistant: Answering
    metrics: ApiMetrics
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.perf_counter


def _wiring(request: Request) -> Wiring:
    wiring = request.app.state.wiring
    assert isinstance(wiring, Wiring)
    return wiring


def _scope(
    cluster: Annotated[list[str], Query(description="only these clusters")] = [],  # noqa: B006 - FastAPI copies it
    namespace: Annotated[list[str], Query(description="only these namespaces")] = [],  # noqa: B006
) -> Scope:
    return Scope(clusters=tuple(cluster), namespaces=tuple(namespace))


Wired = Annotated[Wiring, Depends(_wiring)]
Scoped = Annotated[Scope, Depends(_scope)]
