"""The reference load in real time, from a process of its own: `python -m tests.benchmarks.sender BOOTSTRAP TOPIC`.

Says {} when it runs. Then a JSON line in, a JSON line out:

    {"prepare": [LINES_PER_S, SECONDS, DRAW]}  messages are made before they are sent, so that sending costs little
    {"send": SECONDS}                          at their pace; says how many lines, and what it spent
"""

import json
import os
import sys
import time
from collections import deque
from typing import Any, Final

from confluent_kafka import Producer

from deploy.shop.telemetry import Message
from tests.benchmarks import corpus

# Messages are made for this moment and moved to the present by whole seconds, which takes one search in each.
MADE_FOR_S: Final = 1_000_000_000
NANO: Final = b'Nano":"'
NAP_S: Final = 0.005


class Sender:
    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        client = {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 20}
        self._producer = Producer(client | {"compression.type": "lz4", "queue.buffering.max.messages": 1_000_000})
        self._made: deque[tuple[Message, int]] = deque()

    def prepare(self, lines_per_s: float, seconds: float, draw: int) -> dict[str, Any]:
        count = round(lines_per_s * seconds)
        self._made = deque(
            (message, message.value.count(b'"timeUnixNano"'))
            for message in corpus.by_the_hundred(
                count, MADE_FOR_S + seconds, keyed=True, draw=draw, per_second=lines_per_s
            )
        )
        return {"messages": len(self._made)}

    def send(self, seconds: float) -> dict[str, Any]:
        """Each message when its last line is said, until `seconds` have passed or all are sent."""
        began, cpu_s, began_s = time.monotonic(), time.process_time(), int(time.time())
        lines, late_s = 0, 0.0
        while self._made:
            message, held = self._made[0]
            due_s = message.timestamp_ms / 1000 - MADE_FOR_S
            passed = time.monotonic() - began
            if passed >= seconds or due_s >= seconds:
                break
            if due_s > passed:
                self._producer.poll(0)
                time.sleep(min(due_s - passed, NAP_S))
                continue
            self._made.popleft()
            late_s = max(late_s, passed - due_s)
            self._produce(message, began_s - MADE_FOR_S)
            lines += held
        self._producer.flush(60)
        wall_s = time.monotonic() - began
        share = (time.process_time() - cpu_s) / wall_s
        return {"lines": lines, "wall_s": round(wall_s, 2), "cpu_share": round(share, 3), "late_s": round(late_s, 2)}

    def _produce(self, message: Message, by_s: int) -> None:
        value, stamp_ms = moved(message, by_s), message.timestamp_ms + by_s * 1000
        while True:
            try:
                self._producer.produce(self._topic, value=value, key=message.key, timestamp=stamp_ms)
                return
            except BufferError:
                self._producer.poll(0.1)


def moved(message: Message, by_s: int) -> bytes:
    """The value with all of its times later by whole seconds. Their number of digits must not change."""
    value, start = message.value, message.value.index(NANO) + len(NANO)
    first_s, last_s = int(value[start : start + 10]), message.timestamp_ms // 1000
    for second in range(first_s, last_s + 1):
        value = value.replace(NANO + b"%d" % second, NANO + b"%d" % (second + by_s))
    return value


def main(bootstrap: str, topic: str) -> None:
    sender = Sender(bootstrap, topic)
    said: dict[str, Any] = {}
    while True:
        os.write(1, json.dumps(said).encode() + b"\n")
        line = sys.stdin.readline()
        if not line:
            return
        ((verb, given),) = json.loads(line).items()
        said = sender.prepare(*given) if verb == "prepare" else sender.send(given)


if __name__ == "__main__":
    main(*sys.argv[1:])
