"""The main job as a user runs it, then the chat API on top of what it left running."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.demo import free_port
from deploy.installation import CHECKOUT, Installation
from deploy.local import services
from deploy.local.services import Endpoints
from schemas.records import Coordinates
from tests.loopback import running
from tests.standin_model import StandIn

pytestmark = pytest.mark.integration
NAME = "demo-test"
QUESTION = "why is shipping returning errors?"


@pytest.fixture(scope="module")
def demo(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """`make demo` with a shorter history, kept running. Its verdict is the first test."""
    port = free_port(0)
    arguments = ["--incident", "dns-failure", "--seed", "3", "--minutes", "8", "--port", str(port), "--name", NAME]
    done = subprocess.run(
        [sys.executable, "-m", "deploy.demo", *arguments, "--keep", "--state", str(state)],
        check=False, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    installation = Installation(NAME, state.resolve(), endpoints, cluster="shop-prod")
    installation.api_url = f"http://127.0.0.1:{port}"
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        verdict = json.loads(done.stdout.splitlines()[-1])
        assert verdict["ok"], done.stdout
        yield installation
    finally:
        installation.stop()
        installation.remove()


def test_a_citation_leads_to_the_very_bytes_in_kafka(demo: Installation) -> None:
    context = demo.context(QUESTION)
    assert context.freshness.newest is not None
    cited = [e for e in context.evidence if e.kind != "runbook"]
    assert {"log", "event", "alert", "metric"} <= {e.kind for e in cited}
    for evidence in cited:
        detail = httpx.get(f"{demo.api_url}/v1/evidence/{evidence.id}", timeout=30).raise_for_status().json()
        assert detail["evidence"]["text"] == evidence.text
        assert [record["status"] for record in detail["records"]] == ["found"] * len(detail["records"])
        record = detail["records"][0]
        assert record["sha256"] == hashlib.sha256(_bytes_at(demo, record["coordinates"])).hexdigest()


def _bytes_at(demo: Installation, coordinates: str) -> bytes:
    at = Coordinates.parse(coordinates)
    consumer = Consumer({"bootstrap.servers": demo.endpoints.kafka, "group.id": "unused", "enable.auto.commit": False})
    consumer.assign([TopicPartition(at.topic, at.partition, at.offset)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    value = message.value()
    assert isinstance(value, bytes)
    return value


def test_the_openai_client_streams_a_cited_answer_with_freshness(demo: Installation) -> None:
    with openai.OpenAI(base_url=f"{demo.api_url}/v1", api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["freshet"]
        chunks = client.chat.completions.create(
            model="freshet", messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Most likely" in text
    assert "[1]" in text
    assert "Newest data" in text
    assert "no model wrote this" in text


@pytest.fixture(scope="module")
def with_model(demo: Installation) -> Iterator[Installation]:
    """A second API of the same installation, with the stand-in behind KServe's path layout."""
    with running(StandIn("grounded").app()) as url:
        model = {"FRESHET_MODEL__BASE_URL": f"{url}/openai/v1", "FRESHET_MODEL__FIRST_TOKEN_TIMEOUT_S": "3"}
        second = replace(demo, extra={**model, "FRESHET_EMBEDDER__KIND": "hashing"})
        second.start_api(port=free_port(0), role="api-with-model")
        yield second
        second.stop("api-with-model")


def test_a_model_words_the_answer_and_cites_evidence(with_model: Installation) -> None:
    answer = _ask(with_model, QUESTION)
    assert answer["freshet"]["mode"] == "model"
    numbers = [c["number"] for c in answer["freshet"]["citations"]]
    assert any(f"[{n}]" in answer["choices"][0]["message"]["content"] for n in numbers)


@pytest.mark.parametrize("behaviour", ["error", "cuts", "garbage", "empty", "late", "midway"])
def test_whatever_the_model_does_an_answer_comes_and_says_so(with_model: Installation, behaviour: str) -> None:
    answer = _ask(with_model, f"{QUESTION} [[standin:{behaviour}]]")
    assert answer["freshet"]["mode"] == "extractive"
    assert "no model wrote this" in answer["choices"][0]["message"]["content"]


def test_without_redis_answers_come_and_say_what_is_missing(demo: Installation, state: Path) -> None:
    services.halt(state, "redis")
    try:
        said: list[str] = []

        def noticed() -> bool:
            said[:] = demo.context(QUESTION).freshness.missing
            return any("runbooks may be out of date" in sentence for sentence in said)

        demo.wait(noticed, "the API to notice that Redis is gone", "api", 30)
    finally:
        services.start(state, "redis")
    assert demo.context(QUESTION).evidence


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b'{"model":"freshet"}', 400),
        (b'{"model":"other","messages":[{"role":"user","content":"x"}]}', 404),
    ],
)
def test_bad_requests_get_openai_errors_with_a_request_id(demo: Installation, content: bytes, status: int) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{demo.api_url}/v1/chat/completions", content=content, headers=headers, timeout=30)
    assert answer.status_code == status
    assert answer.headers["x-request-id"]
    assert {"message", "type", "param", "code"} <= answer.json()["error"].keys()


def _ask(api: Installation, question: str) -> dict[str, Any]:
    body = {"model": "freshet", "messages": [{"role": "user", "content": question}]}
    answer = httpx.post(f"{api.api_url}/v1/chat/completions", json=body, timeout=60).raise_for_status()
    return dict(answer.json())
