"""The audit log: who asked what, and what it rested on; redacted, bounded, never in anyone's way."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.audit import WAITING, AuditFile, AuditLog
from schemas.answer_settings import Api, Audit, Quotas
from schemas.errors import SinkUnavailable, StartupError
from schemas.settings import Kafka, Redis, Settings
from tests.fake_assistant import EVIDENCE, LOG, NOW, FakeAssistant

SECRET = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
ASK = {"model": "freshet", "messages": [{"role": "user", "content": f"why? my token is {SECRET}"}]}
CHAT = "/v1/chat/completions"
KEY = {"authorization": "Bearer the-key"}


async def audited(
    tmp_path: Path, assistant: FakeAssistant, *calls: tuple[str, Any, dict[str, str]], **quotas: int
) -> list[dict[str, Any]]:
    """The lines of the log after these calls: path, body (none: GET), headers."""
    file = tmp_path / "audit.jsonl"
    settings = Settings(
        api=Api(api_keys=(SecretStr("the-key"),)),
        audit=Audit(file=file),
        quotas=Quotas(**quotas),
        redis=Redis(url="redis://127.0.0.1:1/0"),
    )
    app = create_app(settings, assistant, now=lambda: NOW)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            for path, body, headers in calls:
                await (
                    client.get(path, headers=headers) if body is None else client.post(path, json=body, headers=headers)
                )
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


async def test_an_answer_is_one_line_without_evidence_or_secrets(tmp_path: Path) -> None:
    narrowed = ASK | {"stream": True, "freshet": {"scope": {"namespaces": ["shop"]}}}
    (line,) = await audited(tmp_path, FakeAssistant(), (CHAT, narrowed, KEY))
    assert line["principal"].startswith("key:api-key-")
    assert (line["route"], line["outcome"], line["mode"], line["tokens"]) == (CHAT, "answered", "model", 16)
    assert line["evidence"] == [piece.id for piece in EVIDENCE]
    assert line["scope"] == {"namespaces": ["shop"]}
    assert line["plan"]["intent"] == "diagnose"
    assert line["question"].startswith("why? my token is <redacted:")
    assert {"time", "request", "client", "groups", "seconds", "finish_reason", "verification"} <= set(line)
    text = orjson.dumps(line).decode()
    assert not any(word in text for word in (SECRET, "HikariPool", "the-key", "Raise the pool"))


async def test_every_outcome_has_its_word(tmp_path: Path) -> None:
    broken = FakeAssistant(trouble=SinkUnavailable("away"))
    calls = [
        (CHAT, ASK, {}),
        ("/v1/context", {"question": "why?"}, KEY),
        (f"/v1/evidence/{LOG.id}", None, KEY),
        ("/v1/evidence/none", None, KEY),
        ("/v1/sources", None, KEY),
        ("/v1/models", None, KEY),
        ("/healthz", None, {}),
        (CHAT, ASK, KEY),
    ]
    lines = await audited(tmp_path, FakeAssistant(), *calls, requests_per_minute=4)
    assert [(line["outcome"], line.get("status")) for line in lines] == [
        ("refused", 401),
        *[("answered", None)] * 2,
        ("not found", None),
        ("answered", None),
        ("refused", 429),
    ]
    assert lines[2]["evidence"] == [LOG.id]
    (tmp_path / "broken").mkdir()
    (line,) = await audited(tmp_path / "broken", broken, (CHAT, ASK, KEY))
    assert line["outcome"] == "error"


async def test_whoever_hangs_up_is_charged_and_audited(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    app = create_app(Settings(audit=Audit(file=file)), FakeAssistant(late_pause_s=60), now=lambda: NOW)
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    body = orjson.dumps(ASK | {"stream": True})
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    headers = [(b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": CHAT,
        "headers": headers,
        "query_string": b"",
        "client": ("10.0.0.9", 1),
    }
    async with app.router.lifespan_context(app):
        request = asyncio.create_task(app(scope, receive, sent.put))  # type: ignore[arg-type]
        while b"The pool" not in (await sent.get()).get("body", b""):
            pass
        gone.set()
        await request
    (line,) = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    assert (line["outcome"], line["client"]) == ("hung up", "10.0.0.9")
    assert line["tokens"] > 0


async def test_a_warning_is_a_header_and_a_last_line(tmp_path: Path) -> None:
    settings = Settings(
        api=Api(api_keys=(SecretStr("the-key"),)),
        quotas=Quotas(requests_per_minute=3, warn_at=0.6),
        redis=Redis(url="redis://127.0.0.1:1/0"),
    )
    transport = httpx.ASGITransport(app=create_app(settings, FakeAssistant(), now=lambda: NOW))
    task = ASK | {"messages": [{"role": "user", "content": "### Task:\n<chat_history>\nUSER: a\n</chat_history>"}]}
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=KEY) as client:
        for _ in range(5):  # Open WebUI's small tasks cost nothing
            assert (await client.post(CHAT, json=task)).status_code == 200
        answers = [await client.post(CHAT, json=ASK | {"stream": stream}) for stream in (False, False, True, False)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    warnings = [f"In the last minute you used {used} of your 3 requests." for used in (2, 3)]
    assert [answer.headers.get("x-freshet-quota-warning") for answer in answers] == [None, *warnings, None]
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers[:2]]
    assert [text.endswith(f"*{warnings[0]}*") for text in texts] == [False, True]
    assert f"*{warnings[1]}*" in answers[2].text
    assert answers[3].json()["error"]["message"].startswith("You have used your 3 requests of a minute. Ask again in ")


def test_the_file_is_opened_again_when_it_was_renamed(tmp_path: Path) -> None:
    file = AuditFile(tmp_path / "audit.jsonl")
    file.append(b"one\n")
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit.jsonl.1")
    file.append(b"two\n")
    file.close()
    assert (tmp_path / "audit.jsonl.1").read_bytes() == b"one\n"
    assert (tmp_path / "audit.jsonl").read_bytes() == b"two\n"


def test_a_file_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="FRESHET_AUDIT__FILE"):
        AuditFile(tmp_path / "nowhere" / "audit.jsonl")


def test_what_nobody_keeps_up_with_is_lost_and_counted(tmp_path: Path) -> None:
    lost: list[tuple[str, int]] = []
    log = AuditLog(Settings(audit=Audit(file=tmp_path / "a")), lambda where, lines: lost.append((where, lines)))
    for number in range(WAITING + 3):  # nobody has started to write
        log.write({"number": number})
    assert lost == [("queue", 1)] * 3


def test_a_topic_that_is_away_delays_nobody(tmp_path: Path) -> None:
    lost: list[str] = []
    settings = Settings(audit=Audit(file=tmp_path / "a", topic="audit"), kafka=Kafka(bootstrap_servers="127.0.0.1:1"))
    log = AuditLog(settings, lambda where, lines: lost.extend([where] * lines), close_s=0.2)
    log.start()
    for number in range(5):
        log.write({"number": number})
    log.close()
    assert (tmp_path / "a").read_bytes().count(b"\n") == 5
    assert lost == ["topic"] * 5
    assert "audit" not in {thread.name for thread in threading.enumerate()}
