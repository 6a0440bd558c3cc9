"""A chunk is folded message by message, counted, held back when there is no room, and covered at its end."""

import asyncio
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from processors.fold import Fold
from processors.pipeline import Pipeline
from schemas.dead_letters import DeadLetter
from schemas.records import Message, Signal
from schemas.settings import Settings
from streams.flusher import Chunk, Flusher
from streams.intake import LARGE_BYTES, STRETCH, Intake, message_of
from streams.metrics import WorkerMetrics
from streams.reject_share import DeadLetterLimit, RejectShare
from streams.watchdog import Progress


def record(offset: int, value: bytes | None = b"hello") -> Any:
    return SimpleNamespace(
        topic="logs",
        partition=1,
        offset=offset,
        timestamp=1_795_200_000_000 + offset,
        key=None,
        value=value,
        headers=(),
    )


class World:
    def __init__(self, *, limit: float = 1.0, max_records: int = 1000) -> None:
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self.registry, wall_ms=lambda: 1_795_200_002_000)
        self.folds: list[Fold] = []
        self.letters: list[DeadLetter] = []
        self.acknowledged: list[str] = []
        self.flusher = Flusher(
            write=self._write, urgent=lambda fold: None, show=lambda fold, stop: (), deliver=self._deliver,
            forget=lambda: None, outcome=self, clock=time.monotonic,
            interval_s=0.0, update_s=0.0, max_records=max_records, max_documents=1_000,
        )  # fmt: skip
        self.intake = Intake(
            pipeline=Pipeline.from_settings(Settings()),
            flusher=self.flusher,
            share=RejectShare(limit),
            metrics=self.metrics,
            progress=Progress(),
            signals={"logs": Signal.LOG},
            clock=time.monotonic,
        )
        self.intake.topic_ids = {"logs": "ID"}

    def _write(self, fold: Fold, _: threading.Event) -> list[DeadLetter]:
        self.folds.append(fold)
        return []

    def _deliver(self, letters: Sequence[DeadLetter], _: threading.Event) -> None:
        self.letters += letters

    def flushed(self, seconds: float, fold: Fold, letters: Sequence[DeadLetter]) -> None:
        self.metrics.flushed(seconds, fold, letters)

    def durable(self, chunk: Chunk) -> None:
        self.metrics.durable(chunk)

    async def take(self, records: Sequence[Any], name: str = "chunk") -> None:
        async def acknowledge() -> None:
            self.acknowledged.append(name)

        flushing = asyncio.create_task(self.flusher.run())
        try:
            await asyncio.wait_for(self.intake.take("logs", records, acknowledge), 10)
            async with asyncio.timeout(10):
                while not self.acknowledged:
                    await asyncio.sleep(0.002)
        finally:
            flushing.cancel()
            await asyncio.gather(flushing, return_exceptions=True)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


async def test_a_chunk_is_folded_counted_and_acknowledged() -> None:
    world = World()
    await world.take([record(0), record(1, b"two\nlines"), record(2, None)])
    assert world.acknowledged == ["chunk"]
    assert sum(fold.records for fold in world.folds) == 4
    assert [(item.message.offset, item.reason) for item in world.letters] == [(2, "empty value")]
    assert world.letters[0].message.topic_id == "ID"
    assert world.sample("freshet_worker_messages_total", topic="logs", signal="log") == 3
    assert world.sample("freshet_worker_records_total", topic="logs", signal="log") == 4
    assert world.sample("freshet_worker_dead_letters_total", topic="logs", stage="decode") == 1
    assert world.sample("freshet_worker_freshness_seconds_sum", signal="log") == 2.0  # of the oldest


async def test_a_chunk_larger_than_a_fold_spans_several_and_is_acknowledged_once() -> None:
    world = World(max_records=10)
    await world.take([record(offset) for offset in range(95)])
    assert max(fold.records for fold in world.folds) < 10 + STRETCH
    assert sum(fold.records for fold in world.folds) == 95
    assert world.acknowledged == ["chunk"]


async def test_too_many_rejects_stop_the_worker_before_the_chunk_is_acknowledged() -> None:
    world = World(limit=0.5)
    with pytest.raises(DeadLetterLimit):
        await world.take([record(offset, None) for offset in range(1500)])
    assert world.acknowledged == []
    seen = len(world.letters)  # for the operator to look at
    assert {letter.message.offset for letter in world.letters} == set(range(seen))
    assert 1000 <= seen < 1000 + STRETCH


async def test_a_large_message_is_folded_whole_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    world, where = World(), list[tuple[bool, int]]()
    run = world.intake._pipeline.run

    def slow(message: Message, fold: Fold) -> list[DeadLetter]:
        here = threading.current_thread() is threading.main_thread()
        if not here:
            time.sleep(0.05)  # the flusher is idle and would like to have this fold
        assert run(message, fold) == []
        where.append((here, message.offset))
        return [DeadLetter(message=message, index=0, reason="bad", stage="decode")] * (message.offset == 2)

    monkeypatch.setattr(world.intake, "_pipeline", SimpleNamespace(run=slow))
    line = b"x" * 99 + b"\n"
    lines = LARGE_BYTES // len(line) + 1
    values = [b"small", line * lines, line * lines, b"small"]
    await world.take([record(offset, value) for offset, value in enumerate(values)])
    assert where == [(True, 0), (False, 1), (False, 2), (True, 3)]
    assert sum(fold.records for fold in world.folds) == 2 + 2 * lines
    assert [letter.message.offset for letter in world.letters] == [2]
    assert world.acknowledged == ["chunk"]


async def test_a_message_that_is_being_folded_when_its_agent_is_cancelled_stays_whole() -> None:
    world, going = World(), threading.Event()
    folds = list[Fold]()

    def run(message: Message, fold: Fold) -> list[DeadLetter]:
        fold.messages.append(message)  # half of it
        going.wait(5)
        fold.records += 1
        return []

    world.intake._pipeline = SimpleNamespace(run=run)  # type: ignore[assignment]
    world.flusher.write = lambda fold, _: folds.append(fold) or []  # type: ignore[func-returns-value]
    world.flusher.drain()
    flushing = asyncio.create_task(world.flusher.run())
    taking = asyncio.create_task(world.intake.take("logs", [record(0, b"x" * LARGE_BYTES)], None))  # type: ignore[arg-type]
    await asyncio.sleep(0.02)
    taking.cancel()
    await asyncio.sleep(0.02)
    assert folds == []
    going.set()
    async with asyncio.timeout(5):
        while not folds:
            await asyncio.sleep(0.002)
    flushing.cancel()
    await asyncio.gather(flushing, taking, return_exceptions=True)
    assert [fold.records for fold in folds] == [1]


def test_no_timestamp_is_the_epoch() -> None:
    raw = record(0)
    raw.timestamp = -1
    assert message_of(raw, "ID").timestamp_ms == 0
