"""Values of the runbooks topic: the registry's frame and Avro, whole and broken, and Markdown that is none."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, Final

import avro.schema
from avro.io import BinaryEncoder, DatumWriter
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from cag.registry import MAX_VALUE_BYTES, SCHEMA_FILE, Published, ValueDecoder
from schemas.errors import InvalidRecord
from schemas.records import Message
from tests.bad_input.case import Case, Expect

TOPIC: Final = "runbooks"
OURS, STRANGER, COLLECTION, GARBAGE, NARROW, NEWER = 1, 2, 3, 4, 5, 6
RECORD: Final = '{{"type":"record","name":"Runbook","namespace":"freshet","fields":[{}]}}'
TEXT_ONLY: Final = '{"name":"path","type":"string"},{"name":"text","type":"string"}'
GOOD: Final = Published(path="till.md", text="# Till\n\nOpen the drawer, café style.\n", revision="7", published_ms=7)

# Any of these reasons; an empty tuple: it is read.
Reasons = tuple[str, ...]
UNFIT: Final[Reasons] = ("Avro value does not fit its schema", "Avro value is followed by other bytes")
CUT: Final[Reasons] = ("Avro frame is cut short",)
ZERO: Final = "runbook is neither Avro nor text: it holds a zero byte"
NO_TEXT: Final[Reasons] = ("runbook is neither Avro nor UTF-8 text", ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    name: str
    value: bytes
    reasons: Reasons
    headers: tuple[tuple[str, bytes | None], ...] = ()


class FakeRegistry:
    """Knows a few schemas by id, as a real registry answers for them."""

    def __init__(self) -> None:
        self.schemas: dict[int, str] = {
            OURS: SCHEMA_FILE.read_text(),
            STRANGER: RECORD.format('{"name":"amount","type":"int"}'),
            COLLECTION: RECORD.format('{"name":"text","type":{"type":"array","items":"string"}}'),
            GARBAGE: "{",
            NARROW: '"string"',
            NEWER: RECORD.format(f'{TEXT_ONLY},{{"name":"owner","type":["null","string"],"default":null}}'),
        }

    def get_schema(self, schema_id: int) -> Schema:
        if schema_id not in self.schemas:
            raise SchemaRegistryError(404, 40403, "Schema not found")
        return Schema(self.schemas[schema_id], "AVRO")


def encoded(fields: Mapping[str, Any], schema: Any) -> bytes:
    body = BytesIO()
    DatumWriter(schema).write(fields, BinaryEncoder(body))
    return body.getvalue()


def framed(schema_id: int, body: bytes) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + body


def values(ours: int = OURS) -> Iterator[Value]:
    """`ours`: the id under which the registry knows the product's own schema."""
    body = encoded(asdict(GOOD), avro.schema.parse(SCHEMA_FILE.read_text()))
    yield Value(name="whole", value=framed(ours, body), reasons=())
    for end in range(1, len(framed(ours, body))):
        reasons = CUT if end < 5 else UNFIT
        yield Value(name=f"cut at {end}", value=framed(ours, body)[:end], reasons=reasons)
    for tail in (b"\x00", b"x", b"\x00" * 1_000, body):
        yield Value(name=f"with {len(tail)} bytes more", value=framed(ours, body + tail), reasons=UNFIT)
    for schema_id in (0, 7, 1 << 24, (1 << 31) - 1, (1 << 32) - 1):
        yield Value(
            name=f"id {schema_id}",
            value=framed(schema_id, body),
            reasons=(f"schema id {schema_id} is not in the registry",),
        )
    cannot = (
        "schema id {} cannot be read as a runbook",
        "schema id {} is not a record of plain fields",
        "schema id {} is not an Avro schema",
    )
    for schema_id in (STRANGER, COLLECTION, GARBAGE, NARROW):
        reasons = tuple(each.format(schema_id) for each in cannot)
        yield Value(name=f"incompatible schema {schema_id}", value=framed(schema_id, body), reasons=reasons)
    newer = avro.schema.parse(FakeRegistry().schemas[NEWER])
    fields = {"path": "till.md", "text": "# Till", "owner": "shop"}
    yield Value(name="a later schema", value=framed(NEWER, encoded(fields, newer)), reasons=())
    for name, number in {"huge": 2**40, "endless": 2**62, "negative": -1, "least": -(2**62)}.items():
        length = zigzag(number)
        yield Value(name=f"{name} length", value=framed(ours, length + body), reasons=UNFIT)
    yield Value(name="varint without an end", value=framed(ours, b"\xff" * 40), reasons=UNFIT)
    yield Value(
        name="text that is no UTF-8", value=framed(ours, body.replace("é".encode(), b"\xc3\x28")), reasons=UNFIT
    )
    yield Value(name="noise", value=framed(ours, bytes(range(255, 0, -1))), reasons=UNFIT)
    for magic in (1, 2, 127, 128, 255):
        value = bytes([magic]) + framed(ours, body)[1:]
        yield Value(name=f"magic {magic}", value=value, reasons=NO_TEXT)
    yield Value(name="latin-1", value="# café".encode("latin-1"), reasons=NO_TEXT)
    yield Value(name="UTF-16", value="# Till".encode("utf-16"), reasons=NO_TEXT)
    large = (f"runbook is larger than {MAX_VALUE_BYTES} bytes",)
    yield Value(name="too large", value=b"#" * (MAX_VALUE_BYTES + 1), reasons=large)
    yield Value(name="Markdown", value=b"# Till\n\nOpen the drawer.\n", reasons=())
    header = (("__value_schema_id", b"\x01" * 17),)
    said = ("schema ids in headers are not supported: put the id in front of the value",)
    yield Value(name="id in a header", value=body, reasons=said, headers=header)


def zigzag(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def of_registry(ours: int) -> Iterator[Case]:
    """Those that a real registry can tell, which knows our schema and, by small ids, whatever else."""
    strange = (b"\x00" + schema_id.to_bytes(4, "big") for schema_id in (*range(1_000), 1 << 24))
    unsure = frozenset(strange) - {framed(ours, b"")}
    for each in values(ours):
        if each.value[:5] not in unsure or len(each.value) < 5:
            expect = Expect(letters={0: each.reasons} if each.reasons else {})
            yield Case(name=each.name, value=each.value, topic=TOPIC, headers=each.headers, expect=expect)


def wrong(each: Value) -> str:
    """What differs from the expectation, '' when nothing does."""
    message = Message(topic="runbooks", topic_id="i", partition=0, offset=1, timestamp_ms=1, key=b"till.md",
                      value=each.value, headers=each.headers)  # fmt: skip
    try:
        ValueDecoder(FakeRegistry())(message)
    except InvalidRecord as error:
        return "" if error.reason in each.reasons else f"rejected: {error.reason}, not {each.reasons or 'read'}"
    return f"is read, not {each.reasons}" if each.reasons else ""
