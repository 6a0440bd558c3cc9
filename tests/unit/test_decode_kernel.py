"""What the compiled loops of the decoders find is what the Python functions find."""

from typing import Any

import freshet_kernel
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.decode import decode, otlp_json, values
from processors.merge import java_hash_pure
from schemas.records import Message, Signal
from schemas.topics import Input

NANOS = 1_795_204_800_123_456_789
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TEXTS = st.sampled_from(
    ["ok 17", "", " ", "é", "x" * 1_024, "x" * 1_025, "two\nlines", '{"msg":"m"}', "level=warn msg=a"]
)
ODD = st.sampled_from([None, 0, 17, -1, 1e300, True, 2**70, "", "x", "9", [], {}, [1], {"stringValue": 1}])
FIELDS: dict[str, Any] = {
    "timeUnixNano": st.sampled_from([str(NANOS), NANOS, "0" * 19, "9" * 19, "17952048001234567八9", "1"]) | ODD,
    "observedTimeUnixNano": st.just(str(NANOS)),
    "severityNumber": st.sampled_from([1, 9, 24, 25, 0]) | ODD,
    "severityText": st.sampled_from(["WARN", "", "none"]),
    "body": TEXTS.map(lambda text: {"stringValue": text}) | TEXTS | ODD,
    "traceId": st.sampled_from([TRACE, TRACE.upper(), TRACE[:-1], "0" * 32, "z" * 32]) | ODD,
    "eventName": st.sampled_from(["", "login"]),
    "attributes": st.lists(
        st.builds(
            lambda key, value: {"key": key, "value": value},
            st.sampled_from(["http.route", "k8s.pod.name", "k8s.", "trace_id", "error", "exception.message"]) | ODD,
            st.sampled_from([{"stringValue": "a"}, {"stringValue": TRACE}, {"intValue": "7"}]) | ODD,
        )
        | ODD,
        max_size=3,
    )
    | ODD,
}
RECORDS = st.lists(st.fixed_dictionaries({}, optional=FIELDS) | ODD, max_size=4)


@given(RECORDS)
def test_plain_log_records_are_what_the_long_way_makes_of_them(records: list[Any]) -> None:
    batch = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    try:
        value = orjson.dumps(batch)
    except TypeError:  # an integer of more than 64 bits
        return
    message = Message(
        topic="t", topic_id="i", partition=0, offset=1, timestamp_ms=NANOS // 10**6, key=None, value=value
    )
    source = Input(topic="t", signal=Signal.LOG)
    found = decode(message, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(otlp_json, "plain_logs", otlp_json._no_plain_logs)
        assert decode(message, source) == found


def test_most_records_are_plain() -> None:
    record = {"timeUnixNano": str(NANOS), "severityNumber": 9, "body": {"stringValue": "said"}, "traceId": TRACE}
    assert otlp_json.plain_logs([record, {**record, "attributes": [{"key": "k8s.x"}]}, 7]) == [
        (NANOS // 10**6, 9, "said", TRACE),
        None,
        None,
    ]


JSON = st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(JSON, st.integers(0, 70))
def test_depth(value: object, more: int) -> None:
    raw = b"[" * more + orjson.dumps(value) + b"]" * more
    assert (freshet_kernel.depth(raw) > values.MOST_LEVELS) == values.too_deep(raw)


@pytest.mark.parametrize("raw", [b"", b'"', b'"\\', b"]]]", b"[[", b'"[[\\"[["', b'{"a": "]"}'])
def test_depth_of_odd_text(raw: bytes) -> None:
    assert 0 <= freshet_kernel.depth(raw) <= 2


@given(st.text(st.characters(max_codepoint=127)))
def test_java_hash(text: str) -> None:
    assert freshet_kernel.java_hash(text) == java_hash_pure(text)


def test_nothing_else_is_taken() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        freshet_kernel.java_hash("é")
    with pytest.raises(TypeError):
        freshet_kernel.plain_logs((), frozenset(), 0, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        freshet_kernel.depth("text")  # type: ignore[arg-type]
