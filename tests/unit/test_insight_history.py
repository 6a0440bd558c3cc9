"""Telling history: whatever the pace of the flushes, what is told adds up to what was said."""

import json

import pytest

from processors.insights.history import REMEMBERED_MS, History
from processors.insights.summaries import decode, encode
from processors.merge import join
from processors.pipeline import Pipeline
from schemas.documents import MINUTE_MS, Target
from schemas.records import Message
from schemas.settings import Settings
from schemas.summaries import Said, Sampled, Tick, Told

START_MS = 1_763_700_000_000
PIPELINE = Pipeline.from_settings(Settings())


def line(offset: int, time_ms: int, text: str = "it failed", partition: int = 0) -> Message:
    value = {"log": text, "kubernetes": {"namespace_name": "shop", "pod_name": "pay-0"}}
    return Message("logs", "id", partition, offset, time_ms, None, json.dumps(value).encode())


def told_of(messages: list[Message], flush_ms: int) -> tuple[History, list[Told]]:
    history, told = History(PIPELINE, flush_ms=flush_ms), []
    for message in messages:
        told += history.take(message)
    told += history.flush()
    return history, [each for _, value in encode(told) for each in decode(value)]


def counts(told: list[Told]) -> dict[Target, int]:
    documents: dict[Target, dict[str, object]] = {}
    for each in told:
        if isinstance(each, Said):
            documents[each.document] = join(documents.get(each.document, {}), {"slices": each.slices})
    return {target: document["count"] for target, document in documents.items()}  # type: ignore[misc]


@pytest.mark.parametrize("flush_ms", [1, 1_000, 7_000, 10**9])
def test_the_pace_of_flushes_changes_no_count(flush_ms: int) -> None:
    messages = [line(i // 2, START_MS + i * 700, partition=i % 2) for i in range(300)]
    history, told = told_of(messages, flush_ms)
    assert sum(counts(told).values()) == history.messages == history.records == 300
    assert len(counts(told)) == len({m.timestamp_ms // MINUTE_MS for m in messages})


def test_time_is_told_from_records_and_never_from_the_clock() -> None:
    _, told = told_of([line(i, START_MS + i * 1_000) for i in range(61)], 1_000)
    ticks = [each.time_ms for each in told if isinstance(each, Tick)]
    assert ticks == list(range(START_MS, START_MS + 61_000, 5_000))


def test_what_is_over_is_forgotten_and_what_is_broken_is_counted() -> None:
    history, _ = told_of([line(i, START_MS + i * MINUTE_MS) for i in range(180)], MINUTE_MS)
    assert len(history._slices) <= REMEMBERED_MS // MINUTE_MS + 2
    broken = Message("metrics", "id", 0, 0, START_MS, None, b"{")
    history, told = told_of([broken], 1)
    assert (history.rejected, [each for each in told if isinstance(each, Sampled)]) == (1, [])
