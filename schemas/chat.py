"""The chat API's bodies: OpenAI's chat completions as far as they are supported, and what is ours beside them.

Only the parameters named here are read; others that clients send (tools, metadata, vendor extras) are dropped and
never reach the model. Sampling parameters are checked, so that nonsense is refused, but the settings decide.
"""

from datetime import datetime
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from schemas.answer import Cached, FinishReason, Mode
from schemas.context import Freshness, Kind, Scope, Turn, Verification

MAX_MESSAGES: Final = 200
MAX_QUESTION_CHARS: Final = 20_000
MAX_EVIDENCE: Final = 50
MAX_STOPS: Final = 4
MAX_NAMES: Final = 1_000
MAX_TOKENS: Final = 1_000_000  # above this a number is a mistake, not a wish
YEARS: Final = range(2000, 2100)

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Bounded = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
TokenLimit = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class _Request(BaseModel):
    """No coercion: `"n": "1"` is a mistake of the caller that we say aloud."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class TextPart(_Request):
    type: Literal["text"]
    text: str


def _text(value: object) -> object:
    """Content as one string. Parts are told apart here, so that an error names the content and not a union's arm."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    parts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError("only parts of type text are supported")
        parts.append(part["text"])
    return "\n".join(parts)


def _iso(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("a time is written in ISO 8601 with its zone, such as 2026-11-20T20:15:00Z")
    return value


def _in_range(value: datetime) -> datetime:
    """Far from the ends of the calendar, so that a window around it is a time as well."""
    if value.year not in YEARS:
        raise ValueError(f"the year must be from {YEARS.start} to {YEARS.stop - 1}")
    return value


Content = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | list[TextPart] | None)]
Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_iso), AfterValidator(_in_range)]


class ChatMessage(_Request):
    role: Role
    content: Content = ""


def turns_of(messages: list[ChatMessage]) -> tuple[Turn, ...]:
    """The conversation up to its last question; results of tools and empty messages say nothing to us."""
    roles: dict[Role, Literal["system", "user", "assistant"]] = {
        "system": "system",
        "developer": "system",
        "user": "user",
        "assistant": "assistant",
    }
    return tuple(Turn(role=roles[m.role], content=m.content) for m in messages if m.role in roles and m.content.strip())


def _with_a_question(messages: list[ChatMessage]) -> list[ChatMessage]:
    if not any(m.role == "user" and m.content.strip() for m in messages):
        raise ValueError("there is no user message with text")
    return messages


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES), AfterValidator(_with_a_question)]


class StreamOptions(_Request):
    include_usage: bool = False


class ResponseFormat(_Request):
    type: Literal["text"]


class Narrowing(BaseModel):
    """Less than one may see: only these clusters, only these namespaces. Empty: all that one may see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clusters: Annotated[tuple[str, ...], Field(max_length=MAX_NAMES)] = ()
    namespaces: Annotated[tuple[str, ...], Field(max_length=MAX_NAMES)] = ()

    def within(self, scope: Scope) -> Scope:
        """What the asker may see, narrowed. Never wider, whatever the request says: the grants stay."""
        return scope.model_copy(update={"clusters": self.clusters, "namespaces": self.namespaces})


def _zone(value: str) -> str:
    try:
        ZoneInfo(value or "UTC")
    except (KeyError, ValueError, OSError):  # what a zone that does not exist, or is no name of one, ends in
        raise ValueError("this is no IANA time zone, such as Europe/Berlin") from None
    return value


Zone = Annotated[str, Field(max_length=64), AfterValidator(_zone)]


class Extension(BaseModel):
    """Ours: ask as of another moment, in another time zone, or look at less than one may see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    now: Moment | None = None
    zone: Zone = ""
    scope: Narrowing = Narrowing()


class ChatRequest(_Request):
    model: str
    messages: Messages
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = 1
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    presence_penalty: Bounded | None = None
    frequency_penalty: Bounded | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    logprobs: Literal[False] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    user: str | None = None
    freshet: Extension = Extension()

    def turns(self) -> tuple[Turn, ...]:
        return turns_of(self.messages)


class ContextRequest(BaseModel):
    """A question, or a conversation whose last user message is the question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARS, strict=True)] | None = None
    messages: Messages | None = None
    now: Moment | None = None
    zone: Zone = ""
    scope: Narrowing = Narrowing()
    limit: Annotated[int, Field(ge=1, le=MAX_EVIDENCE, strict=True)] | None = None

    @field_validator("question")
    @classmethod
    def _not_blank(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("the question is blank")
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.question is None) == (self.messages is None):
            raise ValueError("send either question or messages")
        return self

    def turns(self) -> tuple[Turn, ...]:
        return turns_of(self.messages) if self.messages else (Turn(role="user", content=self.question or ""),)


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True)


class Citation(_Response):
    """What `[number]` in the text stands for."""

    number: int
    id: str = Field(description="resolves at /v1/evidence/{id}")
    kind: Kind
    title: str
    text: str
    entity: str = ""
    first: datetime | None = None
    last: datetime | None = None
    count: int = 1
    url: str | None = None
    coordinates: tuple[str, ...] = ()


class Grounding(_Response):
    """Ours, beside OpenAI's fields: what the answer rests on."""

    mode: Mode
    reason: str = Field("", description="why there is no model text")
    citations: tuple[Citation, ...]
    freshness: Freshness
    verification: Verification | None = Field(None, description="of a model's text against what it cites")
    cached: Cached = Field("", description="made before: for the same question, or for one that means the same")
    prefix_hash: str = Field("", description="of the stable part of the prompt")


class UsageBody(_Response):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(_Response):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(_Response):
    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class Completion(_Response):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="seconds since 1970")
    model: str
    choices: tuple[Choice, ...]
    usage: UsageBody
    freshet: Grounding | None = None


class Model(_Response):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="seconds since 1970; 0: not told")
    owned_by: str = "freshet"


class ModelList(_Response):
    object: Literal["list"] = "list"
    data: tuple[Model, ...]


class ErrorDetail(_Response):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(_Response):
    error: ErrorDetail


class Readiness(_Response):
    status: Literal["ready", "degraded", "unavailable"]
    parts: dict[str, str] = Field(description="`ok`, or one sentence that says what is wrong")
