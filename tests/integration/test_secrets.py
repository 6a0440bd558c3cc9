"""Secrets in every field of every signal are nowhere to be found, and one that slipped through can be purged."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from cag.store import RunbookStore
from deploy.installation import Installation
from deploy.local.services import Endpoints
from processors.scan import scan
from processors.sink import open_index
from schemas.errors import SinkUnavailable
from schemas.settings import OpenSearch, Redis, Settings
from streams.purge import PURGED, labels
from tests.benchmarks.installed import clear, installed
from tests.redaction import canaries

pytestmark = pytest.mark.integration
PLANTED = 2_000
SLIPPED = "zebraquagga"  # no rule knows it, and it is a word of the template
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    with installed("it-secrets", state, endpoints, 4) as made:
        made.extra |= canaries.QUICK
        yield made


def test_no_canary_gets_anywhere(installation: Installation) -> None:
    figures = canaries.run(installation, PLANTED, seed=1)
    assert not figures.examples
    assert figures.ok
    assert figures.planted == PLANTED


@pytest.fixture
def slipped(installation: Installation) -> Iterator[Installation]:
    """An installation whose index and runbooks hold the text, and whose worker runs."""
    clear(installation)
    installation.run("streams", "topics", "create")
    producer = Producer({"bootstrap.servers": installation.endpoints.kafka})
    for topic, value in _messages():
        producer.produce(f"{installation.name}.{topic}", json.dumps(value).encode(), partition=0)
    producer.produce(f"{installation.name}.runbooks", f"# Till\n\nUse {SLIPPED} here.\n".encode(), key=b"till.md")
    assert producer.flush(10) == 0
    installation.start_worker()
    installation.wait(lambda: len(_holding(installation)) >= 5, "the documents", "worker-1", PATIENCE_S)
    installation.wait(lambda: SLIPPED in _runbooks(installation), "the runbook", "worker-1", PATIENCE_S)
    yield installation
    installation.stop()


def _messages() -> Iterator[tuple[str, dict[str, Any]]]:
    now_s = time.time() - 60
    iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    who = {"pod_name": "till-0", "namespace_name": "shop", "container_name": "till"}
    for second in range(3):
        yield "logs", {"@timestamp": now_s + second, "log": f"opened with {SLIPPED} twice", "kubernetes": who}
    labels = {"__name__": "opened", "namespace": "shop", "with": SLIPPED, "severity": SLIPPED}
    yield "metrics", {"timestamp": iso, "value": "1", "name": "opened", "labels": labels}
    alert = {
        "status": "firing",
        "labels": {"alertname": "Opened", "topic": SLIPPED},
        "startsAt": iso,
        "fingerprint": "f",
    }
    yield "alerts", {"version": "4", "receiver": "k", "alerts": [alert | {"annotations": {"summary": SLIPPED}}]}
    about = {"kind": "Pod", "name": "till-0", "namespace": "shop"}
    event = {"kind": "Event", "metadata": {"uid": "u", "namespace": "shop"}, "reason": "Opened", "message": SLIPPED}
    yield "k8s-events", event | {"type": "Warning", "lastTimestamp": iso, "involvedObject": about}


def _documents(installation: Installation) -> dict[str, dict[str, Any]]:
    search = OpenSearch.model_validate({"url": installation.endpoints.opensearch, "prefix": installation.name})
    settings = Settings(opensearch=search)
    return {
        f"{target.kind}/{target.id}": source
        for label in labels(settings)
        for target, source in scan(open_index(settings, label))
    }


def _holding(installation: Installation) -> list[str]:
    try:
        documents = _documents(installation)
    except SinkUnavailable:  # an index that was made a moment ago has no shard yet
        return []
    return [name for name, source in documents.items() if SLIPPED in json.dumps(source)]


def _runbooks(installation: Installation) -> str:
    url = installation.endpoints.environment()["FRESHET_REDIS__URL"]
    store = RunbookStore(Redis(url=url, namespace=installation.name))
    try:
        corpus = store.snapshot()
        return " ".join(each.text for runbook in corpus.runbooks for each in runbook.sections) if corpus else ""
    finally:
        store.close()


def test_purge_removes_a_text_and_says_what_kafka_holds(slipped: Installation) -> None:
    arguments = ("streams", "purge", "--regex", "zebra[a-z]{6}", "--json")
    before = _documents(slipped)
    dry = json.loads(slipped.run(*arguments, "--dry-run"))
    assert not dry["purged"]
    assert SLIPPED not in json.dumps(dry)
    assert _documents(slipped).keys() == before.keys()
    done = json.loads(slipped.run(*arguments, "--yes"))
    after = _documents(slipped)
    assert done["purged"]
    assert (
        done["found"]
        == dry["found"]
        == dict.fromkeys(("alerts", "events", "occurrences", "patterns", "runbooks", "series"), 1)
    )
    assert not any(SLIPPED in json.dumps(source) for source in after.values())
    assert after.keys() == before.keys(), "ids stay"
    assert [d.get("count") for d in after.values()] == [before[name].get("count") for name in after], "counts stay"
    assert PURGED in _runbooks(slipped)
    assert SLIPPED not in _runbooks(slipped)
    logs = next(topic for topic in done["kafka"] if topic["topic"] == slipped.topics["logs"])
    assert logs["known"] == {"0": [0, 1, 2]}
    assert any(topic["role"] == "dead letters" for topic in done["kafka"])
    assert "FRESHET_REDACTION__EXTRA" in done["setting"]
    _wait_for_vector(slipped)
    assert not json.loads(slipped.run(*arguments, "--yes"))["found"]


def _wait_for_vector(installation: Installation) -> None:
    """The worker sees that the changed pattern has none, and computes it from the words that are left."""
    search = OpenSearch.model_validate({"url": installation.endpoints.opensearch, "prefix": installation.name})
    settings = Settings(opensearch=search)
    (label,) = labels(settings)
    index = open_index(settings, label)
    installation.wait(lambda: not index.without_vector().total, "the new vector", "worker-1", PATIENCE_S)
