"""A model server that costs next to nothing: `python -m tests.benchmarks.gateway_upstream PORT`.

A stream has as many events as the question says after `events:`, a word each, with a sentence and its citation every
twelve; a whole answer is the same text at once. All bytes are made once for each length.
"""

import re
import sys
from functools import lru_cache
from typing import Any

import orjson
from aiohttp import web

SENTENCE = [
    "workload",
    "checkout",
    "in",
    "shop",
    "logged",
    "`connection",
    "refused`",
    "412",
    "times",
    "until",
    "now,",
    "says",
    "the",
    "log",
    "[1].",
]
WISH = re.compile(rb"events:(\d+)")
HEADERS = {"content-type": "text/event-stream"}


def words(events: int) -> list[str]:
    return [f"{SENTENCE[n % len(SENTENCE)]} " for n in range(events)]


def chunk(**more: Any) -> bytes:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-oss-20b"}
    return b"data: " + orjson.dumps(head | more) + b"\n\n"


def delta(said: dict[str, str], finish_reason: str | None = None) -> bytes:
    return chunk(choices=[{"index": 0, "delta": said, "finish_reason": finish_reason}])


@lru_cache
def stream(events: int) -> tuple[bytes, ...]:
    deltas = [
        chunk(choices=[{"index": 0, "delta": {"content": word}, "finish_reason": None}]) for word in words(events)
    ]
    end = delta({}, "stop")
    usage = chunk(choices=[], usage={"prompt_tokens": 900, "completion_tokens": events, "total_tokens": 900 + events})
    pieces = [*deltas, end + usage + b"data: [DONE]\n\n"]
    return tuple(b"".join(pieces[n : n + 8]) for n in range(0, len(pieces), 8))  # as many as vLLM may have ready


@lru_cache
def whole(events: int) -> bytes:
    message = {"role": "assistant", "content": "".join(words(events))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 900, "completion_tokens": events, "total_tokens": 900 + events}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-oss-20b"}
    return orjson.dumps(head | {"choices": [choice], "usage": usage})


async def answer(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    wish = WISH.search(body)
    events = int(wish[1]) if wish else 24
    if not orjson.loads(body).get("stream"):
        return web.Response(body=whole(events), content_type="application/json")
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    for piece in stream(events):
        await response.write(piece)
    await response.write_eof()
    return response


async def models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "gpt-oss-20b", "object": "model"}]})


def main() -> None:
    app = web.Application(client_max_size=1 << 24)
    app.add_routes([web.post("/v1/chat/completions", answer), web.get("/v1/models", models)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
