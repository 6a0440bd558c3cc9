"""Consumers to compare, each a process of its own: `python -m tests.benchmarks.agents WHICH TOPIC COUNT FOLDER`.

`chunks` is our application and consumer with nothing behind them. `stock` is an agent as Faust's documentation shows
it, which does with every event what our worker does: the same pipeline, the same fold, the same sink.

Each ends with one JSON line after COUNT records: their number, seconds and processor seconds.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust

from processors.fold import Fold
from processors.pipeline import Pipeline
from processors.sink import Sink
from schemas.records import Message
from schemas.settings import Settings
from streams.topics import Broker
from streams.worker import Worker, app_of


class Count:
    """Says what was spent, and ends the process."""

    def __init__(self, wanted: int) -> None:
        self._left, self._wanted = wanted, wanted
        self._began = self._cpu_s = 0.0

    def start(self) -> None:
        self._began, self._cpu_s = time.monotonic(), time.process_time()

    @property
    def running(self) -> bool:
        return self._began > 0

    def add(self, records: int) -> bool:
        """Whether all are there."""
        self._left -= records
        return self._left <= 0

    def end(self) -> None:
        spent = {
            "records": self._wanted - self._left,
            "wall_s": time.monotonic() - self._began,
            "cpu_s": time.process_time() - self._cpu_s,
        }
        os.write(1, json.dumps(spent).encode() + b"\n")
        os._exit(0)


def chunks(settings: Settings, topic: str, count: Count, folder: str) -> faust.App:
    """The worker's own composition, without its intake; positions are settled and committed as ever."""

    async def step(_: str, records: Sequence[Any], acknowledge: Callable[[], Awaitable[object]]) -> None:
        if not count.running:
            count.start()
        for record in records:
            assert record.value
        await acknowledge()
        if count.add(len(records)):
            count.end()

    worker = Worker(settings, {"logs"})
    worker.sink.prepare()
    worker.steps = {topic: step}
    return app_of(settings, worker)


def stock(settings: Settings, topic: str, count: Count, folder: str) -> faust.App:
    """Flushes as often as our worker may: by time or by size, between two events."""
    app = faust.App(
        settings.kafka.group,
        broker=f"kafka://{settings.kafka.bootstrap_servers}",
        consumer_auto_offset_reset="earliest",
        key_serializer="raw",
        value_serializer="raw",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        broker_session_timeout=10,  # a member that is gone is soon forgotten
        broker_heartbeat_interval=2,
        datadir=folder,
    )
    pipeline, sink, stop = Pipeline.from_settings(settings), Sink.from_settings(settings), threading.Event()
    sink.prepare()
    topic_id = Broker(settings.kafka).topic_ids([topic])[topic]
    limits = settings.worker

    async def take(stream: Any) -> None:
        fold, flushed_s = Fold(), time.monotonic()
        async for event in stream.events():
            at = event.message
            message = Message(
                topic=topic, topic_id=topic_id, partition=at.partition, offset=at.offset,
                timestamp_ms=int(at.timestamp * 1000), key=event.key, value=event.value, headers=tuple(at.headers),
            )  # fmt: skip
            pipeline.run(message, fold)
            done = count.running and count.add(1)
            due = time.monotonic() - flushed_s > limits.flush_interval_s or fold.records >= limits.flush_records
            if done or due:
                await asyncio.to_thread(sink.write, fold, stop)
                fold, flushed_s = Fold(), time.monotonic()
                if done:
                    sink.publish()
                    count.end()
                if not count.running:  # the indices of the day are there
                    count.start()

    app.agent(app.topic(topic))(take)
    return app


def main(which: str, topic: str, count: str, folder: str) -> None:
    made = {"chunks": chunks, "stock": stock}[which](Settings.load(), topic, Count(int(count)), folder)
    process = faust.Worker(made, loglevel="WARN", quiet=True, redirect_stdouts=False, loop=asyncio.new_event_loop())
    process.spinner = None  # it would write to standard output
    process.execute_from_commandline()


if __name__ == "__main__":
    main(*sys.argv[1:])
