"""The language model: one streamed call to an OpenAI-compatible server, where every failure has one name and a reason.

The base URL is the whole prefix, so KServe (`/openai/v1`), vLLM (`/v1`) and llm-d (`/NAMESPACE/NAME/v1`) differ in
settings only. The server is not trusted: lines, text and waits are bounded, and its control tokens never come out.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol, Self, TypeVar

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from cag.control_tokens import strip_control_tokens
from cag.model_stream import CUT, Answer, ModelUnavailable, Token, split
from cag.tokens import MOST_CHARS
from processors.logs import without_credentials
from schemas.answer_settings import Model
from schemas.context import Turn

MAX_ANSWER_CHARS: Final = 64_000
CACHE_SALT_CHARS: Final = 1024  # vLLM's limit

ENDS_S: Final = 0.2  # from the last event to the end of the response

# What a server says to one request that it will not read; to a wrong key, a wrong name or a crowd it says other things.
OUR_FAULT: Final = frozenset({400, 413, 422})

_T = TypeVar("_T")


class ModelClient(Protocol):
    def stream(
        self,
        prompt: Sequence[Turn],
        *,
        cache_salt: str = "",
        max_tokens: int | None = None,
        time_s: float | None = None,
    ) -> AsyncGenerator[Token, None]:
        """The answer to `prompt`, token by token; raises ModelUnavailable at any point. Close it to cancel the call.

        Requests with different salts never share the server's prefix cache. `max_tokens` and `time_s`, until the last
        token, are wishes for less than the settings allow.
        """
        ...

    async def readiness(self) -> str:
        """`ok`, or one sentence that says what is wrong."""
        ...

    async def close(self) -> None: ...


class OpenAIModel:
    """`POST {base_url}/chat/completions` over one pool of connections. Nothing connects before the first call."""

    def __init__(self, settings: Model, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        if settings.base_url is None:
            raise ValueError("no base_url")
        self._settings = settings
        self._base = str(settings.base_url).rstrip("/")
        # What arrives compressed could grow without bound; time limits are kept below, token by token.
        headers = {"Accept-Encoding": "identity"}
        if key := settings.api_key.get_secret_value():
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(None, connect=settings.connect_timeout_s),
            verify=ssl.create_default_context(cafile=str(settings.ca_file)) if settings.ca_file else True,
            trust_env=False,
            transport=transport,
        )

    @classmethod
    def from_settings(cls, settings: Model) -> Self | None:
        """None when no model is configured: answers are then extractive."""
        return cls(settings) if settings.base_url else None

    async def close(self) -> None:
        await self._client.aclose()

    async def stream(
        self,
        prompt: Sequence[Turn],
        *,
        cache_salt: str = "",
        max_tokens: int | None = None,
        time_s: float | None = None,
    ) -> AsyncGenerator[Token, None]:
        """See `ModelClient.stream`."""
        wished = min(max_tokens or self._settings.max_tokens, self._settings.max_tokens)
        answer = Answer(min(wished * MOST_CHARS, MAX_ANSWER_CHARS))
        limits = _Limits(self._settings, time_s)
        try:
            async with aclosing(self._lines(self._body(prompt, cache_salt, wished), limits)) as lines:
                async for some in lines:
                    if token := answer.read_all(some):
                        limits.token_seen()
                        yield token
                    if answer.trouble:
                        raise answer.trouble
                    if answer.full:
                        break
                    if answer.ended:
                        limits.said_all()
        except (httpx.ConnectTimeout, httpx.ConnectError) as error:
            raise ModelUnavailable("the model server refused the connection") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            if not answer.finish_reason:  # else everything but the usage has arrived
                raise ModelUnavailable(CUT) from error
        except ModelUnavailable:
            if not answer.finish_reason:
                raise
        for token in answer.finish():
            yield token

    async def readiness(self) -> str:
        """See `ModelClient.readiness`. Asks for the list of models, which costs the server nothing."""
        wait_s = self._settings.connect_timeout_s
        try:
            response = await self._client.get(f"{self._base}/models", timeout=wait_s)
        except httpx.HTTPError as error:
            where = without_credentials(self._base)
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return f"the certificate of the model server at {where} is not trusted: check FRESHET_MODEL__CA_FILE"
            return f"the model server does not answer at {where}"
        if response.status_code != httpx.codes.OK:
            return _status_reason(response.status_code)
        names = _model_names(response.content)
        if names and self._settings.name not in names:
            return f"the model server does not offer a model named {self._settings.name}"
        return "ok"

    def _body(self, prompt: Sequence[Turn], cache_salt: str, max_tokens: int) -> bytes:
        body: dict[str, Any] = {
            "model": self._settings.name,
            "messages": [{"role": t.role, "content": strip_control_tokens(t.content)} for t in prompt],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": max_tokens,
            # Harmony knows low, medium and high only; the settings admit no other.
            "reasoning_effort": self._settings.reasoning_effort,
        }
        if cache_salt:
            body["cache_salt"] = cache_salt[:CACHE_SALT_CHARS]
        return orjson.dumps(body)

    async def _lines(self, body: bytes, limits: "_Limits") -> AsyncGenerator[list[bytes], None]:
        """As they arrive, several at once. Read to its end, the response leaves its connection to the next one."""
        request = self._client.build_request(
            "POST",
            f"{self._base}/chat/completions",
            content=body,
            headers={"Content-Type": "application/json", "Accept": "text/event-stream"},
        )
        response = await limits.wait(self._client.send(request, stream=True))
        try:
            if response.status_code != httpx.codes.OK:
                refused = response.status_code in OUR_FAULT
                raise ModelUnavailable(_status_reason(response.status_code), outage=not refused)
            async for lines in split(response.aiter_raw(), limits.wait):
                yield lines
        finally:
            await response.aclose()


class _Limits:
    """How long to wait for the next token: the first may take longer than the others, and all have one deadline."""

    def __init__(self, settings: Model, time_s: float | None) -> None:
        self._settings = settings
        self._clock = asyncio.get_running_loop().time
        start = self._clock()
        self._whole_s = min(settings.deadline_s, settings.deadline_s if time_s is None else time_s)
        self._deadline = start + self._whole_s
        self._next = start + settings.connect_timeout_s + settings.first_token_timeout_s
        self._late = f"no first token within {settings.first_token_timeout_s:g} s"

    def token_seen(self) -> None:
        self._next = self._clock() + self._settings.idle_timeout_s
        self._late = f"the model stalled for {self._settings.idle_timeout_s:g} s"

    def said_all(self) -> None:
        """All that may still come is the end of the response."""
        self._next = min(self._next, self._clock() + ENDS_S)

    async def wait(self, step: Awaitable[_T]) -> _T:
        """The outcome of `step`; raises ModelUnavailable when it takes too long."""
        ends = min(self._next, self._deadline)
        try:
            async with asyncio.timeout_at(ends):
                return await step
        except TimeoutError as error:
            if ends < self._deadline:
                raise ModelUnavailable(self._late) from error
            late = f"the model took longer than {self._whole_s:.3g} s"
            raise ModelUnavailable(late, outage=self._whole_s >= self._settings.deadline_s) from error


def _status_reason(status: int) -> str:
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"the model server refused the API key (HTTP {status})"
    return f"the model server answered with HTTP {status}"


def _model_names(raw: bytes) -> set[str]:
    """Names in a list of models; empty when it is not such a list (some gateways have none)."""
    try:
        return {card.id for card in _Models.model_validate_json(raw).data}
    except ValidationError:
        return set()


class _Card(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Card] = []
