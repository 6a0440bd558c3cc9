"""One bad record among good ones in one message: the good ones count, the bad one is a letter with its index."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.records import Format
from tests.bad_input.case import KIND_OF, LOG, SIGNALS, Case, Expect, World, array, dumps
from tests.bad_input.good import TEXT, documents, log_batch, metric_batch

STRANGERS: Final[Mapping[str, Any]] = {
    "a number": 7, "a text": "x", "null": None, "a list": [], "a stranger": {"hello": "world"},
    "a list of one": [{"log": "x"}],
}  # fmt: skip
BROKEN: Final = (
    b'{"log": "cut',
    b"{",
    b'{"a":NaN}',
    b'{"a":"\\ud800"}',
    b'{"a" 1}',
    b'{"a":1}}',
    b"[1",
    b'{"log":"\xff"}',
)
FORMS: Final = tuple(
    form for form in Format if form not in (Format.AUTO, Format.TEXT, Format.OTLP_PROTO, Format.RSYSLOG)
)


def reason(form: str) -> tuple[str, ...]:
    return (f"not {form}", "not kubernetes-event")


def arrays(world: World) -> Iterator[Case]:
    for form in FORMS:
        good, kind = dumps(documents(world.at_ms)[form]), KIND_OF[SIGNALS[form]]
        for name, stranger in STRANGERS.items():
            for place in (0, 1, 3):
                parts = [good] * 3
                parts.insert(place, dumps(stranger))
                expect = mixed(kind, 3, {place: reason(form)})
                yield Case(name=f"{form} array, {name} at {place}", value=array(parts), topic=form, expect=expect)
        every = array([good, dumps(7), good, dumps("x"), good])
        expect = mixed(kind, 3, {1: reason(form), 3: reason(form)})
        yield Case(name=f"{form} array with two", value=every, topic=form, expect=expect)
        none = array([b"7", b"null"])
        yield Case(
            name=f"{form} array of none",
            value=none,
            topic=form,
            expect=mixed(kind, 0, dict.fromkeys((0, 1), reason(form))),
        )


def mixed(kind: Expect, good: int, letters: dict[int, tuple[str, ...]]) -> Expect:
    return Expect(**{name: good for name in kind.counted if good}, letters=letters)


def lines(world: World) -> Iterator[Case]:
    """The same by lines; what no longer is JSON keeps its place, blank lines have none."""
    for form in FORMS:
        good, kind = dumps(documents(world.at_ms)[form]), KIND_OF[SIGNALS[form]]
        for bad in BROKEN:
            # What begins with a bracket may as well be a line of text.
            why = ("not UTF-8",) if b"\xff" in bad else ("not JSON", *(reason(form) if bad[:1] == b"[" else ()))
            for place in (0, 1, 3):
                parts = [good] * 3
                parts.insert(place, bad)
                for ends in (b"\n", b"\r\n", b"\n\n"):
                    value = ends.join(parts)
                    expect = mixed(kind, 3, {place: why})
                    yield Case(
                        name=f"{form} lines, {bad!r} at {place} {ends!r}", value=value, topic=form, expect=expect
                    )
        value = b"\n".join((good, b"plain words", good))
        yield Case(name=f"{form} lines with words", value=value, topic=form, expect=mixed(kind, 2, {1: reason(form)}))
    good = dumps(documents(world.at_ms)[Format.FLUENT_BIT])
    value = b"\n".join((good, b"plain words", dumps({"msg": TEXT}), good))
    yield Case(name="sniffed lines with words", value=value, expect=Expect(log=4))
    shippers = [dumps(documents(world.at_ms)[form]) for form in FORMS if SIGNALS[form] == SIGNALS["logs"]]
    yield Case(name="every shipper in one message", value=b"\n".join(shippers), expect=Expect(log=len(shippers)))
    everything = [dumps(documents(world.at_ms)[form]) for form in FORMS]
    expect = Expect(log=4, metric=2, event=2, alert=1)
    yield Case(name="every signal in one message", value=array(everything), topic="metrics", expect=expect)
    many = b"\n".join([good, b"{"] * 150)
    yield Case(
        name="every second of 300", value=many, expect=mixed(LOG, 150, dict.fromkeys(range(1, 300, 2), ("not JSON",)))
    )
    yield Case(
        name="all of 300",
        value=b"\n".join([b'{"log"'] * 300),
        expect=mixed(LOG, 0, dict.fromkeys(range(300), ("not JSON",))),
    )


def nested(world: World) -> Iterator[Case]:
    """Batches inside of one object: Telegraf's metrics, OTLP's records and points, groups that are none."""
    metric = documents(world.at_ms)[Format.TELEGRAF]
    for name, stranger in STRANGERS.items():
        for place in range(4):
            parts = [metric] * 3
            parts.insert(place, stranger)
            expect = Expect(metric=3, letters={place: ("not telegraf-json",)})
            yield Case(
                name=f"telegraf batch, {name} at {place}",
                value=dumps({"metrics": parts}),
                topic="metrics",
                expect=expect,
            )
    batch = documents(world.at_ms)[Format.OTLP_JSON]
    bad_log, bad_point = ("not an OpenTelemetry log record",), ("not an OpenTelemetry metric",)
    for stranger in (7, "x", None, [], True):
        for place in range(3):
            for depth in ("resourceLogs", "scopeLogs", "logRecords"):
                changed = copy.deepcopy(batch)
                held = parent(changed, depth)
                held[depth] = [*held[depth], *copy.deepcopy(held[depth])]
                held[depth].insert(place, stranger)
                value, expect = dumps(changed), Expect(log=2, letters={place: bad_log})
                yield Case(name=f"OTLP {depth}, {stranger!r} at {place}", value=value, expect=expect)
    points = documents(world.at_ms)["metrics"]
    for stranger in (7, "x", None, [], True):
        for depth in ("resourceMetrics", "scopeMetrics", "metrics", "dataPoints"):
            changed = copy.deepcopy(points)
            held = parent(changed, depth)
            held[depth] = [stranger, *held[depth]]
            expect = Expect(metric=1, letters={0: bad_point})
            yield Case(name=f"OTLP {depth}, {stranger!r}", value=dumps(changed), topic="metrics", expect=expect)


def parent(node: Any, key: str) -> Any:
    """The object that holds a key, anywhere inside."""
    if isinstance(node, dict) and key in node:
        return node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if (found := parent(child, key)) is not None:
            return found
    return None


def proto(world: World) -> Iterator[Case]:
    """Two batches one after the other are one batch, in protobuf; what follows them is not."""
    logs, metrics = log_batch(world.at_ms).SerializeToString(), metric_batch(world.at_ms).SerializeToString()
    for topic in ("logs", Format.OTLP_PROTO):
        yield Case(name=f"two OTLP batches {topic}", value=logs * 2, topic=topic, expect=Expect(log=2))
        for tail in (b"\x00", b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0c", b"till is open", b"{}"):
            expect = Expect(letters={0: ("not otlp-proto", "not UTF-8")})
            yield Case(name=f"OTLP and {tail[:6]!r} {topic}", value=logs + tail, topic=topic, expect=expect)
    yield Case(name="metrics on a topic of logs", value=metrics, expect=Expect(metric=1))
    yield Case(name="logs on a topic of metrics", value=logs, topic="metrics", expect=Expect(log=1))
