"""What the lines of a model server's stream add up to, and what is wrong with them."""

from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import BaseModel, ValidationError

from cag.control_tokens import ControlTokenFilter
from schemas.answer import FinishReason, Usage
from schemas.errors import FreshetError

MAX_LINE_BYTES: Final = 1_048_576  # one chunk of the stream; vLLM's are below 1 KiB
MAX_STREAM_BYTES: Final = 16 * 1_048_576
CUT: Final = "the connection to the model was cut"
GARBAGE: Final = "the model server sent something that is no answer"


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


class Wait(Protocol):
    """The outcome of a step, if it comes in time; raises ModelUnavailable."""

    async def __call__(self, step: Awaitable[bytes | None], /) -> bytes | None: ...


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


class Answer:
    """What the lines of one stream add up to. A server that does not count ends at `most_chars`."""

    def __init__(self, most_chars: int) -> None:
        self._most_chars = most_chars
        self.ended = False  # the server has said that this is all
        self.full = False  # it has said more than anybody wants
        self.trouble: ModelUnavailable | None = None
        self.finish_reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._filter = ControlTokenFilter()
        self._chars = 0
        self._visible = False

    def read_all(self, lines: Sequence[bytes]) -> Token | None:
        """What these lines say, as one token; what is wrong with one of them is `trouble`, and the rest is not read."""
        texts, thoughts = list[str](), 0
        try:
            for line in lines:
                if self.ended or self.full:
                    break
                if token := self._read(line):
                    texts.append(token.text)
                    thoughts += token.reasoning_chars
        except ModelUnavailable as error:
            self.trouble = error
        return Token(text="".join(texts), reasoning_chars=thoughts) if texts else None

    def _read(self, line: bytes) -> Token | None:
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
            text, self.finish_reason, self.full = text[:room], "length", True
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


async def split(chunks: AsyncIterator[bytes], wait: Wait) -> AsyncIterator[list[bytes]]:
    """Lines without their ends. A line, and all of them, are bounded, whatever the server sends."""
    buffer = b""
    total = 0
    while True:
        chunk = await wait(anext(chunks, None))
        if chunk is None:
            break
        total += len(chunk)
        *lines, buffer = (buffer + chunk).split(b"\n")
        if total > MAX_STREAM_BYTES or len(buffer) > MAX_LINE_BYTES:
            raise ModelUnavailable(GARBAGE)
        if lines:
            yield [line.rstrip(b"\r") for line in lines]
    if buffer:
        yield [buffer]
