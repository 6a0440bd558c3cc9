"""The shape of streamed answers: OpenAI's chunks for everyone, Open WebUI's events for Open WebUI only."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from api.app import create_app
from api.stream import Envelope, Wish, chunks
from api.webui import FOLLOW_UPS, Events
from cag.extract import extractive_answer
from schemas.answer import AnswerPart, Delta, Done, Query, Source, Status, Usage
from schemas.context import Evidence, Scope, Turn
from schemas.errors import SinkUnavailable
from schemas.settings import Settings
from tests.fake_assistant import LOG, NOW, RUNBOOK, FakeAssistant

CHAT = "/v1/chat/completions"
ASK = {"model": "freshet", "messages": [{"role": "user", "content": "why?"}]}
WEBUI = {"x-openwebui-chat-id": "61956dbf"}


async def post(body: dict[str, Any], assistant: FakeAssistant | None = None, **headers: Any) -> httpx.Response:
    app = create_app(Settings(), assistant or FakeAssistant(), now=lambda: NOW)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.post(CHAT, json=body, headers=headers)


def payloads(response: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream that is well formed to its end."""
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = response.text.removesuffix("\n\n").split("\n\n")
    assert blocks[0] == ": keepalive"
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks[1:-1]]


async def test_a_stream_is_openai_chunks_and_nothing_else() -> None:
    chunks = payloads(await post(ASK | {"stream": True, "stream_options": {"include_usage": True}}))
    first, *middle, last, usage = chunks
    assert {(c["id"], c["object"], c["model"]) for c in chunks} == {(first["id"], "chat.completion.chunk", "freshet")}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [c["choices"][0]["delta"]["content"] for c in middle] == ["The pool ", "is exhausted [1]. Raise it [2]."]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert last["freshet"]["mode"] == "model"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 16)


async def test_usage_is_sent_only_when_asked_for() -> None:
    assert all("usage" not in chunk for chunk in payloads(await post(ASK | {"stream": True})))


async def test_a_whole_answer_says_what_it_rests_on() -> None:
    response = await post(ASK)
    body = response.json()
    assert body["choices"][0]["message"]["content"] == "The pool is exhausted [1]. Raise it [2]."
    assert response.headers["x-freshet-mode"] == "model"
    assert response.headers["x-freshet-newest"] == "2026-11-20T20:14:56+00:00"
    assert (response.headers["x-freshet-missing"], response.headers["x-freshet-silent-sources"]) == ("1", "0")
    one, two = body["freshet"]["citations"]
    assert (one["number"], one["id"], one["kind"], one["title"]) == (1, LOG.id, "log", "log shop/checkout")
    assert one["coordinates"] == list(LOG.coordinates)
    assert (one["url"], two["url"]) == (None, RUNBOOK.url)  # telemetry makes no links
    assert body["freshet"]["freshness"]["missing"] == ["metrics: none"]


async def test_open_webui_sees_its_events_in_order() -> None:
    chunks = payloads(await post(ASK | {"stream": True}, None, **WEBUI))
    events = [chunk["event"] for chunk in chunks if "event" in chunk]
    assert [e["type"] for e in events] == ["status", "source", "source", "status"]
    assert events[0]["data"] == {"description": "Searching", "done": False}
    assert events[-1]["data"] == {"action": "sources_retrieved", "count": 2, "done": True}
    log, runbook = events[1]["data"], events[2]["data"]
    assert log["source"] == {"id": LOG.id, "name": "Log shop/checkout"}
    assert runbook["source"]["url"] == RUNBOOK.url
    assert log["metadata"] == [{"source": LOG.id, "name": "Log shop/checkout"}]
    assert runbook["source"]["name"] == "Runbook: Pool exhausted"
    text = next(i for i, chunk in enumerate(chunks) if chunk.get("choices", [{}])[0].get("delta", {}).get("content"))
    assert all("event" not in chunk for chunk in chunks[text:])


@pytest.mark.parametrize(
    ("trouble", "code"), [(SinkUnavailable("secret"), "service_unavailable"), (ValueError("secret"), "internal_error")]
)
async def test_a_broken_stream_keeps_its_text_and_ends_well(trouble: Exception, code: str) -> None:
    chunks = payloads(await post(ASK | {"stream": True}, FakeAssistant(trouble=trouble), **WEBUI))
    assert chunks[-1]["error"]["code"] == code
    assert any(c["choices"][0]["delta"].get("content") == "The pool " for c in chunks if "choices" in c)
    assert [c["event"]["data"]["done"] for c in chunks if c.get("event", {}).get("type") == "status"][-1] is True
    assert "secret" not in json.dumps(chunks)


def test_an_answer_that_breaks_before_any_evidence_does_not_say_done() -> None:
    events = Events()
    list(events.of(Status("Searching", False)))
    assert [e["event"]["data"] for e in events.close("Stopped")] == [{"description": "Stopped", "done": True}]
    assert list(events.close("Stopped")) == []


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_cancels_the_work(stream: bool) -> None:
    """Before the first text: the server closes the connection, and the assistant's call ends at once."""
    assistant = FakeAssistant(pause_s=30)
    app = create_app(Settings(), assistant, now=lambda: NOW)
    body = json.dumps(ASK | {"stream": stream}).encode()
    incoming: asyncio.Queue[Message] = asyncio.Queue()
    incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})

    async def send(message: Message) -> None:
        pass

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": CHAT,
        "raw_path": CHAT.encode(), "query_string": b"", "scheme": "http", "server": ("api", 80), "root_path": "",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    running = asyncio.create_task(app(scope, incoming.get, send))
    while not assistant.asked:
        await asyncio.sleep(0.01)
    incoming.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(running, 1)
    assert assistant.cancelled == 1


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ('Generate a concise title\n{ "title": "..." }', {"title": "Why is checkout failing right now? Is it"}),
        ('Predict 3-5 messages, a "follow_ups" key', {"follow_ups": [text.format("") for text in FOLLOW_UPS]}),
        ('Generate tags { "tags": ["tag1"] }', {"tags": ["operations", "network"]}),
        ("Write a search query", {}),
    ],
)
async def test_tasks_of_open_webui_cost_nothing(wanted: str, expected: Any) -> None:
    talk = (
        "<chat_history>\nUSER: why is checkout failing right now? Is it <b>DNS</b> again?\nASSISTANT: \n</chat_history>"
    )
    assistant = FakeAssistant()
    prompt = f"### Task:\n{wanted}\n### Chat History:\n{talk}"
    response = await post(ASK | {"messages": [{"role": "user", "content": prompt}], "stream": False}, assistant)
    answer = json.loads(response.json()["choices"][0]["message"]["content"])
    assert assistant.asked == []
    assert answer == expected


async def test_follow_ups_are_about_whom_the_answer_names_first() -> None:
    query = Query(turns=(Turn(role="user", content="why?"),), scope=Scope(), now=NOW)
    said = extractive_answer(await FakeAssistant().context(query), [LOG.model_copy(update={"score": 0.9})])
    talk = f"<chat_history>\nUSER: why?\nASSISTANT: {said}\n</chat_history>"
    prompt = f'### Task:\nPredict "follow_ups"\n{talk}'
    response = await post(ASK | {"messages": [{"role": "user", "content": prompt}], "stream": False})
    answer = json.loads(response.json()["choices"][0]["message"]["content"])
    assert answer["follow_ups"][0] == "What changed in checkout-7d9f-abcde in the last hour?"


async def test_a_question_about_tasks_is_a_question() -> None:
    assistant = FakeAssistant()
    await post(ASK | {"messages": [{"role": "user", "content": "### Task:\nwhy?"}]}, assistant, **WEBUI)
    assert len(assistant.asked) == 1


def shown(evidence: Evidence) -> dict[str, Any]:
    """What Open WebUI is told about one source."""
    events = Events()
    assert list(events.of(Source(1, evidence))) == []
    values: dict[str, Any] = next(iter(events.of(Delta("a"))))["event"]["data"]
    return values


@pytest.mark.parametrize(
    ("text", "fence"), [("plain", "```"), ("``` break out\n[x](http://evil)", "````"), ("`````` six", "```````")]
)
def test_evidence_cannot_leave_its_fence(text: str, fence: str) -> None:
    (document,) = shown(LOG.model_copy(update={"text": text}))["document"]
    assert document.startswith(f"{fence}text\n{text}\n{fence}\n\n- ")


def test_a_source_says_where_it_comes_from() -> None:
    hostile = LOG.model_copy(update={"entity": "pod/`![x](http://evil)\n# x", "text": "long " * 40 + "end"})
    (document,) = shown(hostile)["document"]
    text, facts = document.split("\n```\n\n")
    assert max(map(len, text.splitlines())) <= 84
    assert "".join(text.splitlines()[1:]) == hostile.text
    assert facts.splitlines() == [
        "- **Evidence** `patterns/2026.11.20/abc`",
        "- **From** `pod/'![x](http://evil) # x` in `shop`",
        "- **Seen** 2026-11-20 20:06:00 to 20:14:56 UTC, 412 times",
        "- **Kafka** topic `logs` partition 3 offset 1042 record 7",
    ]


@pytest.mark.parametrize(
    ("kind", "title", "name"),
    [
        ("metric", "http.server.errors", "Metric: http.server.errors · checkout"),
        ("alert", "https://evil", "Alert: https://evil"),
        ("log", "checkout: HikariPool-* - *", "Log: checkout: HikariPool-1 -…"),
    ],
)
def test_no_name_makes_the_browser_look_for_an_icon_elsewhere(kind: str, title: str, name: str) -> None:
    source = shown(LOG.model_copy(update={"kind": kind, "title": title, "id": "http://evil/1"}))
    assert source["source"] == {"id": "http:evil/1", "name": name}
    assert source["metadata"] == [{"source": "http:evil/1", "name": name}]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a `<think>` \\<think> b \\", "a `‹think>` ‹think> b \\"),
        ("</Thinking a='b'> <|begin_of_thought|> ◁think▷", "‹/Thinking a='b'> ‹|begin_of_thought|> ‹think▷"),
        ("<details type='tool_calls'> <code_interpreter>", "‹details type='tool_calls'> ‹code_interpreter>"),
        ("![x](http://evil/x.png) !!![y][z] no!", "! [x](http://evil/x.png) !!! [y][z] no!"),
        ("`<html><script>x</script></html>`", "`‹html>‹script>x‹/script>‹/html>`"),
        ("```html\n<b>\n``` ~~~~  \t SVG\n```sh\nls `html`", "```text\n<b>\n``` ~~~~text\n```sh\nls `html`"),
        ("cat <in | sort > out; a<b <redacted:email> <", "cat <in | sort > out; a<b <redacted:email> <"),
    ],
)
def test_no_tag_hides_what_follows_it(text: str, expected: str, size: int) -> None:
    events = Events()
    pieces = [events.text(text[start : start + size]) for start in range(0, len(text), size)]
    assert "".join([*pieces, events.rest()]) == expected


@pytest.mark.parametrize(("events", "expected"), [(True, "a ‹think> b <"), (False, "a <think> b <")])
async def test_text_that_looks_like_a_tag_arrives_whole(events: bool, expected: str) -> None:
    async def parts() -> AsyncGenerator[AnswerPart, None]:
        context = await FakeAssistant().context(
            Query(turns=(Turn(role="user", content="why?"),), scope=Scope(), now=NOW)
        )
        yield Delta("a <thi")
        yield Delta("nk> b <")
        yield Done(mode="model", reason="", context=context, usage=Usage(), finish_reason="stop")

    envelope = Envelope(id="1", created=0, model="freshet")
    sent = [c async for c in chunks(parts(), envelope, Wish(usage=False, events=events)) if "choices" in c]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in sent) == expected


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://user:pw@host/", "//host/x", "http:///x", "http://[bad", "http://h/\n"]
)
def test_only_plain_web_links_of_runbooks_are_links(url: str) -> None:
    assert "url" not in shown(RUNBOOK.model_copy(update={"url": url}))["source"]
