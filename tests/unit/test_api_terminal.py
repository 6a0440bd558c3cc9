"""The terminal client tells what is wrong in one line, and nothing from telemetry can drive the terminal."""

import io
import json
import socket
from typing import Any

import httpx
import pytest
from rich.console import Console

from api import show
from api.ask import Answer, ApiClient, AskFailed, url_of
from api.serve import listen
from schemas.answer_settings import Api
from schemas.chat import Citation, Grounding
from schemas.context import EvidenceDetail, Freshness, SourceRecord
from schemas.errors import StartupError
from tests.fake_assistant import LOG, NOW

ERROR = {"error": {"message": "A store is away.", "type": "server_error", "param": None, "code": "x"}}


def client(respond: httpx.Response | Exception) -> ApiClient:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(respond, Exception):
            raise respond
        return respond

    return ApiClient("http://api:1/v1/", Api(), transport=httpx.MockTransport(handle))


def sse(*payloads: Any) -> httpx.Response:
    return httpx.Response(200, text=": keepalive\n\n" + "".join(f"data: {json.dumps(p)}\n\n" for p in payloads))


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": text}}]}


@pytest.mark.parametrize(
    ("respond", "said"),
    [
        (httpx.ConnectError("no"), "No API answers at http://api:1. Start one with: python -m api serve"),
        (httpx.ReadTimeout("no"), "has said nothing for 60 s"),
        (httpx.ReadError("no"), "The connection to http://api:1 broke"),
        (httpx.Response(503, json=ERROR, headers={"x-request-id": "r1"}), "A store is away. (request r1)"),
        (httpx.Response(502, text="<html>"), "HTTP 502"),
        (sse(delta("a"), ERROR), "A store is away."),
        (sse(delta("a")), "broke off"),
        (sse({"choices": 3}), "is not this API"),
        (httpx.Response(200, text="data: {oops\n\n"), "is not this API"),
        (sse({"choices": [], "freshet": {"mode": "magic"}}), "not this version"),
    ],
)
def test_every_failure_is_one_line_of_advice(respond: httpx.Response | Exception, said: str) -> None:
    with client(respond) as api, pytest.raises(AskFailed) as caught:
        api.ask("why?", {}, lambda text: None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_text_grows_as_it_arrives() -> None:
    seen: list[str] = []
    rests_on = Grounding(mode="model", citations=(), freshness=Freshness(asked_at=NOW)).model_dump(mode="json")
    with client(sse(delta("a"), delta("b"), {"choices": [], "freshet": rests_on})) as api:
        answer = api.ask("why?", {}, seen.append)
    assert (answer.text, seen) == ("ab", ["a", "ab"])


def printed(what: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=False).print(what)
    return out.getvalue()


HOSTILE = "\x1b]0;owned\x07 \x1b[2J\x9b31m \u202egnp.exe \u200b<redacted:jwt> [bold]x[/bold]"


def test_telemetry_cannot_drive_the_terminal() -> None:
    citation = Citation(number=1, id=f"id{HOSTILE}", kind="log", title=HOSTILE, text=HOSTILE, entity=f"pod/{HOSTILE}")
    fresh = Freshness(asked_at=NOW, missing=(HOSTILE,), statement=HOSTILE)
    answer = Answer(text=HOSTILE, grounding=Grounding(mode="model", citations=(citation,), freshness=fresh))
    record = SourceRecord(coordinates="a/b/0/1/0", status="found", text=HOSTILE, sha256="00")
    evidence = LOG.model_copy(update={"text": HOSTILE, "title": HOSTILE})
    detail = EvidenceDetail(evidence=evidence, documents=(), records=(record,))
    for text in (printed(show.answer(answer)), printed(show.evidence(detail))):
        assert not set(text) & set("\x1b\x07\x9b\u202e\u200b")
        assert "<redacted:jwt>" in text
        assert "[bold]x" in text


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8080"), ("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://[::1]:8080")],
)
def test_the_url_is_where_the_settings_serve(host: str, url: str) -> None:
    assert url_of(Api(host=host)) == url


def test_a_taken_port_is_one_line_that_says_what_to_do() -> None:
    with listen(Api(port=0)) as first:
        assert first.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # accepted ones inherit it
        port = first.getsockname()[1]
        with pytest.raises(StartupError, match=f"port {port}: another process has it.*--port 0"):
            listen(Api(port=port))
