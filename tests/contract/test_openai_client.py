"""OpenAI's own SDK and our terminal client against the API, over a real socket."""

import json
import time
from collections.abc import Callable, Iterator

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import SecretStr
from structlog.testing import capture_logs
from typer.testing import CliRunner

from api.__main__ import app as cli
from api.app import create_app
from schemas.answer_settings import Api
from schemas.errors import SinkUnavailable
from schemas.settings import Settings
from tests.fake_assistant import LOG, NOW, FakeAssistant
from tests.loopback import running

ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "why?"}]
KEY = "sk-test"


@pytest.fixture
def assistant() -> FakeAssistant:
    return FakeAssistant()


@pytest.fixture
def url(assistant: FakeAssistant) -> Iterator[str]:
    settings = Settings(api=Api(api_keys=(SecretStr(KEY),)))
    # The server's log lines would mix with what the commands print here: both are in one process.
    with capture_logs(), running(create_app(settings, assistant, now=lambda: NOW)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=10) as made:
        yield made


def test_models_are_listed_and_found(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["freshet"]
    assert client.models.retrieve("freshet").owned_by == "freshet"


def test_a_whole_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="freshet", messages=ASK, temperature=0.2)
    assert answer.choices[0].message.content == "The pool is exhausted [1]. Raise it [2]."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 16
    assert answer.model_extra is not None
    assert answer.model_extra["freshet"]["citations"][0]["id"] == LOG.id


def test_a_streamed_answer(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="freshet", messages=ASK, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "The pool is exhausted [1]. Raise it [2]."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [16]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda c: c.chat.completions.create(model="gpt-5", messages=ASK), openai.NotFoundError),
        (lambda c: c.chat.completions.create(model="freshet", messages=ASK, n=2), openai.BadRequestError),
        (lambda c: c.with_options(api_key="wrong").models.list(), openai.AuthenticationError),
        (lambda c: c.embeddings.create(model="freshet", input="a"), openai.NotFoundError),
    ],
)
def test_refusals_are_the_sdks_own_errors(
    client: OpenAI, ask: Callable[[OpenAI], object], error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as caught:
        ask(client)
    assert caught.value.request_id


def test_an_index_that_is_away_is_an_error_in_both_ways(client: OpenAI, assistant: FakeAssistant) -> None:
    assistant.trouble = SinkUnavailable("away")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="freshet", messages=ASK)
    assert caught.value.status_code == 503
    with (
        client.chat.completions.create(model="freshet", messages=ASK, stream=True) as stream,
        pytest.raises(openai.APIError, match="store is away"),
    ):
        list(stream)


@pytest.mark.parametrize("chunks_read", [1, 2])
def test_hanging_up_ends_the_work_within_a_second(client: OpenAI, assistant: FakeAssistant, chunks_read: int) -> None:
    """Before the first text (only the role has come), and in the middle of it."""
    assistant.pause_s = 30 if chunks_read == 1 else 0.0
    assistant.late_pause_s = 30
    with client.chat.completions.create(model="freshet", messages=ASK, stream=True) as stream:
        for _ in range(chunks_read):
            next(stream)
    deadline = time.monotonic() + 1
    while not assistant.cancelled and time.monotonic() < deadline:
        time.sleep(0.02)
    assert assistant.cancelled == 1


def test_the_terminal_shows_answer_sources_and_freshness(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_API__API_KEYS", json.dumps([KEY]))
    monkeypatch.setenv("COLUMNS", "160")
    shown = CliRunner().invoke(cli, ["ask", "why?", "--url", url, "--namespace", "shop"])
    assert shown.exit_code == 0, shown.output
    for part in ("The pool is exhausted [1].", LOG.id, "checkout-7d9f-abcde", "Fresh.", "mode model", "×412"):
        assert part in shown.output
    assert "\x1b" not in shown.output


def test_the_terminal_has_json_for_scripts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_API__API_KEYS", json.dumps([KEY]))
    answer = json.loads(CliRunner().invoke(cli, ["ask", "why?", "--url", url, "--json"]).stdout)
    assert answer["freshet"]["mode"] == "model"
    detail = json.loads(CliRunner().invoke(cli, ["evidence", LOG.id, "--url", url, "--json"]).stdout)
    assert detail["evidence"]["id"] == LOG.id
