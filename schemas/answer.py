"""A question, and the parts of its answer in the order in which they reach the client: status, sources, text, end."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from schemas.context import Context, Evidence, Scope, Turn, Verification

Mode = Literal["model", "extractive"]
Cached = Literal["", "exact", "paraphrase"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Who asks what, and as of when."""

    turns: tuple[Turn, ...]  # the last one of the user's is the question
    scope: Scope
    now: datetime
    zone: str = ""  # IANA name; empty: that of the settings
    limit: int | None = None  # pieces of evidence; None: as the settings say
    max_tokens: int | None = None  # of the answer; the settings' is the most


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
    """The end of an answer. `reason` says why there was no model text; empty in mode `model`.

    `cached`: an answer that was made before, by the same question or by one that means the same. `prefix_hash` is of
    the prompt's stable part, which the model server caches.
    """

    mode: Mode
    reason: str
    context: Context
    usage: Usage
    finish_reason: FinishReason
    verification: Verification | None = None
    cached: Cached = ""
    prefix_hash: str = ""


AnswerPart = Status | Source | Delta | Done
