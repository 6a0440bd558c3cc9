"""What subscribers begin with, on real services: the examples, `tail` and `show`, and the registry's word."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from cag.topic import describe, read_to_end
from deploy.alertmanager import example, forget, ready, settings_of, wait
from deploy.debian import KCAT, unpack
from deploy.installation import CHECKOUT, Installation
from deploy.local.services import Endpoints
from processors.registry import registry_client
from schemas.errors import StartupError
from schemas.insights import Insight
from schemas.records import Message
from streams.insights.publisher import InsightPublisher
from streams.insights.records import SCHEMA_FILE
from tests.conftest import CACHE
from tests.faults.runbook_door import door

pytestmark = pytest.mark.integration
REGISTRY = "FRESHET_REGISTRY__URL"
EXAMPLES = CHECKOUT / "deploy" / "examples"


def told() -> list[Insight]:
    """Three incidents, one of them over; a copy, and a revision that came late."""
    one = example()
    return [
        *(one.model_copy(update={"revision": n}) for n in (1, 2, 2, 1)),
        one.model_copy(update={"id": "inc-over", "revision": 1}),
        one.model_copy(update={"id": "inc-over", "revision": 2, "state": "resolved", "resolved": one.updated}),
        one.model_copy(update={"id": "inc-other", "revision": 1, "state": "opened", "cluster": "other"}),
    ]


class WithoutRegistry(Installation):
    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if name != REGISTRY}


@pytest.fixture(scope="module", params=["avro", "json"])
def installation(request: pytest.FixtureRequest, endpoints: Endpoints, state: Path) -> Iterator[Installation]:
    kind = Installation if request.param == "avro" else WithoutRegistry
    made = kind(name=f"it-consumers-{request.param}", state=state.resolve(), endpoints=endpoints, insights=True)
    try:
        with closing(ready(made)) as publisher:
            publisher.deliver(told(), Event())
            assert publisher.published() == {example().id: 1, "inc-over": 2, "inc-other": 1}
        yield made
    finally:
        forget(made)


def said(*command: str | Path, **environment: str) -> list[str]:
    environment = {"PATH": os.environ["PATH"]} | environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("installation", ["avro"], indirect=True)
def test_the_python_example_prints_what_is_open(installation: Installation) -> None:
    settings, where = settings_of(installation), installation.endpoints
    lines = said(sys.executable, EXAMPLES / "consumer.py", where.kafka, settings.insights.topic, where.registry)
    start = f"{example().started:%Y-%m-%d %H:%M:%SZ} critical"
    assert sorted(lines) == sorted(f"{start} {id}: {example().title}" for id in ("inc-other", example().id))


def test_the_kcat_example_prints_what_is_open(installation: Installation) -> None:
    try:
        kcat = unpack(KCAT, CACHE)
    except StartupError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    as_json = [] if REGISTRY in installation.environment else ["json"]
    settings, path = settings_of(installation), f"{kcat.path.parent}:{os.environ['PATH']}"
    command = [EXAMPLES / "kcat.sh", installation.endpoints.kafka, settings.insights.topic, *as_json]
    lines = said(*command, **{**kcat.environment, "PATH": path})
    assert sorted(line.split()[1] for line in lines) == sorted(["inc-other", example().id])
    for line in lines:
        moment, _, subject, *value = line.split(" ", 3)
        assert (moment, subject) == ("2026-11-20T21:53:30.000Z", "workload/shop/inventory")
        if as_json:
            assert Insight.model_validate_json(value[0]).title == example().title


@pytest.mark.parametrize("installation", ["avro"], indirect=True)
def test_tail_and_show_print_each_revision_once(installation: Installation) -> None:
    every = installation.run(
        "streams", "insights", "tail", "--since", "beginning", "--no-follow", "--json"
    ).splitlines()
    seen = sorted((each["id"], each["revision"]) for each in map(json.loads, every))
    assert seen == sorted([(example().id, 1), (example().id, 2), ("inc-over", 1), ("inc-over", 2), ("inc-other", 1)])
    present = installation.run("streams", "insights", "tail", "--present", "--no-follow", "--cluster", "other")
    assert "OPENED" in present
    assert len(present.splitlines()) == 1
    assert json.loads(installation.run("streams", "insights", "show", example().id, "--json"))["revision"] == 2


def test_while_the_registry_is_away_insights_wait_and_none_goes_untyped(endpoints: Endpoints, state: Path) -> None:
    made = Installation(name="it-untyped", state=state.resolve(), endpoints=endpoints, insights=True)
    with door(endpoints.registry) as (way, url), closing(ready(made)):
        way.shut = True
        made.extra["FRESHET_REGISTRY__URL"] = url
        settings = settings_of(made)
        topic = describe(settings.kafka, settings.insights.topic)
        try:
            with closing(InsightPublisher.from_settings(settings)) as publisher, ThreadPoolExecutor(1) as beside:
                delivered = beside.submit(publisher.deliver, told(), Event())
                wait(lambda: "does not answer" in publisher.paused, "the publisher to say that it waits")
                assert not [r for r in read_to_end(settings.kafka, topic) if isinstance(r, Message)]
                way.shut = False
                delivered.result(30)
            held = [r for r in read_to_end(settings.kafka, topic) if isinstance(r, Message)]
            assert [r.value[:1] for r in held if r.value] == [b"\x00"] * len(told())
        finally:
            made.extra.clear()
            forget(made)


@pytest.mark.parametrize("installation", ["avro"], indirect=True)
def test_the_registry_itself_refuses_what_readers_could_not_read(installation: Installation) -> None:
    settings = settings_of(installation)
    client = registry_client(settings.registry)
    assert client is not None
    subject, ours = f"{settings.insights.topic}-value", json.loads(SCHEMA_FILE.read_text())
    newer = {"name": "ticket", "type": "string"}
    with closing(client):
        assert client.get_compatibility(subject) == "BACKWARD_TRANSITIVE"
        with pytest.raises(SchemaRegistryError):
            client.register_schema(subject, Schema(json.dumps(ours | {"fields": [*ours["fields"], newer]}), "AVRO"))
        fine = json.dumps(ours | {"fields": [*ours["fields"], newer | {"default": ""}]})
        assert client.register_schema(subject, Schema(fine, "AVRO"))
