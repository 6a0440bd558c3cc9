"""What one request used and what came of it: for the quota of its principal, and for the audit log."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from api.audit import AuditLog
from api.errors import ApiError, ClientGone
from api.quota import Meter
from schemas.access import Principal
from schemas.answer import AnswerPart, Delta, Done, Source
from schemas.context import Context, EvidenceDetail, Plan, Scope, Verification

WARNING_HEADER: Final = "x-freshet-quota-warning"
MAX_PATH_CHARS: Final = 200
CHARS_PER_TOKEN: Final = 4  # where nobody counted: the answer broke off, or no model wrote it


@dataclass(slots=True, kw_only=True)
class Account:
    """Of one request. Either `watch` an answer, or work inside of it (`with`) and say what was found."""

    meter: Meter
    audit: AuditLog
    principal: Principal
    route: str
    request_id: str
    client: str
    scope: Scope
    question: str | None = None
    clock: Callable[[], float] = time.perf_counter
    warning: str = ""  # about the quota, for the asker
    _started: float = field(init=False)
    _seen: dict[str, Any] = field(default_factory=dict)
    _chars: int = 0

    def __post_init__(self) -> None:
        self._started = self.clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self.close("error" if isinstance(error, Exception) and kind is not ClientGone else "hung up")

    @property
    def headers(self) -> dict[str, str]:
        return {WARNING_HEADER: self.warning} if self.warning else {}

    async def watch(self, parts: AsyncIterator[AnswerPart]) -> AsyncGenerator[AnswerPart, None]:
        """The same parts, and before the end a word about a quota that is nearly used up."""
        outcome, cited, tokens = "hung up", list[str](), 0
        self._chars = len(self.question or "")
        try:
            async for part in parts:
                if isinstance(part, Source):
                    cited.append(part.evidence.id)
                    self._chars += len(part.evidence.text)
                elif isinstance(part, Delta):
                    self._chars += len(part.text)
                elif isinstance(part, Done):
                    tokens = part.usage.prompt_tokens + part.usage.completion_tokens
                    outcome = "answered"
                    self._seen |= _said(part)
                    if self.warning:
                        yield Delta(f"\n\n*{self.warning}*")
                yield part
        except Exception:
            outcome = "error"
            raise
        finally:
            used = tokens if outcome == "answered" else self._chars // CHARS_PER_TOKEN
            self.meter.charge(self.principal, used)
            self.close(outcome, evidence=cited, tokens=used)
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    def found(self, context: Context) -> None:
        self._seen["plan"] = _summary(context.plan)
        self.close("answered", evidence=[piece.id for piece in context.evidence])

    def opened(self, identity: str, detail: EvidenceDetail | None) -> None:
        self.close("answered" if detail else "not found", evidence=[identity])

    def refused(self, error: ApiError) -> None:
        self.close("refused", status=error.status, reason=error.detail.code)

    def close(self, outcome: str, **more: Any) -> None:
        self.audit.write(
            {
                "time": _now(),
                "request": self.request_id,
                "principal": self.principal.id,
                "groups": self.principal.groups,
                "client": self.client,
                "route": self.route,
                "question": self.question,
                "scope": _scope(self.scope),
                "outcome": outcome,
                **more,
                **self._seen,
                "seconds": round(self.clock() - self._started, 4),
            }
        )


def refusal(asked: Mapping[str, Any], error: ApiError) -> dict[str, Any]:
    """The line of a request (its ASGI scope) that was not let in: nothing of it was read."""
    return {
        "time": _now(),
        "request": asked["state"]["request_id"],
        "client": (asked.get("client") or ("",))[0],
        "route": asked["path"][:MAX_PATH_CHARS],
        "outcome": "refused",
        "status": error.status,
        "reason": error.detail.code,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _said(done: Done) -> dict[str, Any]:
    return {
        "plan": _summary(done.context.plan),
        "mode": done.mode,
        "cached": done.cached,
        "finish_reason": done.finish_reason,
        "verification": _figures(done.verification),
    }


def _figures(verification: Verification | None) -> dict[str, int] | None:
    """Without its notes: they quote."""
    return verification.model_dump(exclude={"notes"}) if verification else None


def _summary(plan: Plan) -> dict[str, Any]:
    names = ("clusters", "namespaces", "workloads", "pods", "nodes", "alerts", "metrics")
    found = {name: values for name in names if (values := getattr(plan, name))}
    span = [plan.span.start.isoformat(), plan.span.end.isoformat()]
    return {"intent": plan.intent, "about": plan.about, "span": span, **found}


def _scope(scope: Scope) -> dict[str, Any]:
    """What it was narrowed to, and the grants; without defaults, so that a line stays short."""
    return scope.model_dump(exclude_defaults=True) or {"grants": "everything"}
