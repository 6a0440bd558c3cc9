"""What every request passes first: an id, who asks, limits on headers and body. One log line and metrics at the end.

Pure ASGI, so that a body is bounded while it is read and streams pass through untouched.
"""

import asyncio
import re
import secrets
import time
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Doorkeeper
from api.account import refusal
from api.audit import AuditLog
from api.errors import CLIENT_GONE, ApiError, ClientGone, response_of
from api.telemetry import ApiMetrics

MAX_HEADER_BYTES: Final = 16_384
MAX_JSON_DEPTH: Final = 32
BODY_TIMEOUT_S: Final = 30.0
# Probes and metrics tell nothing of any tenant: labels are routes and statuses, parts are stores and their state.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKET: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))

_log = structlog.get_logger("api")


class Gate:
    """Refuses what must not reach a route; everything else goes on with its body in memory."""

    def __init__(
        self, app: ASGIApp, *, door: Doorkeeper, audit: AuditLog, max_body_bytes: int, metrics: ApiMetrics
    ) -> None:
        self._app = app
        self._door, self._audit = door, audit
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _accepted(headers.get("x-request-id", "")) or f"req-{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)  # unless a response starts

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message).setdefault("x-request-id", request_id)
            await send(message)

        try:
            await self._pass(scope, headers, receive, send_on)
        except ApiError as error:
            await response_of(error, request_id)(scope, receive, send_on)
        except ClientGone:
            status = CLIENT_GONE
        except Exception:
            _log.error("defect", id=request_id, exc_info=True)
            raise
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.responded(route, status, seconds)
            said = {"method": scope["method"], "route": route, "status": status, "seconds": round(seconds, 4)}
            write = _log.debug if scope["path"] in OPEN_PATHS else _log.info  # probes come every few seconds
            write("request", id=request_id, **said)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        size = sum(len(name) + len(value) for name, value in headers.raw)
        if size > MAX_HEADER_BYTES:
            raise ApiError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"Headers end at {MAX_HEADER_BYTES} bytes.")
        if scope["path"] not in OPEN_PATHS:
            try:
                scope["state"]["principal"] = await self._door.admit(headers)
            except ApiError as error:
                self._audit.write(refusal(scope, error))
                raise
        if scope["method"] in ("POST", "PUT", "PATCH"):
            _require_json(headers)
            body = await self._read(headers, receive)
            _require_flat(body)
            receive = _replay(body, receive)
        await self._app(scope, receive, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._max_body_bytes
        too_large = ApiError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A body ends at {limit} bytes.", code="body_too_large"
        )
        said = headers.get("content-length", "")
        if said.isdecimal() and (len(said) > 18 or int(said) > limit):
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise too_large
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError as error:
            raise ApiError(
                HTTPStatus.REQUEST_TIMEOUT, f"The body took longer than {BODY_TIMEOUT_S:g} s.", code="body_too_slow"
            ) from error


def _accepted(request_id: str) -> str:
    return request_id if _REQUEST_ID.fullmatch(request_id) else ""


def _require_json(headers: Headers) -> None:
    """Also keeps web pages out: a browser sends JSON to another origin only if that origin agrees."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Send JSON, with the header Content-Type: application/json.",
            code="unsupported_media_type",
        )


def _require_flat(body: bytes) -> None:
    """Brackets are counted before anything parses the body, outside of strings."""
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKET):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"JSON nests at most {MAX_JSON_DEPTH} deep.", code="too_deep")


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message; after it, what the server says (the end of the connection)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_on() -> Message:
        return pending.pop() if pending else await receive()

    return receive_on
