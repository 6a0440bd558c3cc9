"""The runbooks agent without services: what it waits for, what it rejects, what it remembers."""

import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from cag.registry import Published
from cag.served import FakeRunbookStore, Place
from processors.writer import Stopped
from schemas.dead_letters import DeadLetter
from schemas.errors import SinkUnavailable
from schemas.records import Message
from schemas.runbooks import Runbook
from schemas.settings import Kafka
from streams import runbook_agent
from streams.runbook_agent import RunbookAgent
from streams.runbooks import Rebuilt
from streams.watchdog import Progress


class Letters:
    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    def deliver(self, letters: list[DeadLetter], stop: threading.Event) -> None:
        self.sent += letters


class Away(FakeRunbookStore):
    """Does not answer the first few times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def apply(self, place: Place, runbook: Runbook | None) -> Any:
        if self.left:
            self.left -= 1
            raise SinkUnavailable("Redis is away")
        return super().apply(place, runbook)


def plain(message: Message) -> Published:
    return Published(text=(message.value or b"").decode())


def agent(store: FakeRunbookStore, letters: Letters | None = None) -> RunbookAgent:
    made: Any = letters or Letters()
    return RunbookAgent(
        kafka=Kafka(), store=store, decode=plain, letters=made, progress=Progress(), stop=threading.Event()
    )


def record(offset: int, value: bytes | None, key: bytes | None = b"a.md") -> Any:
    return SimpleNamespace(
        topic="runbooks", partition=0, offset=offset, timestamp=offset, key=key, value=value, headers=()
    )


def built(store: FakeRunbookStore) -> None:
    token = store.begin("t", "token")
    assert token
    assert store.finish("t", token, {0: 0}, [])


async def taken(made: RunbookAgent, *records: Any) -> bool:
    """Whether the chunk was acknowledged."""
    acknowledged = []

    async def acknowledge() -> None:
        acknowledged.append(True)

    made.topic_id = "t"
    await made.take("runbooks", records, acknowledge)
    return bool(acknowledged)


async def test_a_chunk_is_acknowledged_after_its_letters() -> None:
    store, letters = FakeRunbookStore(), Letters()
    built(store)
    made = agent(store, letters)
    assert await taken(made, record(0, b"good"), record(1, b""), record(2, b"x", None))
    assert [(letter.message.offset, letter.index) for letter in letters.sent] == [(1, 0), (2, 0)]
    assert store.behind("t", {0: 3}) == frozenset()


async def test_a_store_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runbook_agent, "BACKOFF_FIRST_S", 0.001)
    store = Away(3)
    built(store)
    made = agent(store)
    assert await taken(made, record(0, b"good"))
    assert (made.paused, store.behind("t", {0: 1})) == ("", frozenset())


async def test_told_to_stop_while_a_store_is_away_it_acknowledges_nothing() -> None:
    store = Away(10**6)
    built(store)
    made = agent(store)
    made._stop.set()
    with pytest.raises(Stopped, match="Redis is away"):
        await taken(made, record(0, b"good"))


def test_a_position_past_the_end_is_forgotten_when_the_topic_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group's offset of a topic that was deleted and made again would ask for a rebuild for ever."""
    asked: list[dict[int, int]] = []

    def repair(store: Any, kafka: Kafka, topic: str, positions: Mapping[int, int], decode: Any) -> Rebuilt:
        asked.append(dict(positions))
        return Rebuilt(records=20, invalid=0, runbooks=20, ends={0: 20, 1: 7})

    monkeypatch.setattr(runbook_agent, "repair", repair)
    made = agent(FakeRunbookStore())
    made.prepare({0: 500, 1: 5})
    made.repair()
    made.repair()
    assert asked == [{0: 500, 1: 5}, {0: 20, 1: 5}]
