"""Our own routes: what an answer would rest on, what a citation stands for, and how fresh everything is."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from api.disconnect import unless_gone
from api.errors import ApiError
from api.wiring import Scoped, Wired, principal_of
from schemas import answer
from schemas.chat import ContextRequest, Moment
from schemas.context import Context, EvidenceDetail, Freshness

MOST_AROUND: Final = 100

router = APIRouter(prefix="/v1", tags=["Evidence"])


@router.post("/context")
async def context(body: ContextRequest, request: Request, response: Response, wiring: Wired) -> Context:
    """The plan and the ranked evidence for a question, without a model call: for other agents and for evaluation."""
    now = body.now or wiring.now()
    scope = body.scope.within(principal_of(request).scope)
    query = answer.Query(turns=body.turns(), scope=scope, now=now, zone=body.zone, limit=body.limit)
    with await wiring.account(request, scope, query.turns) as account:
        found = await unless_gone(request, wiring.assistant.context(query))
        account.found(found)
    response.headers.update(account.headers)
    return found


@router.get("/evidence/{id:path}")
async def evidence(
    id: Annotated[str, Path(max_length=512)],
    request: Request,
    wiring: Wired,
    scope: Scoped,
    context: Annotated[int, Query(ge=0, le=MOST_AROUND, description="lines of the same entity before and after")] = 0,
) -> EvidenceDetail:
    """The documents behind a citation, and its source records read back from Kafka, or why they cannot be."""
    with await wiring.account(request, scope) as account:
        detail = await wiring.assistant.evidence(id, scope=scope, around=context)
        account.opened(id, detail)
    if detail is None:
        raise ApiError(404, "There is no such evidence (any more), or not for you.", code="evidence_not_found")
    return detail


@router.get("/sources")
async def sources(
    request: Request,
    wiring: Wired,
    scope: Scoped,
    now: Annotated[Moment | None, Query(description="as of this moment")] = None,
) -> Freshness:
    """The newest event time per source and partition, lag, and what cannot be seen.

    Sources are those of the asker's scope. Partitions and the number of dead letters are told to everyone: a topic is
    shared by all namespaces, its name and its lag say nothing of any of them, and without them nobody could tell
    "quiet" from "not read yet".
    """
    with await wiring.account(request, scope) as account:
        seen = await wiring.assistant.sources(scope=scope, now=now or wiring.now())
        account.close("answered")
    return seen
