"""A stand-in for the model server: OpenAI's chat API under KServe's, vLLM's and llm-d's paths, with faults on demand.

The obedient one is in `tests/obedient.py`.
`python -m tests.standin_model --port 8000 --behaviour grounded`. A request may choose its own behaviour by saying
`[[standin:NAME]]` anywhere in its messages.
"""

import argparse
import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from tests.obedient import Obedient, pieces

Behaviour = Literal[
    "grounded",  # repeats the first numbered evidence of the prompt, with its number
    "obedient",  # does whatever any text in the prompt tells it to
    "slow",  # grounded, a word every 0.2 s
    "late",  # says nothing at all for a minute
    "stalls",  # three words, then silence
    "cuts",  # three words, then the connection breaks
    "garbage",  # HTML instead of a stream
    "broken",  # three words, then something that is no JSON
    "reasons",  # spends all its tokens on reasoning
    "empty",
    "error",  # HTTP 500
    "busy",  # HTTP 429
    "refuses",  # HTTP 400
    "endless",  # words without an end
    "midway",  # three words, then an error object
]
MODEL: Final = "gpt-oss-20b"
_BY_REQUEST: Final = re.compile(r"\[\[standin:(\w+)\]\]")
_EVIDENCE: Final = re.compile(r"^\s*\[(\d+)\]\s*(.+(?:\n(?!\s*\[\d+\]|\s*$|</).+){0,3})", re.MULTILINE)
_PATHS: Final = ("/v1", "/openai/v1", "/{namespace}/{service}/v1")


@dataclass
class StandIn:
    """What the stand-in does and what it has seen. Change `behaviour` at any time."""

    behaviour: str = "grounded"
    requests: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0  # streams whose client went away
    obedient: Obedient = field(default_factory=Obedient)
    open: int = 0  # streams right now
    callers: set[Any] = field(default_factory=set)  # host and port of each connection

    def app(self) -> FastAPI:
        app = FastAPI(docs_url=None)
        router = APIRouter()
        router.add_api_route("/models", self._models, methods=["GET"])
        router.add_api_route("/chat/completions", self._chat, methods=["POST"], response_model=None)
        for prefix in _PATHS:
            app.include_router(router, prefix=prefix)
        return app

    async def _models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "stand-in"}]}

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.callers.add(request.client)
        self.requests.append(body | {"authorization": request.headers.get("authorization", "")})
        texts = [str(m["content"]) for m in body["messages"]]
        chosen = _BY_REQUEST.findall("\n".join(texts))
        behaviour = chosen[-1] if chosen else self.behaviour
        if behaviour == "error":
            return JSONResponse({"error": {"message": "CUDA out of memory at 0xdeadbeef"}}, status_code=500)
        if behaviour in ("busy", "refuses"):
            return JSONResponse({"error": {"message": "no"}}, status_code=429 if behaviour == "busy" else 400)
        if behaviour == "garbage":
            return PlainTextResponse("<html><body>It works!</body></html>")
        answer = "" if behaviour in ("reasons", "empty") else self._answer(behaviour, texts, body.get("cache_salt", ""))
        if not body.get("stream"):
            return JSONResponse(_whole(answer, behaviour))
        return StreamingResponse(self._stream(behaviour, answer, body), media_type="text/event-stream")

    def _answer(self, behaviour: str, texts: list[str], salt: str) -> str:
        return self.obedient.answer(texts, salt) if behaviour == "obedient" else _ground(texts)

    async def _stream(self, behaviour: str, answer: str, body: dict[str, Any]) -> AsyncIterator[str]:
        self.open += 1
        try:
            async for chunk in _chunks(behaviour, answer, body):
                yield chunk
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.open -= 1


async def _chunks(behaviour: str, answer: str, body: dict[str, Any]) -> AsyncIterator[str]:
    yield _delta({"role": "assistant", "content": ""})
    if behaviour == "late":
        await asyncio.sleep(60)
    words = pieces(answer) if behaviour == "obedient" else re.findall(r"\S+\s*", answer)
    for thought in ("Let me ", "look at the evidence.") * (50 if behaviour == "reasons" else 1):
        yield _delta({"reasoning": thought})
    for number, word in enumerate(words):
        if number == 3:
            async for fault in _fault(behaviour):
                yield fault
        if behaviour == "slow":
            await asyncio.sleep(0.2)
        yield _delta({"content": word})
    while behaviour == "endless":
        yield _delta({"content": "and so on " * 50})
        await asyncio.sleep(0.001)
    yield _delta({}, "length" if behaviour == "reasons" else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _event({"choices": [], "usage": _usage(words)})
    yield "data: [DONE]\n\n"


async def _fault(behaviour: str) -> AsyncIterator[str]:
    """What happens after the third word."""
    if behaviour == "stalls":
        await asyncio.sleep(60)
    if behaviour == "cuts":
        raise ConnectionResetError("the stand-in breaks the connection, as it was told to")
    if behaviour == "broken":
        yield "data: {oops\n\n"
    if behaviour == "midway":
        yield _event({"error": {"message": "engine died", "code": 500}})


def _ground(texts: list[str]) -> str:
    found = _EVIDENCE.findall(texts[-1]) or _EVIDENCE.findall("\n".join(texts))
    lines = [f"{' '.join(text.split())[:300]} [{number}]." for number, text in found[:3]]
    return "This is what the evidence shows.\n\n" + "\n".join(lines) if lines else "There is no evidence to go by."


def _delta(delta: dict[str, str], finish_reason: str | None = None) -> str:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _event(values: dict[str, Any]) -> str:
    chunk = {"id": "chatcmpl-standin", "object": "chat.completion.chunk", "created": 0, "model": MODEL} | values
    return f"data: {json.dumps(chunk)}\n\n"


def _usage(words: list[str]) -> dict[str, int]:
    return {"prompt_tokens": 100, "completion_tokens": len(words), "total_tokens": 100 + len(words)}


def _whole(answer: str, behaviour: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer, "reasoning": "Let me look at the evidence."}
    finish = "length" if behaviour == "reasons" else "stop"
    return {
        "id": "chatcmpl-standin",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _usage(answer.split()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--behaviour", choices=get_args(Behaviour), default="grounded")
    arguments = parser.parse_args()
    uvicorn.run(StandIn(arguments.behaviour).app(), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
