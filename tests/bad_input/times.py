"""Times in every unit and spelling, none at all, and Kafka timestamps that nobody can believe."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from processors.pipeline import TOO_OLD, UNTIMELY
from schemas.documents import DAY_MS
from schemas.records import Format
from tests.bad_input.case import KIND_OF, LOG, SIGNALS, Case, Expect, World, dropped, dumps, letter
from tests.bad_input.good import documents, rfc3339

FIELDS: Final = {
    Format.FLUENT_BIT: ("@timestamp",), Format.VECTOR: ("timestamp",), Format.FILEBEAT: ("@timestamp",),
    Format.RSYSLOG: ("timereported",), Format.PROMETHEUS: ("timestamp",), Format.TELEGRAF: ("timestamp",),
    Format.KUBERNETES_EVENT: ("lastTimestamp",), Format.ALERTMANAGER: ("alerts", 0, "startsAt"),
    Format.OTLP_JSON: ("resourceLogs", 0, "scopeLogs", 0, "logRecords", 0, "timeUnixNano"),
}  # fmt: skip
NO_TIME: Final[tuple[Any, ...]] = (
    None, True, False, "", " ", "now", "yesterday", "12:00", [], {}, [1], 0, 1, -1, -1_795_219_198, 0.0, 1e30,
    -1e30, 1e300, 2**63, 2**64 - 1, "0", "-1", "1", "+1795219198", "1.8e9",
    "0x6b0a", "NaN", "Infinity", "9" * 400, "0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
    "-0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-01-32T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:61:00Z", "2026-01-01T00:00:62Z",
    "2026-01-01T00:00:00+25:00", "2026-02-29T00:00:00Z", "20/11/2026", "11/20/2026 10:00 PM", "2026-11-20",
    "2026-11", "20261120", "Fri Nov 20", "１７９５２１９１９８", "2026-W47", "T", "Z", "--",
)  # fmt: skip


def spellings(at_ms: int) -> dict[str, Any]:
    """One moment in many ways."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    ahead = moment + timedelta(hours=5, minutes=30)
    return {
        "seconds": at_ms / 1000,
        "milliseconds": at_ms,
        "milliseconds, float": float(at_ms),
        "microseconds": at_ms * 1_000,
        "nanoseconds": at_ms * 1_000_000,
        "seconds, text": f"{at_ms / 1000:.3f}",
        "milliseconds, text": str(at_ms),
        "nanoseconds, text": str(at_ms * 1_000_000),
        "Z": rfc3339(at_ms),
        "offset": ahead.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+05:30",
        "short offset": ahead.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+0530",
        "nanoseconds, Z": moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "999Z",
        "no zone": moment.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "space": moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
        "comma": moment.strftime("%Y-%m-%d %H:%M:%S,%f"),
        "slashes": moment.strftime("%Y/%m/%d %H:%M:%S.%f"),
        "UTC": moment.strftime("%Y-%m-%d %H:%M:%S.%f UTC"),
        "Go": moment.strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC"),
        "compact": moment.strftime("%Y%m%dT%H%M%S.%fZ"),
    }


def event_times(world: World) -> Iterator[Case]:
    """A time that can be read is the record's; what cannot be, or is yet to come, is Kafka's, and says so."""
    at_ms, kafka_ms = world.at_ms - 90_000, world.at_ms
    midnight = kafka_ms - kafka_ms % DAY_MS
    for form, path in FIELDS.items():
        kind = KIND_OF[SIGNALS[form]]

        def case(name: str, value: Any, expect: Expect, form: str = form, path: tuple[Any, ...] = path) -> Case:
            document: Any = documents(kafka_ms)[form]
            node = document
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value
            return Case(name=f"{form} {name}", value=dumps(document), topic=form, expect=expect)

        for name, value in spellings(at_ms).items():
            yield case(name, value, at(kind, at_ms, clamped=False))
        leap = rfc3339(midnight).replace("00:00:00.000", "00:00:60.000")
        yield case(
            "leap second", leap, at(kind, midnight + 59_000, clamped=False) if kafka_ms - midnight > 60_000 else kind
        )
        for value in NO_TIME:
            yield case(f"no time {value!r:.30}", value, at(kind, kafka_ms, clamped=True))
        for ahead_ms in (1, 1_000, DAY_MS, 50 * 365 * DAY_MS):
            yield case(f"ahead by {ahead_ms} ms", kafka_ms + ahead_ms, at(kind, kafka_ms, clamped=True))
        yield case("just now", kafka_ms, at(kind, kafka_ms, clamped=False))
        for days in (40, 400, 19_000):
            late_ms = kafka_ms - days * DAY_MS
            expect = dropped(TOO_OLD) if late_ms > 40_000_000_000 else kind
            yield case(f"{days} days old", late_ms, expect)


def at(kind: Expect, placed_ms: int, *, clamped: bool) -> Expect:
    return Expect(**kind.counted, placed_ms=placed_ms, clamped=clamped)


def lines(world: World) -> Iterator[Case]:
    """A date in a line is its time only where times stand; elsewhere it is what the line is about."""
    kafka_ms = world.at_ms
    told = datetime.fromtimestamp(kafka_ms // 1000 - 90, UTC)
    told_ms = int(told.timestamp()) * 1000
    iso = told.strftime("%Y-%m-%dT%H:%M:%SZ")
    good = (
        f"{iso} till is open",
        f"[{iso}] till is open",
        f"{iso} stderr F till is open",
        f'10.0.0.1 - - [{told.strftime("%d/%b/%Y:%H:%M:%S +0000")}] "GET /till"',
        f"level=info ts={iso} msg=open",
        f'{{"ts":"{iso}","msg":"open"}}',
        told.strftime("%b %d %H:%M:%S node-a till[7]: open"),
        f"<30>1 {iso} node-a till 7 - - open",
        told.strftime("I%m%d %H:%M:%S.000000       1 till.go:7] open"),
        f"till was opened at {iso} by mistake",
    )
    for line in good:
        yield Case(name=line[:40], value=line.encode(), topic="text", expect=at(LOG, told_ms, clamped=False))
    for line in (
        "contract of 2019-03-04T10:00:00Z has ended",
        "licence ends on 2119-03-04T10:00:00Z",
        "backup of 2020/01/31 10:00:00 is kept",
        "E1331 10:00:00.000000       1 till.go:7] odd month",
        "E0031 10:00:00.000000       1 till.go:7] no month",
        "Feb 31 10:00:00 node-a till[7]: no such day",
        "2026-02-31T10:00:00Z no such day",
        '{"msg":"hired","date":"2019-03-04"}',
        '{"msg":"open","time":"10:00"}',
        '{"msg":"open","ts":12}',
        'msg="open" time=never',
        "<30>1 - node-a till 7 - - open",
    ):
        yield Case(name=line[:40], value=line.encode(), topic="text", expect=at(LOG, kafka_ms, clamped=True))


def kafka_times(world: World) -> Iterator[Case]:
    """A message whose Kafka timestamp nobody can believe places nothing: a letter, whatever is in it."""
    untimely = letter(UNTIMELY)
    for topic, form in (
        ("logs", Format.FLUENT_BIT),
        ("metrics", Format.TELEGRAF),
        ("k8s-events", Format.KUBERNETES_EVENT),
    ):
        for value in (dumps(documents(world.at_ms)[form]), b"{", b"[]", b'{"a":1}' * 3):
            for at_ms in (0, 1, 1_795_219_198, 946_684_799_999, 7_289_654_400_000, 1 << 62, (1 << 63) - 1):
                name = f"{topic} at {at_ms} {value!r:.10}"
                yield Case(name=name, value=value, topic=topic, expect=untimely, at_ms=at_ms)
    plain = b'{"log":"till is open","kubernetes":{"pod_name":"till-0"}}'
    for at_ms in (946_684_800_000, 1_000_000_000_000, world.at_ms, 7_258_118_399_999):
        expect = at(LOG, at_ms, clamped=True)
        yield Case(name=f"logs at {at_ms}", value=plain, expect=expect, at_ms=at_ms)
