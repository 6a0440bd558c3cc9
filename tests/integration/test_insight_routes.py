"""The same incidents from the same summaries: in this process, told again by the command, told by Spark."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from cag.topic import describe, read_to_end
from deploy.installation import Installation
from deploy.local.services import Endpoints
from deploy.shop.delivery import publish
from deploy.shop.player import Scenario, play, single_incident
from processors.insights.history import History
from processors.insights.step import State, fold
from processors.insights.summaries import encode
from processors.pipeline import Pipeline
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from spark_jobs import archive, tell_insights
from tests.benchmarks.installed import installed

pytestmark = pytest.mark.integration
NAME = "it-insight-routes"
NOW_MS = int(time.time() * 1000) - 60_000


def scenario() -> Scenario:
    return single_incident(
        "pool-exhaustion", seed=3, end=datetime.fromtimestamp(NOW_MS / 1000, UTC), minutes=14, rate=8
    )


@pytest.fixture(scope="module")
def told(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """Telemetry in the input topics, and its summaries in theirs."""
    with installed(NAME, state, endpoints, partitions=2, insights=True) as installation:
        publish(play(scenario()), endpoints.kafka, topics=installation.topics)
        producer = Producer({"bootstrap.servers": endpoints.kafka})
        history = History(Pipeline.from_settings(settings_of(installation)))
        topic = f"{NAME}.summaries"
        for number, each in enumerate(play(scenario())):
            topic_name = installation.topics[each.topic]
            message = Message(topic_name, each.topic, 0, number, each.timestamp_ms, each.key, each.value)
            for key, value in encode(history.take(message)):
                producer.produce(topic, key=key, value=value, timestamp=history.now_ms, partition=1)
        for key, value in encode(history.flush()):
            producer.produce(topic, key=key, value=value, timestamp=history.now_ms, partition=1)
        producer.produce(topic, value=b"not a summary", partition=1)
        producer.flush(30)
        yield installation


def settings_of(installation: Installation) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment.items():
            patch.setenv(name, value)
        return Settings.load()


def expected(installation: Installation) -> list[Insight]:
    settings = settings_of(installation)
    state, insights = State(settings.detection, settings.correlation), []
    for message in read_to_end(settings.kafka, describe(settings.kafka, f"{NAME}.summaries")):
        if isinstance(message, Message) and message.value != b"not a summary":
            insights += fold(state, message)
    return insights


def lines(text: str) -> list[Insight]:
    return [Insight.model_validate(orjson.loads(line)) for line in text.splitlines() if line]


def by_revision(insights: Sequence[Insight]) -> list[Insight]:
    return sorted(insights, key=lambda each: (each.id, each.revision))


def test_told_again_it_is_the_same(told: Installation) -> None:
    wanted = expected(told)
    assert {each.state for each in wanted} >= {"opened", "updated"}
    assert lines(told.run("streams", "insights", "replay", "--json")) == wanted


def test_spark_tells_the_same_from_kafka_and_from_an_archive(told: Installation, tmp_path: Path) -> None:
    wanted = by_revision(expected(told))

    def run(app: object, *arguments: str) -> None:
        options = [*arguments, "--json", "--master", "local[2]"]
        done = CliRunner().invoke(app, options, env=told.environment, catch_exceptions=False)  # type: ignore[arg-type]
        assert done.exit_code == 0, done.output

    def found(folder: Path) -> list[Insight]:
        return by_revision([each for file in sorted(folder.glob("part-*")) for each in lines(file.read_text())])

    run(tell_insights.app, "--into", str(tmp_path / "kafka"))
    assert found(tmp_path / "kafka") == wanted
    run(archive.app, f"{NAME}.summaries", "--into", str(tmp_path / "archive"))
    run(tell_insights.app, "--archive", str(tmp_path / "archive"), "--into", str(tmp_path / "history"))
    assert found(tmp_path / "history") == wanted


def test_from_the_inputs_it_finds_the_same_incidents(told: Installation) -> None:
    found = lines(told.run("streams", "insights", "replay", "--inputs", "--json"))
    assert {each.id for each in found} == {each.id for each in expected(told)}


def test_into_a_topic_of_its_own_and_never_into_the_live_one(told: Installation) -> None:
    told.run("streams", "insights", "replay", "--into", "again")
    kafka = settings_of(told).kafka
    ours, live = f"{NAME}.incident-insights.replay.again", f"{NAME}.incident-insights"
    sent = [each for each in read_to_end(kafka, describe(kafka, ours)) if isinstance(each, Message)]
    assert len(sent) == len(expected(told))
    assert all(b"/replays/" in (dict(each.headers)["ce_source"] or b"") for each in sent)
    assert not [each for each in read_to_end(kafka, describe(kafka, live)) if isinstance(each, Message)]
