"""Every wrong request gets its status and OpenAI's error shape, with a request id; right ones get through."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from api.app import create_app
from schemas.answer_settings import Api
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.settings import Settings
from tests.fake_assistant import LOG, NOW, FakeAssistant

ASK = {"model": "freshet", "messages": [{"role": "user", "content": "why?"}]}
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


def client(assistant: FakeAssistant | None = None, **settings: Any) -> httpx.AsyncClient:
    app = create_app(Settings(api=Api(**settings)), assistant or FakeAssistant(), now=lambda: NOW)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://api")


def refused(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of a response in OpenAI's shape."""
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"]
    (error,) = response.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    return dict(error)


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "gpt-4"}, 404, "model"),
        ({"model": 3}, 400, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "why?"}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "a"}] * 201}, 400, "messages"),
        ({"messages": [{"role": "system", "content": "a"}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": 3}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "pope", "content": "a"}]}, 400, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            400,
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 3}]}]}, 400, "messages[0].content"),
        ({"messages": [{"content": "a"}]}, 400, "messages[0].role"),
        ({"n": 5}, 400, "n"),
        ({"n": "1"}, 400, "n"),
        ({"temperature": 99}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"top_p": -1}, 400, "top_p"),
        ({"presence_penalty": 3}, 400, "presence_penalty"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": 1.5}, 400, "max_tokens"),
        ({"max_completion_tokens": 10**9}, 400, "max_completion_tokens"),
        ({"stream": "yes"}, 400, "stream"),
        ({"stream_options": {"include_usage": 1}}, 400, "stream_options.include_usage"),
        ({"stop": ["a"] * 5}, 400, "stop"),
        ({"stop": 3}, 400, "stop"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format.type"),
        ({"freshet": {"now": "yesterday"}}, 400, "freshet.now"),
        ({"freshet": {"now": "2026-11-20T20:15:00"}}, 400, "freshet.now"),
        ({"freshet": {"now": "0001-01-01T00:00:00Z"}}, 400, "freshet.now"),
        ({"freshet": {"scope": {"namespaces": "shop"}}}, 400, "freshet.scope.namespaces"),
        ({"freshet": {"scoop": {}}}, 400, "freshet.scoop"),
    ],
)
async def test_wrong_parameters_are_named(change: dict[str, Any], status: int, param: str) -> None:
    assistant = FakeAssistant()
    error = refused(await client(assistant).post(CHAT, json=ASK | change), status)
    assert error["param"] == param
    assert assistant.asked == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "invalid_json"),
        (b"", JSON, 400, None),
        (b"[]", JSON, 400, "invalid_value"),
        (b'{"model": "\xff"}', JSON, 400, None),
        (b'{"temperature": NaN, ' + json.dumps(ASK).encode()[1:], JSON, 400, "invalid_value"),
        (b'{"model": "\\ud800", ' + json.dumps(ASK).encode()[11:], JSON, 400, None),
        (b'{"seed": ' + b"9" * 5000 + b"}", JSON, 400, None),
        (b"[" * 33 + b"]" * 33, JSON, 400, "too_deep"),
        (b'{"a": "\\"" ' + b"[" * 900_000, JSON, 400, "too_deep"),
        (b" " * 1_048_577, JSON, 413, "body_too_large"),
        (json.dumps(ASK).encode(), {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (json.dumps(ASK).encode(), {}, 415, "unsupported_media_type"),
        (json.dumps(ASK).encode(), JSON | {"x-long": "x" * 17_000}, 431, None),
    ],
)
async def test_wrong_bodies_are_refused(body: bytes, headers: dict[str, str], status: int, code: str | None) -> None:
    error = refused(await client().post(CHAT, content=body, headers=headers), status)
    assert code is None or error["code"] == code


async def test_a_body_without_a_length_is_bounded_while_it_is_read() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    refused(await client().post(CHAT, content=endless(), headers=JSON), 413)
    assert sent <= 1_048_576 + 2 * 65_536


@pytest.mark.parametrize("text", ["[" * 50, '\\"' + "[" * 50, "{" * 50 + "\\\\"])
async def test_brackets_inside_strings_are_text(text: str) -> None:
    body = '{"model": "freshet", "messages": [{"role": "user", "content": "' + text + '"}]}'
    assert (await client().post(CHAT, content=body, headers=JSON)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", "/v1/models/gpt-4", 404),
        ("GET", "/v1/evidence/none", 404),
        ("GET", f"/v1/evidence/{'x' * 600}", 400),
        ("GET", f"/v1/evidence/{LOG.id}?namespace=other", 404),
        ("GET", "/v1/sources?now=noon", 400),
    ],
)
async def test_wrong_paths_are_refused(method: str, path: str, status: int) -> None:
    assert refused(await client().request(method, path), status)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": ""},
        {"question": "  "},
        {"question": 3},
        {"question": "a", "messages": ASK["messages"]},
        {"question": "a", "limit": 0},
        {"question": "a", "limit": 51},
        {"question": "a", "scope": {"namespaces": [3]}},
        {"question": "a", "now": 12},
        {"question": "a", "unknown": 1},
    ],
)
async def test_wrong_context_requests_are_refused(body: dict[str, Any]) -> None:
    assert refused(await client().post("/v1/context", json=body), 400)["code"]


async def test_what_other_clients_send_is_accepted() -> None:
    """Tools, vendor extras, nulls and parts: dropped, not refused."""
    assistant = FakeAssistant()
    parts = [{"type": "text", "text": "why"}, {"type": "text", "text": "now?"}]
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42", "tool_call_id": "1"},
        {"role": "user", "content": parts, "name": "ann"},
    ]
    extras = {"tools": [{"type": "function"}], "tool_choice": "auto", "metadata": {"a": 1}, "temperature": None}
    scope = {"freshet": {"now": "2026-11-20T21:00:00+01:00", "scope": {"namespaces": ["shop"]}}}
    response = await client(assistant).post(CHAT, json={"model": "freshet", "messages": messages} | extras | scope)
    assert response.status_code == 200
    ((turns, asked_scope, now),) = assistant.asked
    assert [(t.role, t.content) for t in turns] == [("system", "be brief"), ("user", "why\nnow?")]
    assert asked_scope.namespaces == ("shop",)
    assert now == NOW - timedelta(minutes=15)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Basic key-two"}, 401),
        ({"authorization": "Bearer k\u00e9y".encode("latin-1")}, 401),
        ({"authorization": "Bearer key-two"}, 200),
        ({"authorization": "bearer key-one"}, 200),
    ],
)
async def test_keys_are_needed_where_they_are_set(header: dict[str, Any], status: int) -> None:
    keyed = client(api_keys=(SecretStr("key-one"), SecretStr("key-two")))
    response = await keyed.get("/v1/models", headers=header)
    assert response.status_code == status
    if status == 401:
        assert refused(response, 401)["code"] == "invalid_api_key"
        assert "key-one" not in response.text
    assert (await keyed.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (SinkUnavailable("opensearch at secret-host:9200"), 503, "service_unavailable"),
        (SinkMisconfigured("password hunter2 refused"), 503, "service_misconfigured"),
        (RuntimeError("secret-value in a traceback"), 500, "internal_error"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/context", f"/v1/evidence/{LOG.id}", "/v1/sources"])
async def test_trouble_is_told_without_secrets(trouble: Exception, status: int, code: str, path: str) -> None:
    asking = client(FakeAssistant(trouble=trouble))
    bodies: dict[str, Any] = {CHAT: ASK, "/v1/context": {"question": "why?"}}
    response = await (asking.post(path, json=bodies[path]) if path in bodies else asking.get(path))
    assert refused(response, status)["code"] == code
    assert not any(word in response.text for word in ("secret", "hunter2", "Traceback", "File "))


async def test_the_log_has_a_defect_under_the_id_that_the_client_was_told() -> None:
    with capture_logs() as lines:
        response = await client(FakeAssistant(trouble=RuntimeError("broken"))).get("/v1/sources")
    (defect,) = [line for line in lines if line["event"] == "defect"]
    assert defect["id"] == response.headers["x-request-id"]
    assert defect["id"] in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-123", True), ("a" * 65, False), ("new\tline", False), ("<script>", False), ("", False)],
)
async def test_request_ids_are_kept_if_well_formed(given: str, kept: bool) -> None:
    response = await client().get("/healthz", headers={"x-request-id": given})
    assert (response.headers["x-request-id"] == given) is kept
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("parts", "status", "said"),
    [
        ({"opensearch": "ok", "redis": "ok"}, 200, "ready"),
        ({"opensearch": "ok", "redis": "Redis at 127.0.0.1:6379 does not answer."}, 200, "degraded"),
        ({"opensearch": "OpenSearch does not answer.", "redis": "ok"}, 503, "unavailable"),
        ({}, 503, "unavailable"),
    ],
)
async def test_readiness_depends_on_the_index_alone(parts: dict[str, str], status: int, said: str) -> None:
    response = await client(FakeAssistant(parts=parts)).get("/readyz")
    assert (response.status_code, response.json()) == (status, {"status": said, "parts": parts})


async def test_health_asks_nobody_and_requests_are_counted() -> None:
    asking = client(FakeAssistant(trouble=RuntimeError("broken")))
    assert (await asking.get("/healthz")).json() == {"status": "ok"}
    await asking.post(CHAT, json=ASK)
    text = (await asking.get("/metrics")).text
    assert 'freshet_api_requests_total{route="/v1/chat/completions",status="500"} 1.0' in text


async def test_the_contract_names_every_route_and_no_422() -> None:
    contract = (await client().get("/openapi.json")).json()
    assert set(contract["paths"]) == {
        "/v1/models", "/v1/models/{id}", CHAT, "/v1/context", "/v1/evidence/{id}", "/v1/sources",
        "/v1/insights", "/v1/insights/{id}", "/v1/insights/{id}/feedback",
        "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert '"422"' not in json.dumps(contract)
    for model in ("ChatRequest", "Completion", "Context", "EvidenceDetail", "Freshness", "ErrorBody"):
        assert model in contract["components"]["schemas"]
