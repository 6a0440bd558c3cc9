"""Nothing is acknowledged before it is durable, chunks go in order, and one fold at most waits behind another."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from processors.fold import Fold
from processors.writer import Stopped
from schemas.dead_letters import DeadLetter
from schemas.documents import Target
from schemas.records import Message
from streams.flusher import Chunk, Flusher


def message(offset: int) -> Message:
    return Message(topic="t", topic_id="id", partition=0, offset=offset, timestamp_ms=1, key=None, value=b"v")


def letter(offset: int) -> DeadLetter:
    return DeadLetter(message=message(offset), index=0, reason="bad", stage="decode")


class Stores:
    """A sink and a dead-letter topic that note what happens, in order, and can be held up or broken."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self.rejected: list[DeadLetter] = []
        self.refused: list[Target] = []

    def write(self, fold: Fold, stop: threading.Event) -> list[DeadLetter]:
        while not self.open.wait(0.005):
            if stop.is_set():
                raise Stopped("away")
        if self.error:
            raise self.error
        self.happened.append(f"wrote {fold.records}")
        return self.rejected

    def urgent(self, fold: Fold) -> Fold | None:
        return fold.urgent((), ())

    def show(self, urgent: Fold, stop: threading.Event) -> list[Target]:
        self.happened.append(f"showed {sorted(target.id for target in urgent.changes)}")
        return self.refused

    def deliver(self, letters: Sequence[DeadLetter], _: threading.Event) -> None:
        self.happened.append(f"letters {[item.message.offset for item in letters]}")

    def forget(self) -> None:
        self.happened.append("forgot")

    def flushed(self, *_: object) -> None: ...

    def durable(self, chunk: Chunk) -> None: ...

    def chunk(self, name: str) -> Chunk:
        async def acknowledge() -> None:
            self.happened.append(f"acked {name}")

        return Chunk(signal="log", oldest_ms=0, acknowledge=acknowledge)


def flusher_of(stores: Stores, **options: float) -> Flusher:
    settings = {"interval_s": 0.0, "update_s": 0.0, "max_records": 10, "max_documents": 100} | options
    return Flusher(
        write=stores.write,
        urgent=stores.urgent,
        show=stores.show,
        deliver=stores.deliver,
        forget=stores.forget,
        outcome=stores,
        clock=time.monotonic,
        interval_s=settings["interval_s"],
        update_s=settings["update_s"],
        max_records=int(settings["max_records"]),
        max_documents=int(settings["max_documents"]),
    )


def fold(flusher: Flusher, records: int = 1) -> None:
    for offset in range(records):
        flusher.pending.fold.records += 1
        flusher.pending.fold.messages.append(message(offset))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def run(flusher: Flusher, scenario: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.create_task(flusher.run())
    try:
        await scenario()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_acknowledges_in_order_after_documents_and_letters() -> None:
    stores = Stores()
    stores.rejected = [letter(7)]
    flusher = flusher_of(stores)
    fold(flusher, 2)
    flusher.pending.letters.append(letter(3))
    flusher.covered(stores.chunk("a"))
    flusher.covered(stores.chunk("b"))
    await run(flusher, lambda: until(lambda: flusher.unacknowledged == 0))
    assert stores.happened == ["wrote 2", "letters [3, 7]", "acked a", "acked b"]


async def test_folds_on_while_a_flush_runs_then_holds_back() -> None:
    stores = Stores()
    flusher = flusher_of(stores, max_records=3)
    stores.open.clear()
    fold(flusher)
    flusher.covered(stores.chunk("a"))

    async def scenario() -> None:
        await until(lambda: flusher.in_flight is not None)
        fold(flusher, 3)
        waiting = asyncio.create_task(flusher.room())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        stores.open.set()
        await asyncio.wait_for(waiting, 5)

    await run(flusher, scenario)


@pytest.mark.parametrize("hurry", ["drain", "full", "wide"])
async def test_waits_for_its_interval_unless(hurry: str) -> None:
    stores = Stores()
    flusher = flusher_of(stores, interval_s=60, max_records=3, max_documents=2)

    async def scenario() -> None:
        fold(flusher)
        flusher.covered(stores.chunk("a"))
        await asyncio.sleep(0.05)
        assert stores.happened == []
        if hurry == "drain":
            flusher.drain()
        elif hurry == "wide":
            begin(flusher, "one", "other")
            flusher.covered(stores.chunk("b"))
        else:
            fold(flusher, 2)
            flusher.covered(stores.chunk("b"))
        await until(lambda: flusher.unacknowledged == 0)

    await run(flusher, scenario)
    assert "acked a" in stores.happened


@pytest.mark.parametrize(
    ("error", "stop", "raised"), [(RuntimeError("defect"), False, RuntimeError), (None, True, Stopped)]
)
async def test_an_error_acknowledges_nothing(error: Exception | None, stop: bool, raised: type[Exception]) -> None:
    stores = Stores()
    stores.error = error
    flusher = flusher_of(stores)
    if stop:
        stores.open.clear()
        flusher.stop.set()
    fold(flusher)
    flusher.covered(stores.chunk("a"))
    with pytest.raises(raised):
        await asyncio.wait_for(flusher.run(), 5)
    assert stores.happened == []


async def test_reassignment_drops_what_is_not_written_and_forgets() -> None:
    stores = Stores()
    flusher = flusher_of(stores, interval_s=60)

    async def scenario() -> None:
        fold(flusher)
        flusher.covered(stores.chunk("old"))
        await flusher.reassigned()
        assert flusher.unacknowledged == 0
        fold(flusher)
        flusher.covered(stores.chunk("new"))
        flusher.drain()
        await until(lambda: flusher.unacknowledged == 0)

    await run(flusher, scenario)
    assert stores.happened == ["forgot", "wrote 1", "acked new"]


async def test_a_fold_that_a_thread_works_on_is_neither_flushed_nor_shared() -> None:
    stores = Stores()
    flusher = flusher_of(stores)
    work = asyncio.get_running_loop().create_future()

    async def scenario() -> None:
        fold(flusher)
        flusher.hold(work)
        flusher.drain()
        waiting = asyncio.create_task(flusher.room())
        await asyncio.sleep(0.02)
        assert (stores.happened, waiting.done()) == ([], False)
        fold(flusher)
        work.set_result(None)
        await asyncio.wait_for(waiting, 5)
        await until(lambda: bool(stores.happened))

    await run(flusher, scenario)
    assert stores.happened == ["wrote 2"]


def begin(flusher: Flusher, *names: str, severity: int = 17, records: int = 1) -> None:
    """Records of documents, one of each."""
    for name in names:
        target = Target("occurrences", "2026.11.20", name)
        change = flusher.pending.fold.change(target, lambda: {"severity_number": severity}, counted=True)
        change.count_all("id/0/0", change.records, [0])
    fold(flusher, records)


@pytest.mark.parametrize("refused", [False, True])
async def test_what_is_urgent_is_shown_while_the_rest_waits(refused: bool) -> None:
    """And it is written again only if it has changed, or was refused."""
    stores, now = Stores(), [100.0]
    error = Target("occurrences", "2026.11.20", "error")
    stores.refused = [error] if refused else []
    flusher = flusher_of(stores, interval_s=0.01, update_s=60, max_records=1_000)
    flusher.clock = lambda: now[0]

    async def scenario() -> None:
        begin(flusher, *(f"calm-{n}" for n in range(40)), severity=9)
        begin(flusher, "error")
        shown = flusher.pending.fold.changes[error]
        for _ in range(20):  # as long as records come, and too few for so many writes
            now[0] += 0.002
            flusher.covered(stores.chunk("a"))
            await asyncio.sleep(0.002)
        await until(lambda: bool(stores.happened) and not flusher._showing)
        assert stores.happened == ["showed ['error']"]
        assert shown.ahead is not refused
        begin(flusher, "error")
        assert not shown.ahead
        now[0] += 1  # nothing more comes
        await until(lambda: flusher.unacknowledged == 0)

    await run(flusher, scenario)
    assert stores.happened[1] == "wrote 3"


@pytest.mark.parametrize(
    ("documents", "records", "letters", "waits"),
    [(1, 1, 0, False), (40, 41, 0, True), (40, 4_000, 0, False), (40, 41, 1, False)],
)
async def test_a_fold_waits_until_it_is_worth_its_writes(
    documents: int, records: int, letters: int, waits: bool
) -> None:
    stores, now = Stores(), [100.0]
    flusher = flusher_of(stores, interval_s=0.5, update_s=10, max_records=10_000)
    flusher.clock = lambda: now[0]
    begin(flusher, *map(str, range(documents)), severity=9, records=records)
    flusher.pending.letters += [letter(0)] * letters
    flusher.covered(stores.chunk("a"))
    assert not flusher._ripe(100.0)
    now[0] = flusher._active_at = 100.6
    assert flusher._ripe(100.0) is not waits
    now[0] = flusher._active_at = 110.0
    assert flusher._ripe(100.0)
