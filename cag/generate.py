"""The text of an answer: one model call, checked while it streams; without model text, the evidence by itself."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Protocol

from cag.assemble import SYSTEM, Prompt
from cag.extract import extractive_answer
from cag.model import ModelClient
from cag.model_stream import ModelUnavailable, Token
from cag.scope import scope_key
from cag.tokens import TokenCounter
from cag.verification.leaks import Hidden, LeakFilter, instructions
from cag.verification.verify import Verifier
from schemas.answer import Delta, FinishReason, Mode, Query, Usage
from schemas.context import Context, Verification
from schemas.settings import Settings

NO_MODEL: Final = "no model is configured"
NO_TIME: Final = "the search took all the time that an answer may take"
NO_TOKENS: Final = Usage()
LEAST_S: Final = 1.0  # below this a model is not asked: its first token takes as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How the text came to be; `reason` says why there is no model text, or not all of it."""

    mode: Mode
    reason: str
    usage: Usage = NO_TOKENS
    finish_reason: FinishReason = "stop"
    verification: Verification | None = None


class Check(Protocol):
    """A filter of a text that streams by."""

    def feed(self, delta: str) -> str: ...

    def finish(self) -> str: ...


class Generator:
    """One per process."""

    def __init__(self, model: ModelClient | None, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._counter = TokenCounter()

    async def write(
        self,
        query: Query,
        context: Context,
        prompt: Prompt,
        *,
        left_s: float | None = None,
        names: frozenset[str] = frozenset(),
    ) -> AsyncIterator[Delta | Written]:
        """Text, then one `Written`. Whatever the model does, there is a text.

        `left_s`: what is left of the time for the whole answer; None: as much as the model may take.
        `names`: of workloads and namespaces that exist, so that they are known for names where no evidence has them.
        """
        reason = NO_MODEL if self._model is None else NO_TIME
        model = self._model if left_s is None or left_s >= LEAST_S else None
        usage, verification, finish = NO_TOKENS, None, None
        if model is not None:
            verifier = self._verifier(context, prompt, names)
            said = _Said(self._checks(prompt, verifier))
            tokens = model.stream(
                prompt.turns, cache_salt=scope_key(query.scope), max_tokens=query.max_tokens, time_s=left_s
            )
            async with aclosing(said.through(tokens)) as texts:
                async for text in texts:
                    yield Delta(text)
            reason, finish, verification = said.reason, said.finish, verifier.report
            asked = "\n".join(turn.content for turn in prompt.turns)
            usage = said.usage or (self._used(asked, said.text) if said.text else NO_TOKENS)
            if reason and said.text:
                yield Delta(f"\n\n*The model stopped ({reason}). What the evidence says by itself:*\n\n")
        if reason:
            text, finish = self._extract(query, context, prompt)
            usage = usage if usage != NO_TOKENS else self._used(context.plan.question, text)
            yield Delta(text)
        yield Written(
            mode="extractive" if reason else "model",
            reason=reason,
            usage=usage,
            finish_reason=finish or "stop",
            verification=verification,
        )

    def _extract(self, query: Query, context: Context, prompt: Prompt) -> tuple[str, FinishReason]:
        """The extractive answer; fewer whole lines of it where fewer tokens are wished."""
        text = extractive_answer(context, prompt.cited)
        if query.max_tokens is None or self._counter.count(text) <= query.max_tokens:
            return text, "stop"
        lines = text.splitlines()
        while len(lines) > 1 and self._counter.count("\n".join(lines)) > query.max_tokens:
            lines.pop()
        return "\n".join(lines).rstrip(), "length"

    def _used(self, prompt: str, text: str) -> Usage:
        """An estimate, where no server has counted."""
        return Usage(self._counter.count(prompt), self._counter.count(text))

    def _checks(self, prompt: Prompt, verifier: Verifier) -> tuple[Check, ...]:
        """What a model's text passes, in order."""
        return LeakFilter((instructions(SYSTEM), Hidden.of(prompt.fence))), verifier

    def _verifier(self, context: Context, prompt: Prompt, names: frozenset[str]) -> Verifier:
        rules = self._settings.verify
        return Verifier(
            prompt.cited,
            plan=context.plan,
            action=rules.unsupported,
            hold_chars=rules.hold_chars,
            link_hosts=self._settings.api.link_hosts,
            names=names,
        )


class _Said:
    """What a model has said, checked."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self._checks = checks
        self._shown: list[str] = []
        self.reason = ""  # why it stopped before the end
        self.usage: Usage | None = None
        self.finish: FinishReason | None = None

    @property
    def text(self) -> str:
        return "".join(self._shown)

    async def through(self, tokens: AsyncGenerator[Token, None]) -> AsyncGenerator[str, None]:
        """Text that may be shown. Closes `tokens` when it is closed itself."""
        try:
            async with aclosing(tokens):
                async for token in tokens:
                    self.usage, self.finish = token.usage or self.usage, token.finish_reason or self.finish
                    if text := self._fed(token.text):
                        yield text
        except ModelUnavailable as error:
            self.reason = error.reason
        if text := self._ended():
            yield text

    def _fed(self, text: str) -> str:
        for check in self._checks:
            text = check.feed(text)
        self._shown.append(text)
        return text

    def _ended(self) -> str:
        text = ""
        for check in self._checks:
            text = check.feed(text) + check.finish()
        self._shown.append(text)
        return text
