"""What routes get from the app: settings, assistant, metrics, who asks, and the moment of a request."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Query, Request

from api.access import Doorkeeper
from api.account import Account
from api.audit import AuditLog
from api.errors import ApiError, request_id_of
from api.feedback import FeedbackSink
from api.port import Answering
from api.quota import Meter
from api.telemetry import ApiMetrics
from schemas.access import Principal
from schemas.answer_settings import Api
from schemas.chat import Narrowing
from schemas.context import Scope, Turn


def wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    settings: Api
    assistant: Answering
    metrics: ApiMetrics
    door: Doorkeeper
    meter: Meter
    audit: AuditLog
    feedback: FeedbackSink
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.perf_counter

    async def account(self, request: Request, scope: Scope, turns: Sequence[Turn] = ()) -> Account:
        """An account for a request that may go on. Raises ApiError: 403 without any grant, 429 beyond the quota."""
        principal = principal_of(request)
        account = Account(
            meter=self.meter,
            audit=self.audit,
            principal=principal,
            route=request.scope["route"].path,
            request_id=request_id_of(request),
            client=request.client.host if request.client else "",
            scope=scope,
            question=next((turn.content for turn in reversed(turns) if turn.role == "user"), None),
            clock=self.clock,
        )
        try:
            if not principal.scope.grants:
                raise _nothing_granted(principal)
            account.warning = await self.meter.admit(principal)
        except ApiError as error:
            account.refused(error)
            raise
        return account


def principal_of(request: Request) -> Principal:
    principal = request.state.principal
    assert isinstance(principal, Principal)
    return principal


def _nothing_granted(principal: Principal) -> ApiError:
    """Says nothing of what there is, so it may be plain."""
    who = f"{principal.name} is known, but" if principal.name else "Without a key you are let in, but"
    return ApiError(
        HTTPStatus.FORBIDDEN,
        f"{who} the policy grants no cluster or namespace. Ask whoever keeps the policy file of this service.",
        code="nothing_granted",
        kind="permission_error",
    )


async def _wiring(request: Request) -> Wiring:
    wiring = request.app.state.wiring
    assert isinstance(wiring, Wiring)
    return wiring


async def _scope(
    request: Request,
    cluster: Annotated[list[str], Query(description="only these clusters")] = [],  # noqa: B006 - FastAPI copies it
    namespace: Annotated[list[str], Query(description="only these namespaces")] = [],  # noqa: B006
) -> Scope:
    """What the asker may see, narrowed. Beyond the grants it finds nothing, as if nothing were there.

    No refusal: that would tell what exists.
    """
    return Narrowing(clusters=tuple(cluster), namespaces=tuple(namespace)).within(principal_of(request).scope)


# Asynchronous though they wait for nothing: FastAPI calls others in a thread, which costs more than they do.
Wired = Annotated[Wiring, Depends(_wiring)]
Scoped = Annotated[Scope, Depends(_scope)]
