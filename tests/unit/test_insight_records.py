"""Insights on the wire: the same bytes for the same revision, old and new readers, and hostile records."""

import datetime as dt
import json
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import avro.schema
import pytest
from confluent_kafka import KafkaError
from confluent_kafka.schema_registry import SchemaRegistryClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from processors.registry import AvroWriter, bounded, incompatible
from processors.writer import Stopped
from schemas.errors import InvalidRecord, SinkUnavailable, StartupError
from schemas.insights import AffectedEntity, Cause, ChangeSummary, Insight, RunbookReference, SymptomSummary
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.publisher import InsightPublisher
from streams.insights.records import (
    MAX_VALUE_BYTES,
    SCHEMA_FILE,
    Live,
    Record,
    RecordDecoder,
    RecordEncoder,
    Replay,
    revision_of,
)
from tests.sample_insight import insight

AVSC = SCHEMA_FILE.read_text()
HISTORY = Path(SCHEMA_FILE.parent, "history")
SETTINGS = Settings()


def registry(name: str = "insights") -> SchemaRegistryClient:
    client = SchemaRegistryClient.new_client({"url": f"mock://{name}"})
    client.set_compatibility = lambda *_: None  # type: ignore[method-assign] # the one call that the mock lacks
    return client


def encoder(client: SchemaRegistryClient | None = None, schema: str = AVSC) -> RecordEncoder:
    return RecordEncoder(Live.of(SETTINGS), AvroWriter(client, "topic", schema) if client else None)


def message(record: Record, **change: Any) -> Message:
    sent = Message("topic", "id", 0, 7, 0, record.key, record.value, tuple(record.headers))
    return sent._replace(**change)


CLIENT = registry()
ENCODERS = [encoder(CLIENT), encoder()]
READ = RecordDecoder(CLIENT)


def test_headers_are_those_of_cloudevents() -> None:
    record = encoder(registry())(insight())
    assert record.key == b"inc-1"
    assert dict(record.headers) == {
        "content-type": b"avro/binary",
        "ce_specversion": b"1.0",
        "ce_id": b"inc-1/2",
        "ce_type": b"dev.freshet.incident.insight.v1.updated",
        "ce_source": b"/freshet/freshet/clusters/prod%20%C3%B6",
        "ce_time": b"2026-11-22T01:02:03.004Z",
        "ce_subject": b"node/n%2F1",
    }
    twin = dict(encoder()(insight()).headers)
    assert (twin["content-type"], twin["ce_dataschema"]) == (b"application/json", b"urn:freshet:incident-insight:v1")
    assert revision_of(message(record)) == ("inc-1", 2)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.integers(0, 4_000_000_000_000).map(
    lambda ms: dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "id": texts.filter(lambda text: 0 < len(text.encode()) <= 200),
        "cluster": texts,
        "title": texts,
        "updated": moments,
        "resolved": st.none() | moments,
        "namespaces": st.lists(texts, max_size=3).map(tuple),
        "change": st.none(),
        "symptoms": st.just(()),
        "revision": st.integers(1, 999_999_999),
        "state": st.sampled_from(["opened", "updated", "merged", "resolved"]),
    },
)


@given(changes)
def test_a_revision_survives_and_becomes_the_same_bytes_again(change: dict[str, Any]) -> None:
    told = insight(**change)
    for encode in ENCODERS:
        record = encode(told)
        found = READ(message(record))
        assert found == told
        assert encode(found) == record


def test_what_lists_too_much_is_cut_to_what_the_topic_takes() -> None:
    many = tuple(AffectedEntity(kind="pod", name="x" * 90, symptoms=1) for _ in range(20_000))
    client = registry()
    record = encoder(client)(insight(entities=many))
    assert len(record.value) <= MAX_VALUE_BYTES
    found = RecordDecoder(client)(message(record))
    assert found.entities == many[: len(found.entities)]
    assert len(found.entities) >= 5_000


# -- hostile records ---------------------------------------------------------------------------------------------------

BILLION = b"\x80\x94\xeb\xdc\x03"  # 500 million as a long


@pytest.mark.parametrize("change", [
    {"value": None}, {"value": b""}, {"value": b"\x00"}, {"value": b"{}"}, {"value": b"\xff"},
    {"value": b"[" * 100_000},
    {"value": b" " * (MAX_VALUE_BYTES + 1)}, {"key": None}, {"key": b"inc-2"}, {"headers": ()},
    {"value": b"\x00\xff\xff\xff\xff\x00"},
])  # fmt: skip
def test_odd_records_are_bad_records(change: dict[str, Any]) -> None:
    client = registry()
    for encode in (encoder(client), encoder()):
        with pytest.raises(InvalidRecord):
            RecordDecoder(client)(message(encode(insight()), **change))


@pytest.mark.parametrize("name", ["ce_id", "ce_type", "__value_schema_id"])
@pytest.mark.parametrize("given", [b"", None, b"inc-1/3", b"inc-1/02", b"inc-1/\xd9\xa3", b"\xff/2"])
def test_headers_that_say_something_else_are_bad_records(name: str, given: bytes | None) -> None:
    record = encoder()(insight())
    with pytest.raises(InvalidRecord):
        RecordDecoder(None)(message(record, headers=((*record.headers, (name, given)))))


def test_every_cut_and_every_promise_of_a_collection_is_refused() -> None:
    client = registry()
    record = encoder(client)(insight())
    decode = RecordDecoder(client)
    for end in range(len(record.value)):
        with pytest.raises(InvalidRecord):
            decode(message(record, value=record.value[:end]))
    promised = record.value.replace(b"\x02\x08shop\x00", BILLION + b"\x08shop\x00", 1)
    assert promised != record.value
    for value in (promised, record.value + b"\x00"):
        with pytest.raises(InvalidRecord):
            decode(message(record, value=value))


@given(
    st.sampled_from([encode(insight()) for encode in ENCODERS]),
    st.integers(0, 600),
    st.integers(0, 8),
    st.binary(max_size=12),
)
def test_whatever_is_changed_in_a_value_it_is_read_or_a_bad_record(
    record: Record, start: int, cut: int, put: bytes
) -> None:
    start = max(start, 5)  # the frame's own bytes: see above
    with suppress(InvalidRecord):
        found = READ(message(record, value=record.value[:start] + put + record.value[start + cut :]))
        assert found.id == "inc-1"


def test_schemas_without_bounds_are_not_read() -> None:
    def added(kind: object) -> bool:
        schema = json.loads(AVSC)
        schema["fields"].append({"name": "more", "type": kind, "default": []})
        return bounded(avro.schema.parse(json.dumps(schema)))

    empty = {"type": "record", "name": "Nothing", "fields": []}
    itself = {"type": "record", "name": "Node", "fields": [{"name": "n", "type": {"type": "array", "items": "Node"}}]}
    assert added({"type": "array", "items": "string"})
    for kind in ("null", empty, itself, {"type": "array", "items": empty}):
        assert not added({"type": "array", "items": kind})


# -- evolution ---------------------------------------------------------------------------------------------------------


def versions() -> list[tuple[str, str]]:
    return [(file.name, file.read_text()) for file in sorted(HISTORY.glob("incident_insight.v*.avsc"))]


def test_every_released_schema_can_still_be_read() -> None:
    assert incompatible(AVSC, versions()) == []
    assert json.loads(AVSC) in [json.loads(text) for _, text in versions()], "add it to history/"


def test_an_old_reader_of_the_twin_reads_what_a_newer_writer_wrote() -> None:
    record = encoder()(insight())
    newer = json.loads(record.value) | {"ticket": "T-1"}
    assert RecordDecoder(None)(message(record, value=json.dumps(newer).encode())) == insight()


def test_the_schema_is_the_model_and_says_what_each_field_is() -> None:
    def same(model: type[BaseModel], schema: dict[str, Any]) -> None:
        assert list(model.model_fields) == [field["name"] for field in schema["fields"]]
        for field in schema["fields"]:
            of_model = model.model_fields[field["name"]]
            assert field["doc"]
            if not of_model.is_required():
                default = of_model.default
                assert field["default"] == (list(default) if isinstance(default, tuple) else default)

    parts = {kind.__name__: kind for kind in (AffectedEntity, Cause, SymptomSummary, ChangeSummary, RunbookReference)}
    schema = json.loads(AVSC)
    same(Insight, schema)
    for field in schema["fields"]:
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        kind = kind.get("items", kind) if isinstance(kind, dict) else kind
        if isinstance(kind, dict) and kind["type"] == "record":
            same(parts.pop(kind["name"]), kind)
    assert not parts


# -- publishing --------------------------------------------------------------------------------------------------------


class FakeProducer:
    """Answers each record at the next poll with the next of `errors` (None: it is written)."""

    def __init__(self, errors: list[int | None]) -> None:
        self.errors, self.written, self.waiting = errors, [], []  # type: ignore[var-annotated]

    def produce(self, topic: str, *, on_delivery: Any, **rest: Any) -> None:
        self.waiting.append((on_delivery, self.errors.pop(0) if self.errors else None, {"topic": topic, **rest}))

    def poll(self, _: float) -> None:
        for on_delivery, error, sent in self.waiting:
            if error is None:
                self.written.append((sent["topic"], sent["key"], dict(sent["headers"])["ce_id"]))
            on_delivery(None if error is None else KafkaError(error), None)
        self.waiting = []


def publisher(fake: FakeProducer, connect: Any = lambda _: None, topic: str = "") -> InsightPublisher:
    channel = Replay.of(SETTINGS, topic) if topic else Live.of(SETTINGS)
    return InsightPublisher(SETTINGS, channel, make=lambda _: fake, connect=connect)


def test_after_a_failure_no_older_revision_stands_behind_a_newer_one() -> None:
    fake = FakeProducer([KafkaError._MSG_TIMED_OUT, None])
    publisher(fake).deliver([insight(revision=1), insight(revision=2)], Event())
    topic = SETTINGS.insights.topic
    assert fake.written == [(topic, b"inc-1", b"inc-1/" + n) for n in (b"2", b"1", b"2")]


class Away(Event):
    """Set at the second look; says what the publisher waits for."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set() or bool(self.set())


@pytest.mark.parametrize("problem", [SinkUnavailable("registry is away"), StartupError("cannot read version 1")])
def test_without_its_registry_nothing_is_sent_untyped(problem: Exception) -> None:
    def connect(_: object) -> None:
        raise problem

    fake = FakeProducer([])
    waiting = publisher(fake, connect)
    with pytest.raises(Stopped, match=str(problem)):
        waiting.deliver([insight()], Away())
    assert waiting.paused == str(problem)
    assert not fake.written
    answers = iter([problem])

    def back(_: object) -> SchemaRegistryClient:
        if failure := next(answers, None):
            raise failure
        return registry("back")

    waiting = publisher(fake, back)
    waiting.deliver([insight()], Event())
    assert (len(fake.written), waiting.paused) == (1, "")


def test_a_replay_never_reaches_the_live_topic() -> None:
    live, own = SETTINGS.insights.topic, f"{SETTINGS.insights.topic}.replay.monday"
    for topic in (live, "elsewhere", f"{live}.replay."):
        with pytest.raises(StartupError):
            InsightPublisher.from_settings(SETTINGS, topic)
    for channel in (Replay(topic=live, source="/x"), Live(topic=own, source="/x")):
        with pytest.raises(StartupError, match="not for a"):
            InsightPublisher(SETTINGS, channel)
    fake = FakeProducer([])
    publisher(fake, topic=own).deliver([insight()], Event())
    assert [topic for topic, *_ in fake.written] == [own]
    source = dict(RecordEncoder(Replay.of(SETTINGS, own), None)(insight()).headers)["ce_source"]
    assert source.startswith(f"/freshet/freshet/replays/{own}/".encode())
