"""Forged headers: whoever may write the topic may write them; they change nothing that the value does not bear out."""

import gzip
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

from schemas import dead_letters
from schemas.records import Format
from tests.bad_input.case import KIND_OF, LOG, SIGNALS, Case, Expect, Headers, World, dropped, dumps, letter
from tests.bad_input.good import TEXT, documents, log_batch

STRUCTURED: Final = ("content-type", b"application/cloudevents+json; charset=UTF-8")
FRAMED: Final = letter("schema registry framing")

FORGED: Final[dict[str, Headers]] = {
    "a dead letter's": (
        (dead_letters.TOPIC, b"other"), (dead_letters.PARTITION, b"7"), (dead_letters.OFFSET, b"0"),
        (dead_letters.INDEX, b"3"), (dead_letters.STAGE, b"INDEX"), (dead_letters.REASON, b"forged"),
        (dead_letters.GENERATION, b"g0"),
    ),
    "a letter's cut": (
        (dead_letters.CUT_FROM, b"99999999"), (dead_letters.VALUE_IN, b"0"), (dead_letters.CONTENT, b"0" * 32),
    ),
    "an endless number": (
        (dead_letters.OFFSET, b"9" * 400), (dead_letters.INDEX, b"-1"), (dead_letters.PARTITION, b"\xff"),
    ),
    "a structured CloudEvent's": (STRUCTURED,),
    "a structured CloudEvent's, twice": (STRUCTURED, STRUCTURED, ("Content-Type", b"text/plain")),
    "a binary CloudEvent's": (("ce_specversion", b"1.0"), ("ce_type", b"a.b"), ("ce_source", b"/x"), ("ce_id", b"1")),
    "another content type": (("content-type", b"application/avro"),),
    "a content type of protobuf": (("content-type", b"application/x-protobuf"), ("content-encoding", b"gzip")),
    "a schema id": (("__value_schema_id", b"\x01" + b"\x07" * 16),),
    "a schema id of nothing": (("__value_schema_id", None), ("__key_schema_id", b"\x01")),
    "null": (("content-type", None), ("traceparent", None), ("", None)),
    "binary": (("\x00", b"\x00\xff"), ("trace", bytes(range(256))), ("emoji \U0001f600", b"x")),
    "a thousand": tuple((f"h{n}", b"v") for n in range(1_000)),
    "a huge": (("h", b"x" * 200_000), ("k" * 1_000, b"")),
}  # fmt: skip


def forged(world: World) -> Iterator[Case]:
    for name, headers in FORGED.items():
        for form, document in documents(world.at_ms).items():
            if form == "metrics":
                continue
            for topic in (form, "logs") if SIGNALS[form] == SIGNALS["logs"] else (form,):
                yield Case(
                    name=f"{name} headers on {topic} {form}",
                    value=dumps(document),
                    topic=topic,
                    headers=headers,
                    expect=KIND_OF[SIGNALS[form]],
                )
            cut = dumps(document)[:-1]
            yield Case(
                name=f"{name} headers on broken {form}",
                value=cut,
                topic=form,
                headers=headers,
                expect=letter("not JSON"),
            )
        schema = any(key == "__value_schema_id" for key, _ in headers)
        line = b"till is open"
        yield Case(
            name=f"{name} headers on text", value=line, topic="text", headers=headers, expect=FRAMED if schema else LOG
        )
        batch = log_batch(world.at_ms).SerializeToString()
        expect = FRAMED if schema else LOG
        yield Case(name=f"{name} headers on OTLP", value=batch, headers=headers, expect=expect)
        for empty in (None, b""):
            yield Case(name=f"{name} headers on {empty!r}", value=empty, headers=headers, expect=letter("empty value"))


def cloud_events(world: World) -> Iterator[Case]:
    """Structured envelopes, good and bad; what they carry is decoded as if it had come alone."""
    inner = documents(world.at_ms)[Format.FLUENT_BIT]
    event = {"specversion": "1.0", "id": "1", "type": "a.b", "source": "/x"}
    raw = dumps(inner)
    carried = {
        "an object": ({"data": inner}, LOG),
        "a list": ({"data": [inner, inner]}, Expect(log=2)),
        "a text": ({"data": TEXT}, LOG),
        "a JSON text": ({"data": raw.decode()}, LOG),
        "base64": ({"data_base64": b64encode(raw).decode()}, LOG),
        "base64 of gzip": (
            {"data_base64": b64encode(gzip.compress(raw, mtime=0)).decode()},
            letter("gzip inside the value: let the producer compress instead"),
        ),
        "base64 of half": ({"data_base64": b64encode(raw[:40]).decode()}, letter("not JSON")),
        "no base64": ({"data_base64": "?"}, letter("not a CloudEvent")),
        "base64 cut": ({"data_base64": b64encode(raw).decode()[:-3]}, letter("not a CloudEvent", "not JSON")),
        "base64 of odd type": ({"data_base64": [7]}, letter("empty value")),
        "base64 of nothing": ({"data_base64": ""}, letter("empty value")),
        "nothing": ({}, letter("empty value")),
        "null": ({"data": None}, letter("empty value")),
        "an empty text": ({"data": ""}, letter("empty value")),
        "an empty list": ({"data": []}, dropped("empty-batch")),
        "an empty object": ({"data": {}}, dropped("empty-line")),
        "a number": ({"data": 7}, LOG),
        "an envelope": ({"data": {**event, "data": inner}}, LOG),
    }
    for name, (data, expect) in carried.items():
        yield Case(name=f"CloudEvent of {name}", value=dumps(event | data), headers=(STRUCTURED,), expect=expect)
    for form in (Format.FLUENT_BIT, Format.VECTOR, Format.FILEBEAT, Format.OTLP_JSON):
        whole = dumps(event | {"data": documents(world.at_ms)[form]})
        yield Case(name=f"CloudEvent of {form}", value=whole, headers=(STRUCTURED,), topic=form, expect=LOG)
        for end in range(1, len(whole), 3):
            reasons = ("not JSON", "not UTF-8")
            case = Case(name=f"CloudEvent of {form} cut at {end}", value=whole[:end], headers=(STRUCTURED,), topic=form,
                        expect=letter(*reasons))  # fmt: skip
            yield case


def framed(_: World) -> Iterator[Case]:
    """The registry's frame on topics that nobody configured for it: one letter that says so, at any length."""
    body = b"\x00\x00\x00\x00\x07\x0atill\x02\x18is open now\x00"
    for topic in ("logs", "metrics", "k8s-events", "alerts", Format.TEXT, Format.FLUENT_BIT, Format.VECTOR):
        for end in range(6, len(body) + 1):
            yield Case(name=f"frame cut at {end} {topic}", value=body[:end], topic=topic, expect=FRAMED)
        for identity in (1, 255, 65_536, (1 << 24) - 1):
            value = b"\x00" + identity.to_bytes(4, "big") + b"\x02\x06abc"
            yield Case(name=f"frame of {identity} {topic}", value=value, topic=topic, expect=FRAMED)
        for identity in (0, 1 << 24, (1 << 32) - 1):
            value = b"\x00" + identity.to_bytes(4, "big") + b"\x02\x06\x01\x05\x03\x04"
            reasons = ("binary, not text", "not UTF-8", "not JSON", "unknown format")
            yield Case(name=f"no frame, {identity} {topic}", value=value, topic=topic, expect=letter(*reasons))
