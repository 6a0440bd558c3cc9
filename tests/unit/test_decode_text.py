"""What a line of text says: its message, how bad it is, and when."""

from datetime import UTC, datetime

import pytest

from processors.canonical import canonical
from processors.decode.log_text import interpret, log_record
from processors.decode.prefixes import take_syslog
from processors.decode.resource import Origin
from processors.decode.text import entries
from processors.decode.timestamps import epoch_ms
from schemas.records import DEBUG, ERROR, FATAL, INFO, UNKNOWN, WARN, LogRecord, Resource

RECEIVED = int(datetime(2026, 1, 2, 0, 0, tzinfo=UTC).timestamp() * 1000)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("line", "severity", "body", "time_ms"),
    [
        ("nothing said", UNKNOWN, "nothing said", None),
        ("ERROR db timeout", ERROR, "db timeout", None),
        ("[error] db timeout", ERROR, "db timeout", None),
        ("Error: db timeout", ERROR, "db timeout", None),
        ("Error response from daemon", ERROR, "Error response from daemon", None),
        ("WARN  - disk is slow", WARN, "disk is slow", None),
        ("ERROR:root:boom", ERROR, "root:boom", None),
        ("INFO", INFO, "INFO", None),
        ("ALL PODS READY", UNKNOWN, "ALL PODS READY", None),
        ("[main] ERROR c.a.Shop - no stock", ERROR, "[main] ERROR c.a.Shop - no stock", None),
        ("the word ERRORS is no level", UNKNOWN, "the word ERRORS is no level", None),
        ("retries left " * 10 + "ERROR", UNKNOWN, ("retries left " * 10 + "ERROR"), None),
        ("panic: runtime error: nil map", FATAL, "panic: runtime error: nil map", None),
        ("java.lang.IllegalStateException: closed", ERROR, "java.lang.IllegalStateException: closed", None),
        ("E1331 10:00:00.0 1 a.go:1] odd month", ERROR, "odd month", None),
        ("user of 2019-03-04T10:00:00 is gone", UNKNOWN, "user of 2019-03-04T10:00:00 is gone", None),
        ("got 2026-01-01T10:00:00Z late", UNKNOWN, "got 2026-01-01T10:00:00Z late", at("2026-01-01T10:00:00")),
        ('{"msg":"hired","date":"2019-03-04"}', UNKNOWN, "hired", None),
        ("I1231 23:59:59.250000       1 main.go:7] ready", INFO, "ready", at("2025-12-31T23:59:59.250")),
        ("E0102 00:00:00.000001 42 sync.go:9] lost lease", ERROR, "lost lease", at("2026-01-02T00:00:00")),
        ("2026-01-01T10:00:00.5Z INFO [main] up", INFO, "[main] up", at("2026-01-01T10:00:00.5")),
        ("2026-01-01 10:00:00,500 - WARNING - late", WARN, "late", at("2026-01-01T10:00:00.5")),
        ("2026/01/01 10:00:00 [warn] 7#7: slow upstream", WARN, "7#7: slow upstream", at("2026-01-01T10:00:00")),
        ("2026-01-01 10:00:00.5 UTC [33] FATAL:  no role", FATAL, "[33] FATAL:  no role", at("2026-01-01T10:00:00.5")),
        ("[2026-01-01T12:00:00+02:00 ERROR api] gone", ERROR, "api] gone", at("2026-01-01T10:00:00")),
        ("[Thu Jan 01 10:00:00 2026] [error] child died", ERROR, "child died", at("2026-01-01T10:00:00")),
        ("260101 100000 148 INFO dfs.Node: block kept", INFO, "dfs.Node: block kept", at("2026-01-01T10:00:00")),
        ("1:M 01 Jan 2026 10:00:00.500 # low memory", WARN, "low memory", at("2026-01-01T10:00:00.5")),
        ("2026-01-01T10:00:00Z stderr F DEBUG x=1 done", DEBUG, "x=1 done", at("2026-01-01T10:00:00")),
        ('10.0.0.1 - - [01/Jan/2026:10:00:00 +0100] "GET /"', UNKNOWN, None, at("2026-01-01T09:00:00")),
        ('level=info ts=2026-01-01T10:00:00Z caller=m.go:1 msg="disk full" err="no space"', INFO,
         "disk full: no space", at("2026-01-01T10:00:00")),
        ("time=2026-01-01T10:00:00Z level=warn collector=infiniband", WARN, "collector=infiniband",
         at("2026-01-01T10:00:00")),
        ('a="unfinished', UNKNOWN, 'a="unfinished', None),
        ('{"level":50,"time":1767261600500,"msg":"E0101 10:00:00.0 1 a.go:1] bad","err":{"message":"why"}}', ERROR,
         "bad: why", at("2026-01-01T10:00:00.5")),
        ('{"log":"{\\"severity\\":\\"WARNING\\",\\"message\\":\\"deep\\"}"}', WARN, "deep", None),
        ('{"level":"warn","used":3}', WARN, '{"used":3}', None),
        ("{not json}", UNKNOWN, "{not json}", None),
        ("\x1b[31mERROR\x1b[0m a\x00b\u202ec\r\n", ERROR, "a\ufffdb\ufffdc", None),
    ],
)  # fmt: skip
def test_a_line_is_read(line: str, severity: int, body: str | None, time_ms: int | None) -> None:
    said = interpret(line, RECEIVED)
    assert (said.severity, said.text, said.time_ms) == (severity, line if body is None else body, time_ms)


@pytest.mark.parametrize(
    ("fields", "trace_id"),
    [
        ('"traceId":"4bf92f3577b34da6"', "4bf92f3577b34da6"),
        ('"trace":{"id":"4bf92f3577b34da6"}', "4bf92f3577b34da6"),
        ('"dd":{"trace_id":1234567890123456789}', "1234567890123456789"),
        ('"trace":"4bf92f3577b34da6","spanId":"4bf92f3577b34da6"', ""),
        ('"traceId":"password=hunter2"', ""),  # it is not redacted: nothing else may pass for one
        ('"traceId":"é"', ""),
    ],
)
def test_the_trace_of_an_application_s_record_is_found(fields: str, trace_id: str) -> None:
    assert interpret(f'{{"msg":"m",{fields}}}', None).trace_id == trace_id


@pytest.mark.parametrize(
    "line",
    [
        "plain words, 17 of them",
        "  ERROR  padded 3  ",
        "2026-11-20 20:00:01.123 INFO 1 --- [main] c.e.App : started in 2.5 s",
        "E1120 20:00:01.000001    1 store.go:88] gone: pod-0a1b2c3d",
        "<13>Nov 20 20:00:01 host app[12]: said",
        '127.0.0.1 - - [20/Nov/2026:20:00:01 +0000] "GET / HTTP/1.1" 500 12',
        'level=warn msg="a b" pid=3',
        'time=2026-11-20T20:00:01Z level=error msg="card 12 declined" took=31ms',
        'level=30 msg="by number"',
        'level=error msg="no" err="disk 3"',
        'level=error msg="no" trace_id=4bf92f3577b34da6a3ce929d0e0e4736',
        'level=error msg="a \\"b\\" 3"',
        "level=error took=31ms",
        "msg=ok state=ok",
        'caller=a.go:12 msg="x 1" and more',
        '{"msg":"m","level":"error"}',
        "[WARN] 12:00:01 of dead beef 0a1b2c",
        "two\nlines",
        "INFO",
    ],
)
@pytest.mark.parametrize("time_ms", [None, RECEIVED])
def test_what_is_remembered_of_a_line_is_what_a_fresh_look_finds(line: str, time_ms: int | None) -> None:
    said = interpret(line, RECEIVED if time_ms is None else None)
    for text in (line, line.translate(str.maketrans("123", "798"))):  # the second is of the same form
        record = log_record(Origin("c", RECEIVED), Resource(), text, time_ms=time_ms)
        assert isinstance(record, LogRecord)
        assert record.form in ("", canonical(record.body))
    record = log_record(Origin("c", RECEIVED), Resource(), line, time_ms=time_ms)
    assert isinstance(record, LogRecord)
    expected = (said.text, said.severity, time_ms or said.time_ms)
    assert (record.body, record.severity, record.time_ms) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("<11>Jan  1 10:00:00 web-1 su(pam)[9]: denied", (ERROR, at("2026-01-01T10:00:00"), "web-1", "su", "denied")),
        ('<34>1 2026-01-01T10:00:00Z web-1 app 9 ID [a b="]"] hi', None),
        (
            '<34>1 2026-01-01T10:00:00Z web-1 app 9 ID [a b="\\]"] hi',
            (18, at("2026-01-01T10:00:00"), "web-1", "app", "hi"),
        ),
        ("<30>1 - - - - - - bare", (INFO, None, "", "", "bare")),
        ("2026-01-01T10:00:00Z web-1 app[9]: hi", (UNKNOWN, at("2026-01-01T10:00:00"), "web-1", "app", "hi")),
        ("2026-01-01T10:00:00Z worker failed: timeout", None),
    ],
)
def test_syslog_headers(line: str, expected: tuple[object, ...] | None) -> None:
    header = take_syslog(line, RECEIVED)
    found = header and (header.severity, header.time_ms, header.host, header.program, header.rest)
    assert found == expected


def test_stack_traces_stay_with_their_line_and_other_lines_do_not() -> None:
    java = "ERROR x\njava.io.IOException: y\n\tat a.B.c(B.java:1)\nCaused by: z\n\t... 3 more\nINFO next"
    assert list(entries(java)) == ["ERROR x", *java[8:].rsplit("\n", 1)]
    go = "panic: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1d\nexit status 2"
    assert list(entries(f"{go}\nafter")) == [go.replace("\n\n", "\n"), "after"]
    python = "oops\nTraceback (most recent call last):\n  File x\nKeyError: 1\nafter"
    assert list(entries(python)) == [python.removesuffix("\nafter"), "after"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1767261600, at("2026-01-01T10:00:00")),
        (1767261600.123, at("2026-01-01T10:00:00.123")),
        (1767261600123, at("2026-01-01T10:00:00.123")),
        (1767261600123456, at("2026-01-01T10:00:00.123")),
        ("1767261600123456789", at("2026-01-01T10:00:00.123")),
        ("2026-01-01T10:00:00.123456789+01:00", at("2026-01-01T09:00:00.123")),
        ("2026-01-01 10:00:00 +0000 UTC", at("2026-01-01T10:00:00")),
        ("2016-12-31T23:59:60Z", at("2016-12-31T23:59:59")),
        *[(bad, None) for bad in ("", "x", "0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
                                  "2026-13-01T00:00:00Z", "9" * 400)],
        *[(bad, None) for bad in (0, -1, 1, 10**30, float("nan"), float("inf"), True, None, [], {})],
    ],
)  # fmt: skip
def test_times_in_every_unit_and_out_of_range(value: object, expected: int | None) -> None:
    assert epoch_ms(value) == expected
