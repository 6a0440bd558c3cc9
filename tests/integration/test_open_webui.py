"""The real Open WebUI in a real browser, in front of a real installation: what a person sees.

Needs what `make ui` installs. One shop with an incident, one namespace beside it that not everybody may see; the
stand-in plays the model. Tests run in this order: the last ones take the model and the API away.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.demo import ends_of, free_port
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop import formats
from deploy.shop.delivery import RUNBOOKS, publish
from deploy.shop.player import play, single_incident
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import HOME, build_estate
from deploy.webui import environments, server
from deploy.webui.browser import Browser, browsing
from deploy.webui.server import Account
from tests.benchmarks.installed import installed
from tests.conftest import CACHE
from tests.loopback import running
from tests.standin_model import StandIn

pytestmark = [pytest.mark.integration, pytest.mark.slow]
ADMIN = Account(email="admin@example.org", password="only-for-tests-1", name="Admin")
ANNA = Account(email="anna@example.org", password="only-for-tests-2", name="Ünal Öz")
SECRET, CANARY = "Tr0ub4dor-and-3", "ledger-canary-7731"
VAULT = "vault"  # a namespace that only the administrator may see
API_KEY, JWT_SECRET = "open-webui-key-of-the-test", "shared-by-open-webui-and-the-api-in-the-test"
EVERYTHING: dict[str, Any] = {"grants": [{}]}
POLICY = {
    "keys": [
        {
            "name": "open-webui",
            "sha256": hashlib.sha256(API_KEY.encode()).hexdigest(),
            "only_for_users": True,
            **EVERYTHING,
        }
    ],
    "groups": {"webui-admin": EVERYTHING},
    "users": {ANNA.email: {"grants": [{"namespaces": [HOME]}]}},
    "anonymous": EVERYTHING,  # the test itself, which counts and waits
}
QUICK = {
    "FRESHET_EMBEDDER__KIND": "hashing",
    "FRESHET_WORKER__SESSION_TIMEOUT_S": "6",
    "FRESHET_ACCESS__ANONYMOUS": "true",
    "FRESHET_ACCESS__WEBUI_JWT_SECRET": JWT_SECRET,
}
WHY = "why can accounts not log in to its database?"


@dataclass(kw_only=True)
class Site:
    """All that runs, and the counts that say what was asked of it."""

    installation: Installation
    model: StandIn
    url: str
    api_port: int

    def answers(self) -> float:
        """Answers that the API has made, whoever worded them."""
        text = httpx.get(f"{self.installation.api_url}/metrics", timeout=10).text
        return sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("freshet_api_answers_total")
        )


@pytest.fixture(scope="module")
def product() -> Path:
    """Where Open WebUI is installed: skips on a laptop without it, fails in CI."""
    there = [environments.is_installed(each, CACHE) for each in (environments.PRODUCT, environments.BROWSER)]
    if not (all(there) and environments.CHROMIUM.is_file()):
        reason = "Open WebUI or the browser is not installed: run `make ui`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return environments.home_of(environments.PRODUCT, CACHE)


@pytest.fixture(scope="module")
def site(product: Path, state: Path, endpoints: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    model, policy = StandIn("grounded"), tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_text(json.dumps(POLICY))
    with installed("it-webui", state, endpoints, partitions=1) as installation, running(model.app()) as url:
        installation.extra |= QUICK
        installation.extra |= {"FRESHET_MODEL__BASE_URL": f"{url}/v1", "FRESHET_ACCESS__POLICY_FILE": str(policy)}
        installation.start_worker()
        installation.start_api(port=(port := free_port(0)))
        installation.run("cag", "publish", str(RUNBOOKS))
        publish(telemetry(datetime.now(UTC)), endpoints.kafka, topics=installation.topics)
        installation.wait_indexed(ends_of(installation))
        webui = server.start(
            installation, product, port=free_port(0), admin=ADMIN, api_key=API_KEY, jwt_secret=JWT_SECRET
        )
        server.add_user(webui, server.sign_in(webui, ADMIN), ANNA)
        yield Site(installation=installation, model=model, url=webui, api_port=port)


def telemetry(now: datetime) -> Iterator[Message]:
    """Some minutes of a shop with an incident, a password in its logs, and errors of a vault."""
    scenario = single_incident("pool-exhaustion", seed=1, end=now, minutes=3, rate=20)
    yield from play(scenario)
    pods = build_estate((HOME, VAULT), seed=1)
    leak = f"cannot log in to database: postgres://accounts:{SECRET}@accounts-db:5432/people refused the password"
    for seconds in range(60):
        at_s = now.timestamp() - seconds
        for namespace, text in ((HOME, leak), (VAULT, f"cannot seal {CANARY}: disk is full")):
            log = Log(at_s=at_s, pod=pods.pods_of(namespace, "accounts")[0], level="error", text=text)
            yield Message(topic="logs", key=None, value=formats.fluent_bit(log), timestamp_ms=int(at_s * 1000))


@pytest.fixture(scope="module")
def page(site: Site) -> Iterator[Browser]:
    """An ordinary user, signed in."""
    with browsing(CACHE, print) as browser:
        assert browser.do("enter", url=site.url, email=ANNA.email, password=ANNA.password) == server.MODEL
        yield browser


def ask(page: Browser, site: Site, question: str) -> dict[str, Any]:
    """The whole answer in a new chat."""
    page.do("begin", url=site.url)
    page.do("ask", text=question)
    return dict(page.do("answer"))


def test_a_person_sees_an_answer_with_sources_that_stay(page: Browser, site: Site) -> None:
    page.do("begin", url=site.url)
    assert page.do("pick", name=server.MODEL) == server.MODEL
    page.do("ask", text=WHY)
    assert page.do("status")
    first = page.do("answer")
    assert first["markers"]
    sources = page.do("sources")
    assert [source.split("\n")[0] for source in sources] == [str(n + 1) for n in range(len(sources))]
    opened = page.do("source")
    assert "<redacted:" in opened["text"]
    assert "topic it-webui.logs partition 0 offset" in opened["text"]
    assert opened["drawn"] == 0
    page.do("reload")
    assert page.do("answer")["markers"] == first["markers"]
    assert page.do("source") == opened
    assert page.do("title").startswith("Why can accounts not log in")


def test_each_user_sees_what_the_policy_grants(page: Browser, site: Site) -> None:
    question = f"what is wrong in {VAULT}?"
    seen = server.ask(site.url, server.sign_in(site.url, ADMIN), question)
    assert CANARY in str(seen["freshet"]["citations"])
    assert CANARY not in ask(page, site, question)["text"]


def test_neither_secrets_nor_the_vault_are_anywhere_and_the_page_asks_nobody_else(page: Browser, site: Site) -> None:
    token = server.sign_in(site.url, ANNA)
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        chats = client.get("/api/v1/chats/").raise_for_status().json()
        stored = [client.get(f"/api/v1/chats/{chat['id']}").raise_for_status().text for chat in chats]
    assert any("<redacted:" in text for text in stored)
    assert not any(CANARY in text for text in stored)
    assert not any(SECRET in text for text in (*stored, str(site.model.requests)))
    assert page.do("hosts") == [site.url.removeprefix("http://")]


def test_follow_up_questions_are_suggested_and_inherit(page: Browser, site: Site) -> None:
    ask(page, site, "why is inventory failing?")
    suggested = page.do("suggestions")
    assert page.do("suggestion") == suggested[0]
    assert page.do("answer", number=2)["markers"]
    page.do("ask", text="and its database?")
    page.do("answer", number=3)
    assert "inventory" in str(site.model.requests[-1]["messages"])


def test_tasks_ask_nothing_and_tools_are_dropped(page: Browser, site: Site) -> None:
    before, asked = site.answers(), len(site.model.requests)
    ask(page, site, "is shop healthy?")
    page.do("suggestions")  # asked for after the answer; the title before it, the tags beside them
    assert site.answers() - before == 1
    tool = {"type": "function", "function": {"name": "search_chats", "parameters": {"type": "object"}}}
    server.ask(site.url, server.sign_in(site.url, ANNA), "is shop healthy?", tools=[tool])
    assert len(site.model.requests) - asked == 2
    assert not any("tools" in request or "search_chats" in str(request) for request in site.model.requests)


def test_text_streams_and_the_stop_button_closes_the_model_call(page: Browser, site: Site) -> None:
    site.model.behaviour, cancelled = "slow", site.model.cancelled
    page.do("begin", url=site.url)
    page.do("ask", text=WHY)
    seen = page.do("growing", words="This is")["text"]
    page.do("stop")
    deadline = time.monotonic() + 10
    while site.model.cancelled == cancelled and time.monotonic() < deadline:
        time.sleep(0.05)
    # Only a stream that is closed before its own end counts as cancelled.
    assert site.model.cancelled == cancelled + 1
    assert "pieces of evidence" in seen  # the status
    assert "This is" in page.do("answer")["text"]


def test_without_the_model_the_evidence_answers_and_says_so(page: Browser, site: Site) -> None:
    site.model.behaviour = "error"
    answer = ask(page, site, WHY)
    assert "no model wrote this" in answer["text"]
    assert answer["markers"]


def test_without_the_api_the_page_says_what_is_wrong(page: Browser, site: Site) -> None:
    page.do("begin", url=site.url)
    site.installation.stop("api")
    page.do("ask", text=WHY)
    assert "Server Connection Error" in page.do("answer")["text"]
    site.installation.start_api(port=site.api_port)
    assert ask(page, site, WHY)["markers"]
