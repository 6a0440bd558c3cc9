"""OpenAI's routes: models, and chat completions streamed or not."""

import secrets
from collections.abc import AsyncGenerator
from typing import Final

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from api import stream, webui
from api.disconnect import unless_gone
from api.errors import ApiError, request_id_of
from api.stream import KEEPALIVE, Envelope, Stopwatch, Wish
from api.wiring import Wired, Wiring, principal_of
from schemas.answer import Done, Query
from schemas.chat import ChatRequest, Completion, Model, ModelList

KEEPALIVE_S: Final = 10  # Open WebUI and proxies give up on a silent connection after a minute or less
SHUTDOWN_GRACE_S: Final = 15  # answers under way may end before the process does

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.get("/models")
async def models(wiring: Wired) -> ModelList:
    """The one model: the assistant. Asks nobody, so it is always fast."""
    return ModelList(data=(Model(id=wiring.settings.model_name),))


@router.get("/models/{id:path}")
async def model(id: str, wiring: Wired) -> Model:
    """The same, by name."""
    _require_model(id, wiring)
    return Model(id=id)


@router.post(
    "/chat/completions",
    response_model=Completion,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
            "description": "The completion; with `stream`, its chunks. `freshet` holds citations and freshness.",
        }
    },
)
async def chat_completions(body: ChatRequest, request: Request, wiring: Wired) -> Response:
    """Answer the last user message from live evidence, with citations."""
    _require_model(body.model, wiring)
    now = wiring.now()
    envelope = Envelope(id=f"chatcmpl-{secrets.token_hex(12)}", created=int(now.timestamp()), model=body.model)
    task = webui.task_answer(body, request.headers)
    if task is not None:
        return JSONResponse(stream.task_completion(envelope, task).model_dump(mode="json", exclude={"freshet"}))
    scope = body.freshet.scope.within(principal_of(request).scope)
    query = Query(
        turns=body.turns(),
        scope=scope,
        now=body.freshet.now or now,
        zone=body.freshet.zone,
        max_tokens=body.max_completion_tokens or body.max_tokens,
    )
    account = await wiring.account(request, scope, query.turns)
    answer = account.watch(wiring.assistant.answer(query))
    parts = Stopwatch(metrics=wiring.metrics, clock=wiring.clock).watch(answer)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        wish = Wish(usage=usage, events=webui.is_webui(request.headers))
        chunks = stream.chunks(parts, envelope, wish)
        return _event_stream(stream.sse(chunks, request_id_of(request), wiring.metrics), account.headers)
    whole, done = await unless_gone(request, stream.completion(parts, envelope))
    return JSONResponse(whole.model_dump(mode="json"), headers=_headers(done) | account.headers)


def _event_stream(events: AsyncGenerator[ServerSentEvent, None], headers: dict[str, str]) -> EventSourceResponse:
    return EventSourceResponse(
        events,
        headers=headers,
        ping=KEEPALIVE_S,
        ping_message_factory=lambda: KEEPALIVE,
        sep="\n",
        shutdown_event=anyio.Event(),
        shutdown_grace_period=SHUTDOWN_GRACE_S,
    )


def _headers(done: Done) -> dict[str, str]:
    """Freshness and coverage, for clients that do not read the body; a stream has them in its last chunk."""
    seen = done.context.freshness
    told = {
        "mode": done.mode,
        "cached": done.cached,
        "newest": seen.newest.isoformat() if seen.newest else "",
        "lag": "" if seen.lag is None else str(seen.lag),
        "dead-letters": "" if seen.dead_letters is None else str(seen.dead_letters),
        "silent-sources": str(len(seen.silent)),
        "deferred-patterns": str(seen.text_only),
        "replays": str(len(seen.replays)),
        "missing": str(len(seen.missing)),
    }
    return {f"x-freshet-{name}": value for name, value in told.items() if value}


def _require_model(name: str, wiring: Wiring) -> None:
    if name != wiring.settings.model_name:
        raise ApiError(
            404,
            f"There is no such model; the one here is named {wiring.settings.model_name}.",
            code="model_not_found",
            param="model",
        )
