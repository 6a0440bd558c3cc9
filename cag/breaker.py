"""A model that has failed several times in a row is left alone for a while, and then tried with one question.

    closed  --- failures in a row --->  open  --- rest over --->  half open (one question at a time)
       ^                                  ^                          |            |
       '--------- an answer --------------|--------------------------'            |
                                          '------------ another failure ----------'

What counts is `ModelUnavailable.outage`. A client that hangs up says nothing about the model, in either direction,
unless text had come: then the model works.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Literal, Self

import structlog

from cag.model import ModelClient, OpenAIModel
from cag.model_stream import ModelUnavailable, Token
from schemas.answer_settings import Model
from schemas.context import Turn

log = structlog.get_logger()
State = Literal["closed", "open", "half open"]
LONGEST_REST: Final = 8  # times the rest of the settings, to which it doubles with every failed trial


class Breaker:
    """A `ModelClient` around another. One per process; `clock` tells seconds that never go back."""

    def __init__(self, model: ModelClient, settings: Model, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._settings, self._clock = model, settings, clock
        self._failures = 0
        self._reason = ""
        self._until = 0.0
        self._rest_s = settings.rest_s
        self._trying = False

    @classmethod
    def from_settings(cls, settings: Model) -> Self | None:
        """Around the configured model; None when there is none: answers are then extractive."""
        model = OpenAIModel.from_settings(settings)
        return cls(model, settings) if model else None

    @property
    def state(self) -> State:
        if self._failures < self._settings.failures_to_rest:
            return "closed"
        return "open" if self._clock() < self._until or self._trying else "half open"

    async def stream(
        self,
        prompt: Sequence[Turn],
        *,
        cache_salt: str = "",
        max_tokens: int | None = None,
        time_s: float | None = None,
    ) -> AsyncGenerator[Token, None]:
        """See `ModelClient.stream`. While open, raises at once."""
        state = self.state
        if state == "open":
            raise ModelUnavailable(f"the model is left alone after {self._failures} failures: {self._reason}")
        trial, answered = state == "half open", False
        self._trying = self._trying or trial
        try:
            tokens = self._model.stream(prompt, cache_salt=cache_salt, max_tokens=max_tokens, time_s=time_s)
            async with aclosing(tokens):
                async for token in tokens:
                    answered = answered or bool(token.text)
                    yield token
            self._answered()
        except (GeneratorExit, asyncio.CancelledError):
            if answered:
                self._answered()
            raise
        except ModelUnavailable as error:
            if error.outage:
                self._failed(error.reason, again=trial)
            raise
        finally:
            self._trying = self._trying and not trial

    async def readiness(self) -> str:
        """See `ModelClient.readiness`. A server that answers this and no question is not ready."""
        if self.state == "closed":
            return await self._model.readiness()
        return f"{self._failures} failures in a row ({self._reason}): the model is asked again every {self._rest_s:g} s"

    async def close(self) -> None:
        await self._model.close()

    def _answered(self) -> None:
        if self.state != "closed":
            log.warning("the model answers again")
        self._failures, self._rest_s = 0, self._settings.rest_s

    def _failed(self, reason: str, *, again: bool) -> None:
        self._failures += 1
        self._reason = reason
        if self._failures < self._settings.failures_to_rest:
            return
        if again:
            self._rest_s = min(self._rest_s * 2, self._settings.rest_s * LONGEST_REST)
        self._until = self._clock() + self._rest_s
        log.warning("the model is left alone for a while", failures=self._failures, seconds=self._rest_s, reason=reason)
