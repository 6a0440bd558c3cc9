"""A real OpenShift installation, a database's CPU and 108 runbooks, through Kafka and a worker that is killed midway.

Everything is sent once, then looked at from several sides: nothing is lost or counted twice, events end with their
highest count, bad messages end where they should, and labelled questions find their evidence.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from confluent_kafka import Producer
from opensearchpy import OpenSearch as Client
from rich.console import Console

from cag.topic import describe, read_to_end
from deploy.installation import Installation
from deploy.local.services import Endpoints
from processors.decode.timestamps import epoch_ms
from processors.index import connect
from processors.pipeline import TOO_OLD
from schemas import dead_letters
from schemas.records import Message, Signal
from schemas.settings import Kafka, OpenSearch, Worker
from streams.topics import Broker
from tests.evaluation import run
from tests.evaluation.folders import rows
from tests.evaluation.must_gather import write_set
from tests.evaluation.report import figures, tables
from tests.evaluation.run import Asked
from tests.evaluation.sets import LabelledSet

pytestmark = [pytest.mark.integration, pytest.mark.slow]

LINES, EVENTS, SAMPLES, RUNBOOKS = 151_207, 5_371, 4_032, 108
RESENT: Final = 300  # events, each three times
KILL_AT: Final = 5_000  # lines counted
KAFKA_MS: Final = epoch_ms("2021-08-03T10:13:30Z") or 0  # of the bad messages
HUGE: Final = 10_000_000
# Measured: 24 of 31 expectations (0.774). One may be lost when a ranking changes for the better; more is a regression.
RECALL_AT_5: Final = 0.74


@dataclass(slots=True, kw_only=True)
class Replay:
    """What was sent, and the installation that has taken all of it."""

    installation: Installation
    chosen: LabelledSet
    client: Client
    counts: dict[str, int] = field(default_factory=dict)  # of the resent events: uid -> highest count
    asked: Sequence[Asked] = ()

    def search(self, kind: str, body: dict[str, Any]) -> Any:
        return self.client.search(index=f"{self.installation.name}-{kind}", body=body)

    def counted(self, kind: str, query: dict[str, Any] | None = None) -> int:
        """The sum of all counts in the documents of a kind."""
        body = {"size": 0, "query": query or {"match_all": {}}, "aggs": {"sum": {"sum": {"field": "count"}}}}
        return int(self.search(kind, body)["aggregations"]["sum"]["value"])

    def occurrences(self, pod: str) -> list[dict[str, Any]]:
        return [hit["_source"] for hit in self.search("occurrences", {"query": {"term": {"pod": pod}}})["hits"]["hits"]]


def _line(pod: str, text: str, time: object) -> bytes:
    return orjson.dumps(
        {"@timestamp": time, "log": text, "kubernetes": {"pod_name": pod, "namespace_name": "bad", "host": "node-1"}}
    )


def _words(size: int) -> str:
    """That much text, the same every time."""
    pick = random.Random(1)
    return " ".join(f"{pick.getrandbits(48):x}" for _ in range(size // 13 + 1))[:size]


# Value, and what becomes of it: a dead letter's reason, the rule that filters it, or the pod whose line is counted.
BAD: Final[tuple[tuple[bytes | None, str], ...]] = (
    (b"\xff\xfe undecodable \xfa", "not UTF-8"),
    (b"", "empty value"),
    (None, "empty value"),
    (b'{"log": "cut sho', "not JSON"),
    (_line("old", "disk is full", "2019-01-01T00:00:00Z"), TOO_OLD),
    (_line("huge", _words(HUGE), "2021-08-03T10:13:00Z"), "huge"),
    (_line("year-0", "disk is full", "0000-01-01T00:00:00Z"), "year-0"),
    (_line("future", "disk is full", "2199-01-01T00:00:00Z"), "future"),
    (_line("after", "disk is fine", "2021-08-03T10:13:00Z"), "after"),
)
LETTERS: Final = Counter(outcome for _, outcome in BAD if " " in outcome)


@pytest.fixture(scope="module")
def replay(
    state: Path, endpoints: Endpoints, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replay]:
    chosen = LabelledSet.read(write_set(shared_data, tmp_path_factory.mktemp("must-gather")))
    with (
        closing(connect(OpenSearch.model_validate({"url": endpoints.opensearch}))) as client,
        run.started(chosen, state, endpoints) as installation,
    ):
        made = Replay(installation=installation, chosen=chosen, client=client)
        installation.start_worker()
        assert run.publish(installation, chosen) == RUNBOOKS
        _send_and_kill(made)
        _send_bad(made)
        _resend_events(made)
        run.settle(installation, chosen, print)
        made.asked = [run.ask(installation, chosen, task, 10) for task in chosen.tasks]
        yield made


def _send_and_kill(replay: Replay) -> None:
    """All recordings; the worker dies while it has acknowledged some of them, and another one takes over."""
    installation = replay.installation
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(
            lambda: [run.send(installation, replay.chosen, recording) for recording in replay.chosen.inputs]
        )
        installation.wait(lambda: _acknowledged(installation) > KILL_AT, "the first lines", "worker-1", 120)
        installation.kill("worker-1")
        acknowledged = _acknowledged(installation)
        installation.start_worker()
        sending.result()
    assert KILL_AT < acknowledged < LINES, "the kill came too late to prove anything"


def _acknowledged(installation: Installation) -> int:
    """Messages of the logs topic."""
    topic = f"{installation.name}.logs"
    broker = Broker(Kafka(bootstrap_servers=installation.endpoints.kafka))
    places = [(topic, partition) for partition in broker.partitions(topic)]
    return sum(broker.committed(installation.name, places).values())


def _send_bad(replay: Replay) -> None:
    producer = Producer({"bootstrap.servers": replay.installation.endpoints.kafka, "message.max.bytes": 2 * HUGE})
    for value, _ in BAD:
        producer.produce(f"{replay.installation.name}.logs", value=value, partition=0, timestamp=KAFKA_MS)
    assert producer.flush(30) == 0


def _resend_events(replay: Replay) -> None:
    """Each again with a higher count, a later one with a still higher count, and an older one; in no order."""
    again = []
    for event in rows(replay.chosen.path("events.jsonl.gz")):
        if event.get("lastTimestamp") and len(replay.counts) < RESENT:
            count = event.get("count") or 1
            replay.counts[event["metadata"]["uid"]] = count + 7
            for more, minute in ((3, 11), (7, 12), (1 - count, 10)):
                last = f"2021-08-03T10:{minute}:00Z"
                again.append({**event, "count": count + more, "lastTimestamp": last})
    random.Random(7).shuffle(again)
    file = replay.chosen.path("resent.jsonl")
    file.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in again))
    recording = next(r for r in replay.chosen.inputs if r.topic == "k8s-events")
    run.send(replay.installation, replay.chosen, recording.model_copy(update={"file": file.name}))


def _letters(replay: Replay) -> dict[tuple[str, ...], tuple[bytes | None, str]]:
    """Distinct dead letters, by where their records came from: value and reason."""
    kafka = Kafka(bootstrap_servers=replay.installation.endpoints.kafka)
    topic = describe(kafka, f"{replay.installation.name}.dead-letters")
    found = {}
    for letter in read_to_end(kafka, topic, idle_s=60):
        if isinstance(letter, Message):
            headers = {name: (value or b"").decode() for name, value in letter.headers}
            key = (dead_letters.TOPIC_ID, dead_letters.PARTITION, dead_letters.OFFSET, dead_letters.INDEX)
            found[tuple(headers[name] for name in key)] = (letter.value, headers[dead_letters.REASON])
    return found


def test_every_record_is_counted_exactly_once(replay: Replay) -> None:
    """Occurrences, tallies and distinct dead letters add up to what was sent, signal by signal and in all."""
    rules = {rule: replay.counted("tallies", {"term": {"rule": rule}}) for rule in (Signal.EVENT, Signal.METRIC)}
    assert rules == {Signal.EVENT: EVENTS + 3 * len(replay.counts), Signal.METRIC: SAMPLES}
    filtered = replay.counted("tallies", {"prefix": {"rule": "filtered:"}})
    occurrences, letters = replay.counted("occurrences"), len(_letters(replay))
    assert occurrences + filtered + letters == LINES + len(BAD)
    sent = LINES + EVENTS + SAMPLES + len(BAD) + 3 * len(replay.counts)
    assert occurrences + replay.counted("tallies") + letters == sent


def test_counts_are_the_sums_of_their_slices(replay: Replay) -> None:
    """What is added up above is what the slices hold; a sample of the busiest documents."""
    body = {"size": 500, "sort": [{"count": "desc"}, {"_id": "asc"}], "_source": ["count", "slices"]}
    for hit in replay.search("occurrences", body)["hits"]["hits"]:
        assert hit["_source"]["count"] == sum(n for _, n in hit["_source"]["slices"].values())


def test_one_document_for_each_event(replay: Replay) -> None:
    sent = Counter(event["metadata"]["uid"] for event in rows(replay.chosen.path("events.jsonl.gz")))
    hits = replay.search("events", {"size": 10_000, "_source": ["uid"]})["hits"]["hits"]
    assert len(sent) == EVENTS
    assert Counter(hit["_source"]["uid"] for hit in hits) == sent


def test_resent_events_end_with_their_highest_count(replay: Replay) -> None:
    query = {"terms": {"uid": list(replay.counts)}}
    hits = replay.search("events", {"size": len(replay.counts), "query": query, "_source": ["uid", "count", "last_ms"]})
    assert {hit["_source"]["uid"]: hit["_source"]["count"] for hit in hits["hits"]["hits"]} == replay.counts
    assert {hit["_source"]["last_ms"] for hit in hits["hits"]["hits"]} == {epoch_ms("2021-08-03T10:12:00Z")}


def test_bad_messages_become_dead_letters_with_their_bytes(replay: Replay) -> None:
    letters = _letters(replay)
    assert Counter(reason for _, reason in letters.values()) == LETTERS
    assert {value for value, _ in letters.values()} >= {value for value, reason in BAD if reason in LETTERS and value}


def test_a_line_older_than_retention_is_filtered(replay: Replay) -> None:
    assert replay.counted("tallies", {"term": {"rule": f"filtered:{TOO_OLD}"}}) == 1
    assert not replay.occurrences("old")


@pytest.mark.parametrize("pod", ["year-0", "future"])
def test_unbelievable_times_are_replaced_by_kafkas(replay: Replay, pod: str) -> None:
    [found] = replay.occurrences(pod)
    assert (found["count"], found["first_ms"], found["last_ms"], found["clamped"]) == (1, KAFKA_MS, KAFKA_MS, True)


def test_a_huge_line_is_cut(replay: Replay) -> None:
    [found] = replay.occurrences("huge")
    [hit] = replay.search("patterns", {"query": {"term": {"pattern_id": found["pattern_id"]}}})["hits"]["hits"]
    assert found["count"] == 1
    assert len(json.dumps(hit["_source"]["template"])) <= 2 * Worker().max_body_chars


def test_the_partition_goes_on_after_bad_messages(replay: Replay) -> None:
    assert [found["count"] for found in replay.occurrences("after")] == [1]


def test_questions_find_their_evidence(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for table in tables(replay.chosen.name, replay.asked):
            Console(width=200).print(table)
    found = figures(replay.asked)
    assert found["forbidden"] == 0, [one.forbidden for one in replay.asked]
    assert found["recall@5"] >= RECALL_AT_5, {one.task.id: one.found.ranks for one in replay.asked}
    assert found["repeated"] == 1.0
