"""The value of a runbook message: Avro in the registry's frame, or plain Markdown.

A frame is a zero byte, the schema id as four bytes, then Avro binary. Markdown in UTF-8 never starts with a zero byte,
so one topic may hold both: people send files with kcat, `python -m cag publish` sends Avro when a registry is set.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
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

from cag.runbooks import MAX_DOCUMENT_BYTES
from schemas.errors import InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.records import Message
from schemas.settings import Registry

SCHEMA_FILE: Final = Path(__file__).parent.parent / "schemas" / "avro" / "runbook.avsc"
COMPATIBILITY: Final = "BACKWARD_TRANSITIVE"  # a rebuild reads everything that the topic still holds
MAGIC: Final = b"\x00"
FRAME_BYTES: Final = 5
SCHEMA_ID_HEADER: Final = "__value_schema_id"
MAX_VALUE_BYTES: Final = MAX_DOCUMENT_BYTES + 65_536  # a whole document and its other fields
TIMEOUT_S: Final = 10.0
NOT_FOUND: Final = (40401, 40402, 40403)  # subject, version, schema: the registry's own codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the value of a runbook message says. `path` is empty for plain Markdown: there the key alone names it."""

    path: str = ""
    text: str
    revision: str = ""
    published_ms: int = 0
    source_url: str | None = None


Decode = Callable[[Message], Published]  # raises InvalidRecord, SinkUnavailable, SinkMisconfigured


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


# -- reading -----------------------------------------------------------------------------------------------------------


class ValueDecoder:
    """Decodes message values; remembers schemas by id."""

    def __init__(self, registry: SchemaSource | None, address: str = "") -> None:
        self._registry = registry
        self._address = address
        self._readers: dict[int, DatumReader] = {}

    def __call__(self, message: Message) -> Published:
        value = message.value or b""
        if len(value) > MAX_VALUE_BYTES:
            raise InvalidRecord(f"runbook is larger than {MAX_VALUE_BYTES} bytes")
        if any(name == SCHEMA_ID_HEADER for name, _ in message.headers):
            raise InvalidRecord("schema ids in headers are not supported: put the id in front of the value")
        if value.startswith(MAGIC):
            return self._avro(value)
        if b"\x00" in value:  # a frame with another magic byte, or UTF-16
            raise InvalidRecord("runbook is neither Avro nor text: it holds a zero byte")
        try:
            return Published(text=value.decode())
        except UnicodeDecodeError as error:
            raise InvalidRecord("runbook is neither Avro nor UTF-8 text") from error

    def _avro(self, value: bytes) -> Published:
        if self._registry is None:
            raise InvalidRecord("value is Avro, but FRESHET_REGISTRY__URL is not set")
        if len(value) < FRAME_BYTES:
            raise InvalidRecord("Avro frame is cut short")
        reader = self._reader(int.from_bytes(value[1:FRAME_BYTES], "big"))
        body = BytesIO(value[FRAME_BYTES:])
        try:
            fields = cast(dict[str, Any], reader.read(BinaryDecoder(body)))
        except (avro.errors.AvroException, ValueError, OverflowError, TypeError, IndexError) as error:
            raise InvalidRecord("Avro value does not fit its schema") from error
        if body.read(1):
            raise InvalidRecord("Avro value is followed by other bytes")
        return Published(**fields)

    def _reader(self, schema_id: int) -> DatumReader:
        if schema_id not in self._readers:
            if self._registry is None:
                raise InvalidRecord("no registry")
            if schema_id >= 1 << 31:  # no id; asked for it, a registry answers as if the address were wrong
                raise InvalidRecord(f"schema id {schema_id} is not in the registry")
            try:
                with translated(self._address):
                    text = self._registry.get_schema(schema_id).schema_str or ""
            except SchemaRegistryError as error:
                raise InvalidRecord(f"schema id {schema_id} is not in the registry") from error
            self._readers[schema_id] = _reader(text, schema_id)
        return self._readers[schema_id]


def _reader(writer_text: str, schema_id: int) -> DatumReader:
    """Raises InvalidRecord unless everything written with that schema can be read as a runbook of flat fields."""
    try:
        writer = avro.schema.parse(writer_text)
    except (avro.errors.AvroException, ValueError, RecursionError) as error:
        raise InvalidRecord(f"schema id {schema_id} is not an Avro schema") from error
    if not isinstance(writer, avro.schema.RecordSchema) or not all(_flat(f.type) for f in writer.fields):
        raise InvalidRecord(f"schema id {schema_id} is not a record of plain fields")
    if not _compatible(reader=own_schema(), writer=writer):
        raise InvalidRecord(f"schema id {schema_id} cannot be read as a runbook")
    return DatumReader(writer, own_schema())


def _flat(schema: avro.schema.Schema) -> bool:
    """Whether a field's size is bounded by its bytes: collections can promise a billion elements in ten of them."""
    if isinstance(schema, avro.schema.UnionSchema):
        return all(_flat(s) for s in schema.schemas)
    return type(schema) is avro.schema.PrimitiveSchema


# -- writing -----------------------------------------------------------------------------------------------------------


class ValueEncoder:
    """Encodes values for one topic, under the subject `<topic>-value`."""

    def __init__(self, registry: SchemaRegistryClient | None, topic: str, address: str = "") -> None:
        """With a registry, checks and registers the schema first (see `register`)."""
        self._context = SerializationContext(topic, MessageField.VALUE)
        self._address = address
        self._serialize: AvroSerializer | None = None
        if registry is not None:
            conf = {
                "auto.register.schemas": False,
                "use.schema.id": register(registry, topic, address),  # no look-up by text: registries differ in it
                "subject.name.strategy.type": "TOPIC",
            }
            self._serialize = AvroSerializer(registry, SCHEMA_FILE.read_text(), conf=conf)

    def __call__(self, published: Published) -> bytes:
        if self._serialize is None:
            return published.text.encode()
        with translated(self._address):
            value = self._serialize(asdict(published), self._context)
        if value is None:
            raise TypeError("the serializer returned nothing")
        return value


def register(client: SchemaRegistryClient, topic: str, address: str = "") -> int:
    """Register our schema for the topic's values, unless it would break readers of any registered version.

    Returns the schema id. Raises StartupError when it is incompatible, SinkUnavailable and SinkMisconfigured as usual.
    """
    subject = f"{topic}-value"
    text = SCHEMA_FILE.read_text()
    with translated(address):
        versions: list[int] = []
        try:
            versions = client.get_versions(subject)
        except SchemaRegistryError as error:
            if error.http_status_code != 404:
                raise
        old = [(f"version {v}", client.get_version(subject, v).schema.schema_str or "") for v in versions]
        problems = incompatible(text, old)
        if problems:
            raise StartupError(
                f"schema registry at {address}: subject {subject} holds schemas that this version cannot read "
                f"({', '.join(problems)}); use a new topic, or delete those versions"
            )
        schema_id = client.register_schema(subject, Schema(text, "AVRO"))
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


@lru_cache(maxsize=1)
def own_schema() -> avro.schema.Schema:
    return avro.schema.make_avsc_object(json.loads(SCHEMA_FILE.read_text()))


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
