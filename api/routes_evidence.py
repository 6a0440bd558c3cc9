"""Our own routes: what an answer would rest on, what a citation stands for, and how fresh everything is."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from api.disconnect import unless_gone
from api.errors import ApiError
from api.wiring import Scoped, Wired
from schemas.chat import ContextRequest, Moment
from schemas.context import Context, EvidenceDetail, Freshness

router = APIRouter(prefix="/v1", tags=["Evidence"])


@router.post("/context")
async def context(body: ContextRequest, request: Request, wiring: Wired) -> Context:
    """The plan and the ranked evidence for a question, without a model call: for other agents and for evaluation."""
    now = body.now or wiring.now()
    work = wiring.assistant.context(body.turns(), scope=body.scope, now=now, limit=body.limit)
    return await unless_gone(request, work)


@router.get("/evidence/{id:path}")
async def evidence(id: Annotated[str, Path(max_length=512)], wiring: Wired, scope: Scoped) -> EvidenceDetail:
    """The documents behind a citation, and its source records read back from Kafka, or why they cannot be."""
    detail = await wiring.assistant.evidence(id, scope=scope)
    if detail is None:
        raise ApiError(404, "There is no such evidence (any more), or not for you.", code="evidence_not_found")
    return detail


@router.get("/sources")
async def sources(
    wiring: Wired, scope: Scoped, now: Annotated[Moment | None, Query(description="as of this moment")] = None
) -> Freshness:
    """The newest event time per source and partition, lag, and what cannot be seen."""
    return await wiring.assistant.sources(scope=scope, now=now or wiring.now())
