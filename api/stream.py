"""An answer as OpenAI's chunks, or as one completion. Every stream ends with `[DONE]`, also one that fails."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog
from sse_starlette import ServerSentEvent

from api import webui
from api.citations import grounding
from api.errors import body_of, stream_error
from api.telemetry import ApiMetrics
from schemas.answer import AnswerPart, Delta, Done, Source, Usage
from schemas.chat import AnswerMessage, Choice, Completion, UsageBody

KEEPALIVE: Final = ServerSentEvent(comment="keepalive", sep="\n")
DONE: Final = ServerSentEvent(data="[DONE]", sep="\n")

_log = structlog.get_logger("api")


class UnfinishedAnswer(Exception):
    """The assistant ended without `Done`: a defect on our side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What all chunks of one answer share."""

    id: str
    created: int  # seconds since 1970
    model: str

    def chunk(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        return {**head, "choices": choices, **more}

    def delta(self, delta: dict[str, str], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
        return self.chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How the client wants its stream."""

    usage: bool
    events: bool  # Open WebUI's; others must see standard chunks only


@dataclass(slots=True)
class Stopwatch:
    """Counts an answer as it passes by: its mode, and the time to its first text."""

    metrics: ApiMetrics
    clock: Callable[[], float]

    async def watch(self, parts: AsyncIterator[AnswerPart]) -> AsyncGenerator[AnswerPart, None]:
        """The same parts; closes `parts` when it is closed itself, so that a client that hangs up stops the work."""
        started = self.clock()
        silent = True
        try:
            async for part in parts:
                if silent and isinstance(part, Delta):
                    silent = False
                    self.metrics.first_text(self.clock() - started)
                if isinstance(part, Done):
                    self.metrics.answered(part.mode)
                yield part
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()


async def chunks(
    parts: AsyncGenerator[AnswerPart, None], envelope: Envelope, wish: Wish
) -> AsyncGenerator[dict[str, Any], None]:
    """The role first, then text; the last choice carries what the answer rests on, in `freshet`."""
    events = webui.Events() if wish.events else None
    sources: list[Source] = []
    done: Done | None = None
    yield envelope.delta({"role": "assistant", "content": ""})
    try:
        async with aclosing(parts):
            async for part in parts:
                for event in events.of(part) if events else ():
                    yield event
                if isinstance(part, Source):
                    sources.append(part)
                elif isinstance(part, Delta):
                    if text := events.text(part.text) if events else part.text:
                        yield envelope.delta({"content": text})
                elif isinstance(part, Done):
                    done = part
        if done is None:
            raise UnfinishedAnswer
        if events and (text := events.rest()):
            yield envelope.delta({"content": text})
    except Exception:
        for event in events.close(otherwise="Stopped") if events else ():
            yield event
        raise
    rests_on = grounding(done, sources).model_dump(mode="json")
    yield envelope.delta({}, done.finish_reason, freshet=rests_on)
    if wish.usage:
        yield envelope.chunk([], usage=_usage(done.usage).model_dump())


async def sse(
    stream: AsyncGenerator[dict[str, Any], None], request_id: str, metrics: ApiMetrics
) -> AsyncGenerator[ServerSentEvent, None]:
    """Server-sent events, the first one at once. A client that hangs up cancels all of it."""
    yield KEEPALIVE
    try:
        async with aclosing(stream):
            async for chunk in stream:
                yield _data(chunk)
    except Exception as error:  # noqa: BLE001 - told to the client, logged, counted: a cut connection loses the text so far
        told = stream_error(error, request_id)
        _log.error("answer broke", id=request_id, code=told.detail.code, exc_info=error)
        metrics.broke(told.detail.code or "")
        yield _data(body_of(told))
    yield DONE


async def completion(parts: AsyncIterator[AnswerPart], envelope: Envelope) -> tuple[Completion, Done]:
    """The whole answer at once."""
    text: list[str] = []
    sources: list[Source] = []
    async for part in parts:
        if isinstance(part, Delta):
            text.append(part.text)
        elif isinstance(part, Source):
            sources.append(part)
        elif isinstance(part, Done):
            body = _complete(envelope, "".join(text), part.usage, part.finish_reason)
            return body.model_copy(update={"freshet": grounding(part, sources)}), part
    raise UnfinishedAnswer


def task_completion(envelope: Envelope, answer: str) -> Completion:
    """The answer to one of Open WebUI's tasks; it used no tokens."""
    return _complete(envelope, answer, Usage(), "stop")


def _complete(envelope: Envelope, text: str, usage: Usage, finish_reason: Any) -> Completion:
    return Completion(
        id=envelope.id,
        created=envelope.created,
        model=envelope.model,
        choices=(Choice(message=AnswerMessage(content=text), finish_reason=finish_reason),),
        usage=_usage(usage),
    )


def _usage(usage: Usage) -> UsageBody:
    return UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _data(values: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(data=orjson.dumps(values).decode(), sep="\n")
