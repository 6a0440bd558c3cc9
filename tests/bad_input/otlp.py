"""OTLP in protobuf: cut at every byte, lengths that lie, nesting, text that is no text, traces."""

import random
from collections.abc import Iterator
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from schemas.records import Format
from tests.bad_input.case import EMPTY, LOG, METRIC, Case, Expect, World, dropped, letter
from tests.bad_input.good import TEXT, log_batch, metric_batch

BROKEN: Final = letter("not otlp-proto")
# On a sniffed topic nothing says that it was meant to be OTLP.
SNIFFED: Final = letter("not otlp-proto", "not UTF-8", "binary, not text", "unknown format")


def cut(world: World) -> Iterator[Case]:
    batches = {"logs": (log_batch(world.at_ms), LOG), "metrics": (metric_batch(world.at_ms), METRIC)}
    for name, (batch, kind) in batches.items():
        whole = batch.SerializeToString()
        for topic in (name, Format.OTLP_PROTO):
            yield Case(name=f"{name} whole {topic}", value=whole, topic=topic, expect=kind)
            for end in range(1, len(whole)):
                expect = EMPTY if whole[:end].isspace() else BROKEN if topic == Format.OTLP_PROTO else SNIFFED
                yield Case(name=f"{name} cut at {end} {topic}", value=whole[:end], topic=topic, expect=expect)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def lengths(world: World) -> Iterator[Case]:
    """Lengths and tags that promise what is not there; nothing is set aside for them."""
    whole = log_batch(world.at_ms).SerializeToString()
    body = whole[len(varint(len(whole))) + 1 :]
    for size in (len(body) + 1, 2**14, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1):
        for topic in ("logs", Format.OTLP_PROTO):
            value = b"\x0a" + varint(size) + body
            expect = BROKEN if topic == Format.OTLP_PROTO else SNIFFED
            yield Case(name=f"length {size} {topic}", value=value, topic=topic, expect=expect)
    for name, value in {
        "endless varint": b"\x0a" + b"\xff" * 40,
        "long varint": b"\x0a" + b"\x80" * 9 + b"\x01" + body,
        "field zero": b"\x02\x01x",
        "wire type six": b"\x0e\x01",
        "wire type seven": b"\x0f\x01",
        "group that never ends": b"\x13" * 50,
        "group end alone": b"\x14",
        "another field": b"\x12\x03abc",
        "a number": b"\x08\x01",
        "noise": random.Random(4).randbytes(300),
        "ones": b"\xff" * 300,
        "text": b"till is open",
        "JSON": b'{"resourceLogs":[]}',
        "an answer": ExportLogsServiceResponse().SerializeToString() or b"\x0a\x04\x08\x01\x12\x00",
    }.items():
        # Protobuf allows unknown fields anywhere, so that some of these are batches of nothing.
        expect = letter("not otlp-proto") if name != "an answer" else dropped("empty-batch")
        yield Case(name=name, value=value, topic=Format.OTLP_PROTO, expect=expect)


def any_values(world: World) -> Iterator[Case]:
    """Bodies of every type, nested to the limit and beyond."""
    plain = {
        "nothing": (AnyValue(), dropped("empty-line")),
        "an empty text": (AnyValue(string_value=""), dropped("empty-line")),
        "spaces": (AnyValue(string_value=" \n "), dropped("empty-line")),
        "false": (AnyValue(bool_value=False), LOG),
        "zero": (AnyValue(int_value=0), LOG),
        "the least": (AnyValue(int_value=-(2**63)), LOG),
        "NaN": (AnyValue(double_value=float("nan")), LOG),
        "infinity": (AnyValue(double_value=float("inf")), LOG),
        "bytes": (AnyValue(bytes_value=b"\x00\xff"), LOG),
        "no bytes": (AnyValue(bytes_value=b""), dropped("empty-line")),
        "an empty list": (AnyValue(array_value=ArrayValue()), dropped("empty-line")),
        "a list of NaN": (AnyValue(array_value=ArrayValue(values=[AnyValue(double_value=float("nan"))])), LOG),
        "an empty map": (AnyValue(kvlist_value=KeyValueList()), dropped("empty-line")),
        "a map of nothing": (AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="")])), dropped("empty-line")),
        "control characters": (AnyValue(string_value="a\x00b\u202ec"), Expect(log=1, hides="\x00\u202e")),
        "a long text": (AnyValue(string_value=TEXT * 50_000), LOG),
    }
    for name, (body, expect) in plain.items():
        for topic in ("logs", Format.OTLP_PROTO):
            value = log_batch(world.at_ms, body).SerializeToString()
            yield Case(name=f"body of {name} {topic}", value=value, topic=topic, expect=expect)
    for levels in (1, 5, 20):
        value = deep(world, levels)
        yield Case(name=f"{levels} levels", value=value, topic=Format.OTLP_PROTO, expect=LOG)
    for levels in (200, 1_000, 20_000):
        value = deep(world, levels)
        yield Case(name=f"{levels} levels", value=value, topic=Format.OTLP_PROTO, expect=BROKEN)
        yield Case(name=f"{levels} levels, sniffed", value=value, expect=SNIFFED)


def deep(world: World, levels: int) -> bytes:
    """A batch whose body is lists in lists, written by hand: the library itself refuses to nest so deep."""
    body = AnyValue(string_value="till").SerializeToString()
    for _ in range(levels):
        inner = b"\x0a" + varint(len(body)) + body  # ArrayValue.values
        body = b"\x2a" + varint(len(inner)) + inner  # AnyValue.array_value
    record = b"\x2a" + varint(len(body)) + body  # LogRecord.body
    record = LogRecord(time_unix_nano=world.at_ms * 1_000_000).SerializeToString() + record
    for _ in range(3):  # ScopeLogs.log_records and ResourceLogs.scope_logs are 2, LogsData.resource_logs is 1
        tag = b"\x0a" if _ == 2 else b"\x12"
        record = tag + varint(len(record)) + record
    return record


def fields(world: World) -> Iterator[Case]:
    """Odd values of single fields, empty groups, broken UTF-8, and traces, which nobody asked for."""
    for name, more in {
        "severity 255": {"severity_number": 255},
        "severity -1": {"severity_number": -1},
        "odd severity text": {"severity_text": "\x00" * 50},
        "short trace id": {"trace_id": b"\x01"},
        "long trace id": {"trace_id": b"\x01" * 500},
        "zero trace id": {"trace_id": b"\x00" * 16},
        "all flags": {"flags": 2**32 - 1},
        "dropped attributes": {"dropped_attributes_count": 2**32 - 1},
        "observed at the end": {"observed_time_unix_nano": 2**64 - 1},
    }.items():
        batch = log_batch(world.at_ms, None, **more).SerializeToString()
        yield Case(name=name, value=batch, topic=Format.OTLP_PROTO, expect=LOG)
    for nano in (0, 1, 2**63, 2**64 - 1):
        batch_with = log_batch(world.at_ms)
        batch_with.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano = nano
        expect = Expect(log=1, placed_ms=world.at_ms, clamped=True)
        value = batch_with.SerializeToString()
        yield Case(name=f"at {nano} ns", value=value, topic=Format.OTLP_PROTO, expect=expect)
    for name, value in {"group": b"\x0a\x00", "groups": b"\x0a\x00" * 50, "scope": b"\x0a\x02\x12\x00"}.items():
        for topic in ("logs", Format.OTLP_PROTO):
            yield Case(name=f"empty {name} {topic}", value=value, topic=topic, expect=dropped("empty-batch"))
    torn = log_batch(world.at_ms).SerializeToString().replace("é".encode(), b"\xc3\x28")
    yield Case(name="text that is no UTF-8", value=torn, topic=Format.OTLP_PROTO, expect=BROKEN)
    unknown = LogsData.FromString(log_batch(world.at_ms).SerializeToString()).SerializeToString() + b"\xfa\x3f\x03new"
    yield Case(name="a field of a later version", value=unknown, topic=Format.OTLP_PROTO, expect=LOG)
    span = Span(
        name="GET /till", trace_id=b"\x9f" * 16, span_id=b"\x8f" * 8, start_time_unix_nano=world.at_ms * 1_000_000
    )
    traces = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])]).SerializeToString()
    yield Case(name="traces", value=traces, topic=Format.OTLP_PROTO, expect=BROKEN)
    yield Case(name="traces, sniffed", value=traces, expect=SNIFFED)
    for topic in ("logs", "metrics", Format.OTLP_JSON):
        spans = b'{"resourceSpans":[{"scopeSpans":[]}]}'
        yield Case(name=f"traces in JSON {topic}", value=spans, topic=topic, expect=letter("traces are not supported"))
