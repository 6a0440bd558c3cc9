"""Recordings are read whole, dated by the worker's own decoders, moved, wrapped, keyed and batched."""

import gzip
import io
import json
from typing import Any

import pytest

from schemas.records import Format, Signal
from schemas.topics import Input
from streams.recording import Dated, Item, Place, batched, keyed, moved, opened, read, wrapped
from streams.send import Options, Sent, paced, report, shift_ms

LOGS = Input(topic="logs", signal=Signal.LOG)
NOW_MS = 1_795_210_000_000
T0_MS = 1_795_200_000_000  # 2026-11-20T18:40:00Z
FLUENT = b'{"@timestamp":1795200000.5,"log":"boom","kubernetes":{"pod_name":"web-1","namespace_name":"shop"}}'


def values(raw: bytes) -> list[bytes]:
    return [item.value for item in read(opened(io.BufferedReader(io.BytesIO(raw))))]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"a\n\nb", [b"a", b"b"]),
        (b'{"a":1}\r\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
        (gzip.compress(b"a\nb\n"), [b"a", b"b"]),
        (b"[\n1,\n2]\n", [b"1", b"2"]),
        (b'{\n"kind":"List","items":[{"a":1}]}', [b'{"a":1}']),
        (b"{\nnot json\n", [b"{", b"not json"]),
        (b"Traceback (most recent call last):\n  File x\nValueError: no\nnext", None),
        (b"\xff\xfe\n", [b"\xff\xfe"]),
        (b'{"value":"0.97","name":"m","labels":{}}', [b'{"value":"0.97","name":"m","labels":{}}']),
    ],
)
def test_read(raw: bytes, expected: list[bytes] | None) -> None:
    got = values(raw)
    if expected is None:  # the trace stays together
        assert got[0].startswith(b"Traceback (most recent call last):\n  File x")
    else:
        assert got == expected


def test_an_envelope_is_taken_apart() -> None:
    line = {"value": {"a": 1}, "key": "k", "headers": {"h": "v", "n": None}, "timestamp_ms": 5}
    (item,) = read(io.BytesIO(json.dumps(line).encode()))
    assert item == Item(value=b'{"a":1}', key=b"k", headers=(("h", b"v"), ("n", None)), time_ms=5)


def dated(*values: bytes, source: Input = LOGS) -> tuple[list[int | None], Any]:
    found = Dated([Item(value=v) for v in values], source, NOW_MS)
    return [item.time_ms for item in found], found.survey


def test_times_are_told_and_carried_on() -> None:
    times, survey = dated(b"no time yet", FLUENT, b"  no time", b"2026-11-20T18:40:02Z done")
    assert times == [None, T0_MS + 500, T0_MS + 500, T0_MS + 2000]
    assert (survey.first_ms, survey.last_ms, survey.span_ms) == (T0_MS + 500, T0_MS + 2000, 1500)


def test_what_will_be_rejected_is_counted() -> None:
    _, survey = dated(b"{}", b"nonsense", source=Input(topic="e", signal=Signal.EVENT, format=Format.KUBERNETES_EVENT))
    assert sum(survey.rejected.values()) == 2


@pytest.mark.parametrize(
    ("item", "by_ms", "place", "expected"),
    [
        (Item(value=b"x", time_ms=T0_MS), 0, Place(), {"raw": "x"}),
        (
            Item(value=b"x", time_ms=T0_MS),
            60_000,
            Place(),
            {"@timestamp": T0_MS / 1000 + 60, "log": "x", "kubernetes": {}},
        ),
        (
            Item(value=b"x"),
            0,
            Place(namespace="shop", pod="p"),
            {"log": "x", "kubernetes": {"namespace_name": "shop", "pod_name": "p"}},
        ),
        (Item(value=b'{"@timestamp":1}', time_ms=T0_MS), 0, Place(pod="p"), {"@timestamp": 1}),
        (Item(value=b'{"@timestamp":1795200000}', time_ms=T0_MS), 60_000, Place(), {"@timestamp": 1795200060}),
        (Item(value=b'{"broken', time_ms=T0_MS), 60_000, Place(), {"raw": '{"broken'}),
    ],
)
def test_moved(item: Item, by_ms: int, place: Place, expected: dict[str, Any]) -> None:
    (got,) = moved([item], by_ms, place)
    assert got.time_ms == (None if item.time_ms is None else item.time_ms + by_ms)
    assert ({"raw": got.value.decode()} if "raw" in expected else json.loads(got.value)) == expected


def test_a_wrapped_line_is_decoded_with_its_place_and_time() -> None:
    value = wrapped(b"boom", T0_MS + 123, Place(cluster="c", namespace="shop", pod="web-1"))
    assert dated(value)[0] == [T0_MS + 123]


def test_batches_break_where_the_key_changes() -> None:
    items = keyed((Item(value=b'{"k":{"p":"%b"}}' % p, time_ms=t) for p, t in ((b"a", 9), (b"a", 3), (b"b", 5))), "k.p")
    got = [(item.key, item.lines, item.time_ms, item.value.count(b"\n")) for item in batched(items, 100)]
    assert got == [(b"a", 2, 9, 1), (b"b", 1, 5, 0)]


@pytest.mark.parametrize(
    ("speed", "last_record_lags_ms"),
    [(None, 0), (1.0, -1000), (10.0, -100), (0.5, -1000)],  # when sending begins, before the pace is kept
)
def test_shift_puts_the_last_record_at_the_end_of_sending(speed: float | None, last_record_lags_ms: int) -> None:
    _, survey = dated(b"2026-11-20T18:40:00Z a", b"2026-11-20T18:40:01Z b")
    by_ms = shift_ms(survey, NOW_MS, speed)
    assert by_ms % 1000 == 0
    assert 0 <= NOW_MS - (survey.last_ms + by_ms) - last_record_lags_ms < 1000


def test_pace() -> None:
    now, slept = 100.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(round(seconds, 3))
        now += seconds

    items = [Item(value=b"", time_ms=t) for t in (1000, 3000, 2000, None, 5000)]
    assert len(list(paced(items, 1000, 2.0, lambda: now, sleep))) == 5
    assert slept == [1.0, 1.0]


def test_report_says_what_to_do_next() -> None:
    sent = Sent(messages=1, items=2, size_bytes=9, seconds=1.0, first_ms=T0_MS, last_ms=T0_MS, rejected={"not JSON": 1})
    lines = report(sent, Options(source="-", topic="logs"), consumed=True)
    assert lines[1] == "1 of them will be dead letters: not JSON"
    assert "between 2026-11-20 18:40 and 18:41 UTC" in lines[-1]
    assert "FRESHET_KAFKA__INPUTS" in report(sent, Options(source="-", topic="x"), consumed=False)[-1]
