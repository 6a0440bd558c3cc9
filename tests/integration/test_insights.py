"""Incidents on real services: told within seconds, resolved later, and continued by whoever is started after a kill."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest

from cag.topic import describe, read_to_end
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop.delivery import publish
from deploy.shop.player import passing_incidents, play
from deploy.shop.topology import CLUSTER
from processors.index import connect
from processors.insights.reader import Present
from processors.registry import address, registry_client
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import OpenSearch, Registry, Settings
from streams.insights.records import RecordDecoder
from tests.faults.insights import SMALL, everything, show

pytestmark = pytest.mark.integration
QUICK = {
    "FRESHET_EMBEDDER__KIND": "hashing",
    "FRESHET_WORKER__SESSION_TIMEOUT_S": "6",
    "FRESHET_KAFKA__PARTITIONS": "4",
    "FRESHET_INSIGHTS__SNAPSHOT_S": "2",
    "FRESHET_INSIGHTS__TICK_S": "1",
    "FRESHET_CORRELATION__QUIET_S": "60",
}
PATIENCE_S = 90.0
STEP_MS = 20_000


@pytest.fixture
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    made = Installation(
        name="it-insights",
        state=state.resolve(),
        endpoints=endpoints,
        cluster=CLUSTER,
        insights=True,
        extra=dict(QUICK),
    )
    made.stop()
    made.remove()
    made.run("streams", "topics", "create")
    try:
        yield made
    finally:
        made.stop(grace_s=0)
        made.remove()


class Subscriber:
    """What a subscriber reads, from the beginning each time."""

    def __init__(self, installation: Installation) -> None:
        self._kafka = Settings().kafka.model_copy(update={"bootstrap_servers": installation.endpoints.kafka})
        self._topic = f"{installation.name}.incident-insights"
        self._registry = Registry.model_validate({"url": installation.endpoints.registry})

    def read(self) -> list[tuple[Message, Insight]]:
        found = read_to_end(self._kafka, describe(self._kafka, self._topic))
        client = registry_client(self._registry)
        assert client
        with client:
            decode = RecordDecoder(client, address(self._registry))
            return [(message, decode(message)) for message in found if isinstance(message, Message)]

    def of(self, workload: str) -> list[Insight]:
        """Incidents that this workload is part of, as they are now."""
        present = Present()
        for _, insight in self.read():
            present.see(insight)
        return [each for each in present if workload in {entity.name for entity in each.entities}]


def test_an_incident_is_told_continued_after_a_kill_and_resolved(installation: Installation) -> None:
    end = datetime.now(UTC).replace(microsecond=0)
    scenario = passing_incidents(1, end=end, kinds=["pool-exhaustion"], rate=6, peace=timedelta(minutes=15))
    [incident] = scenario.incidents
    messages = list(play(scenario))
    middle_ms = incident.end.timestamp() * 1000
    subscriber, kafka = Subscriber(installation), installation.endpoints.kafka
    installation.start_worker()
    publish([m for m in messages if m.timestamp_ms < middle_ms], kafka, topics=installation.topics)

    def told(*states: str) -> bool:
        return any(each.state in states for each in subscriber.of(incident.workload))

    installation.wait(lambda: told("opened", "updated"), "the incident", "worker-1", PATIENCE_S)
    time.sleep(3)  # a snapshot is due
    installation.kill("worker-1")
    installation.start_worker()
    # Time goes on in steps: a single leap of an hour would be somebody's clock, and no hour of silence.
    later = groupby((m for m in messages if m.timestamp_ms >= middle_ms), lambda m: m.timestamp_ms // STEP_MS)
    while not told("resolved"):
        publish(next(later)[1], kafka, topics=installation.topics)
    assert "what is known of a partition is restored" in installation.log("worker-1").read_text()
    seen: dict[str, list[int]] = {}
    for message, insight in subscriber.read():
        assert dict(message.headers)["ce_id"] == f"{insight.id}/{insight.revision}".encode()
        seen.setdefault(insight.id, []).append(insight.revision)
    assert all(revisions == list(range(1, len(revisions) + 1)) for revisions in seen.values()), seen
    [mine] = [each for each in subscriber.of(incident.workload) if each.state == "resolved"]
    with closing(connect(OpenSearch.model_validate({"url": installation.endpoints.opensearch}))) as index:
        index.indices.refresh(index="it-insights-insights*")
        found = index.search(index="it-insights-insights*", body={"query": {"term": {"incident_id": mine.id}}})
    [document] = [hit["_source"] for hit in found["hits"]["hits"]]
    assert document["state"] == "resolved"


def test_a_worker_without_the_topics_says_what_to_do(installation: Installation) -> None:
    installation.extra["FRESHET_INSIGHTS__SUMMARIES_TOPIC"] = "it-insights.none"
    with pytest.raises(Exception, match=r"no topic it-insights\.none\. Run `python -m streams topics create`"):
        installation.run("streams", "worker", "--only", "logs", timeout_s=60)


@pytest.mark.slow
def test_kills_lose_and_invent_no_incident(state: Path, endpoints: Endpoints) -> None:
    summary, more = everything(SMALL, seed=1, state=state, endpoints=endpoints, tell=print)
    show(summary, more)
    assert summary["ok"], more["findings"]
