"""The composition of the API: routes, errors and the gate around them. Nothing connects before the app starts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import errors, routes_chat, routes_evidence, routes_health, routes_insights
from api.access import Doorkeeper
from api.audit import AuditLog
from api.feedback import FeedbackSink, KafkaFeedback
from api.gate import Gate
from api.port import Answering
from api.quota import Counts, Meter
from api.telemetry import ApiMetrics
from api.wiring import Wiring, wall_clock
from schemas.chat import ErrorBody
from schemas.settings import Settings

TITLE: Final = "Freshet"
VERSION: Final = "0.1.0"
SUMMARY: Final = "Answers about running software, from telemetry that is seconds old, with citations."
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorBody, "description": "The request is wrong; `param` names where."},
    401: {"model": ErrorBody, "description": "No valid API key or token."},
    403: {"model": ErrorBody, "description": "Known, but granted nothing."},
    404: {"model": ErrorBody, "description": "No such thing."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    429: {"model": ErrorBody, "description": "The quota of the minute is used up; `Retry-After` says how long."},
    500: {"model": ErrorBody, "description": "A defect on our side; the log has it under the request id."},
    503: {"model": ErrorBody, "description": "A store is away; /readyz says which one."},
}


def create_app(
    settings: Settings,
    assistant: Answering,
    *,
    now: Callable[[], datetime] = wall_clock,
    feedback: FeedbackSink | None = None,
) -> FastAPI:
    """An ASGI app around `assistant`, which it starts and closes. `now` tells the moment of a request.

    `feedback`: where verdicts about incidents go, closed by the app; the topic of the settings when unset.

    Raises StartupError for a policy or an audit file that cannot be used.
    """
    metrics = ApiMetrics()
    door = Doorkeeper(settings.access, settings.api.api_keys, settings.quotas)
    meter = Meter(settings.quotas, Counts(settings.redis))
    audit = AuditLog(settings, metrics.audit_lost)
    sink = feedback or KafkaFeedback(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        audit.start()
        await door.start()
        await assistant.start()
        try:
            yield
        finally:
            await assistant.close()
            await door.close()
            await meter.close()
            await sink.close()
            await asyncio.to_thread(audit.close)

    # The interactive pages load scripts from elsewhere; /openapi.json is the contract.
    app = FastAPI(title=TITLE, version=VERSION, summary=SUMMARY, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.wiring = Wiring(
        settings=settings.api,
        assistant=assistant,
        metrics=metrics,
        door=door,
        meter=meter,
        audit=audit,
        feedback=sink,
        now=now,
    )
    for routes in (routes_chat, routes_evidence, routes_insights):
        app.include_router(routes.router, responses=_ERRORS)
    app.include_router(routes_health.router)
    errors.install(app)
    app.add_middleware(Gate, door=door, audit=audit, max_body_bytes=settings.api.max_body_bytes, metrics=metrics)
    app.openapi = lambda: _contract(app)  # type: ignore[method-assign]
    return app


def _contract(app: FastAPI) -> dict[str, Any]:
    """OpenAPI without the framework's 422: what is invalid is a 400 here. Bearer keys are optional."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    components = schema["components"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"key": []}, {}]
    app.openapi_schema = schema
    return schema
