"""The parts of an answer, in the order in which they reach the client: status, sources, text, one `Done` at the end."""

from dataclasses import dataclass
from typing import Literal

from schemas.context import Context, Evidence

Mode = Literal["model", "extractive"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the model server counted them (estimated for an extractive answer)."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """What is being done right now, for people who wait; the last one of an answer is `done`."""

    text: str
    done: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A piece of evidence that the text may cite as `[number]`; sent before the text, numbers from 1 in order."""

    number: int
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Delta:
    """The next stretch of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of an answer. `reason` says why there was no model text; empty in mode `model`."""

    mode: Mode
    reason: str
    context: Context
    usage: Usage
    finish_reason: FinishReason


AnswerPart = Status | Source | Delta | Done
