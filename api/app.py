"""The composition of the API: routes, errors and the gate around them. Nothing connects before the app starts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import errors, routes_chat, routes_evidence, routes_health
from api.gate import Gate
from api.port import Answering
from api.telemetry import ApiMetrics
from api.wiring import Wiring, wall_clock
from schemas.chat import ErrorBody
from schemas.settings import Settings

TITLE: Final = "Freshet"
VERSION: Final = "0.1.0"
SUMMARY: Final = "Answers about running software, from telemetry that is seconds old, with citations."
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorBody, "description": "The request is wrong; `param` names where."},
    401: {"model": ErrorBody, "description": "No valid API key."},
    404: {"model": ErrorBody, "description": "No such thing."},
    413: {"model": ErrorBody, "description": "The body is too large."},
    500: {"model": ErrorBody, "description": "A defect on our side; the log has it under the request id."},
    503: {"model": ErrorBody, "description": "A store is away; /readyz says which one."},
}


def create_app(settings: Settings, assistant: Answering, *, now: Callable[[], datetime] = wall_clock) -> FastAPI:
    """An ASGI app around `assistant`, which it starts and closes. `now` tells the moment of a request."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await assistant.start()
        try:
            yield
        finally:
            await assistant.close()

    # The interactive pages load scripts from elsewhere; /openapi.json is the contract.
    app = FastAPI(title=TITLE, version=VERSION, summary=SUMMARY, lifespan=lifespan, docs_url=None, redoc_url=None)
    metrics = ApiMetrics()
    app.state.wiring = Wiring(settings=settings.api, assistant=assistant, metrics=metrics, now=now)
    for routes in (routes_chat, routes_evidence):
        app.include_router(routes.router, responses=_ERRORS)
    app.include_router(routes_health.router)
    errors.install(app)
    app.add_middleware(Gate, settings=settings.api, metrics=metrics)
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
