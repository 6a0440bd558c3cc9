"""Too many keys, odd keys, keys that mean one thing twice: the record counts, what is too much is left out."""

from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Format
from tests.bad_input.case import KIND_OF, LOG, METRIC, SIGNALS, Case, World, dropped, dumps
from tests.bad_input.good import documents

MANY: Final = 10_001
ODD_KEYS: Final = (
    "", " ", ".", "..", "...", ".a", "a.", "a..b", "a.b", "a.b.c.d.e.f", "a b", "a\tb", "a\nb", "a\x00b",
    "a\u202eb", "a\ufeffb", "\u00e9", "e\u0301", "日本", "😀", "\U0010ffff", "__proto__", "constructor", "$ref",
    "$where", "_id",
    "_source", "_index", "@timestamp", "@", "*", "a*", "?", "count", "slices", "first_ms", "exemplars", "vector",
    "labels", "attributes", "null", "true", "0", "-1", "1.5", "A", "a", "%s", "{}", "[0]", "a[0]", "a/b", "a\\b",
    "'", '"', "<b>", "key=value", "k" * 254, "k" * 5_000, "k." * 300, "." * 300, "e\u0301" * 400, "~more", "pod",
    "namespace", "cluster", "alertname_", "le", "quantile", "__name__", "job", "instance", "host",
)  # fmt: skip
PAIRS: Final[tuple[dict[str, Any], ...]] = (
    {"a.b": 1, "a": {"b": 2}}, {"a": {"b": 1}, "a.b": 2}, {"a": 1, "a.b": 2},
    {"a": {"b": {"c": 1}}, "a.b": {"c": 2}, "a.b.c": 3},
    {"trace_id": "1", "traceId": "2", "trace.id": "3", "traceID": "4"}, {"A": 1, "a": 2}, {"\u00e9": 1, "e\u0301": 2},
    {"a\x01": 1, "a\x02": 2}, {"level": "info", "severity": "error", "log.level": "debug"},
    {"time": 1, "ts": "x", "@timestamp": None}, {"a": "1", "a ": "2"},
    {"error": {"message": "a"}, "err": "b", "error.message": "c"}, {"k" * 300: 1, "k" * 301: 2}, {"0": 1, "00": 2},
    {"": 1, " ": 2},
)  # fmt: skip


def holders(world: World) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Where users put keys of their own: a name, the topic, the message and the object inside of it that is theirs."""
    for name, form, path in (
        ("fields of a line", Format.FLUENT_BIT, ()),
        ("pod labels", Format.FLUENT_BIT, ("kubernetes", "labels")),
        ("fields of an event", Format.VECTOR, ()),
        ("pod labels", Format.FILEBEAT, ("kubernetes",)),
        ("labels", Format.PROMETHEUS, ("labels",)),
        ("tags", Format.TELEGRAF, ("tags",)),
        ("alert labels", Format.ALERTMANAGER, ("alerts", 0, "labels")),
        ("annotations", Format.ALERTMANAGER, ("alerts", 0, "annotations")),
        ("object labels", Format.EVENT_EXPORTER, ("involvedObject",)),
    ):
        document = documents(world.at_ms)[form]
        node: Any = document
        for key in path:
            node = node[key]
        yield f"{form} {name}", form, document, node


def odd_keys(world: World) -> Iterator[Case]:
    for key in ODD_KEYS:
        for name, topic, document, held in holders(world):
            held.setdefault(key, "odd")
            expect = KIND_OF[SIGNALS[topic]]
            yield Case(name=f"{name} {key[:20]!r}", value=dumps(document), topic=topic, expect=expect)
        application = dumps({"msg": "till is open", key: "odd"}) if key not in ("msg",) else b"{}"
        yield Case(name=f"application {key[:20]!r}", value=application, expect=LOG)
        attributes = [{"key": key, "value": {"stringValue": "odd"}}]
        record = {"body": {"stringValue": "till is open"}, "attributes": attributes}
        batch = {"resourceLogs": [{"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": [record]}]}]}
        yield Case(name=f"otlp {key[:20]!r}", value=dumps(batch), expect=LOG)
        point = {"asDouble": 1, "attributes": attributes}
        metrics = [{"name": "till.load", "gauge": {"dataPoints": [point]}}]
        batch = {"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]}
        yield Case(name=f"otlp point {key[:20]!r}", value=dumps(batch), topic="metrics", expect=METRIC)


def collisions(world: World) -> Iterator[Case]:
    for number, pair in enumerate(PAIRS):
        for name, topic, document, held in holders(world):
            clean = {key: value for key, value in pair.items() if key not in held}
            held.update(clean)
            expect = KIND_OF[SIGNALS[topic]]
            yield Case(name=f"{name} pair {number}", value=dumps(document), topic=topic, expect=expect)
        yield Case(name=f"application pair {number}", value=dumps({"msg": "till is open", **pair}), expect=LOG)
        doubled = b'{"log":"one","log":"two","kubernetes":{"pod_name":"p","pod_name":"q"},"n":1,"n":%d}' % number
        yield Case(name=f"twice the same {number}", value=doubled, topic=Format.FLUENT_BIT, expect=LOG)


def many_keys(world: World) -> Iterator[Case]:
    """10,001 distinct keys, and as many as a large message holds: one record, in bounded room."""
    for count in (65, 1_001, MANY, world.large_bytes // 80):
        extra = {f"key-{n:07}": f"value {n}" for n in range(count)}
        for name, topic, document, held in holders(world):
            held.update(extra)
            expect = KIND_OF[SIGNALS[topic]]
            yield Case(name=f"{name}, {count} keys", value=dumps(document), topic=topic, expect=expect)
        yield Case(name=f"application, {count} keys", value=dumps({"msg": "till is open", **extra}), expect=LOG)
        yield Case(name=f"only fields, {count} keys", value=dumps(extra), expect=LOG)
        pairs = [{"key": key, "value": {"stringValue": value}} for key, value in extra.items()][
            : world.large_bytes // 160
        ]
        record = {"body": {"stringValue": "till is open"}, "attributes": pairs}
        batch = {"resourceLogs": [{"resource": {"attributes": pairs}, "scopeLogs": [{"logRecords": [record]}]}]}
        yield Case(name=f"otlp, {count} keys", value=dumps(batch), expect=LOG)
        yield Case(
            name=f"logfmt, {count} keys", value=" ".join(f"{k}={n}" for n, k in enumerate(extra)).encode(), expect=LOG
        )
    fields = {f"field-{n}": n for n in range(MANY)}
    metric = {"name": "till", "fields": fields, "tags": {f"t{n}": "v" * 253 for n in range(64)}}
    yield Case(name="many fields, wide tags", value=dumps(metric), topic="metrics", expect=many(METRIC, MANY))
    words = {f"field-{n}": "x" for n in range(MANY)}
    metric = {"name": "till", "fields": words, "tags": {}}
    yield Case(name="many words", value=dumps(metric), topic="metrics", expect=dropped("no-numeric-field"))


def many(kind: Any, number: int) -> Any:
    return type(kind)(**dict.fromkeys(kind.counted, number))
