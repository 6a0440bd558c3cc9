"""One suite over the client's own mock of a registry and a real one: schemas of insights, as they grow."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from deploy.local.services import Endpoints
from processors.registry import AvroReader, AvroWriter, bounded, registry_client
from schemas.errors import InvalidRecord, StartupError
from schemas.records import Message
from schemas.settings import Registry, Settings
from streams.insights.records import SCHEMA_FILE, Live, Record, RecordDecoder, RecordEncoder
from tests.sample_insight import insight

AVSC = SCHEMA_FILE.read_text()
TOPIC = "contract-insights"
SUBJECT = f"{TOPIC}-value"


@pytest.fixture(params=["mock", pytest.param("real", marks=pytest.mark.integration)])
def registry(request: pytest.FixtureRequest) -> Iterator[SchemaRegistryClient]:
    """Nothing is registered for the topic."""
    if request.param == "mock":
        client = SchemaRegistryClient.new_client({"url": "mock://insights"})
        client.set_compatibility = lambda *_: None  # type: ignore[method-assign] # the one call that the mock lacks
        yield client
        return
    endpoints: Endpoints = request.getfixturevalue("endpoints")
    made = registry_client(Registry.model_validate({"url": endpoints.registry}))
    assert made is not None
    with closing(made):
        _forget(made)
        yield made
        _forget(made)


def _forget(client: SchemaRegistryClient) -> None:
    for subject in client.get_subjects():
        if subject.startswith(TOPIC):
            client.delete_subject(subject)
            client.delete_subject(subject, permanent=True)


def encoder(client: SchemaRegistryClient, schema: str = AVSC) -> RecordEncoder:
    return RecordEncoder(Live.of(Settings()), AvroWriter(client, TOPIC, schema))


def message(record: Record, **change: Any) -> Message:
    return Message(TOPIC, "id", 0, 7, 0, record.key, record.value, tuple(record.headers))._replace(**change)


def grown(**field: Any) -> str:
    schema = json.loads(AVSC)
    return json.dumps(schema | {"fields": [*schema["fields"], field]})


NEWER = grown(name="ticket", type="string", default="none", doc="Where people work on it.")


def test_a_revision_is_the_same_bytes_from_every_encoder(registry: SchemaRegistryClient) -> None:
    first, second = encoder(registry)(insight()), encoder(registry)(insight())
    assert first == second
    assert RecordDecoder(registry)(message(first)) == insight()
    assert registry.get_versions(SUBJECT) == [1]


def test_an_old_reader_reads_what_a_newer_writer_wrote_and_the_other_way_round(registry: SchemaRegistryClient) -> None:
    old = encoder(registry)(insight())
    newer = AvroWriter(registry, TOPIC, NEWER)({**insight().model_dump(), "ticket": "T-1"})
    assert newer[:5] != old.value[:5]
    assert RecordDecoder(registry)(message(old, value=newer)) == insight()  # of a release that knows no tickets
    read = AvroReader(registry, NEWER, bounded, what="an insight")
    assert (read(newer)["ticket"], read(old.value)["ticket"]) == ("T-1", "none")


@pytest.mark.parametrize("schema", [
    grown(name="ticket", type="string"), AVSC.replace('"name": "title"', '"name": "headline"'),
    AVSC.replace('"score", "type": "double"', '"score", "type": "int"'),
], ids=["no default", "renamed", "narrower"])  # fmt: skip
def test_an_incompatible_change_is_refused_before_anything_is_sent(registry: SchemaRegistryClient, schema: str) -> None:
    registry.register_schema(SUBJECT, Schema(AVSC, "AVRO"))
    with pytest.raises(StartupError, match="version 1"):
        encoder(registry, schema)
    assert registry.get_versions(SUBJECT) == [1]


def test_a_value_of_another_record_is_a_bad_record(registry: SchemaRegistryClient) -> None:
    good = encoder(registry)(insight())
    foreign = Schema('{"type": "record", "name": "Other", "fields": [{"name": "id", "type": "string"}]}', "AVRO")
    number = registry.register_schema(f"{TOPIC}-other", foreign)
    with pytest.raises(InvalidRecord, match="cannot be read as an insight"):
        RecordDecoder(registry)(message(good, value=b"\x00" + number.to_bytes(4, "big") + b"\x02a"))
