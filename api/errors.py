"""Every refusal and failure in OpenAI's error shape, with a request id, and never with a stack trace or a secret."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from schemas.chat import ErrorBody, ErrorDetail
from schemas.errors import SinkMisconfigured, SinkUnavailable

RETRY_AFTER_S: Final = 5
CLIENT_GONE: Final = 499  # nginx's number for it; nobody reads the response, but the log and the metrics show it
MAX_MESSAGE_CHARS: Final = 300


class ApiError(Exception):
    """Ends a request with this status and OpenAI's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(message=message[:MAX_MESSAGE_CHARS], type=kind, param=param, code=code)
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """Whoever asked has hung up: the work is cancelled, and there is nobody to tell."""


def unavailable() -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"A store is away, so there is no evidence to answer from. Try again in {RETRY_AFTER_S} s; "
        "/readyz says which one.",
        code="service_unavailable",
        kind="server_error",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def misconfigured() -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "A store refuses us, and only an operator can mend that; /readyz says which one.",
        code="service_misconfigured",
        kind="server_error",
    )


def internal(request_id: str) -> ApiError:
    return ApiError(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        f"Something went wrong on our side. The log has it under request {request_id}.",
        code="internal_error",
        kind="server_error",
    )


def body_of(error: ApiError) -> dict[str, Any]:
    return ErrorBody(error=error.detail).model_dump()


def request_id_of(request: Request) -> str:
    return str(request.state.request_id)


def response_of(error: ApiError, request_id: str) -> JSONResponse:
    return JSONResponse(body_of(error), error.status, headers={**error.headers, "x-request-id": request_id})


def install(app: FastAPI) -> None:
    """Answer every exception that a route may raise."""

    async def refused(request: Request, error: Exception) -> Response:
        return response_of(_translate(error, request_id_of(request)), request_id_of(request))

    async def gone(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    for kind in (ApiError, HTTPException, RequestValidationError, SinkUnavailable, SinkMisconfigured, Exception):
        app.add_exception_handler(kind, refused)
    app.add_exception_handler(ClientGone, gone)


def _translate(error: Exception, request_id: str) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error.errors())
    if isinstance(error, HTTPException):
        return _refused(error)
    return stream_error(error, request_id)


def stream_error(error: Exception, request_id: str) -> ApiError:
    """What to tell the client about an error that may come in the middle of an answer."""
    if isinstance(error, SinkUnavailable):
        return unavailable()
    if isinstance(error, SinkMisconfigured):
        return misconfigured()
    return internal(request_id)


def _refused(error: HTTPException) -> ApiError:
    """What the framework refuses by itself: unknown paths, wrong methods, broken bodies."""
    status = HTTPStatus(error.status_code)
    codes = {404: "unknown_url", 405: "method_not_allowed", 400: "invalid_body"}
    said = {404: "There is no such path; /openapi.json lists them.", 405: "The path does not have this method."}
    message = said.get(status, f"{status.phrase}.")
    return ApiError(status, message, code=codes.get(status), headers=error.headers)


def _invalid(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """The first thing that is wrong with a body or a parameter; the value itself is not quoted."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return ApiError(HTTPStatus.BAD_REQUEST, "The body is not valid JSON.", code="invalid_json")
    param = _param(first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    text = f"{param}: {message}" if param else f"Invalid request: {message}"
    missing = first["type"] == "missing"
    return ApiError(
        HTTPStatus.BAD_REQUEST, text, code="missing_required_parameter" if missing else "invalid_value", param=param
    )


def _param(location: Sequence[str | int]) -> str | None:
    """`("body", "messages", 0, "role")` -> `messages[0].role`; arms of a union (`list[str]`) are left out."""
    path = ""
    for step in location[1:]:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and step not in ("str", "int", "float", "bool"):
            path += f".{step}" if path else step
    return path or None
