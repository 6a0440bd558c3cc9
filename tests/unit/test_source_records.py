"""A cited record is shown alone, redacted and hashed, or the reason why it cannot be shown is."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cag.source_records import RecordExpired, SourceRecords
from schemas.context import Scope
from schemas.dead_letters import TOPIC, DeadLetter, Letter, read_letter, source_message
from schemas.errors import SinkUnavailable
from schemas.records import Coordinates, Message
from schemas.settings import Settings

KAFKA_MS = 1_795_200_000_000
LINES = b"first line\npassword=hunter2secret is wrong\nthird line"
POD = json.dumps(
    {"log": "pool exhausted", "kubernetes": {"namespace_name": "shop", "pod_name": "checkout-7d9f8c6b5-abcde"}}
).encode()
ALERT = json.dumps(
    {
        "version": "4",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "PoolFull", "severity": "critical"},
                "annotations": {"summary": "no connections"},
                "startsAt": "2026-11-20T20:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "fingerprint": "f1",
            }
        ],
    }
).encode()


def records(found: bytes | Exception, seen: list[Coordinates] | None = None) -> SourceRecords:
    def fetch(at: Coordinates) -> Message:
        if seen is not None:
            seen.append(at)
        if isinstance(found, Exception):
            raise found
        return Message(
            topic=at.topic, topic_id=at.topic_id, partition=at.partition, offset=at.offset,
            timestamp_ms=KAFKA_MS, key=None, value=found,
        )  # fmt: skip

    return SourceRecords(Settings(), fetch)


def at(index: int = 0, topic: str = "logs") -> Coordinates:
    return Coordinates(topic, "id", 3, 1042, index)


def test_only_the_cited_record_is_shown_and_redacted() -> None:
    record = records(LINES).read(at(1))
    assert record.status == "found"
    assert record.text == "password=<redacted:password> is wrong"
    assert record.sha256 == hashlib.sha256(LINES).hexdigest()
    assert record.timestamp == datetime.fromtimestamp(KAFKA_MS / 1000, UTC)
    assert record.coordinates == "logs/id/3/1042/1"


@pytest.mark.parametrize(
    ("found", "where", "status", "reason"),
    [
        (RecordExpired("retention has removed the record"), at(), "expired", "retention"),
        (SinkUnavailable("Kafka does not answer"), at(), "unavailable", "does not answer"),
        (LINES, at(3), "unavailable", "that many"),
        (LINES, at(-1), "unavailable", "that many"),
        (b"", at(), "unavailable", "does not decode"),
        (LINES, at(topic="freshet.dead-letters.v1"), "unavailable", "none of the inputs"),
    ],
)
def test_what_cannot_be_shown_says_why(found: bytes | Exception, where: Coordinates, status: str, reason: str) -> None:
    record = records(found).read(where)
    assert (record.status, record.text, record.sha256) == (status, "", "")
    assert reason in record.reason


def test_other_topics_are_not_even_read() -> None:
    seen: list[Coordinates] = []
    records(LINES, seen).read(at(topic="payroll"))
    assert seen == []


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        (Scope(), "found"),
        (Scope(namespaces=("shop",)), "found"),
        (Scope(namespaces=("other",)), "unavailable"),
        (Scope(clusters=("east",)), "unavailable"),
    ],
)
def test_the_scope_is_checked_on_the_record(scope: Scope, status: str) -> None:
    record = records(POD).read(at(), scope=scope)
    assert record.status == status
    assert ("pool" in record.text) is (status == "found")


def test_an_alert_reads_as_a_line() -> None:
    record = records(ALERT).read(at(topic="alerts"))
    assert record.text.startswith("PoolFull firing {")
    assert "summary: no connections" in record.text


LETTERS = "freshet.dead-letters.v1"


def replayed(index: int, *, topic: str = "logs", **other: Any) -> tuple[Coordinates, SourceRecords, list[Coordinates]]:
    """A dead letter in Kafka, and the coordinates under which a record of it was counted."""
    source = Message(
        topic=topic, topic_id="id", partition=3, offset=1042, timestamp_ms=KAFKA_MS, key=None, value=LINES,
        headers=((TOPIC, b"payroll"),),
    )  # fmt: skip
    headers = DeadLetter(message=source, index=0, reason="not JSON", stage="decode").headers("app", "w", "g1")
    held = source._replace(topic=LETTERS, topic_id="DL", partition=1, offset=7, headers=tuple(headers))
    letter = read_letter(held, {topic})
    assert isinstance(letter, Letter)
    seen: list[Coordinates] = []

    def fetch(at: Coordinates) -> Message:
        seen.append(at)
        return held._replace(**other)

    return source_message(held, letter, topic_id="DL", index=index).at(index), SourceRecords(Settings(), fetch), seen


def test_a_replayed_letter_is_read_back_from_the_letters() -> None:
    where, reader, seen = replayed(1)
    record = reader.read(Coordinates.parse(str(where)))
    assert (record.status, record.reason) == ("found", "counted from a dead letter")
    assert record.text == "password=<redacted:password> is wrong"
    assert record.sha256 == hashlib.sha256(LINES).hexdigest()
    assert record.timestamp == datetime.fromtimestamp(KAFKA_MS / 1000, UTC)
    assert [(at.topic, at.topic_id, at.partition, at.offset) for at in seen] == [(LETTERS, "DL", 1, 7)]


@pytest.mark.parametrize(
    ("where", "change", "status"),
    [
        ({}, {"value": b"other words"}, "expired"),  # another letter lies there
        ({}, {"headers": ()}, "expired"),
        ({"index": 2}, {}, "expired"),  # that is the identity of another record
        ({"topic": "payroll"}, {}, "unavailable"),
        ({"topic": "logs", "topic_id": "DL~00"}, {}, "found"),  # an input topic is not read as letters
    ],
)
def test_only_the_letter_that_was_counted_is_shown(where: Any, change: Any, status: str) -> None:
    at, reader, seen = replayed(1, **change)
    record = reader.read(at._replace(**where))
    assert (record.status, bool(record.text)) == (status, status == "found")
    assert ({each.topic for each in seen} or {LETTERS}) <= {LETTERS, "logs"}


def test_a_letter_of_a_topic_that_is_no_input_is_not_shown() -> None:
    at, reader, _ = replayed(1, topic="payroll")
    assert reader.read(at).status == "expired"


def pod_line(text: str, pod: str = "web-1", namespace: str = "shop") -> bytes:
    kubernetes = {"namespace_name": namespace, "pod_name": pod, "container_name": "app"}
    return json.dumps({"log": text, "kubernetes": kubernetes}).encode()


def neighbourhood(*values: bytes, first: int = 1040) -> SourceRecords:
    messages = [
        Message(
            topic="logs", topic_id="id", partition=3, offset=first + n, timestamp_ms=KAFKA_MS, key=None, value=value
        )
        for n, value in enumerate(values)
    ]
    return SourceRecords(Settings(), neighbours=lambda _: messages)


def test_around_a_line_stand_the_lines_of_the_same_container_redacted() -> None:
    found = neighbourhood(
        pod_line("one"), pod_line("other pod", "web-2"), pod_line("cited"),
        pod_line("password=hunter2secret"), pod_line("four"), pod_line("far"),
    ).around(at(), 2, scope=Scope())  # fmt: skip
    assert [line.text for line in found] == ["one", "cited", "password=<redacted:password>", "four"]
    assert [Coordinates.parse(line.coordinates).offset for line in found] == [1040, 1042, 1043, 1044]


@pytest.mark.parametrize(
    ("values", "scope", "shown"),
    [
        ([pod_line("a"), pod_line("b"), pod_line("c")], Scope(namespaces=("shop",)), 3),
        ([pod_line("a"), pod_line("b"), pod_line("c")], Scope(namespaces=("other",)), 0),
        ([pod_line("a", namespace="pay"), pod_line("b"), pod_line("c")], Scope(), 2),  # the same name elsewhere
        ([pod_line("a"), b"{broken", pod_line("c")], Scope(), 2),
        ([pod_line("a")], Scope(), 0),  # the cited one is gone
    ],
)
def test_what_may_not_be_seen_is_not_around(values: list[bytes], scope: Scope, shown: int) -> None:
    assert len(neighbourhood(*values).around(at(), 5, scope=scope)) == shown


@pytest.mark.parametrize("trouble", [RecordExpired("gone"), SinkUnavailable("away")])
def test_without_kafka_nothing_is_around(trouble: Exception) -> None:
    def fail(_: Coordinates) -> list[Message]:
        raise trouble

    assert SourceRecords(Settings(), neighbours=fail).around(at(), 5, scope=Scope()) == ()
