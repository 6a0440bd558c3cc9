"""From a Kafka message to records: the one door to all decoders, pure and total.

`decode` never raises, whatever the bytes are. The position of an item in its answer is its index within the message,
so a replay finds the same record under the same coordinates.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

import orjson

from processors.decode.alertmanager import notification
from processors.decode.json_logs import filebeat, fluent_bit, plain_fluent_bit, rsyslog, vector
from processors.decode.kubernetes import kubernetes_events
from processors.decode.metrics import prometheus, telegraf, vector_metric
from processors.decode.otlp import Group, otlp_records
from processors.decode.otlp_json import read_otlp_json
from processors.decode.otlp_proto import read_otlp_proto
from processors.decode.resource import Origin
from processors.decode.sniff import is_vector_metric, sniff
from processors.decode.text import application_object, text_line, text_lines
from processors.decode.values import UTF8_BOM, controls, mapping, parse_json, plain_text, scalar, utf8
from schemas.errors import InvalidRecord
from schemas.records import Filtered, Format, Message, Record, Rejected, Signal
from schemas.topics import Input

DECODERS_VERSION: Final = 3  # feeds the generation: raise it when the same bytes become different records
_FIRST_FIELD: Final = 0x0A  # of every OTLP batch in protobuf: field 1, length-delimited
MOST_RECORDS: Final = 20_000  # in one message; far above any shipper's batch, and folded within two seconds

_OBJECT: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?:\[\s*+)?\{")
_FRAME_BYTES: Final = 5  # a zero byte and a schema id
_FRAMED: Final = "schema registry framing"
_TOO_MANY: Final = "too many records in one message"

Outcome = Record | Rejected | Filtered


def decode(message: Message, source: Input) -> list[Outcome]:
    """Every record in a message, in order; at least one item. A bad record is Rejected in its place."""
    value = message.value
    if not value or value.isspace():
        return [Rejected(reason="empty value")]
    origin = Origin(source.cluster, message.timestamp_ms)
    try:
        if message.headers:
            value = _unwrapped(value, message.headers)
            if not value:
                return [Rejected(reason="empty value")]
        items = _items(value, source, origin)
        found = list(items) if isinstance(items, tuple) else list(islice(items, MOST_RECORDS + 1))
    except InvalidRecord as error:
        return [Rejected(reason=error.reason)]
    if len(found) > MOST_RECORDS:
        return [Rejected(reason=_TOO_MANY)]
    return found or [Filtered(rule="empty-batch")]


def _unwrapped(value: bytes, headers: tuple[tuple[str, bytes | None], ...]) -> bytes:
    """The data of a structured CloudEvent; any other value as it is.

    Headers are believed only where the value bears them out: anyone who may write the topic may write them. No input
    is configured for a schema registry, but its JSON needs no schema to be read.
    """
    for key, header in headers:
        if key == "__value_schema_id" and not _opens_json(value):
            raise InvalidRecord(_FRAMED)
        if key.lower() == "content-type" and header is not None and header.startswith(b"application/cloudevents+json"):
            try:
                envelope = mapping(parse_json(value))
            except InvalidRecord:
                return value  # whoever decodes it will say what is wrong
            if "specversion" in envelope:
                return _cloud_event(envelope)
    return value


def _cloud_event(envelope: Mapping[str, object]) -> bytes:
    carried = envelope.get("data")
    if isinstance(carried, str):
        return carried.encode()
    if carried is not None:
        return orjson.dumps(carried)
    try:
        return b64decode(scalar(envelope.get("data_base64")), validate=True)
    except ValueError:
        raise InvalidRecord("not a CloudEvent") from None


def _items(value: bytes, source: Input, origin: Origin) -> Iterable[Outcome]:
    chosen = source.format
    if value[0] == 0 and len(value) > _FRAME_BYTES and 0 < int.from_bytes(value[1:5], "big") < 1 << 24:
        raise InvalidRecord(_FRAMED)
    if chosen is Format.TEXT:
        return text_lines(value, origin)
    if chosen is Format.RSYSLOG and value[:64].removeprefix(UTF8_BOM).lstrip(b"[ \t\r\n")[:1] != b"{":
        return text_lines(value, origin, syslog=True)
    if chosen is Format.OTLP_PROTO:
        return otlp_records(read_otlp_proto(value, metrics_first=source.signal is Signal.METRIC), origin)
    if chosen is Format.AUTO:
        return _sniffed(value, source, origin)
    return _objects(_documents(value), chosen, source, origin)


def _sniffed(value: bytes, source: Input, origin: Origin) -> Iterable[Outcome]:
    if value[0] == _FIRST_FIELD:
        if (batch := _otlp_proto(value, source)) is not None:
            return otlp_records(batch, origin)
        if controls(value[:256]):
            raise InvalidRecord("not otlp-proto")
    if _opens_json(value):
        try:
            documents = _documents(value)
        except InvalidRecord as error:
            # `{"` and `[{` begin nothing but JSON; `[` alone begins many a line of text.
            if error.reason not in ("not JSON", "not UTF-8") or _OBJECT.match(value):
                raise
            documents = [value]
        if (
            not documents
            or isinstance(documents[0], dict)
            or any(isinstance(d, dict | InvalidRecord) for d in documents)
        ):
            return _objects(documents, None, source, origin)
    if source.signal is not Signal.LOG:
        plain_text(value)
        raise InvalidRecord("unknown format")
    return text_lines(value, origin)


def _otlp_proto(value: bytes, source: Input) -> Iterable[Group] | None:
    """The batch that the bytes are, unless they are a text that begins with a line feed."""
    try:
        return read_otlp_proto(value, metrics_first=source.signal is Signal.METRIC)
    except InvalidRecord:
        return None


def _opens_json(value: bytes) -> bool:
    start = value[:64].removeprefix(UTF8_BOM).lstrip() or value.lstrip()
    return start[:1] == b"[" or (start[:1] == b"{" and start[1:].lstrip()[:1] in (b'"', b"}", b""))


def _documents(value: bytes) -> list[object]:
    """The JSON values of a message: one, the elements of an array, or one a line, a broken line as its error."""
    # No JSON value holds a closed object and the next one on a new line: that is an object a line.
    if b"\n" not in value or not (b"}\n{" in value or b"}\r\n{" in value):
        try:
            parsed = parse_json(value)
        except InvalidRecord as error:
            broken = error.reason in ("not JSON", "not UTF-8", "nested too deeply")
            # A broken object on several indented lines is one.
            if not broken or value.count(b"\n{") + value.startswith((b"{", UTF8_BOM + b"{")) < 2:
                raise
        else:
            return parsed if isinstance(parsed, list) else [parsed]
    lines = [line for line in value.removeprefix(UTF8_BOM).split(b"\n") if line and not line.isspace()]
    if len(lines) > MOST_RECORDS:
        raise InvalidRecord(_TOO_MANY)
    return [_line(line) for line in lines]


def _line(line: bytes) -> object:
    if not line.startswith((b"{", b"[")):
        return line
    try:
        return parse_json(line)
    except InvalidRecord as error:
        return error if _OBJECT.match(line) else line


def _objects(documents: list[object], chosen: Format | None, source: Input, origin: Origin) -> Iterable[Outcome]:
    if len(documents) == 1 and isinstance(documents[0], dict):
        found = _decoded(documents[0], chosen, source, origin)
        if isinstance(found, tuple):  # one record, as most messages hold
            return found
    return _each(documents, chosen, source, origin)


def _each(documents: list[object], chosen: Format | None, source: Input, origin: Origin) -> Iterator[Outcome]:
    for document in documents:
        try:
            if isinstance(document, InvalidRecord):
                raise document
            if isinstance(document, dict):
                yield from _decoded(document, chosen, source, origin)
            elif isinstance(document, bytes) and chosen is None and source.signal is Signal.LOG:
                yield text_line(utf8(document), origin)
            else:
                raise InvalidRecord(f"not {chosen}" if chosen else "not a JSON object")
        except InvalidRecord as error:
            yield Rejected(reason=error.reason)


def _decoded(event: Mapping[str, object], chosen: Format | None, source: Input, origin: Origin) -> Iterable[Outcome]:
    if (chosen is None or chosen is Format.FLUENT_BIT) and (line := plain_fluent_bit(event, origin)) is not None:
        return (line,)
    if chosen is None:
        chosen = sniff(event)
        if chosen is None:
            if source.signal is not Signal.LOG:
                raise InvalidRecord("unknown format")
            return (application_object(event, origin),)
    return _DECODERS[chosen](event, origin)


def _one(decoder: Callable[[Mapping[str, object], Origin], Outcome]) -> Callable[..., Iterable[Outcome]]:
    return lambda event, origin: (decoder(event, origin),)


def _vector(event: Mapping[str, object], origin: Origin) -> Iterable[Outcome]:
    if is_vector_metric(mapping(event.get("metric")) or event):
        return vector_metric(event, origin)
    return (vector(event, origin),)


def _otlp_json(event: Mapping[str, object], origin: Origin) -> Iterable[Outcome]:
    return otlp_records(read_otlp_json(event), origin)


def _telegraf(event: Mapping[str, object], origin: Origin) -> Iterator[Outcome]:
    """One metric, or the batch form, whose bad metrics are rejected each by itself."""
    batch = event.get("metrics")
    for metric in batch if isinstance(batch, list) else [event]:
        try:
            yield from telegraf(mapping(metric), origin)
        except InvalidRecord as error:
            yield Rejected(reason=error.reason)


_DECODERS: Final[Mapping[Format, Callable[[Mapping[str, object], Origin], Iterable[Outcome]]]] = {
    Format.OTLP_JSON: _otlp_json,
    Format.FLUENT_BIT: _one(fluent_bit),
    Format.VECTOR: _vector,
    Format.FILEBEAT: _one(filebeat),
    Format.RSYSLOG: _one(rsyslog),
    Format.PROMETHEUS: prometheus,
    Format.TELEGRAF: _telegraf,
    Format.EVENT_EXPORTER: kubernetes_events,
    Format.KUBERNETES_EVENT: kubernetes_events,
    Format.ALERTMANAGER: notification,
}
