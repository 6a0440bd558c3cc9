"""Stream, replay and Spark over the same records, broken ones included: the same documents, the same dead letters."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from cag.topic import describe, read_to_end
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop.delivery import publish
from deploy.shop.player import play, single_incident
from deploy.shop.telemetry import Message as Sent
from processors.index import OpenSearchIndex
from processors.scan import digest_of, scan
from processors.sink import open_index
from schemas import dead_letters
from schemas.records import Message
from schemas.settings import Kafka, OpenSearch, Settings
from spark_jobs import index_history
from streams.topics import Broker
from tests.benchmarks.installed import installed
from tests.unit.test_pipeline import notice

pytestmark = pytest.mark.integration
NAME = "it-parity"
QUICK = {"FRESHET_EMBEDDER__KIND": "hashing", "FRESHET_WORKER__SESSION_TIMEOUT_S": "6"}
NOW_MS = int(time.time() * 1000) - 60_000
TOO_LONG = "x" * 40_000  # for a term of Lucene's: the index refuses the document
BROKEN: Sequence[tuple[str, bytes | None]] = (
    ("logs", b"\xff\xfe undecodable"),
    ("logs", b'{"log": "cut sho'),
    ("logs", b""),
    ("logs", orjson.dumps([{"log": "good", "date": NOW_MS / 1000}, 7, {"log": "old", "date": 1.5e9}])),
    ("metrics", b'{"metrics": [{"name": "broken"}]}'),
    ("k8s-events", b"[]"),
    ("alerts", orjson.dumps({"version": "4", "alerts": [notice("Fine", NOW_MS, None), {"labels": 1}]})),
    ("alerts", orjson.dumps({"version": "4", "alerts": [notice(TOO_LONG, NOW_MS, None)]})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one route has made of everything."""

    digest: str
    documents: Mapping[str, int]
    letters: frozenset[tuple[str, ...]]


def messages() -> Iterator[Sent]:
    end = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    yield from play(single_incident("bad-deploy", seed=3, end=end, minutes=3, rate=20))
    for topic, value in BROKEN * 2:
        yield Sent(topic=topic, key=None, value=value, timestamp_ms=NOW_MS)


@pytest.fixture(scope="module")
def stream(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """Everything went through a worker."""
    with installed(NAME, state, endpoints, partitions=2) as installation:
        installation.extra |= QUICK
        publish(messages(), endpoints.kafka, topics=installation.topics)
        installation.start_worker()
        broker = Broker(Kafka(bootstrap_servers=endpoints.kafka))
        places = [(topic, p) for topic in installation.topics.values() for p in broker.partitions(topic)]
        installation.wait(lambda: not any(broker.lag(NAME, places).values()), "the worker", "worker-1", 90)
        installation.stop()
        yield installation


def beside(stream: Installation, route: str) -> Installation:
    """The same topics, other indices, group and dead letters."""
    letters = f"{NAME}.{route}-letters"
    names = {
        "FRESHET_OPENSEARCH__PREFIX": f"{NAME}-{route}",
        "FRESHET_KAFKA__GROUP": f"{NAME}-{route}",
        "FRESHET_KAFKA__DEAD_LETTERS_TOPIC": letters,
    }
    other = replace(stream, extra=stream.extra | names)
    other.run("streams", "topics", "create")
    return other


def index_of(installation: Installation) -> OpenSearchIndex:
    settings = settings_of(installation)
    return open_index(settings, next(iter(live(settings))))


def live(settings: Settings) -> Mapping[str, object]:
    index = open_index(settings, "any")
    return index.live(index.names.alias("meta"))


def settings_of(installation: Installation) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment.items():
            patch.setenv(name, value)
        return Settings.load()


def outcome(installation: Installation) -> Outcome:
    found = digest_of(scan(index_of(installation)))
    return Outcome(digest=found.text, documents=found.documents, letters=frozenset(letters(installation)))


def letters(installation: Installation) -> list[tuple[str, ...]]:
    kafka = settings_of(installation).kafka
    names = (dead_letters.TOPIC_ID, dead_letters.PARTITION, dead_letters.OFFSET, dead_letters.INDEX)
    names = (*names, dead_letters.STAGE, dead_letters.REASON)
    found = []
    for letter in read_to_end(kafka, describe(kafka, kafka.dead_letters_topic), idle_s=30):
        if isinstance(letter, Message):
            said = {name: (value or b"").decode() for name, value in letter.headers}
            found.append(tuple(said[name] for name in names))
    return found


def spark(installation: Installation, *arguments: str, exit_code: int = 0) -> dict[str, int]:
    ran = CliRunner().invoke(
        index_history.app, [*arguments, "--json", "--master", "local[2]"], env=installation.environment, catch_exceptions=False
    )
    assert ran.exit_code == exit_code, ran.output
    return orjson.loads(ran.stdout.splitlines()[-1])


def test_spark_from_kafka(stream: Installation) -> None:
    expected, route = outcome(stream), beside(stream, "spark")
    first = spark(route)
    assert outcome(route) == expected
    assert first["letters"] == first["letters_sent"] == len(expected.letters)
    again = spark(route)
    assert (outcome(route), again["letters_sent"], again["texts"]) == (expected, 0, 0)
    assert len(letters(route)) == len(expected.letters)
