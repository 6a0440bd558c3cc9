"""Every field of every format, one after the other, as something else: optional ones change nothing."""

import copy
from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Format
from tests.bad_input.case import KIND_OF, SIGNALS, Case, Expect, World, dropped, dumps, letter
from tests.bad_input.good import documents

Path = tuple[str | int, ...]
ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1.5e308, 2**63, "", "x", " ", [], {}, [[]], [7], {"a": {}}, {"a": [1, {"b": None}]},
    "y" * 5_000,
)  # fmt: skip

LOG_ENTRY: Final = letter("not an OpenTelemetry log record")
POINT: Final = letter("not an OpenTelemetry metric")
EMPTY_LINE: Final = dropped("empty-line")
NAMELESS: Final = letter("metric without a name")
UNREADABLE: Final = letter("metric value is not a number")
NO_BATCH: Final = dropped("empty-batch")
NO_ALERT: Final = letter("alert without a name")
NO_UID: Final = letter("event without a uid")
NO_REASON: Final = letter("event without a reason")
NO_OBJECT: Final = letter("event without an involved object")


def wrong_types(world: World) -> Iterator[Case]:
    for form, document in documents(world.at_ms).items():
        topic = "metrics" if form == "metrics" else form
        for path in paths(document):
            for odd in ODD:
                changed = copy.deepcopy(document)
                place(changed, path, odd)
                expect = after(str(form), path, odd) or KIND_OF[SIGNALS[topic]]
                name = f"{form} {'.'.join(map(str, path))} = {str(odd)[:20]!r}"
                yield Case(name=name, value=dumps(changed), topic=topic, expect=expect)


def paths(node: Any, above: Path = ()) -> Iterator[Path]:
    """Every place inside of a document."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield (*above, key)
        yield from paths(node[key], (*above, key))


def place(node: Any, path: Path, value: Any) -> None:
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


def says_nothing(odd: Any) -> bool:
    return odd is None or (isinstance(odd, str | list | dict) and not (odd.strip() if isinstance(odd, str) else odd))


def nameless(odd: Any) -> bool:
    """Names are scalars; white space is one, if an odd one."""
    return odd is None or odd == "" or isinstance(odd, list | dict)


def after(form: str, path: Path, odd: Any) -> Expect | None:
    """What becomes of a message whose `path` holds `odd`; None: it is as good as before."""
    last = path[-1]
    if form in (Format.FLUENT_BIT, Format.VECTOR, Format.FILEBEAT, Format.RSYSLOG):
        return after_log(form, last, odd)
    if form in (Format.PROMETHEUS, Format.TELEGRAF):
        return after_metric(form, path, odd)
    if form in (Format.KUBERNETES_EVENT, Format.EVENT_EXPORTER):
        return after_event(path, odd)
    if form == Format.ALERTMANAGER:
        return after_alert(path, odd)
    return after_otlp_log(path, odd) if form == Format.OTLP_JSON else after_otlp_metric(path, odd)


def after_log(form: str, last: str | int, odd: Any) -> Expect | None:
    text = "log" if form == Format.FLUENT_BIT else "message"
    return EMPTY_LINE if last == text and says_nothing(odd) else None


def after_metric(form: str, path: Path, odd: Any) -> Expect | None:
    if path == ("name",):
        return NAMELESS if nameless(odd) else None
    if path == ("labels",):
        return None if isinstance(odd, dict) else letter(f"not {form}")
    if path == ("fields",):
        if not isinstance(odd, dict):
            return letter(f"not {form}")
        return dropped("no-numeric-field")
    if path == ("fields", "load"):
        return None if isinstance(odd, int | float) else dropped("no-numeric-field")
    if path == ("value",):
        return None if isinstance(odd, int | float) else UNREADABLE
    return None


def after_event(path: Path, odd: Any) -> Expect | None:
    if path == ("metadata",) or (path == ("metadata", "uid") and nameless(odd)):
        return NO_UID
    if path == ("reason",) and nameless(odd):
        return NO_REASON
    if path == ("involvedObject",):
        return NO_OBJECT
    return None  # an object without its kind or its name is still found by the other


def after_alert(path: Path, odd: Any) -> Expect | None:
    if path == ("alerts",):
        if not isinstance(odd, list):
            return letter("not alertmanager")
        return NO_ALERT if odd else NO_BATCH
    if path in (("alerts", 0), ("alerts", 0, "labels")):
        return NO_ALERT
    return NO_ALERT if path[-1] == "alertname" and nameless(odd) else None


def after_otlp_log(path: Path, odd: Any) -> Expect | None:
    last, depth = path[-1], len(path)
    if path == ("resourceLogs",):
        if not isinstance(odd, list):
            return letter("not otlp-json")
        return parts(odd, LOG_ENTRY)
    if depth == 2:
        return NO_BATCH if isinstance(odd, dict) else LOG_ENTRY
    if last in ("scopeLogs", "logRecords"):
        return NO_BATCH if odd is None else parts(odd, LOG_ENTRY)
    if depth == 4 and path[2] == "scopeLogs":
        return NO_BATCH if isinstance(odd, dict) else LOG_ENTRY
    if depth == 6 and path[2] == "scopeLogs":
        return EMPTY_LINE if isinstance(odd, dict) else LOG_ENTRY  # a record without a body says nothing
    if last == "body":  # an object that is no AnyValue is an empty one
        return EMPTY_LINE if says_nothing(odd) or isinstance(odd, dict) else None
    if path[-2:] == ("body", "stringValue"):
        return EMPTY_LINE if says_nothing(odd) or isinstance(odd, list | dict) else None
    return None


def parts(odd: Any, bad: Expect) -> Expect:
    """A list of parts: an object may be empty, anything else is no part."""
    if not isinstance(odd, list):
        return bad
    return bad if odd else NO_BATCH


def after_otlp_metric(path: Path, odd: Any) -> Expect | None:
    last, depth = path[-1], len(path)
    if path == ("resourceMetrics",):
        return parts(odd, POINT) if isinstance(odd, list) else letter("not otlp-json", "unknown format")
    if depth in (2, 4):
        return NO_BATCH if isinstance(odd, dict) else POINT
    if last in ("scopeMetrics", "metrics", "dataPoints"):
        return NO_BATCH if odd is None else parts(odd, POINT)
    if depth == 6:
        return POINT
    if last == "name":
        return NAMELESS if nameless(odd) else None
    if last == "gauge":
        return NO_BATCH if isinstance(odd, dict) else POINT
    if last == 0:
        return UNREADABLE if isinstance(odd, dict) else POINT
    if last == "asDouble":
        return None if isinstance(odd, int | float) else UNREADABLE
    return None
