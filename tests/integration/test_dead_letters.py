"""Dead letters on real services: listed, shown, counted after all once the format is mended; and what limits them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from deploy.demo import free_port
from deploy.installation import CHECKOUT, Installation
from deploy.local.services import Endpoints
from processors.scan import digest_of, scan
from processors.sink import live_label, open_index
from schemas.errors import StartupError
from schemas.evidence_id import minutes_id
from schemas.settings import Settings
from streams.exits import Exit
from streams.letters import commands as dead_letter_commands
from streams.topics import Broker
from tests.benchmarks.installed import installed

pytestmark = pytest.mark.integration
PATIENCE_S = 120.0
GOOD = json.dumps({"log": "all is well", "kubernetes": {"namespace_name": "shop", "pod_name": "cart-0"}}).encode()
EVENT = json.dumps(
    {
        "kind": "Event",
        "metadata": {"uid": "u1", "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "name": "cart-0", "namespace": "shop"},
        "reason": "BackOff",
        "message": "again",
        "type": "Warning",
        "count": 3,
    }
).encode()
BATCH = json.dumps([{"msg": f"line {n} of many {'x' * 120}"} for n in range(100)]).encode()  # its letters share it
SENT = {
    "logs": [GOOD, GOOD, b"a plain line password=hunter2secret", b"two\nlines", BATCH, b"\xff\x00broken", b""],
    "k8s-events": [EVENT],
}
LETTERS = 1 + 1 + 100 + 1 + 1 + 1  # two lines that were rejected together are one
WRONG = {"logs": "fluent-bit", "k8s-events": "alertmanager"}


@pytest.fixture(scope="module")
def installation(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    with installed("it-letters", state, endpoints, partitions=2) as made:
        made.extra |= {"FRESHET_EMBEDDER__KIND": "hashing", "FRESHET_WORKER__SESSION_TIMEOUT_S": "6"}
        yield made


@pytest.fixture(scope="module")
def settings(installation: Installation) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment.items():
            patch.setenv(name, value)
        yield Settings.load()


def send(installation: Installation, topic: str, values: list[bytes], headers: Any = None) -> None:
    producer = Producer({"bootstrap.servers": installation.endpoints.kafka})
    for value in values:
        producer.produce(topic, value, partition=0, headers=headers)
    assert producer.flush(20) == 0


def lag(settings: Settings) -> int:
    broker = Broker(settings.kafka)
    places = [(i.topic, partition) for i in settings.kafka.inputs for partition in broker.partitions(i.topic)]
    return sum(broker.lag(settings.kafka.group, places).values())


def replay(installation: Installation, *arguments: str) -> Any:
    return json.loads(installation.run("streams", "dead-letters", "replay", *arguments, "--json"))


def ask(*arguments: str) -> Any:
    """`list` or `show` in this process, with the environment of `settings`: starting Python takes seconds."""
    done = CliRunner().invoke(dead_letter_commands.app, [*arguments, "--json"])
    if done.exception:
        raise done.exception
    return json.loads(done.stdout)


def digest(settings: Settings) -> tuple[str, dict[str, int]]:
    found = digest_of(scan(open_index(settings, live_label(settings))))
    return found.text, found.documents


def test_letters_are_counted_after_all_and_only_once(
    installation: Installation, settings: Settings, tmp_path: Path
) -> None:
    mended = json.loads(installation.environment["FRESHET_KAFKA__INPUTS"])
    wrong = [each | {"format": WRONG.get(each["topic"].split(".")[1], "auto")} for each in mended]
    for topic, values in SENT.items():
        send(installation, installation.topics[topic], values)
    send(installation, settings.kafka.dead_letters_topic, [b"forged"], [("__connect.errors.topic", b"\xff")])
    installation.extra["FRESHET_KAFKA__INPUTS"] = json.dumps(wrong)
    installation.start_worker()
    installation.wait(lambda: lag(settings) == 0, "all to be acknowledged", "worker-1", PATIENCE_S)
    installation.stop(grace_s=20)

    listed = ask("list", "--limit", "500")
    assert (listed["distinct"], listed["copies"], listed["not_ours"]) == (
        LETTERS, 0, {"its header topic is not UTF-8": 1},
    )  # fmt: skip
    assert [row["ours"] for row in listed["letters"]].count(True) == LETTERS
    still_wrong = replay(installation, "--dry-run")
    assert (still_wrong["counted"], sum(still_wrong["rejected"].values())) == ({}, LETTERS)

    del installation.extra["FRESHET_KAFKA__INPUTS"]
    _show(installation, tmp_path)
    before = digest(settings)
    expected = {
        "generation": live_label(settings),
        "counted": {"log": 1 + 2 + 100, "event": 1},
        "filtered": {},
        "rejected": {"not UTF-8": 1, "empty value": 1},
        "skipped": {},
        "counted_before": 0,
    }
    assert replay(installation, "--dry-run") == {"dry_run": True, **expected}
    assert digest(settings) == before
    part = replay(installation, "--topic", installation.topics["k8s-events"])
    assert (part["counted"], part["counted_before"]) == ({"event": 1}, 0)
    assert replay(installation) == {"dry_run": False, **expected, "counted_before": 1}
    after = digest(settings)
    assert after != before
    assert replay(installation)["counted_before"] == 104
    assert digest(settings) == after
    _evidence(installation, settings)


def _show(installation: Installation, folder: Path) -> None:
    topic = installation.topics["logs"]
    shown = ask("show", f"{topic}/0/2")
    assert (shown["value"], shown["now"]) == ("a plain line password=<redacted:password>\n(redacted)", "1 log record")
    by_place = ask("show", shown["letter"])
    assert by_place | {"copies": 1} == shown
    raw = folder / "raw"
    of_many = ask("show", f"{topic}/0/4/99", "--raw", str(raw))
    assert (raw.read_bytes(), of_many["now"], raw.stat().st_mode & 0o777) == (BATCH, "1 log record", 0o600)
    for wrong, said in (
        (f"{topic}/0/0", "no dead letter"),
        ("0/999999", "the partition ends"),
        ("99/0", "no partition"),
    ):
        with pytest.raises(StartupError, match=said):
            ask("show", wrong)


def _evidence(installation: Installation, settings: Settings) -> None:
    """What was counted from a letter leads back to it, through the API."""
    installation.start_api(port=free_port(0))
    many = [
        document
        for target, document in scan(open_index(settings, live_label(settings)), ["occurrences"])
        if any("~" in e["at"] and e["text"].startswith("line ") for e in document["exemplars"])
    ]
    (found,) = many
    assert found["count"] == 100
    identity = minutes_id("log", found["pattern_id"], found["minute_ms"], found["minute_ms"])
    detail = httpx.get(f"{installation.api_url}/v1/evidence/{identity}", timeout=30).raise_for_status().json()
    assert {(record["status"], record["reason"]) for record in detail["records"]} == {
        ("found", "counted from a dead letter")
    }
    assert all(record["text"].startswith("line ") for record in detail["records"])


def test_too_many_letters_stop_the_worker_once_they_are_written(installation: Installation, settings: Settings) -> None:
    """Nothing of it is acknowledged: the mended worker reads it all again, so that a replay leaves it alone."""
    known = ask("list")["distinct"]
    giant = b'{"log": 1\n' * 20_000  # one message, however bad, stops nobody
    send(installation, installation.topics["logs"], [giant, *[b"\xff"] * 1_500])
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "streams", "worker"],
        check=False,
        cwd=CHECKOUT,
        env=installation.environment | {"FRESHET_WORKER__DEAD_LETTER_LIMIT": "0.5"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == Exit.REJECTS, f"{time.monotonic() - began:.0f} s: {done.stderr[-500:]}"
    assert "too many dead letters" in done.stderr.splitlines()[-1]
    listed = ask("list", "--reason", "not UTF-8")
    assert listed["distinct"] >= 900
    assert listed["distinct"] + 20_000 > known
    assert lag(settings) == 1_501
    skipped = replay(installation, "--dry-run", "--since", "5m")["skipped"]
    assert skipped["unacknowledged"] >= 20_000 + 900
