"""What of an answer is kept, under which key, and who may get it again. Pure.

Everything that the answer depends on is a part of the key: runbooks, scope, plan, generation, model and its rules. So
nothing is ever invalidated; what has changed is simply not found, and its rest expires.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from cag.assemble import SYSTEM
from cag.memory.same_question import normalised
from cag.scope import scope_key
from schemas.answer import Delta, Done, FinishReason, Mode, Query
from schemas.context import Evidence, Plan, Verification
from schemas.runbooks import COMPILER
from schemas.settings import Settings

VERSION: Final = 1  # of `Remembered`: raise it when the same bytes mean something else
MOST_BYTES: Final = 262_144
MOST_QUESTION_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKey:
    """`exact` for one question (or conversation), `bucket` for all that differ in their wording only."""

    exact: str
    bucket: str  # empty: a conversation, or about what runs now; its paraphrases are not looked for
    question: str
    ttl_s: int
    corpus: str  # version of the runbooks
    live: bool


class Remembered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION
    exact: str  # the key that it was kept under
    question: str
    corpus: str
    made_at: AwareDatetime
    mode: Mode
    reason: str
    text: str
    evidence: tuple[Evidence, ...]
    finish_reason: FinishReason
    verification: Verification | None
    prefix_hash: str

    def to_bytes(self) -> bytes:
        return self.model_dump_json().encode(errors="replace")

    @classmethod
    def read(cls, raw: bytes | None, exact: str) -> "Remembered | None":
        """None: nothing was kept, or something that cannot be this answer."""
        if raw is None or len(raw) > MOST_BYTES:
            return None
        try:
            found = cls.model_validate_json(raw)
        except ValidationError:
            return None
        return found if found.exact == exact else None


class Keys:
    """One per process: what of the settings an answer depends on."""

    def __init__(self, settings: Settings, generation: str, embedder: str) -> None:
        model, api, self._ttls = settings.model, settings.api, settings.answer_cache
        self._setting = _digest(
            VERSION, COMPILER, generation, embedder, SYSTEM,
            model.base_url, model.name, model.reasoning_effort, model.max_tokens, model.context_tokens,
            settings.verify, settings.ranking, api.evidence_tokens, api.max_evidence, api.runbook_pack_tokens,
            api.link_hosts, api.default_window_s,
        )  # fmt: skip

    def of(self, query: Query, plan: Plan, corpus: str) -> AnswerKey | None:
        """None: this question's answer is never kept."""
        live = plan.about != "runbook"
        ttl_s = self._ttls.live_ttl_s if live else self._ttls.runbook_ttl_s
        if ttl_s <= 0 or not corpus or plan.incidents or len(plan.question) > MOST_QUESTION_CHARS:
            return None  # what is open must never be told from what was open
        said = [(turn.role, normalised(turn.content)) for turn in query.turns if turn.role != "system"]
        depends = _digest(
            self._setting, corpus, scope_key(query.scope), query.limit, query.max_tokens, query.zone,
            _planned(plan, ttl_s if live else 0),
        )  # fmt: skip
        return AnswerKey(
            exact=_digest(depends, said),
            bucket="" if live or len(said) != 1 else depends,
            question=plan.question,
            ttl_s=ttl_s,
            corpus=corpus,
            live=live,
        )


def worth_keeping(done: Done, *, model: bool, trouble: Sequence[str]) -> bool:
    """Whole answers that nothing stood in the way of: of the model and clean, or extractive where there is no model."""
    if trouble or done.finish_reason != "stop":
        return False
    if not model:
        return done.mode == "extractive"
    checked = done.verification
    return done.mode == "model" and not done.reason and checked is not None and not checked.unsupported


def remembered(key: AnswerKey, texts: Sequence[Delta], done: Done, now: datetime) -> Remembered:
    return Remembered(
        exact=key.exact,
        question=key.question,
        corpus=key.corpus,
        made_at=now,
        mode=done.mode,
        reason=done.reason,
        text="".join(delta.text for delta in texts),
        evidence=done.context.evidence,
        finish_reason=done.finish_reason,
        verification=done.verification,
        prefix_hash=done.prefix_hash,
    )


def _planned(plan: Plan, rounded_s: int) -> object:
    """How the question was understood, its wording aside. Runbooks are of no time; the range of others is rounded."""
    said = plan.model_dump(mode="json", exclude={"question", "search_text", "span", "compared"})
    spans = [span for span in (plan.span, plan.compared) if span is not None and rounded_s]
    times = [int(moment.timestamp() // rounded_s) for span in spans for moment in (span.start, span.end)]
    return sorted(said.items()), times


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(errors="replace"), digest_size=16).hexdigest()
