"""Avro values in the schema registry's frame: what runbooks and insights share.

A frame is a zero byte, the schema id as four bytes, then Avro binary. The id comes from `register`; nothing is looked
up by the text of a schema, in which registries differ.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final, Protocol, cast

import avro.errors
import avro.schema
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.io import BinaryDecoder, DatumReader
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer

# Not exported by the client, and yet the only way to name the errors of the HTTP library that it picked.
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.errors import InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.settings import Registry

COMPATIBILITY: Final = "BACKWARD_TRANSITIVE"  # a newcomer reads everything that a compacted topic still holds
MAGIC: Final = b"\x00"
FRAME_BYTES: Final = 5
SCHEMA_ID_HEADER: Final = "__value_schema_id"
TIMEOUT_S: Final = 10.0
NOT_FOUND: Final = (40401, 40402, 40403)  # subject, version, schema: the registry's own codes


class SchemaSource(Protocol):
    def get_schema(self, schema_id: int) -> Schema: ...


def registry_client(registry: Registry) -> SchemaRegistryClient | None:
    """A client for these settings; nothing is sent yet. None when no registry is set."""
    if registry.url is None:
        return None
    conf: dict[str, Any] = {"url": address(registry), "timeout": TIMEOUT_S, "max.retries": 1}
    if registry.username:
        conf["basic.auth.user.info"] = f"{registry.username}:{registry.password.get_secret_value()}"
    if registry.ca_file:
        conf["ssl.ca.location"] = str(registry.ca_file)
    return SchemaRegistryClient(conf)


def address(registry: Registry) -> str:
    """The registry's URL without credentials."""
    url = registry.url
    if url is None:
        return ""
    return f"{url.scheme}://{url.host}:{url.port}{(url.path or '').rstrip('/')}"


class AvroReader:
    """Reads framed values as one record of ours, whatever compatible schema they were written with; remembers schemas.

    `what`: for people. `accepts`: whether a value of the writer's schema is bounded by its bytes (`flat`, `bounded`).
    """

    def __init__(
        self,
        registry: SchemaSource,
        schema: str,
        accepts: Callable[[avro.schema.Schema], bool],
        *,
        what: str,
        address: str = "",
    ) -> None:
        self._registry, self._accepts, self._what, self._address = registry, accepts, what, address
        self._own = cast(avro.schema.RecordSchema, avro.schema.parse(schema))
        self._readers: dict[int, DatumReader] = {}

    def __call__(self, value: bytes) -> dict[str, Any]:
        """Raises InvalidRecord; SinkUnavailable and SinkMisconfigured when a schema has to be asked for."""
        if len(value) < FRAME_BYTES or not value.startswith(MAGIC):
            raise InvalidRecord("Avro frame is cut short")
        reader = self._reader(int.from_bytes(value[1:FRAME_BYTES], "big"))
        body = BytesIO(value[FRAME_BYTES:])
        try:
            fields = cast(dict[str, Any], reader.read(BinaryDecoder(body)))
        except (avro.errors.AvroException, ValueError, OverflowError, TypeError, IndexError) as error:
            raise InvalidRecord("Avro value does not fit its schema") from error
        if body.read(1):
            raise InvalidRecord("Avro value is followed by other bytes")
        return fields

    def _reader(self, schema_id: int) -> DatumReader:
        if schema_id not in self._readers:
            if schema_id >= 1 << 31:  # no id; asked for it, a registry answers as if the address were wrong
                raise InvalidRecord(f"schema id {schema_id} is not in the registry")
            try:
                with translated(self._address):
                    text = self._registry.get_schema(schema_id).schema_str or ""
            except SchemaRegistryError as error:
                raise InvalidRecord(f"schema id {schema_id} is not in the registry") from error
            self._readers[schema_id] = self._resolved(text, schema_id)
        return self._readers[schema_id]

    def _resolved(self, text: str, schema_id: int) -> DatumReader:
        try:
            writer = avro.schema.parse(text)
        except (avro.errors.AvroException, ValueError, RecursionError) as error:
            raise InvalidRecord(f"schema id {schema_id} is not an Avro schema") from error
        if not isinstance(writer, avro.schema.RecordSchema) or not all(self._accepts(f.type) for f in writer.fields):
            raise InvalidRecord(f"schema id {schema_id} is not a record of plain fields")
        if not _compatible(reader=self._own, writer=writer):
            raise InvalidRecord(f"schema id {schema_id} cannot be read as {self._what}")
        return DatumReader(writer, self._own)


def flat(schema: avro.schema.Schema) -> bool:
    """Whether it is a primitive, or a choice of such."""
    if isinstance(schema, avro.schema.UnionSchema):
        return all(flat(s) for s in schema.schemas)
    return type(schema) is avro.schema.PrimitiveSchema


def bounded(schema: avro.schema.Schema, depth: int = 4) -> bool:
    """Whether a value's size is bounded by its bytes, and its depth by `depth`.

    A collection of elements without bytes can promise a billion of them in ten bytes; a schema that holds itself can
    go deeper than the stack.
    """
    if isinstance(schema, avro.schema.UnionSchema):
        return all(bounded(s, depth) for s in schema.schemas)
    if isinstance(schema, avro.schema.ArraySchema):
        return depth > 0 and _has_bytes(schema.items) and bounded(schema.items, depth - 1)
    if isinstance(schema, avro.schema.MapSchema):  # its keys have bytes
        return depth > 0 and bounded(schema.values, depth - 1)
    if isinstance(schema, avro.schema.RecordSchema):
        return depth > 0 and all(bounded(field.type, depth - 1) for field in schema.fields)
    return isinstance(schema, avro.schema.PrimitiveSchema | avro.schema.EnumSchema)


def _has_bytes(schema: avro.schema.Schema) -> bool:
    if isinstance(schema, avro.schema.RecordSchema):
        # A nested record is not asked: it may be the same one again.
        return any(not isinstance(f.type, avro.schema.RecordSchema) and _has_bytes(f.type) for f in schema.fields)
    return bool(schema.type != "null")


class AvroWriter:
    """Writes one record type to one topic, under the subject `<topic>-value`."""

    def __init__(self, registry: SchemaRegistryClient, topic: str, schema: str, address: str = "") -> None:
        """Checks and registers the schema first (see `register`)."""
        self._context = SerializationContext(topic, MessageField.VALUE)
        self._address = address
        conf = {
            "auto.register.schemas": False,
            "use.schema.id": register(registry, topic, schema, address),
            "subject.name.strategy.type": "TOPIC",
        }
        self._serialize = AvroSerializer(registry, schema, conf=conf)

    def __call__(self, fields: Mapping[str, Any]) -> bytes:
        with translated(self._address):
            value: bytes | None = self._serialize(dict(fields), self._context)
        if value is None:
            raise TypeError("the serializer returned nothing")
        return value


def register(client: SchemaRegistryClient, topic: str, schema: str, address: str = "") -> int:
    """Register the schema of a topic's values, unless it could not read those of any registered version.

    Returns the schema id. Raises StartupError when it is incompatible, SinkUnavailable and SinkMisconfigured as usual.
    """
    subject = f"{topic}-value"
    with translated(address):
        versions: list[int] = []
        try:
            versions = client.get_versions(subject)
        except SchemaRegistryError as error:
            if error.http_status_code != 404:
                raise
        old = [(f"version {v}", client.get_version(subject, v).schema.schema_str or "") for v in versions]
        problems = incompatible(schema, old)
        if problems:
            raise StartupError(
                f"schema registry at {address}: subject {subject} holds schemas that this version cannot read "
                f"({', '.join(problems)}); use a new topic, or delete those versions"
            )
        schema_id = client.register_schema(subject, Schema(schema, "AVRO"))
        client.set_compatibility(subject, COMPATIBILITY)
    return schema_id


def incompatible(new: str, old: Iterable[tuple[str, str]]) -> list[str]:
    """Names of the old schemas whose values the new one could not read."""
    reader = avro.schema.parse(new)
    return [name for name, text in old if not _readable(reader, text)]


def _readable(reader: avro.schema.Schema, writer_text: str) -> bool:
    try:
        return _compatible(reader=reader, writer=avro.schema.parse(writer_text))
    except avro.errors.AvroException:
        return False


def _compatible(*, reader: avro.schema.Schema, writer: avro.schema.Schema) -> bool:
    checker: Any = ReaderWriterCompatibilityChecker
    result = checker().get_compatibility(reader, writer)
    return bool(result.compatibility is SchemaCompatibilityType.compatible)


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn the registry client's errors into ours; "not found" passes: what it means depends on the request.

    A page that is not found says so without the registry's own code: the URL is wrong, not the record.
    """
    try:
        yield
    except SchemaRegistryError as error:
        status = error.http_status_code
        if status in (401, 403):
            raise SinkMisconfigured(
                f"schema registry at {address} refuses us (HTTP {status}): check user name and password"
            ) from error
        if status == 429 or status >= 500 or status < 400:
            raise SinkUnavailable(f"schema registry at {address} answers HTTP {status}") from error
        if status != 404:
            raise SinkMisconfigured(f"schema registry at {address} refuses the request (HTTP {status})") from error
        if error.error_code not in NOT_FOUND:
            raise SinkMisconfigured(f"there is no schema registry at {address}: check FRESHET_REGISTRY__URL") from error
        raise
    except json.JSONDecodeError as error:  # a page for people, with status 200
        raise SinkMisconfigured(f"there is no schema registry at {address}: check FRESHET_REGISTRY__URL") from error
    except httpx.TransportError as error:
        raise SinkUnavailable(f"schema registry at {address} does not answer: {type(error).__name__}") from error
