"""What the compiled loops of the decoders find is what the Python functions find."""

from typing import Any

import freshet_kernel
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.decode import decode, json_logs, otlp_json, values
from processors.decode.timestamps import epoch_ms
from processors.merge import java_hash_pure
from schemas.records import Format, Message, Signal
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


POD = {"pod_name": "a-0", "namespace_name": "n", "container_name": "c", "host": "h"}
EVENT: dict[str, Any] = {
    "@timestamp": st.sampled_from([1_795_204_800.123456, 1_795_204_800, 17.5, 1e300, "2026-11-20T20:00:00Z"]) | ODD,
    "time": st.sampled_from(["2026-11-20T20:00:01Z", ""]),
    "date": st.sampled_from([1_795_204_802.5]),
    "log": TEXTS | ODD,
    "stream": st.just("stderr"),
    "level": st.sampled_from(["warn", 40]),
    "MESSAGE": st.just("m"),
    "kubernetes": st.fixed_dictionaries(
        {},
        optional={key: st.just(value) | ODD for key, value in POD.items()}
        | {"cluster_name": st.just("blue"), "pod_owner": st.just("Job/x"), "labels": st.just({"app": "a"})},
    )
    | st.just(POD)
    | ODD,
}


@given(st.fixed_dictionaries({}, optional=EVENT), st.sampled_from([Format.AUTO, Format.FLUENT_BIT]))
def test_plain_events_are_what_the_long_way_makes_of_them(event: dict[str, Any], form: Format) -> None:
    try:
        value = orjson.dumps(event)
    except TypeError:
        return
    message = Message(
        topic="t", topic_id="i", partition=0, offset=1, timestamp_ms=NANOS // 10**6, key=None, value=value
    )
    source = Input(topic="t", signal=Signal.LOG, format=form)
    found = decode(message, source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_logs, "plain_event", json_logs._no_plain_event)
        assert decode(message, source) == found


@given(st.floats(1.8e9, 1.9e9))
def test_a_time_is_rounded_as_python_rounds(time_s: float) -> None:
    found = json_logs.plain_event({"@timestamp": time_s, "log": "x", "kubernetes": POD})
    assert found == (epoch_ms(time_s), "x", "a-0", "n", "c", "h")


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
