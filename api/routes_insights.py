"""Incidents: which there are, one of them, and what somebody says about one. Beyond the grants there are none."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.errors import RETRY_AFTER_S, ApiError
from api.wiring import Scoped, Wired, principal_of
from processors.insights.feedback import NOTE_CHARS, feedback_on
from schemas.chat import Moment
from schemas.errors import SinkUnavailable
from schemas.insights import Insight, State, Verdict

MOST: Final = 200
MUTE_LEAST_S, MUTE_MOST_S = 60, 90 * 86_400
OPEN: Final[tuple[State, ...]] = ("opened", "updated")

router = APIRouter(prefix="/v1/insights", tags=["Insights"])

Asked = Literal["open", "opened", "updated", "merged", "resolved"]
Id = Annotated[str, Path(max_length=200, pattern=r"^[0-9A-Za-z_.:-]+$", description="of the incident")]


class Incidents(BaseModel):
    """Each as of its newest revision; the one that changed last comes first."""

    data: tuple[Insight, ...]
    more: bool = Field(description="there are others that changed before these")


class Opinion(BaseModel):
    """What somebody says about an incident."""

    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: Annotated[Verdict, Field(description="rejected: the same trouble is not told again for a while")]
    note: str = Field("", max_length=NOTE_CHARS, description="for people; secrets in it are redacted")
    mute_s: int | None = Field(
        None, ge=MUTE_LEAST_S, le=MUTE_MOST_S, description="of a rejection; unset: FRESHET_CORRELATION__MUTE_S"
    )


class Heard(BaseModel):
    """Written durably; the incident follows within seconds."""

    id: str = Field(description="the same when it is sent again with the same Idempotency-Key")
    incident_id: str
    verdict: Verdict
    by: str = Field(description="a pseudonym of whoever said it")
    time: AwareDatetime
    muted_until: AwareDatetime | None = None


@router.get("")
async def insights(
    request: Request,
    wiring: Wired,
    scope: Scoped,
    state: Annotated[list[Asked], Query(description="only these; open: opened or updated")] = [],  # noqa: B006
    since: Annotated[Moment | None, Query(description="changed then or later")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
) -> Incidents:
    """The incidents that the asker may see all of."""
    wanted = dict.fromkeys(s for asked in state for s in (OPEN if asked == "open" else (asked,)))
    with await wiring.account(request, scope) as account:
        found = await wiring.assistant.insights(scope=scope, states=tuple(wanted), since=since, limit=limit)
        account.close("answered", insights=[insight.id for insight in found.insights])
    return Incidents(data=found.insights, more=found.more)


@router.get("/{id}")
async def insight(id: Id, request: Request, wiring: Wired, scope: Scoped) -> Insight:
    """One incident as of its newest revision. What it rests on: GET /v1/evidence/{id} of its parts."""
    with await wiring.account(request, scope) as account:
        found = await wiring.assistant.insight(id, scope=scope)
        account.close("answered" if found else "not found", insights=[id])
    if found is None:
        raise _unknown()
    return found


@router.post("/{id}/feedback", status_code=HTTPStatus.ACCEPTED)
async def feedback(
    id: Id,
    body: Opinion,
    request: Request,
    response: Response,
    wiring: Wired,
    scope: Scoped,
    idempotency_key: Annotated[str, Header(max_length=200, description="the same for one act, sent again")] = "",
) -> Heard:
    """Confirm an incident, or reject it: what is rejected teaches a mute of its fingerprint, with an end."""
    if body.mute_s is not None and body.verdict != "rejected":
        raise ApiError(HTTPStatus.BAD_REQUEST, "Only what is rejected is muted.", param="mute_s", code="invalid_value")
    made = None
    with await wiring.account(request, scope) as account:
        found = await wiring.assistant.insight(id, scope=scope)
        if found is not None:
            made = feedback_on(
                found,
                body.verdict,
                by=principal_of(request).pseudonym,
                time_ms=round(wiring.now().timestamp() * 1000),
                mute_s=body.mute_s or 0,
                key=idempotency_key,
            )
            try:
                await wiring.feedback.send(made, body.note)
            except SinkUnavailable:
                raise _not_taken() from None
        said = {"verdict": body.verdict, "feedback": made.id} if made else {}
        account.close("answered" if made else "not found", insights=[id], **said)
    if made is None:
        raise _unknown()
    response.headers.update(account.headers)
    return Heard(
        id=made.id,
        incident_id=id,
        verdict=body.verdict,
        by=made.by,
        time=_moment(made.time_ms),
        muted_until=_moment(made.until_ms) if made.until_ms else None,
    )


def _moment(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def _unknown() -> ApiError:
    return ApiError(
        HTTPStatus.NOT_FOUND, "There is no such incident (any more), or not for you.", code="insight_not_found"
    )


def _not_taken() -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"Kafka does not take feedback now; nothing is kept here. Send it again in {RETRY_AFTER_S} s, with the same "
        "Idempotency-Key if you gave one.",
        code="feedback_unavailable",
        kind="server_error",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )
