"""Our API with everything on but retrieval: `python -m tests.benchmarks.gateway_server`, settings as in FRESHET_*.

Key, policy, quota, prompt, the call of the model, checking of what it says, metrics and the audit line are those of
the product; only the context is a fixed one, made once.
"""

from datetime import UTC, datetime, timedelta

from api import serve
from cag.assistant import Assistant
from cag.question.plan import Catalog
from processors import logs
from schemas.answer import Query
from schemas.context import Context, Evidence, Freshness, Plan, Span
from schemas.settings import Settings
from tests.fake_assistant import EVIDENCE

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
TWELVE: tuple[Evidence, ...] = tuple(
    EVIDENCE[0].model_copy(
        update={"id": f"log-{n:020x}-29400000-29400010", "text": f"connection refused by checkout-{n}: 412 attempts"}
    )
    for n in range(12)
)


async def fixed(query: Query, *_: object) -> Context:
    plan = Plan(
        question=query.turns[-1].content, span=Span(start=NOW - timedelta(minutes=30), end=NOW), workloads=("checkout",)
    )
    fresh = Freshness(asked_at=NOW, newest=NOW, statement="Newest data 20:15:00 UTC (0 s old), from 82 sources.")
    return Context(plan=plan, evidence=(*TWELVE, EVIDENCE[1]), freshness=fresh)


class Answering(Assistant):
    """The product's, with that context; nothing runs beside it."""

    async def start(self) -> None:
        self._gather.context = self._gather.evidence = fixed  # type: ignore[method-assign,assignment]
        self._gather.plan = planned  # type: ignore[method-assign]


async def planned(query: Query, _: list[str]) -> tuple[Plan, Catalog]:
    return (await fixed(query)).plan, Catalog()


def main() -> None:
    settings = Settings.load()
    logs.configure("WARNING")
    serve.Assistant = Answering  # type: ignore[misc]
    serve.serve(settings, lambda url: None)


if __name__ == "__main__":
    main()
