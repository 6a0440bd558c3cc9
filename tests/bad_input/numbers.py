"""Numbers at the edges of their types, and words that look like numbers."""

from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Format
from tests.bad_input.case import METRIC, NOT_JSON, Case, Expect, World, dropped, dumps, letter
from tests.bad_input.good import documents, metric_batch

STALE: Final = dropped("stale-marker")
ENDLESS: Final = dropped("not-finite")
NO_NUMBER: Final = letter("metric value is not a number")
FIELDLESS: Final = dropped("no-numeric-field")

FINITE: Final = (
    "0", "-0", "+1", "1", "-1", "00012", " 12 ", "1.", ".5", "1e3", "1E-3", "1e308", "-1.7976931348623157e308",
    "5e-324", "1e-400", "9007199254740993", "18446744073709551616", "123456789012345678901234567890", "0.1",
    "3.14159265358979323846",
)  # fmt: skip
NOT_A_NUMBER: Final = (
    "", " ", "-", "+", ".", "e", "1e", "e1", "--1", "1-", "1 2", "1,5", "1_000", "0x10", "0b1", "0o7", "1/2", "½",
    "１２", "١٢", "²", "1e5.5", "one", "null", "None", "true", "12ms", "$1", "1%", "infinite", "1" * 65, "NaNa",
    "\x001", "1\x00",
)  # fmt: skip
ENDS: Final = ("Inf", "+Inf", "-Inf", "inf", "Infinity", "-Infinity", "1e400", "-1e400", "1e99999")
NANS: Final = ("NaN", "nan", "-NaN", "+nan")


def metric_values(world: World) -> Iterator[Case]:
    """What a sample may hold: finite counts, NaN is a stale marker, the rest is dropped by name or a letter."""
    by_kind = {FINITE: METRIC, NOT_A_NUMBER: NO_NUMBER, ENDS: ENDLESS, NANS: STALE}
    for values, expect in by_kind.items():
        for value in values:
            yield prometheus(world, value, expect)
            yield otlp(world, {"asDouble": value}, expect)
            yield otlp(world, {"asInt": value}, expect)
    for value in (0, -1, 2**53 + 1, 2**63, 2**64 - 1, 1e308, -5e-324, True):
        yield prometheus(world, value, METRIC)
        yield otlp(world, {"asDouble": value}, METRIC)
        yield telegraf(world, {"load": value}, METRIC)
    for bad in (None, [], {}, [1], {"value": 1}):
        yield prometheus(world, bad, NO_NUMBER)
        yield otlp(world, {"asDouble": bad}, NO_NUMBER)
        yield telegraf(world, {"load": bad}, FIELDLESS)
    for text in (*FINITE, *NOT_A_NUMBER, *ENDS, *NANS):
        yield telegraf(world, {"load": text}, FIELDLESS)  # Telegraf writes words as words
        yield telegraf(world, {"load": text, "used": 1}, METRIC)
    yield otlp(world, {}, NO_NUMBER)
    yield otlp(world, {"flags": 1}, STALE)
    yield otlp(world, {"asDouble": 1, "flags": 1}, STALE)
    yield otlp(world, {"asDouble": 1, "flags": "1"}, METRIC)
    raw = dumps(documents(world.at_ms)[Format.TELEGRAF])
    for number in (b"1e400", b"-1e400", b"NaN", b"Infinity", b"01", b"1.", b".5", b"+1", b"0x1"):
        value = raw.replace(b"0.97", number)
        for topic in ("metrics", Format.TELEGRAF):
            yield Case(name=f"raw {number.decode()} {topic}", value=value, topic=topic, expect=NOT_JSON)


def prometheus(world: World, value: Any, expect: Expect) -> Case:
    document = documents(world.at_ms)[Format.PROMETHEUS] | {"value": value}
    return Case(name=f"prometheus {value!r:.30}", value=dumps(document), topic=Format.PROMETHEUS, expect=expect)


def telegraf(world: World, fields: dict[str, Any], expect: Expect) -> Case:
    document = documents(world.at_ms)[Format.TELEGRAF] | {"fields": fields}
    return Case(name=f"telegraf {fields!r:.40}", value=dumps(document), topic="metrics", expect=expect)


def otlp(world: World, point: dict[str, Any], expect: Expect) -> Case:
    point = {"timeUnixNano": str(world.at_ms * 1_000_000), **point}
    metrics = [{"name": "till.load", "sum": {"dataPoints": [point], "isMonotonic": True}}]
    value = dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})
    return Case(name=f"otlp {point!r:.60}", value=value, topic="metrics", expect=expect)


def proto_values(world: World) -> Iterator[Case]:
    for value, expect in (
        ({"as_double": 0.0}, METRIC),
        ({"as_double": float("nan")}, STALE),
        ({"as_double": float("inf")}, ENDLESS),
        ({"as_double": float("-inf")}, ENDLESS),
        ({"as_double": 5e-324}, METRIC),
        ({"as_int": 2**53 + 1}, METRIC),
        ({"as_int": 2**63 - 1}, METRIC),
        ({"as_int": -(2**63)}, METRIC),
        ({"flags": 1}, STALE),
        ({"flags": 2**32 - 1}, STALE),
        ({"flags": 2}, NO_NUMBER),
    ):
        for topic in ("metrics", Format.OTLP_PROTO):
            batch = metric_batch(world.at_ms, **value).SerializeToString()
            yield Case(name=f"proto {value} {topic}", value=batch, topic=topic, expect=expect)


def resets(world: World) -> Iterator[Case]:
    """A counter that begins anew, goes back or jumps: each sample counts; what it means is for whoever reads them."""
    for step, value in enumerate(("10", "20", "3", "0", "1e308", "0", "-5", "9007199254740993", "9007199254740992")):
        document = documents(world.at_ms - 60_000 + step * 1_000)[Format.PROMETHEUS]
        document |= {"name": "till_sales_total", "value": value}
        yield Case(name=f"reset {step} {value}", value=dumps(document), topic="metrics", expect=METRIC)
