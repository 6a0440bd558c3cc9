"""Records that well-kept clients refuse to send: a header whose name is no text."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class OddName:
    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


def builder(compression: int = 0) -> Any:
    """Of one batch, by aiokafka's own code in Python, which takes what has an `encode` for a name."""
    return _DefaultRecordBatchBuilderPy(2, compression, False, -1, -1, 0, 1 << 20)


def send(bootstrap: str, topic: str, value: bytes, *, partition: int, timestamp_ms: int) -> None:
    """Blocks until Kafka has it."""

    async def run() -> None:
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            batch = producer.create_batch()
            batch._builder = builder()
            batch.append(key=None, value=value, timestamp=timestamp_ms, headers=[(OddName(), b"x")])
            await (await producer.send_batch(batch, topic, partition=partition))

    asyncio.run(run())
