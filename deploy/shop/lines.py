"""How each kind of process writes a line to its standard output."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from deploy.shop.telemetry import Log

_KLOG_LETTER: Final = {"debug": "I", "info": "I", "warn": "W", "error": "E", "fatal": "F"}
_POSTGRES_LEVEL: Final = {"debug": "DEBUG", "info": "LOG", "warn": "WARNING", "error": "ERROR", "fatal": "FATAL"}
_REDIS_MARK: Final = {"debug": ".", "info": "*", "warn": "#", "error": "#", "fatal": "#"}


def to_stderr(log: Log) -> bool:
    return log.level in ("error", "fatal")


def write_line(log: Log) -> str:
    """The line as it stands in the container's log file; a stack trace stays in it."""
    when = datetime.fromtimestamp(log.at_s, UTC)
    return _STYLES[log.pod.service.style](log, when)


def _place(log: Log, below: int) -> int:
    """A source line number: always the same for the same wording."""
    return 20 + sha256(log.text[:12].encode()).digest()[0] % below


def _plain(log: Log, when: datetime) -> str:
    return log.text


def _json(log: Log, when: datetime) -> str:
    line = {"level": log.level, "time": iso(when), "name": log.pod.service.name, "msg": log.text}
    if log.trace_id:
        line["traceId"] = log.trace_id
    return json.dumps(line, separators=(",", ":"))


def _logfmt(log: Log, when: datetime) -> str:
    trace = f" trace_id={log.trace_id}" if log.trace_id else ""
    message = log.text.replace('"', '\\"')
    return f'time={iso(when)} level={log.level} source=server.go:{_place(log, 180)} msg="{message}"{trace}'


def _java(log: Log, when: datetime) -> str:
    name = log.pod.service.name
    thread = f"nio-8080-exec-{_place(log, 9) % 9 + 1}"
    stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}"
    logger = f"example.shop.{name.replace('-', '.')}.{name.title().replace('-', '')}Service"
    return f"{stamp} {log.level.upper():>5} 1 --- [{thread}] {logger} : {log.text}"


def _python(log: Log, when: datetime) -> str:
    stamp = f"{when:%Y-%m-%d %H:%M:%S},{when.microsecond // 1000:03d}"
    level = {"warn": "WARNING", "fatal": "CRITICAL"}.get(log.level, log.level.upper())
    return f"{stamp} {level} [{log.pod.service.name}.app] {log.text}"


def _klog(log: Log, when: datetime) -> str:
    stamp = f"{when:%m%d %H:%M:%S}.{when.microsecond:06d}"
    return f"{_KLOG_LETTER[log.level]}{stamp}       1 controller.go:{_place(log, 400)}] {log.text}"


def _postgres(log: Log, when: datetime) -> str:
    stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}"
    return f"{stamp} UTC [{_place(log, 220)}] {_POSTGRES_LEVEL[log.level]}:  {log.text}"


def _redis(log: Log, when: datetime) -> str:
    return f"1:M {when:%d %b %Y %H:%M:%S}.{when.microsecond // 1000:03d} {_REDIS_MARK[log.level]} {log.text}"


def _coredns(log: Log, when: datetime) -> str:
    level = {"warn": "WARNING"}.get(log.level, log.level.upper())
    return f"[{level}] {log.text}"


def iso(when: datetime) -> str:
    """RFC 3339 with milliseconds."""
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"


_STYLES: Final[dict[str, Callable[[Log, datetime], str]]] = {
    "nginx": _plain,
    "json": _json,
    "logfmt": _logfmt,
    "java": _java,
    "python": _python,
    "klog": _klog,
    "postgres": _postgres,
    "redis": _redis,
    "coredns": _coredns,
}
