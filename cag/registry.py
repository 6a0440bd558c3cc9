"""The value of a runbook message: Avro in the registry's frame, or plain Markdown.

Markdown in UTF-8 never starts with a zero byte, as a frame does, so one topic may hold both: people send files with
kcat, `python -m cag publish` sends Avro when a registry is set.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from confluent_kafka.schema_registry import SchemaRegistryClient

from cag.runbooks import MAX_DOCUMENT_BYTES
from processors.registry import MAGIC, SCHEMA_ID_HEADER, AvroReader, AvroWriter, SchemaSource, flat
from schemas.errors import InvalidRecord
from schemas.records import Message

SCHEMA_FILE: Final = Path(__file__).parent.parent / "schemas" / "avro" / "runbook.avsc"
MAX_VALUE_BYTES: Final = MAX_DOCUMENT_BYTES + 65_536  # a whole document and its other fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the value of a runbook message says. `path` is empty for plain Markdown: there the key alone names it."""

    path: str = ""
    text: str
    revision: str = ""
    published_ms: int = 0
    source_url: str | None = None


Decode = Callable[[Message], Published]  # raises InvalidRecord, SinkUnavailable, SinkMisconfigured


class ValueDecoder:
    """Decodes message values; remembers schemas by id."""

    def __init__(self, registry: SchemaSource | None, address: str = "") -> None:
        schema = SCHEMA_FILE.read_text()
        self._avro = AvroReader(registry, schema, flat, what="a runbook", address=address) if registry else None

    def __call__(self, message: Message) -> Published:
        value = message.value or b""
        if len(value) > MAX_VALUE_BYTES:
            raise InvalidRecord(f"runbook is larger than {MAX_VALUE_BYTES} bytes")
        if any(name == SCHEMA_ID_HEADER for name, _ in message.headers):
            raise InvalidRecord("schema ids in headers are not supported: put the id in front of the value")
        if value.startswith(MAGIC):
            if self._avro is None:
                raise InvalidRecord("value is Avro, but FRESHET_REGISTRY__URL is not set")
            return Published(**self._avro(value))
        if b"\x00" in value:  # a frame with another magic byte, or UTF-16
            raise InvalidRecord("runbook is neither Avro nor text: it holds a zero byte")
        try:
            return Published(text=value.decode())
        except UnicodeDecodeError as error:
            raise InvalidRecord("runbook is neither Avro nor UTF-8 text") from error


class ValueEncoder:
    """Encodes values for one topic, under the subject `<topic>-value`."""

    def __init__(self, registry: SchemaRegistryClient | None, topic: str, address: str = "") -> None:
        """With a registry, checks and registers the schema first (see `processors.registry.register`)."""
        self._avro = AvroWriter(registry, topic, SCHEMA_FILE.read_text(), address) if registry else None

    def __call__(self, published: Published) -> bytes:
        return published.text.encode() if self._avro is None else self._avro(asdict(published))
