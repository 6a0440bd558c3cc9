"""Loads that grow in one direction: lines, patterns, pods. No two lines of a load are alike."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from deploy.shop import formats
from deploy.shop.player import SHIPPED_AFTER_S
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import Pod, Service, stable_uid

EVENT_RATE: Final = 5_000.0  # lines per second of event time: the reference load
PER_MESSAGE: Final = 100
PODS_OF_WORKLOAD: Final = 4
CLUSTER: Final = "growth"
_SYLLABLES: Final = re.findall("..", "kakikololumamimononunapaporarirosasisotatitovavivowazozu")
_LEVELS: Final = ("info",) * 12 + ("debug",) * 2 + ("warn", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Every pattern belongs to one workload and is said by all its pods; how often follows Zipf's law."""

    lines: int
    pods: int = 40
    patterns: int = 200
    fresh: float = 0.0  # share of the lines that are new patterns: words that nobody has said
    new_pods: bool = False  # each line is a message of a pod that nobody has seen
    keyed: bool = True
    rate: float = EVENT_RATE
    seed: int = 7


@dataclass(frozen=True, slots=True)
class _Pattern:
    form: str  # takes two numbers and an id
    level: str
    pods: tuple[Pod, ...]


def messages(load: Load, end_s: float = 0.0) -> Iterator[Message]:
    """OTLP JSON, up to a hundred lines of one pod each, in order of time, the last about `end_s`.

    Without an end at that of the last whole minute, so that a short load lies in one.
    """
    end_s = end_s or time.time() // 60 * 60
    rng = Random(load.seed)
    patterns = _patterns(load, rng)
    weights = list(accumulate(1 / rank for rank in range(1, len(patterns) + 1)))
    held: dict[Pod, list[Log]] = {}
    most = 1 if load.new_pods else PER_MESSAGE
    at_s = end_s - load.lines / load.rate
    for number in range(load.lines):
        at_s += 1 / load.rate
        pattern = rng.choices(patterns, cum_weights=weights)[0]
        pod = rng.choice(pattern.pods)
        batch = held.setdefault(pod, [])
        batch.append(_line(load, rng, pattern, pod, at_s, number))
        if len(batch) == most:
            yield _message(load, held.pop(pod), number)
    for number, batch in enumerate(held.values()):
        yield _message(load, batch, load.lines + number)


def _line(load: Load, rng: Random, pattern: _Pattern, pod: Pod, at_s: float, number: int) -> Log:
    fresh = load.fresh and rng.random() < load.fresh
    form = _sentence(rng) if fresh else pattern.form
    text = form % (number, rng.getrandbits(64), rng.randrange(10_000))  # the number alone makes every line different
    trace_id = f"{rng.getrandbits(128):032x}" if rng.random() < 0.3 else ""
    return Log(at_s=at_s, pod=pod, level=pattern.level, text=text, trace_id=trace_id)


def _message(load: Load, batch: list[Log], number: int) -> Message:
    pod, stamp_ms = batch[0].pod, int((batch[-1].at_s + SHIPPED_AFTER_S) * 1000) + 1
    if load.new_pods:
        pod = _pod(pod.service, f"{pod.service.name}-{number:08x}")
        batch = [Log(at_s=log.at_s, pod=pod, level=log.level, text=log.text) for log in batch]
    value = formats.otlp_logs_json(batch, cluster=CLUSTER)
    key = pod.name.encode() if load.keyed else None
    return Message(topic="logs", key=key, value=value, timestamp_ms=stamp_ms)


def _patterns(load: Load, rng: Random) -> list[_Pattern]:
    workloads = max(1, min(load.pods // PODS_OF_WORKLOAD, load.patterns // PODS_OF_WORKLOAD))
    estate: list[list[Pod]] = [[] for _ in range(workloads)]
    services = [Service(name=f"{_word(rng)}-{_word(rng)}", style="json") for _ in range(workloads)]
    for number in range(load.pods):
        service = services[number % workloads]
        suffix = stable_uid(str(number))[:5]
        estate[number % workloads].append(_pod(service, f"{service.name}-7d9c5b6f4-{suffix}"))
    return [
        _Pattern(_sentence(rng), rng.choice(_LEVELS), tuple(estate[number % workloads]))
        for number in range(load.patterns)
    ]


def _pod(service: Service, name: str) -> Pod:
    return Pod(name=name, namespace="growth", service=service, node="node-1", ip="10.0.0.1")


def _sentence(rng: Random) -> str:
    words = [_word(rng) for _ in range(7)]
    return f"{' '.join(words[:3])} %d {words[3]} id=%016x {' '.join(words[4:])} took %d ms"


def _word(rng: Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randrange(2, 5)))
