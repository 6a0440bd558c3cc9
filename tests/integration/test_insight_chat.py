"""An incident from the index to whoever asks: in scope, as it was known, judged, exported without its secrets."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer

from cag.topic import describe, read_to_end
from deploy.demo import free_port
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop import formats
from deploy.shop.delivery import publish
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import CLUSTER, Pod, Service
from processors.insights.documents import write_of
from processors.sink import open_index
from schemas.errors import StartupError
from schemas.insights import Insight
from schemas.records import Message as Record
from schemas.settings import Kafka, OpenSearch, Settings
from streams.insights.feedback import feedback_of
from streams.insights.records import Live, RecordEncoder
from streams.purge import PURGED
from tests.benchmarks.installed import installed
from tests.evaluation.sets import LabelledSet
from tests.unit.insight_cases import insight, symptom

pytestmark = pytest.mark.integration
TOKEN = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
PATIENCE_S = 60.0
ADMIN, BOT = ({"authorization": f"Bearer {name}-key-0123456789"} for name in ("all", "bot"))


@pytest.fixture
def installation(state: Path, endpoints: Endpoints, tmp_path: Path) -> Iterator[Installation]:
    keys = [{"name": "bot", "sha256": sha256(b"bot-key-0123456789").hexdigest(), "grants": [{"namespaces": ["shop"]}]}]
    (tmp_path / "policy.yaml").write_text(json.dumps({"keys": keys}))
    with installed("it-incidents", state, endpoints, partitions=1) as made:
        made.extra |= {
            "FRESHET_EMBEDDER__KIND": "hashing",
            "FRESHET_ACCESS__POLICY_FILE": str(tmp_path / "policy.yaml"),
            "FRESHET_API__API_KEYS": '["all-key-0123456789"]',
        }
        # The worker of this test only indexes: which incidents there are is written by hand.
        replace(made, insights=True).run("streams", "topics", "create")
        made.start_worker()
        made.insights = True
        made.start_api(port=free_port(0))
        yield made


def told(installation: Installation, *revisions: Insight) -> None:
    """Into index and topic, as the agent would; searchable when it returns."""
    search = OpenSearch.model_validate({"url": installation.endpoints.opensearch, "prefix": installation.name})
    index = open_index(Settings(opensearch=search), "any")
    writes = [write_of(each) for each in revisions]
    index.ensure_days([write.target for write in writes])
    outcomes = index.bulk(writes)
    assert outcomes is not None
    assert {outcome.status for outcome in outcomes} <= {200, 201}, outcomes
    index.request("POST", f"/{installation.name}-insights/_refresh")
    topic = f"{installation.name}.incident-insights"
    encode = RecordEncoder(Live(topic=topic, source="/freshet/test"), None)
    producer = Producer({"bootstrap.servers": installation.endpoints.kafka})
    for each in revisions:
        record = encode(each)
        producer.produce(topic, record.value, key=record.key, headers=record.headers)
    assert producer.flush(10) == 0


def test_an_incident_is_asked_for_judged_and_exported(installation: Installation, tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    began = now - timedelta(minutes=5)
    lines(installation, began, now)
    with httpx.Client(base_url=installation.api_url, timeout=60, trust_env=False) as client:
        piece = found_line(installation, client)
        opened = insight(
            cluster=CLUSTER, started=began, detected=began + timedelta(seconds=30),
            updated=began + timedelta(seconds=30),
            causes=(insight().causes[0].model_copy(update={"evidence": (piece["id"],)}),),
            symptoms=(symptom(first=began, last=now, name="Connection is not available", evidence=piece["id"]),),
        )  # fmt: skip
        hidden = opened.model_copy(update={"id": "5ec4e7", "namespaces": ("shop", "pay"), "title": "a secret of pay"})
        told(installation, hidden, opened)

        assert listed(client, ADMIN) == {opened.id, hidden.id}
        assert listed(client, BOT) == {opened.id}
        assert client.get(f"/v1/insights/{hidden.id}", headers=BOT).status_code == 404
        before = ask(client, "any incidents right now?", now=opened.started + timedelta(seconds=10))
        assert "No incident is open" in before
        answer = ask(client, "what is open?")
        assert "1 incident open" in answer
        assert f"since {opened.started:%H:%M:%S} UTC" in answer
        assert "secret of pay" not in answer
        assert "secret of pay" in ask(client, "what is open?", ADMIN)
        context = client.post("/v1/context", json={"question": "why is inventory failing?"}, headers=BOT).json()
        (incident,) = [each for each in context["evidence"] if each["kind"] == "incident"]
        assert context["evidence"].index(incident) < 3
        detail = client.get(f"/v1/evidence/{incident['id']}", headers=BOT).raise_for_status().json()
        assert detail["records"][0]["status"] == "found", detail["records"]
        assert set(incident["coordinates"]) <= set(piece["coordinates"])

        export = ("streams", "insights", "export", opened.id, "--to", str(tmp_path / "case"))
        with pytest.raises(StartupError, match="has no feedback: confirm it"):
            installation.run(*export)
        said = client.post(
            f"/v1/insights/{opened.id}/feedback", json={"verdict": "confirmed", "note": TOKEN}, headers=BOT
        )
        assert said.status_code == 202, said.text
        (record,) = read(installation, f"{installation.name}.insight-feedback")
        assert (record.key, feedback_of(record).id) == (opened.id.encode(), said.json()["id"])
        assert TOKEN.encode() not in (record.value or b"")
        done = json.loads(installation.run(*export).splitlines()[-1])
        assert (done["ok"], done["confirmed"], done["lost"], done["records"]) == (True, True, [], {"logs": 10})
        case = LabelledSet.read(tmp_path / "case")
        assert case.tasks[0].expect[0] == {"kind": "object", "name": "inventory"}
        written = gzip.decompress(case.path("logs.jsonl.gz").read_bytes())
        assert b"Connection is not available" in written
        assert TOKEN.encode() not in written

        ended = opened.model_copy(update={"revision": 2, "state": "resolved", "resolved": now, "updated": now})
        told(installation, ended)
        later = now + timedelta(seconds=5)
        assert "No incident is open" in ask(client, "what is open?", now=later)
        assert "1 incident resolved" in ask(client, "which incidents were resolved in the last hour?", now=later)
        assert "1 incident open" in ask(client, "what is open?", now=now - timedelta(seconds=60))

        purged = json.loads(installation.run("streams", "purge", "--regex", "a secret of [a-z]{3}", "--yes", "--json"))
        assert purged["found"] == {"insights": 1}
        assert "insights" in {topic["role"] for topic in purged["kafka"]}
        assert PURGED in client.get(f"/v1/insights/{hidden.id}", headers=ADMIN).json()["title"]


def lines(installation: Installation, began: datetime, now: datetime) -> None:
    """Ten of a pod of the incident, with a secret in each, and one of another namespace."""
    service = Service(name="inventory", style="json")
    pods = [
        Pod(name="inventory-7d9f8c6b5d-abcde", namespace=namespace, service=service, node="n1", ip="10.0.0.1",
            replica_set="inventory-7d9f8c6b5d", version="1")
        for namespace in ("shop", "pay")
    ]  # fmt: skip
    at_s = [began.timestamp() + n * 10 for n in range(10)]
    logs = [Log(at_s=at, pod=pods[0], level="error", text=f"Connection is not available, token {TOKEN}") for at in at_s]
    logs.append(Log(at_s=at_s[0], pod=pods[1], level="error", text="of another namespace"))
    messages = [
        Message(topic="logs", key=b"k", value=formats.otlp_logs_json([log]), timestamp_ms=int(now.timestamp() * 1000))
        for log in logs
    ]
    publish(messages, installation.endpoints.kafka, topics=installation.topics)


def found_line(installation: Installation, client: httpx.Client) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        context = client.post("/v1/context", json={"question": "why is inventory failing?"}, headers=BOT).json()
        for piece in context["evidence"]:
            if piece["count"] == 10:
                return dict(piece)
        time.sleep(0.5)
    raise AssertionError(f"the lines were not indexed; see {installation.log('worker-1')}")


def listed(client: httpx.Client, head: dict[str, str]) -> set[str]:
    answer = client.get("/v1/insights?state=open", headers=head).raise_for_status().json()
    return {each["id"] for each in answer["data"]}


def ask(client: httpx.Client, question: str, head: dict[str, str] = BOT, now: datetime | None = None) -> str:
    body: dict[str, Any] = {"model": "freshet", "messages": [{"role": "user", "content": question}]}
    body |= {"freshet": {"now": now.isoformat()}} if now else {}
    answer = client.post("/v1/chat/completions", json=body, headers=head).raise_for_status().json()
    return str(answer["choices"][0]["message"]["content"])


def read(installation: Installation, topic: str) -> list[Record]:
    kafka = Kafka(bootstrap_servers=installation.endpoints.kafka)
    return [each for each in read_to_end(kafka, describe(kafka, topic)) if isinstance(each, Record)]
