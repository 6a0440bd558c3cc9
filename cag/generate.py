"""The text of an answer: one model call, checked while it streams; without model text, the evidence by itself."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from cag.assemble import Prompt
from cag.extract import extractive_answer
from cag.model import ModelClient, ModelUnavailable
from cag.scope import scope_key
from cag.verify import Verifier
from schemas.answer import Delta, FinishReason, Mode, Query, Usage
from schemas.context import Context, Verification
from schemas.settings import Settings

NO_MODEL: Final = "no model is configured"
NO_TOKENS: Final = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How the text came to be; `reason` says why there is no model text."""

    mode: Mode
    reason: str
    usage: Usage = NO_TOKENS
    finish_reason: FinishReason = "stop"
    verification: Verification | None = None


class Generator:
    """One per process."""

    def __init__(self, model: ModelClient | None, settings: Settings) -> None:
        self._model, self._settings = model, settings

    async def write(self, query: Query, context: Context, prompt: Prompt) -> AsyncIterator[Delta | Written]:
        """Text, then one `Written`. Whatever the model does, there is a text."""
        reason, usage, verification = NO_MODEL, NO_TOKENS, None
        finish: FinishReason = "stop"
        if self._model is not None:
            verifier, said = self._verifier(context, prompt), False
            try:
                salt = scope_key(query.scope)
                async with contextlib.aclosing(self._model.stream(prompt.turns, cache_salt=salt)) as stream:
                    async for token in stream:
                        usage, finish = token.usage or usage, token.finish_reason or finish
                        if text := verifier.feed(token.text):
                            said = True
                            yield Delta(text)
                reason = ""
            except ModelUnavailable as error:
                reason = error.reason
            if text := verifier.finish():
                said = True
                yield Delta(text)
            verification = verifier.report
            if reason and said:
                yield Delta(f"\n\n*The model stopped ({reason}). What the evidence says by itself:*\n\n")
        if reason:
            finish = "stop"
            yield Delta(extractive_answer(context, prompt.cited, ZoneInfo(context.plan.zone)))
        mode: Mode = "extractive" if reason else "model"
        yield Written(mode=mode, reason=reason, usage=usage, finish_reason=finish, verification=verification)

    def _verifier(self, context: Context, prompt: Prompt) -> Verifier:
        rules = self._settings.verify
        return Verifier(
            prompt.cited,
            plan=context.plan,
            action=rules.unsupported,
            hold_chars=rules.hold_chars,
            link_hosts=self._settings.api.link_hosts,
        )
