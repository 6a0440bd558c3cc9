"""The reference load: 40 pods, 200 patterns (Zipf), 5,000 lines a second of event time; every number and id drawn anew.

A pattern belongs to a workload, and any of its pods says it: the shop's own sentences, and chores for the rest.
The same draw gives the same lines; draws differ in all but the patterns and the pods.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple

import orjson

from deploy.shop import formats
from deploy.shop.noise import TRACED_SHARE
from deploy.shop.phrases import phrases_of
from deploy.shop.player import SHIPPED_AFTER_S
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import CLUSTER, HOME, Pod, build_estate
from deploy.shop.wording import fill

PODS: Final = 40
PATTERNS: Final = 200
EVENT_RATE: Final = 5_000.0  # lines per second of event time
SEED: Final = 7
BATCH: Final = 100  # lines a message
STATED: Final = (
    f"reference load: {PODS} pods, {PATTERNS} patterns (Zipf), {EVENT_RATE:,.0f} lines/s of event time, "
    f"seed {SEED}, all numbers and ids random"
)
_BLOCK: Final = 4_096  # lines drawn at a time
_PLACEHOLDER: Final = re.compile("<[a-z]+>")
# What each workload works on, in the order of the estate.
_THINGS: Final = (
    ("upstream pool", "asset bundle", "basket total", "card session", "order outbox", "guest basket", "price feed")
    + ("query planner", "stock ledger", "parcel label", "discount rule", "login session", "ranking model")
    + ("review queue", "mail spool")
)
_CHORES: Final = (
    ("info", "{} refreshed in <ms> ms, <n> entries"),
    ("debug", "{} worker <id> picked up job <hex>"),
    ("warn", "{} is at <n> percent of its limit"),
    ("info", "background job for {} finished after <ms> ms, <n> rows changed"),
    ("error", "{} refused request <hex> from <ip>: too many open files"),
    ("warn", "retrying write to {}, attempt <attempt>, last error: connection reset by peer"),
    ("debug", "checksum <hex> of {} matches"),
    ("info", "configuration of {} reloaded, version <id>"),
    ("error", "{} gave up on <order> after <slow> ms: deadline exceeded"),
)


class Pattern(NamedTuple):
    """What any of these pods may say."""

    pods: tuple[Pod, ...]
    level: str
    sentence: str  # with placeholders, see `wording`

    @property
    def said(self) -> re.Pattern[str]:
        """Finds a line of this pattern by all that is fixed in it."""
        return re.compile(".+?".join(map(re.escape, _PLACEHOLDER.split(self.sentence))), re.DOTALL)


@lru_cache(maxsize=1)
def patterns() -> tuple[Pattern, ...]:
    """All of them, the most frequent first."""
    workloads: dict[str, list[Pod]] = {}
    for pod in build_estate((HOME,), seed=SEED).pods[:PODS]:
        workloads.setdefault(pod.service.name, []).append(pod)
    own = [
        Pattern(tuple(pods), level, sentence)
        for name, pods in workloads.items()
        for _, level, sentence in phrases_of(name)
    ]
    chores = [
        Pattern(tuple(pods), level, sentence.format(thing))
        for level, sentence in _CHORES
        for pods, thing in zip(workloads.values(), _THINGS, strict=True)
    ]
    found = (own + chores)[:PATTERNS]
    Random(SEED).shuffle(found)
    return tuple(found)


def lines(count: int, end_s: float, *, draw: int = 0, per_second: float = EVENT_RATE) -> Iterator[Log]:
    """`count` lines in order of time, the last of them at `end_s`."""
    rng, table = Random(f"{SEED}:{draw}"), patterns()
    weights = tuple(accumulate(1 / rank for rank in range(1, len(table) + 1)))
    for start in range(0, count, _BLOCK):
        drawn = rng.choices(table, cum_weights=weights, k=min(_BLOCK, count - start))
        for nth, (pods, level, sentence) in enumerate(drawn, start):
            at_s = end_s - (count - 1 - nth) / per_second
            trace_id = f"{rng.getrandbits(128):032x}" if rng.random() < TRACED_SHARE else ""
            pod = pods[int(rng.random() * len(pods))]
            yield Log(at_s=at_s, pod=pod, level=level, text=fill(sentence, rng), trace_id=trace_id)


def one_by_one(count: int, end_s: float, *, keyed: bool, draw: int = 0) -> Iterator[Message]:
    """Fluent Bit's form: a message a line."""
    for log in lines(count, end_s, draw=draw):
        yield _message(log.pod, formats.fluent_bit(log), log.at_s, keyed)


def by_the_hundred(
    count: int, end_s: float, *, keyed: bool, draw: int = 0, per_second: float = EVENT_RATE
) -> Iterator[Message]:
    """OTLP JSON with up to a hundred lines of one pod."""
    held: dict[Pod, list[Log]] = {}
    for log in lines(count, end_s, draw=draw, per_second=per_second):
        batch = held.setdefault(log.pod, [])
        batch.append(log)
        if len(batch) == BATCH:
            yield _batch(held.pop(log.pod), keyed)
    for batch in held.values():
        yield _batch(batch, keyed)


def _batch(batch: Sequence[Log], keyed: bool) -> Message:
    return _message(batch[0].pod, otlp_json(batch), batch[-1].at_s, keyed)


def _message(pod: Pod, value: bytes, at_s: float, keyed: bool) -> Message:
    key = pod.name.encode() if keyed else None
    return Message(topic="logs", key=key, value=value, timestamp_ms=int((at_s + SHIPPED_AFTER_S) * 1000) + 1)


# -- the bytes of `formats.otlp_logs_json`, filled into its own output: a third of the time ---------------------------

_AT_S: Final = 1_000_000_000.0
_TRACE: Final = "0123456789abcdef" * 2
_BEFORE, _BEHIND = b'"logRecords":[', b"]}]}]}"


def otlp_json(logs: Sequence[Log]) -> bytes:
    """One message of lines that are all of one pod."""
    records = []
    for log in logs:
        _, form, _ = _otlp_form(log.pod, log.level, bool(log.trace_id), len(log.text) % 16)
        drawn = int(log.at_s * 1e6), int((log.at_s + 0.002) * 1e6), orjson.dumps(log.text)
        records.append(form % ((*drawn, log.trace_id.encode(), log.trace_id[:16].encode()) if log.trace_id else drawn))
    head, _, tail = _otlp_form(logs[0].pod, logs[0].level, False, 0)
    return head + b",".join(records) + tail


@lru_cache(maxsize=8_192)
def _otlp_form(pod: Pod, level: str, traced: bool, chars: int) -> tuple[bytes, bytes, bytes]:
    """What stands before the records of a pod, a record with places for what differs, and what stands behind."""
    text = "~" * (16 + chars)  # the number of the thread depends on the length
    log = Log(at_s=_AT_S, pod=pod, level=level, text=text, trace_id=_TRACE if traced else "")
    head, before, rest = formats.otlp_logs_json([log], cluster=CLUSTER).partition(_BEFORE)
    form = rest.removesuffix(_BEHIND).replace(b"%", b"%%")
    for at_us in (int(_AT_S * 1e6), int((_AT_S + 0.002) * 1e6)):
        form = form.replace(b"%d" % at_us, b"%d")
    for drawn in (orjson.dumps(text), _TRACE.encode(), _TRACE[:16].encode()):
        form = form.replace(drawn, b"%b")
    return head + before, form, _BEHIND
