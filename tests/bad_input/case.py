"""A bad message and what becomes of it. Expectations are written from the user's side, never recorded from the code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from schemas.records import Format, Signal
from schemas.topics import Input

Headers = tuple[tuple[str, bytes | None], ...]
KINDS: Final = ("log", "metric", "event", "alert")

# Four topics that are sniffed, as most users have them, and one for each format that can be configured.
SIGNALS: Final = {
    "logs": Signal.LOG,
    "metrics": Signal.METRIC,
    "k8s-events": Signal.EVENT,
    "alerts": Signal.ALERT,
    Format.FLUENT_BIT: Signal.LOG,
    Format.VECTOR: Signal.LOG,
    Format.OTLP_JSON: Signal.LOG,
    Format.OTLP_PROTO: Signal.LOG,
    Format.FILEBEAT: Signal.LOG,
    Format.PROMETHEUS: Signal.METRIC,
    Format.TELEGRAF: Signal.METRIC,
    Format.EVENT_EXPORTER: Signal.EVENT,
    Format.KUBERNETES_EVENT: Signal.EVENT,
    Format.ALERTMANAGER: Signal.ALERT,
    Format.RSYSLOG: Signal.LOG,
    Format.TEXT: Signal.LOG,
}


def inputs(prefix: str = "") -> list[Input]:
    """The input topics of all cases, as settings declare them."""
    formats = {str(form) for form in Format}
    return [
        Input(topic=prefix + topic, signal=signal, format=Format(topic) if topic in formats else Format.AUTO)
        for topic, signal in SIGNALS.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the cases are made for: the hour they play in, and how large the large ones are."""

    at_ms: int  # Kafka's timestamp of every message that does not set its own
    large_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """Where each record of a message ends. What is not named here must not happen."""

    log: int = 0
    metric: int = 0
    event: int = 0
    alert: int = 0
    letters: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # index -> any of these reasons
    filtered: Mapping[str, int] = field(default_factory=dict)  # rule -> records
    placed_ms: int | None = None  # the moment at which the record counts; None: not looked at
    clamped: bool | None = None
    shows: str = ""  # stands in what is stored of the record
    hides: str = ""  # none of these characters may be stored

    @property
    def counted(self) -> dict[str, int]:
        return {kind: number for kind in KINDS if (number := getattr(self, kind))}

    @property
    def records(self) -> int:
        return sum(self.counted.values()) + len(self.letters) + sum(self.filtered.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    value: bytes | None
    expect: Expect
    topic: str = "logs"
    headers: Headers = ()
    at_ms: int | None = None  # Kafka's timestamp; None: the world's


LOG: Final = Expect(log=1)
METRIC: Final = Expect(metric=1)
EVENT: Final = Expect(event=1)
ALERT: Final = Expect(alert=1)
KIND_OF: Final = {Signal.LOG: LOG, Signal.METRIC: METRIC, Signal.EVENT: EVENT, Signal.ALERT: ALERT}


def letter(*reasons: str, index: int = 0) -> Expect:
    return Expect(letters={index: reasons})


def dropped(rule: str, records: int = 1) -> Expect:
    return Expect(filtered={rule: records})


NOT_JSON: Final = letter("not JSON")
NOT_UTF8: Final = letter("not UTF-8")
EMPTY: Final = letter("empty value")


def dumps(value: Any) -> bytes:
    return orjson.dumps(value)


def array(values: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(values)
