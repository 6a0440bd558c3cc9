"""Incidents in a real Alertmanager, and at a webhook, over restarts and outages of either side."""

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from deploy.alertmanager import Inbox, _free_port, alertmanager, bridge, example, forget, held, ready, settings_of, wait
from deploy.debian import ALERTMANAGER, unpack
from deploy.installation import Installation
from deploy.local.services import Endpoints
from schemas.errors import StartupError
from schemas.insights import Insight
from schemas.topics import insights_topic
from streams.insights.publisher import InsightPublisher
from streams.topics import Broker
from tests.conftest import CACHE

pytestmark = pytest.mark.integration
STOP = Event()


@pytest.fixture
def installation(endpoints: Endpoints, state: Path) -> Iterator[Installation]:
    try:
        unpack(ALERTMANAGER, CACHE)
    except StartupError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    made = Installation(name="it-bridge", state=state.resolve(), endpoints=endpoints, insights=True)
    yield made
    forget(made)


def revision(number: int, **change: object) -> Insight:
    return example().model_copy(update={"revision": number, **change})


def over(number: int) -> Insight:
    moment = example().updated + timedelta(minutes=20)
    return revision(number, state="resolved", updated=moment, resolved=moment)


def active(url: str) -> list[dict[str, str]]:
    return [alert["labels"] for alert in held(url)]


def test_an_incident_fires_and_resolves_over_restarts_of_both_sides(installation: Installation, tmp_path: Path) -> None:
    port = _free_port()
    settings = {"FRESHET_BRIDGE__ALERTMANAGER_URL": f"http://127.0.0.1:{port}", "FRESHET_BRIDGE__RESEND_S": "1"}
    with closing(ready(installation)) as publisher, Inbox().open() as inbox:
        with bridge(installation, tmp_path, **settings):
            with alertmanager(CACHE, inbox.url, port) as url:
                publisher.deliver([revision(1, state="opened", severity="warning"), revision(2)], STOP)
                wait(lambda: bool(held(url)) and bool(inbox.got), "the alert", log=tmp_path / "bridge.log")
                assert active(url) == [
                    {
                        "alertname": "FreshetIncident",
                        "incident": example().id,
                        "cluster": "prod",
                        "namespace": "shop",
                        "severity": "critical",
                        "entity": "workload/inventory",
                    }
                ]
                assert inbox.got[-1]["alerts"][0]["annotations"]["summary"] == example().title
            with alertmanager(CACHE, inbox.url, port) as url:  # it has forgotten everything, and is reminded
                wait(lambda: len(active(url)) == 1, "the alert again", log=tmp_path / "bridge.log")
        publisher.deliver([over(3)], STOP)  # while no bridge runs
        with alertmanager(CACHE, inbox.url, port) as url, bridge(installation, tmp_path, **settings):
            publisher.deliver([revision(1, id="inc-2")], STOP)
            wait(lambda: len(held(url)) == 1, "the other incident", log=tmp_path / "bridge.log")
            assert [labels["incident"] for labels in active(url)] == ["inc-2"]
            publisher.deliver([over(2).model_copy(update={"id": "inc-2"})], STOP)
            wait(lambda: not held(url), "its end", log=tmp_path / "bridge.log")
            wait(lambda: inbox.got[-1]["status"] == "resolved", "the notification of it")


def test_a_webhook_is_told_once_each_and_never_of_a_replay(installation: Installation, tmp_path: Path) -> None:
    settings = settings_of(installation)
    again = f"{settings.insights.topic}.replay.again"
    Broker(settings.kafka).create([insights_topic(again)], 1)
    with (
        closing(ready(installation)) as publisher,
        closing(InsightPublisher.from_settings(settings, again)) as replay,
        Inbox(answers=[503]).open() as inbox,
        bridge(installation, tmp_path, "--webhook", inbox.url),
    ):
        log = tmp_path / "bridge.log"
        wait(lambda: "bridge runs" in log.read_text(), "the bridge", log=log)  # a newcomer is told what is open only
        replay.deliver([revision(1, id="inc-replayed")], STOP)
        publisher.deliver([revision(1, state="opened"), revision(2), over(3)], STOP)
        wait(lambda: len(inbox.got) == 2, "both notifications", log=log)
    assert [(told["status"], told["alerts"][0]["labels"]["incident"]) for told in inbox.got] == [
        ("firing", example().id),
        ("resolved", example().id),
    ]
    assert "/hook" not in log.read_text()
