"""Log records in the JSON of Fluent Bit, Vector, Filebeat and rsyslog."""

from collections.abc import Callable, Mapping
from typing import Final

from processors.decode.log_text import log_record
from processors.decode.prefixes import take_syslog
from processors.decode.resource import OWNED, Origin, beats_pod, flat_pod, plain_pod, resource_of
from processors.decode.severity import level_of, syslog_severity
from processors.decode.structured import LEVEL_KEYS, read_severity, trace_id_of
from processors.decode.timestamps import EARLIEST_S, LATEST_S, epoch_ms
from processors.decode.values import first, mapping, name, told
from schemas.errors import InvalidRecord
from schemas.records import Filtered, LogRecord, Resource

# What shippers say about a line; the rest of an object without a text of its own is what the application said.
_SHIPPER_KEYS: Final = frozenset({
    "@timestamp", "@metadata", "@version", "_p", "agent", "data_stream", "date", "ecs", "file", "host", "input",
    "kubernetes", "kubernetes_namespace", "logtag", "source_type", "stream", "tag", "time", "timestamp",
})  # fmt: skip


# An event with these keys alone is text, pod and time; the others are not read where there is a time in `@timestamp`.
_PLAIN: Final = frozenset({"@timestamp", "kubernetes", "log", "_p", "date", "logtag", "stream", "tag", "time"})


def _no_plain_event(event: Mapping[str, object]) -> tuple[int, str, str, str, str, str] | None:
    return None


plain_event: Callable[[Mapping[str, object]], tuple[int, str, str, str, str, str] | None]
try:
    from freshet_kernel import plain_event as _plain_event
except ImportError:  # every event goes the long way, which ends in the same
    plain_event = _no_plain_event
else:

    def plain_event(event: Mapping[str, object]) -> tuple[int, str, str, str, str, str] | None:
        return _plain_event(event, _PLAIN, OWNED, EARLIEST_S, LATEST_S)


def plain_fluent_bit(event: Mapping[str, object], origin: Origin) -> LogRecord | Filtered | None:
    """The same for what nearly all of them are, a text with its pod and its time; None for any other."""
    if (plain := plain_event(event)) is None:
        return None
    time_ms, text, pod, namespace, container, host = plain
    return log_record(origin, plain_pod(origin.cluster, pod, namespace, container, host), text, time_ms=time_ms)


def fluent_bit(event: Mapping[str, object], origin: Origin) -> LogRecord | Filtered:
    """Fluent Bit's record: the text in `log` (or `message`), or fields that its parsers have spread out."""
    if "MESSAGE" in event:
        return _journal(event, origin)
    kubernetes = event.get("kubernetes")
    text = event.get("log")
    if text is None:
        text = event.get("message")
    if text is None and not isinstance(kubernetes, dict):
        raise InvalidRecord("not fluent-bit")
    time_ms = _first_time(event, "@timestamp", "timestamp", "time", "date")
    said = _line_or_fields(text, event)
    if isinstance(kubernetes, dict):
        resource = flat_pod(kubernetes, origin)
    else:
        return _without_pod(said, event, origin, time_ms)
    return log_record(origin, resource, said, time_ms=time_ms, severity=read_severity(event))


def vector(event: Mapping[str, object], origin: Origin) -> LogRecord | Filtered:
    """Vector's log event, bare or wrapped by its `native_json` codec."""
    event = mapping(event.get("log")) or event
    kubernetes = event.get("kubernetes")
    if "message" not in event or not ("source_type" in event or isinstance(kubernetes, dict)):
        raise InvalidRecord("not vector")
    said = _line_or_fields(event["message"], event)
    time_ms = _first_time(event, "timestamp")
    if not isinstance(kubernetes, dict):
        return _without_pod(said, event, origin, time_ms)
    resource = flat_pod(kubernetes, origin)
    severity = read_severity(event)
    return log_record(origin, resource, said, time_ms=time_ms, severity=severity)


def filebeat(event: Mapping[str, object], origin: Origin) -> LogRecord | Filtered:
    """An event of Filebeat or Elastic Agent."""
    if "@timestamp" not in event or not ("@metadata" in event or "agent" in event or "ecs" in event):
        raise InvalidRecord("not filebeat")
    error = mapping(event.get("error"))
    text = first(event, "message", "json") or first(mapping(event.get("event")), "original") or error.get("message")
    severity = level_of(mapping(event.get("log")).get("level")) or level_of(event.get("log.level"))
    return log_record(
        origin,
        beats_pod(event, origin),
        _line_or_fields(text, event),
        time_ms=epoch_ms(event.get("@timestamp")),
        severity=severity,
        trace_id=trace_id_of(event),
    )


def rsyslog(event: Mapping[str, object], origin: Origin) -> LogRecord | Filtered:
    """StdJSONFmt, `jsonmesg` and the usual names of list templates; also journald's and Vector's syslog fields."""
    text = first(event, "message", "msg", "rawmsg")
    if text is None and not ("message" in event or "msg" in event):
        raise InvalidRecord("not rsyslog")
    severity = syslog_severity(first(event, "syslogseverity", "syslogseverity-text", "severity", "priority", "level"))
    if not severity:
        severity = syslog_severity(event.get("pri"))
    program = name(first(event, "programname", "program", "app-name", "appname", "syslogtag"))
    resource = resource_of(
        cluster=origin.cluster,
        node=_host(event),
        service=program.partition("[")[0].rstrip(":"),
    )
    time_ms = _first_time(event, "timereported", "timestamp", "@timestamp", "time", "timegenerated")
    return log_record(origin, resource, told(text), time_ms=time_ms, severity=severity)


def _journal(event: Mapping[str, object], origin: Origin) -> LogRecord | Filtered:
    """A systemd journal entry, as Fluent Bit's systemd input passes it on."""
    unit = name(first(event, "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "_COMM")).removesuffix(".service")
    resource = resource_of(cluster=origin.cluster, node=name(event.get("_HOSTNAME")), service=unit)
    time_ms = _first_time(event, "@timestamp", "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP")
    severity = syslog_severity(event.get("PRIORITY"))
    # Whatever a unit prints is "info" to journald: its own words know better.
    line = log_record(origin, resource, told(event["MESSAGE"]), time_ms=time_ms)
    if isinstance(line, Filtered) or line.severity:
        return line
    return log_record(origin, resource, told(event["MESSAGE"]), time_ms=time_ms, severity=severity)


def _without_pod(
    said: str | Mapping[str, object],
    event: Mapping[str, object],
    origin: Origin,
    time_ms: int | None,
) -> LogRecord | Filtered:
    """A record from a host: its syslog header, if it has one, tells who speaks."""
    node = _host(event)
    service = name(first(event, "appname", "service", "app", "ident", "programname"))
    severity = read_severity(event)
    if isinstance(said, str) and (header := take_syslog(said.strip(), origin.received_ms)):
        said = header.rest
        time_ms = time_ms if time_ms is not None else header.time_ms
        node, service = header.host or node, header.program or service
        severity = severity or header.severity
    resource: Resource = resource_of(cluster=origin.cluster, node=node, service=service)
    return log_record(origin, resource, said, time_ms=time_ms, severity=severity)


def _line_or_fields(text: object, event: Mapping[str, object]) -> str | Mapping[str, object]:
    if isinstance(text, str):
        return text
    if isinstance(text, dict):
        return text
    if text is not None:
        return told(text)
    rest = {key: value for key, value in event.items() if key not in _SHIPPER_KEYS and key not in LEVEL_KEYS}
    return "" if rest.keys() == {"message"} and rest["message"] in ([], {}) else rest or ""


def _host(event: Mapping[str, object]) -> str:
    host = first(event, "hostname", "host", "fromhost", "source_host", "_HOSTNAME")
    return name(first(host, "name", "hostname")) if isinstance(host, dict) else name(host)


def _first_time(event: Mapping[str, object], *keys: str) -> int | None:
    for key in keys:
        if key in event and (time_ms := epoch_ms(event[key])) is not None:
            return time_ms
    return None
