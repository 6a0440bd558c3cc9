"""Bad input: whatever the bytes are, `decode` answers, and says what is wrong without quoting them."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.decode import MOST_RECORDS, decode
from processors.decode.values import MORE, MOST_LABELS, NAME_LENGTH, name, names, too_deep
from schemas.records import Filtered, Format, LogRecord, Message, Record, Rejected, Signal
from schemas.topics import Input

EXAMPLES = {path.name: path.read_bytes().strip() for path in (Path(__file__).parent / "examples").iterdir()}
Outcome = Record | Rejected | Filtered


def read(
    value: bytes | None,
    form: Format = Format.AUTO,
    signal: Signal = Signal.LOG,
    headers: tuple[tuple[str, bytes | None], ...] = (),
) -> list[Outcome]:
    at = {"topic": "t", "topic_id": "i", "partition": 0, "offset": 1, "timestamp_ms": 1795204800000}
    found = decode(Message(**at, key=None, value=value, headers=headers), Input(topic="t", signal=signal, format=form))
    assert found
    return found


LINE = b'{"log":"x","kubernetes":{"pod_name":"p"}%s}'


@pytest.mark.parametrize(
    ("value", "form", "reason"),
    [
        (None, Format.AUTO, "empty value"),
        (b"", Format.TEXT, "empty value"),
        (b" \n\t", Format.FLUENT_BIT, "empty value"),
        (b"\xff\xfe{\x00", Format.AUTO, "not UTF-8"),
        (b'{"log":"\xe9"}', Format.FLUENT_BIT, "not UTF-8"),
        (b"caf\xe9", Format.TEXT, "not UTF-8"),
        (b'{"log":"x"', Format.AUTO, "not JSON"),
        (b'{"log":"x","kubernetes":{},"n":1e400}', Format.AUTO, "not JSON"),
        (b'{"log":"x","kubernetes":{},"n":NaN}', Format.FLUENT_BIT, "not JSON"),
        (b'{"log":"\\ud800","kubernetes":{}}', Format.AUTO, "not JSON"),
        (LINE % (b',"a":' + b"[" * 100_000 + b"]" * 100_000), Format.AUTO, "nested too deeply"),
        (b"[" * 100_000, Format.FLUENT_BIT, "nested too deeply"),
        (b"[" + b"{}," * 1_000_001 + b"{}]", Format.AUTO, "too many values in one message"),
        (b'{"a":[' + b"1," * 1_000_001 + b"1]}", Format.AUTO, "too many values in one message"),
        (b"x\n" * (MOST_RECORDS + 1), Format.AUTO, "too many records in one message"),
        (b"plain text", Format.VECTOR, "not JSON"),
        (b"7", Format.VECTOR, "not vector"),
        (b'{"resourceSpans":[]}', Format.AUTO, "traces are not supported"),
        (b"\x00\x00\x00\x00\x07avro", Format.AUTO, "schema registry framing"),
        (b"\x00\x00\x00\x00\x07avro", Format.TEXT, "schema registry framing"),
        (b"\x1f\x8b\x08\x00\xff", Format.AUTO, "gzip inside the value: let the producer compress instead"),
        (b"{\x00\"\x00a\x00\"\x00", Format.AUTO, "binary, not text"),
        (b"\n\x10\n\x08\n\x06service", Format.AUTO, "not otlp-proto"),
        (b"\x08\x01", Format.OTLP_PROTO, "not otlp-proto"),
        (b"\x0a\xff", Format.OTLP_PROTO, "not otlp-proto"),
        (b'{"metadata":{"uid":"u"},"reason":"r","involvedObject":{}}', Format.AUTO, "event without an involved object"),
        (b'{"metadata":{},"reason":"r","involvedObject":{"name":"n"}}', Format.AUTO, "event without a uid"),
        (b'{"metadata":{"uid":"u"},"involvedObject":{"name":"n"}}', Format.AUTO, "event without a reason"),
        (b'{"name":"m","value":"1_0","labels":{}}', Format.AUTO, "metric value is not a number"),
        (b'{"name":"","value":"1","labels":{}}', Format.AUTO, "metric without a name"),
    ],
)  # fmt: skip
def test_a_message_is_rejected_with_a_reason(value: bytes | None, form: Format, reason: str) -> None:
    assert read(value, form) == [Rejected(reason=reason)]


@pytest.mark.parametrize("form", sorted(set(Format) - {Format.AUTO, Format.TEXT, Format.OTLP_PROTO}))
def test_a_configured_format_refuses_the_others(form: Format) -> None:
    for stranger in (b'{"hello":"world"}', b'{"resourceLogs":7}', b'[{"x":1}]'):
        [refusal] = read(stranger, form)
        assert isinstance(refusal, Rejected)
        assert refusal.reason in {f"not {form}", "not kubernetes-event"}


@pytest.mark.parametrize("signal", sorted(set(Signal) - {Signal.LOG}))
@pytest.mark.parametrize("value", [b"a line", b'{"msg":"a line"}', b"[1]"])
def test_only_topics_of_logs_fall_back_to_text(value: bytes, signal: Signal) -> None:
    assert isinstance(read(value)[0], LogRecord)
    assert isinstance(read(value, signal=signal)[0], Rejected)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b'{"type":"DELETED","object":{"kind":"Event"}}', "event-deleted"),
        (b'{"log":"\\n","kubernetes":{"pod_name":"p"}}', "empty-line"),
        (b'{"resourceLogs":[]}', "empty-batch"),
        (b'{"kind":"EventList","items":[]}', "empty-batch"),
        (b" [ ] ", "empty-batch"),
    ],
)
def test_what_says_nothing_is_filtered_by_a_named_rule(value: bytes, rule: str) -> None:
    assert read(value) == [Filtered(rule=rule)]


def test_headers_decide_before_the_value_does() -> None:
    structured = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
    plain = read(EXAMPLES["fluent-bit.json"])
    envelope = json.dumps({"specversion": "1.0", "data": json.loads(EXAMPLES["fluent-bit.json"])}).encode()
    assert read(envelope, headers=structured) == plain
    broken = b'{"specversion":"1.0","data_base64":"?"}'
    assert read(broken, headers=structured) == [Rejected(reason="not a CloudEvent")]
    framed = (("__value_schema_id", b"\x01"),)
    assert read(b"\x02\x0aweb", headers=framed) == [Rejected(reason="schema registry framing")]


@pytest.mark.parametrize("key", ["content-type", "__value_schema_id"])
def test_a_header_that_the_value_belies_changes_nothing(key: str) -> None:
    for example in ("fluent-bit.json", "otlp-json.logs.json", "telegraf-json.json"):
        assert read(EXAMPLES[example], headers=((key, b"application/cloudevents+json"),)) == read(EXAMPLES[example])


def test_names_and_labels_are_bounded_and_stay_distinct() -> None:
    assert name("a\tb\u202e") == "a\ufffdb\ufffd"
    long = [name("x" * 300 + end) for end in "ab"]
    assert {len(each) for each in long} == {NAME_LENGTH}
    assert long[0] != long[1]
    many = {str(key): 1 for key in range(10_001)} | {"pod": "web-0"}
    assert len(names(many)) == MOST_LABELS + 1
    assert names(many)["pod"] == "web-0"
    assert names(many)[MORE] != names(many | {"9999": 2})[MORE]
    wide = {f"k{key}": "x" * 253 for key in range(60)}
    assert names(wide) == names(dict(reversed(wide.items())))
    assert sum(map(len, names(wide).values())) < 16 * NAME_LENGTH


def test_depth_is_measured_outside_of_strings() -> None:
    assert not too_deep(b'{"a":"' + b"[" * 1000 + b'\\""}')
    assert not too_deep(b"[" * 64 + b"]" * 64)
    assert too_deep(b"[" * 65 + b"]" * 65)


@pytest.mark.parametrize(
    "value",
    [
        b'"' + b'\\"' * 1_000_000,
        b"[" + b'"\\"' * 500_000,
        b"a " * 2_000_000,
        b"\tat a.b\n" * 300_000,
        b'k="' + b"\\" * 2_000_000,
        b"<1>1 " + b"[" * 1_000_000,
        b"x=1 " * 500_000,
        b"\x1b[" * 500_000,
        b"{" * 1_000_000,
        b'{"name":"m","value":"1","labels":{' + b",".join(b'"k%d":"v"' % n for n in range(400_000)) + b"}}",
        json.dumps(
            {
                "resourceLogs": [
                    {
                        "resource": {"attributes": [{"key": str(n)} for n in range(30_000)]},
                        "scopeLogs": [
                            {
                                "logRecords": [{"attributes": [{"key": "k8s.pod.name", "value": {"stringValue": "p"}}]}]
                                * 20_000
                            }
                        ],
                    }
                ]
            }
        ).encode(),
        LINE % (b',"message":"' + b"e" * 10_000_000 + b'"'),
    ],
)
def test_hostile_messages_cost_time_in_proportion_to_their_size(value: bytes) -> None:
    start = time.process_time()
    read(value)
    assert time.process_time() - start < 3  # seconds; a quadratic pattern would take hours


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(Format), st.sampled_from(Signal))
def test_any_bytes_are_answered(value: bytes, form: Format, signal: Signal) -> None:
    assert all(isinstance(item, Outcome) for item in read(value, form, signal))


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_value_cut_at_any_byte_is_answered(name: str) -> None:
    form = Format(name.split(".")[0])
    for end in range(1, len(EXAMPLES[name])):
        for item in read(EXAMPLES[name][:end]) + read(EXAMPLES[name][:end], form):
            assert not isinstance(item, Rejected) or item.reason in {"not JSON", "not UTF-8"}


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Format, bytes]:
    """An example with one of its values, anywhere inside, replaced by anything."""
    chosen = draw(st.sampled_from(sorted(name for name in EXAMPLES if name.endswith(".json"))))
    root = json.loads(EXAMPLES[chosen])
    node = root
    while True:
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = draw(st.sampled_from(keys))
        if not (isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 3))):
            node[key] = draw(ODD)
            return Format(chosen.split(".")[0]), json.dumps(root).encode()
        node = node[key]


@settings(max_examples=400, deadline=None)
@given(mutated(), st.sampled_from(Signal))
def test_wrong_types_anywhere_are_answered(example: tuple[Format, bytes], signal: Signal) -> None:
    form, value = example
    for item in read(value, signal=signal) + read(value, form, signal):
        if isinstance(item, LogRecord):
            assert isinstance(item.body, str)
            assert isinstance(item.trace_id, str)
