"""The model client against every way in which a model server can fail, without sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from cag.control_tokens import ControlTokenFilter, strip_control_tokens
from cag.model import OpenAIModel
from cag.model_stream import ModelUnavailable, Token
from schemas.answer import Usage
from schemas.answer_settings import Model
from schemas.context import Turn

PROMPT = (Turn(role="system", content="Be brief."), Turn(role="user", content="Why?"))


def data(**values: object) -> bytes:
    return f"data: {json.dumps(values)}\n\n".encode()


def text(content: str) -> bytes:
    return data(choices=[{"delta": {"content": content}, "finish_reason": None}])


def finish(reason: str = "stop") -> bytes:
    return data(choices=[{"delta": {}, "finish_reason": reason}])


DONE = b"data: [DONE]\n\n"
USAGE = data(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
THOUGHT = data(choices=[{"delta": {"reasoning": "hm, secret"}}])


class Body(httpx.AsyncByteStream):
    """A response body: bytes are sent, numbers are seconds of silence, an exception breaks the connection."""

    def __init__(self, *steps: bytes | float | Exception) -> None:
        self.steps = steps
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for step in self.steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, bytes):
                yield step
            else:
                await asyncio.sleep(step)

    async def aclose(self) -> None:
        self.closed = True


def model(
    respond: Body | httpx.Response | Exception, seen: list[httpx.Request] | None = None, **more: object
) -> OpenAIModel:
    async def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        if isinstance(respond, Exception):
            raise respond
        return respond if isinstance(respond, httpx.Response) else httpx.Response(200, stream=respond)

    quick = {"connect_timeout_s": 0.05, "first_token_timeout_s": 0.1, "idle_timeout_s": 0.1, "deadline_s": 0.4}
    settings = Model.model_validate({"base_url": "http://model/openai/v1/", **quick, **more})
    return OpenAIModel(settings, transport=httpx.MockTransport(handle))


async def collect(client: OpenAIModel) -> list[Token]:
    return [token async for token in client.stream(PROMPT, cache_salt="s")]


async def test_text_usage_and_reasoning_arrive_apart() -> None:
    tokens = await collect(model(Body(b": hi\n\n", THOUGHT, text("It is "), text("DNS."), finish(), USAGE, DONE)))
    assert "".join(t.text for t in tokens) == "It is DNS."
    assert sum(t.reasoning_chars for t in tokens) == len("hm, secret")
    assert (tokens[-1].finish_reason, tokens[-1].usage) == ("stop", Usage(7, 3))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (Body(*(bytes([b]) for b in text("caf\u00e9") + finish() + DONE)), "caf\u00e9"),  # one byte a chunk
        (Body(text("a").replace(b"\n", b"\r\n"), finish()), "a"),  # no [DONE]
        (Body(text("a"), finish(), 60), "a"),  # silence after the end
        (Body(text("a"), finish(), httpx.ReadError("gone")), "a"),
        (Body(text("x <|e"), text("nd|> y"), finish()), "x  y"),
        (Body(text("a < b"), text(" <| c"), finish()), "a < b <| c"),
    ],
)
async def test_odd_but_whole_streams_are_answers(body: Body, expected: str) -> None:
    assert "".join(t.text for t in await collect(model(body))) == expected


@pytest.mark.parametrize(
    ("respond", "reason"),
    [
        (httpx.ConnectError("no"), "refused the connection"),
        (httpx.ConnectTimeout("no"), "refused the connection"),
        (httpx.Response(401), "refused the API key"),
        (httpx.Response(302, headers={"location": "http://evil/"}), "HTTP 302"),
        (httpx.Response(503, text="secret inner text"), "HTTP 503"),
        (Body(60), "no first token within 0.1 s"),
        (Body(*(b": keepalive\n\n", 0.03) * 20), "no first token"),
        (Body(text("a"), 60), "stalled for 0.1 s"),
        (Body(*(text("a"), 0.05) * 20), "longer than 0.4 s"),
        (Body(text("a"), httpx.ReadError("reset")), "cut"),
        (Body(text("a")), "cut"),
        (Body(b"<html>\n"), "no answer"),
        (Body(b"data: {oops\n"), "no answer"),
        (Body(b'data: {"choices": 3}\n'), "no answer"),
        (Body(*[b"x" * 200_000] * 9), "no answer"),
        (Body(text("a"), data(error={"message": "secret inner text"})), "reported an error"),
        (Body(THOUGHT, finish("length"), DONE), "whole budget on reasoning"),
        (Body(text("<|end|> \n"), finish(), DONE), "empty answer"),
    ],
)
async def test_every_failure_has_a_reason(respond: Body | httpx.Response | Exception, reason: str) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        await collect(model(respond))
    assert reason in caught.value.reason
    assert "secret" not in caught.value.reason


@pytest.mark.parametrize(
    ("respond", "outage"),
    [
        (httpx.Response(400), False),
        (httpx.Response(413), False),
        (httpx.Response(422), False),
        (httpx.Response(401), True),
        (httpx.Response(404), True),
        (httpx.Response(429), True),
        (httpx.Response(500), True),
        (Body(THOUGHT, finish("length"), DONE), False),
        (Body(text("a"), 60), True),
    ],
)
async def test_only_what_the_next_question_would_meet_too_is_an_outage(
    respond: Body | httpx.Response, outage: bool
) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        await collect(model(respond))
    assert caught.value.outage is outage


async def test_less_time_and_fewer_tokens_can_be_wished_but_not_more() -> None:
    with pytest.raises(ModelUnavailable, match=r"longer than 0\.05 s") as caught:
        [token async for token in model(Body(text("a"), 60)).stream(PROMPT, time_s=0.05)]
    assert not caught.value.outage  # it was our time that had run out
    with pytest.raises(ModelUnavailable, match=r"longer than 0\.4 s"):
        [token async for token in model(Body(*(text("a"), 0.05) * 20)).stream(PROMPT, time_s=60)]
    for wished, sent in ((5, 5), (5_000, 1_500), (None, 1_500)):
        seen: list[httpx.Request] = []
        assert [t async for t in model(Body(text("a"), finish()), seen).stream(PROMPT, max_tokens=wished)]
        assert json.loads(seen[0].content)["max_tokens"] == sent


async def test_a_flood_is_cut_and_says_so() -> None:
    flood = [text("x" * 10_000)] * 50
    tokens = await collect(model(Body(*flood), deadline_s=5, max_tokens=9_000))
    assert sum(len(t.text) for t in tokens) == 64_000
    assert sum(len(t.text) for t in await collect(model(Body(*flood), deadline_s=5, max_tokens=100))) == 1_600
    assert tokens[-1].finish_reason == "length"


async def test_the_request_says_what_the_server_needs() -> None:
    seen: list[httpx.Request] = []
    client = model(Body(text("a"), finish()), seen, api_key="k", reasoning_effort="high", max_tokens=9)
    prompt = (Turn(role="user", content="log says <|start|>system"),)
    assert [t async for t in client.stream(prompt, cache_salt="s" * 2000)]
    sent = json.loads(seen[0].content)
    assert str(seen[0].url) == "http://model/openai/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer k"
    assert sent["messages"] == [{"role": "user", "content": "log says system"}]
    assert (sent["reasoning_effort"], sent["max_tokens"], len(sent["cache_salt"])) == ("high", 9, 1024)


async def test_leaving_early_closes_the_call() -> None:
    body = Body(text("a"), 60)
    stream = model(body).stream(PROMPT)
    await anext(stream)
    await stream.aclose()
    assert body.closed


@pytest.mark.parametrize(
    ("respond", "said"),
    [
        (httpx.Response(200, json={"data": [{"id": "gpt-oss-20b"}]}), "ok"),
        (httpx.Response(200, text="not a list"), "ok"),
        (httpx.Response(200, json={"data": [{"id": "llama"}]}), "named gpt-oss-20b"),
        (httpx.Response(403), "API key"),
        (httpx.ConnectError("no"), "does not answer at http://model/openai/v1"),
    ],
)
async def test_readiness_is_ok_or_a_sentence(respond: httpx.Response | Exception, said: str) -> None:
    assert said in await model(respond).readiness()


@pytest.mark.parametrize("hidden", ["<|start|>", "<|<|end|>x|>", "<<|a|>|end|>", "<|channel|><|message|>"])
def test_no_split_lets_a_control_token_through(hidden: str) -> None:
    stream = f"a{hidden}b"
    for at in range(len(stream) + 1):
        tokens = ControlTokenFilter()
        shown = tokens.feed(stream[:at]) + tokens.feed(stream[at:]) + tokens.flush()
        assert "<|" not in shown
    assert "<|" not in strip_control_tokens(stream)


def test_no_base_url_means_no_model() -> None:
    assert OpenAIModel.from_settings(Model()) is None
