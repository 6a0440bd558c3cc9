"""The lines that are measured: the shop's own, every identifier and number drawn anew, in two forms of message."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from deploy.shop import formats
from deploy.shop.noise import noise_logs
from deploy.shop.player import SHIPPED_AFTER_S
from deploy.shop.telemetry import Log, Message
from deploy.shop.topology import CLUSTER, HOME, Pod, build_estate

EVENT_RATE: Final = 5_000.0  # lines per second of event time: the reference load
SEED: Final = 7


def lines(count: int, end_s: float) -> Iterator[Log]:
    """`count` lines of all pods, in order, the last of them about `end_s`."""
    estate = build_estate((HOME,), seed=SEED)
    start_s = end_s - count / EVENT_RATE * 1.05  # arrivals are random: leave room, nothing may lie in the future
    return islice(noise_logs(estate, seed=SEED, start_s=start_s, per_second=EVENT_RATE), count)


def one_by_one(count: int, end_s: float, *, keyed: bool) -> Iterator[Message]:
    """Fluent Bit's form: a message a line."""
    for log in lines(count, end_s):
        yield _message(log.pod, formats.fluent_bit(log), log.at_s, keyed)


def by_the_hundred(count: int, end_s: float, *, keyed: bool) -> Iterator[Message]:
    """OTLP JSON with up to a hundred lines of one pod."""
    held: dict[Pod, list[Log]] = {}
    for log in lines(count, end_s):
        batch = held.setdefault(log.pod, [])
        batch.append(log)
        if len(batch) == 100:
            yield _batch(held.pop(log.pod), keyed)
    for batch in held.values():
        yield _batch(batch, keyed)


def _batch(batch: list[Log], keyed: bool) -> Message:
    value = formats.otlp_logs_json(batch, cluster=CLUSTER)
    return _message(batch[0].pod, value, batch[-1].at_s, keyed)


def _message(pod: Pod, value: bytes, at_s: float, keyed: bool) -> Message:
    key = pod.name.encode() if keyed else None
    return Message(topic="logs", key=key, value=value, timestamp_ms=int((at_s + SHIPPED_AFTER_S) * 1000) + 1)
