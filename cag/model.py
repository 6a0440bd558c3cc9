"""The language model: one streamed call to an OpenAI-compatible server, where every failure has one name and a reason.

The base URL is the whole prefix, so KServe (`/openai/v1`), vLLM (`/v1`) and llm-d (`/NAMESPACE/NAME/v1`) differ in
settings only. The server is not trusted: lines, text and waits are bounded, and its control tokens never come out.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

import httpx
import orjson
from pydantic import BaseModel, ValidationError

from cag.tokens import MOST_CHARS
from processors.logs import without_credentials
from schemas.answer import FinishReason, Usage
from schemas.answer_settings import Model
from schemas.context import Turn
from schemas.errors import FreshetError

MAX_LINE_BYTES: Final = 1_048_576  # one chunk of the stream; vLLM's are below 1 KiB
MAX_STREAM_BYTES: Final = 16 * 1_048_576
MAX_ANSWER_CHARS: Final = 64_000
CACHE_SALT_CHARS: Final = 1024  # vLLM's limit

CUT: Final = "the connection to the model was cut"
# What a server says to one request that it will not read; to a wrong key, a wrong name or a crowd it says other things.
OUR_FAULT: Final = frozenset({400, 413, 422})
GARBAGE: Final = "the model server sent something that is no answer"

_T = TypeVar("_T")

# Harmony's control tokens, https://cookbook.openai.com/articles/openai-harmony; 64: the longest name has 15 characters
_CONTROL_TOKEN: Final = re.compile(r"<\|[^|<>]{0,64}\|>")
# The beginning of one, after others that the removal of an inner token could complete
_MAY_BECOME_ONE: Final = re.compile(r"(?:<\|?[^|<>]{0,64})*<(?:\|[^|<>]{0,64}\|?)?\Z")
_HELD_CHARS: Final = 512


class ModelUnavailable(FreshetError):
    """No whole answer from the model -> answer from the evidence alone. `reason` quotes nothing that was sent.

    `outage`: whether it says anything about the next question. A prompt that the server refuses, a budget that went
    into reasoning and a deadline that we had cut short are about this one alone.
    """

    def __init__(self, reason: str, *, outage: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.outage = reason, outage


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One step of the stream. The last one has `finish_reason`, and `usage` if the server counts.

    `reasoning_chars` counts thoughts, which are never shown: such a token has no text, and says that work goes on.
    """

    text: str = ""
    reasoning_chars: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


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


def strip_control_tokens(text: str) -> str:
    """`text` without Harmony's `<|...|>`, also such as appear when an inner one is taken out."""
    while True:
        stripped = _CONTROL_TOKEN.sub("", text)
        if stripped == text:
            return text
        text = stripped


class ControlTokenFilter:
    """Takes control tokens out of a stream, also where they are split over chunks."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """What is safe to show so far; the beginning of what may be a control token is held back."""
        clean = strip_control_tokens(self._held + text)
        held = _MAY_BECOME_ONE.search(clean, max(0, len(clean) - _HELD_CHARS))
        cut = held.start() if held else len(clean)
        self._held = clean[cut:]
        return clean[:cut]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held


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
        answer = _Answer(min(wished * MOST_CHARS, MAX_ANSWER_CHARS))
        limits = _Limits(self._settings, time_s)
        try:
            async with aclosing(self._lines(self._body(prompt, cache_salt, wished), limits)) as lines:
                async for line in lines:
                    token = answer.read(line)
                    if token:
                        limits.token_seen()
                        yield token
                    if answer.ended:
                        break
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

    async def _lines(self, body: bytes, limits: "_Limits") -> AsyncGenerator[bytes, None]:
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
            async for line in _split(response.aiter_raw(), limits):
                yield line
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


class _Text(BaseModel):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None  # the name of `reasoning` in older servers


class _Choice(BaseModel):
    delta: _Text = _Text()
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: object = None


class _Answer:
    """What the lines of one stream add up to. A server that does not count ends at `most_chars`."""

    def __init__(self, most_chars: int) -> None:
        self._most_chars = most_chars
        self.ended = False
        self.finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._filter = ControlTokenFilter()
        self._chars = 0
        self._visible = False

    def read(self, line: bytes) -> Token | None:
        """The token in one line, if there is one; raises ModelUnavailable for a line that is none of a stream's."""
        if not line or line.startswith((b":", b"event:", b"id:", b"retry:")):
            return None
        if not line.startswith(b"data:"):
            raise ModelUnavailable(GARBAGE)
        payload = line.removeprefix(b"data:").strip()
        if payload == b"[DONE]":
            self.ended = True
            return None
        try:
            chunk = _Chunk.model_validate_json(payload)
        except ValidationError as error:
            raise ModelUnavailable(GARBAGE) from error
        if chunk.error is not None:
            raise ModelUnavailable("the model server reported an error in the middle of the answer")
        if chunk.usage:
            self._usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        return self._choice(chunk.choices[0]) if chunk.choices else None

    def _choice(self, choice: _Choice) -> Token | None:
        if choice.finish_reason:
            self.finish_reason = "length" if choice.finish_reason == "length" else "stop"
        thought = choice.delta.reasoning or choice.delta.reasoning_content or ""
        text = self._shown(self._filter.feed(choice.delta.content or ""))
        return Token(text=text, reasoning_chars=len(thought)) if text or thought else None

    def _shown(self, text: str) -> str:
        room = self._most_chars - self._chars
        if len(text) > room:
            text, self.finish_reason, self.ended = text[:room], "length", True
        self._chars += len(text)
        self._visible = self._visible or bool(text.strip())
        return text

    def finish(self) -> Iterator[Token]:
        """The last tokens; raises ModelUnavailable when the stream was no whole answer."""
        if not self.finish_reason:
            raise ModelUnavailable(CUT)
        rest = self._shown(self._filter.flush())
        if not self._visible:
            spent = self.finish_reason == "length"
            raise ModelUnavailable(
                "the model spent its whole budget on reasoning" if spent else "the model gave an empty answer",
                outage=not spent,
            )
        yield Token(text=rest, finish_reason=self.finish_reason, usage=self._usage)


async def _split(chunks: AsyncIterator[bytes], limits: _Limits) -> AsyncIterator[bytes]:
    """Lines without their ends. A line, and all of them, are bounded, whatever the server sends."""
    buffer = b""
    total = 0
    while True:
        chunk = await limits.wait(anext(chunks, None))
        if chunk is None:
            break
        total += len(chunk)
        *lines, buffer = (buffer + chunk).split(b"\n")
        if total > MAX_STREAM_BYTES or len(buffer) > MAX_LINE_BYTES:
            raise ModelUnavailable(GARBAGE)
        for line in lines:
            yield line.rstrip(b"\r")
    if buffer:
        yield buffer


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
