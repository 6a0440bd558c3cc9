"""Incidents over HTTP: whose they are, what may be asked, and feedback that is kept durably or refused."""

from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from api.app import create_app
from cag.insight_reader import InsightReader
from processors.insights.documents import write_of
from processors.insights.feedback import encoded, feedback_on
from schemas.answer_settings import Access, Api, Audit, Quotas
from schemas.context import Grant, Scope
from schemas.documents import Names
from schemas.errors import SinkUnavailable
from schemas.settings import Redis, Settings
from schemas.summaries import Feedback
from tests.fake_assistant import INSIGHTS, NOW, FakeAssistant
from tests.unit.insight_cases import insight
from tests.unit.test_incidents import hit

SHOP, PAY = INSIGHTS
POLICY = """
keys:
  - {name: bot, secret_file: bot.key, grants: [{namespaces: [shop]}]}
  - {name: none, secret_file: none.key}
"""
ADMIN, BOT, NONE = ({"authorization": f"Bearer {name}-key-0123456789"} for name in ("all", "bot", "none"))
FEEDBACK = f"/v1/insights/{SHOP.id}/feedback"


class Kept:
    """A feedback topic in memory."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.trouble, self.said = trouble, list[tuple[Feedback, str]]()

    async def send(self, feedback: Feedback, note: str) -> None:
        if self.trouble:
            raise self.trouble
        self.said.append((feedback, note))

    async def close(self) -> None:
        pass


async def answers(
    tmp_path: Path, *calls: tuple[str, dict[str, str], Any], kept: Kept | None = None, **quotas: int
) -> tuple[list[httpx.Response], list[dict[str, Any]]]:
    """What is answered to each call (path, headers, body; no body: GET), and the audit log."""
    for name in ("bot", "none"):
        (tmp_path / f"{name}.key").write_text(f"{name}-key-0123456789")
    (tmp_path / "policy.yaml").write_text(POLICY)
    settings = Settings(
        access=Access(policy_file=tmp_path / "policy.yaml"),
        api=Api(api_keys=(SecretStr("all-key-0123456789"),)),
        audit=Audit(file=tmp_path / "audit.jsonl"),
        quotas=Quotas(**quotas),
        redis=Redis(url="redis://127.0.0.1:1/0"),
    )
    app = create_app(settings, FakeAssistant(), now=lambda: NOW, feedback=kept or Kept())
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            found = [
                await (client.get(path, headers=head) if body is None else client.post(path, json=body, headers=head))
                for path, head, body in calls
            ]
    return found, [orjson.loads(line) for line in (tmp_path / "audit.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize(
    ("path", "head", "status", "ids"),
    [
        ("/v1/insights", ADMIN, 200, [SHOP.id, PAY.id]),
        ("/v1/insights?state=open", ADMIN, 200, [SHOP.id]),
        ("/v1/insights?state=resolved&state=merged", ADMIN, 200, [PAY.id]),
        ("/v1/insights?limit=1", ADMIN, 200, [SHOP.id]),
        ("/v1/insights?namespace=pay&since=2026-11-20T00:00:00Z", ADMIN, 200, [PAY.id]),
        ("/v1/insights", BOT, 200, [SHOP.id]),
        ("/v1/insights?namespace=pay", BOT, 200, []),
        ("/v1/insights", NONE, 403, None),
        ("/v1/insights", {}, 401, None),
        ("/v1/insights?state=closed", ADMIN, 400, None),
        ("/v1/insights?limit=0", ADMIN, 400, None),
        ("/v1/insights?limit=201", ADMIN, 400, None),
        ("/v1/insights?since=yesterday", ADMIN, 400, None),
    ],
)
async def test_a_list_is_of_those_that_may_be_seen(
    tmp_path: Path, path: str, head: dict[str, str], status: int, ids: list[str] | None
) -> None:
    (answer,), _ = await answers(tmp_path, (path, head, None))
    assert answer.status_code == status, answer.text
    if ids is not None:
        assert [each["id"] for each in answer.json()["data"]] == ids
        assert answer.json()["more"] is ("limit=1" in path)


async def test_one_that_may_not_be_seen_is_not_there(tmp_path: Path) -> None:
    calls = [(f"/v1/insights/{which}", BOT, None) for which in (SHOP.id, PAY.id, "nothing", "a b", "x" * 300)]
    found, log = await answers(tmp_path, *calls)
    assert [answer.status_code for answer in found] == [200, 404, 404, 400, 400]
    assert found[0].json()["title"] == SHOP.title
    hidden, missing = (answer.json()["error"] for answer in found[1:3])
    assert hidden == missing
    assert [(line["outcome"], line["insights"]) for line in log] == [
        ("answered", [SHOP.id]), ("not found", [PAY.id]), ("not found", ["nothing"]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "head", "status"),
    [
        ({"verdict": "confirmed"}, BOT, 202),
        ({"verdict": "rejected", "note": "noise", "mute_s": 3600}, BOT, 202),
        ({"verdict": "confirmed", "mute_s": 3600}, BOT, 400),
        ({"verdict": "rejected", "mute_s": 1}, BOT, 400),
        ({"verdict": "rejected", "mute_s": 10**9}, BOT, 400),
        ({"verdict": "rejected", "mute_s": "3600"}, BOT, 400),
        ({"verdict": "maybe"}, BOT, 400),
        ({"verdict": "confirmed", "by": "somebody else"}, BOT, 400),
        ({"verdict": "confirmed", "note": "x" * 2_001}, BOT, 400),
        ({}, BOT, 400),
        ({"verdict": "confirmed"}, BOT | {"idempotency-key": "k" * 201}, 400),
        ({"verdict": "confirmed"}, NONE, 403),
        ({"verdict": "confirmed"}, {}, 401),
    ],
)
async def test_feedback_is_checked(tmp_path: Path, body: Any, head: dict[str, str], status: int) -> None:
    kept = Kept()
    (answer,), _ = await answers(tmp_path, (FEEDBACK, head, body), kept=kept)
    assert answer.status_code == status, answer.text
    assert len(kept.said) == (status == 202)


async def test_feedback_is_written_under_a_pseudonym_and_audited(tmp_path: Path) -> None:
    kept = Kept()
    said = {"verdict": "rejected", "note": "planned", "mute_s": 3600}
    again = BOT | {"idempotency-key": "one"}
    (first, copy, other), log = await answers(
        tmp_path, (FEEDBACK, again, said), (FEEDBACK, again, said), (FEEDBACK, ADMIN, said), kept=kept
    )
    told, note = kept.said[0]
    assert (told.incident_id, told.fingerprint, told.verdict, note) == (SHOP.id, "f1", "rejected", "planned")
    assert told.until_ms - told.time_ms == 3_600_000
    assert "bot" not in told.by
    assert first.json() == copy.json() == {
        "id": told.id, "incident_id": SHOP.id, "verdict": "rejected", "by": told.by,
        "time": "2026-11-20T20:15:00Z", "muted_until": "2026-11-20T21:15:00Z",
    }  # fmt: skip
    assert other.json()["id"] != told.id
    assert [(line["outcome"], line["verdict"], line["feedback"]) for line in log[:1]] == [
        ("answered", "rejected", told.id)
    ]
    assert "planned" not in str(log)


async def test_what_may_not_be_seen_is_not_judged(tmp_path: Path) -> None:
    kept = Kept()
    (answer,), (line,) = await answers(
        tmp_path, (f"/v1/insights/{PAY.id}/feedback", BOT, {"verdict": "rejected"}), kept=kept
    )
    assert (answer.status_code, answer.json()["error"]["code"], kept.said) == (404, "insight_not_found", [])
    assert line["outcome"] == "not found"


async def test_what_kafka_does_not_take_is_refused(tmp_path: Path) -> None:
    away = Kept(SinkUnavailable("Kafka at secret-host does not take feedback"))
    (answer,), (line,) = await answers(tmp_path, (FEEDBACK, BOT, {"verdict": "confirmed"}), kept=away)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "secret-host" not in answer.text
    assert line["outcome"] == "error"


async def test_feedback_has_a_quota(tmp_path: Path) -> None:
    found, _ = await answers(tmp_path, *[(FEEDBACK, BOT, {"verdict": "confirmed"})] * 3, requests_per_minute=2)
    assert [answer.status_code for answer in found] == [202, 202, 429]


def test_feedback_on_the_topic() -> None:
    made = feedback_on(insight(), "rejected", by="p", time_ms=1_000, key="k")
    assert made.until_ms == 0, "the settings say how long"
    assert made.id == feedback_on(insight(), "rejected", by="p", time_ms=9_000, key="k").id
    others = [
        feedback_on(insight(), "rejected", by="q", time_ms=1_000, key="k"),
        feedback_on(insight(), "confirmed", by="p", time_ms=1_000, key="k"),
        feedback_on(insight(id="other"), "rejected", by="p", time_ms=1_000, key="k"),
        feedback_on(insight(), "rejected", by="p", time_ms=1_000),
        feedback_on(insight(), "rejected", by="p", time_ms=1_001),
    ]
    assert len({made.id, *(each.id for each in others)}) == 6
    key, value = encoded(made, "why")
    assert key == made.incident_id.encode()
    assert orjson.loads(value) == made._asdict() | {"note": "why"}


class Pages:
    """An index of so many hidden incidents before one that may be seen; it ignores filters, as a defect would."""

    def __init__(self, hidden: int) -> None:
        told = [insight(id=f"{n:04x}", namespaces=("pay",)) for n in range(hidden)] + [insight(id="beef")]
        self.hits = [hit(each) | {"sort": [n]} for n, each in enumerate(told)]

    async def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        start = body["search_after"][0] + 1 if "search_after" in body else 0
        return {"hits": {"hits": self.hits[start : start + body["size"]]}}


async def test_what_is_hidden_takes_no_place_of_what_may_be_seen() -> None:
    reader = InsightReader(Pages(250), Names("shop", "g1"))  # type: ignore[arg-type]
    bot = Scope(grants=(Grant(namespaces=("shop",), cluster_objects=False),))
    found = await reader.list(bot, limit=10)
    assert ([each.id for each in found.insights], found.more) == (["beef"], False)
    everything = await reader.list(Scope(), limit=10)
    assert (len(everything.insights), everything.more) == (10, True)
    assert write_of(insight(id="beef")).target.id == "beef"
