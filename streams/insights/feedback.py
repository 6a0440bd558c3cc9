"""What people say about incidents, as it comes from the feedback topic: anyone who may write there can have sent it."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import InvalidRecord
from schemas.records import Message
from schemas.summaries import Feedback

VALUE_BYTES: Final = 64 * 1024
Name = Annotated[str, Field(min_length=1, max_length=500)]
Moment = Annotated[int, Field(ge=0, lt=1 << 53)]  # epoch milliseconds


class _Feedback(BaseModel):
    """The fields of `schemas.summaries.Feedback`; more of them are left alone."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: Name
    incident_id: Name
    fingerprint: str = Field("", max_length=500)
    verdict: Literal["confirmed", "rejected"]
    by: str = Field("", max_length=500)
    time_ms: Moment
    until_ms: Moment = 0


def feedback_of(message: Message) -> Feedback:
    """Raises InvalidRecord."""
    value = message.value or b""
    if len(value) > VALUE_BYTES:
        raise InvalidRecord(f"feedback is larger than {VALUE_BYTES} bytes")
    try:
        read = _Feedback.model_validate_json(value)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"][:1])) or "value"
        raise InvalidRecord(f"no feedback: {where} is not as it should be") from None
    return Feedback(**read.model_dump())
