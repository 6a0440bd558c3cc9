"""Housekeeping: a watermark is published after the refresh, and one that is not taken is not lost."""

from collections.abc import Sequence
from threading import Event
from typing import Any

import pytest

from processors.embed import make_embedder
from processors.fold import Fold
from processors.index import FakeIndex, ItemOutcome, Write
from processors.sink import NAMES_PER_REQUEST, Sink
from schemas.documents import Names, Target
from schemas.errors import SinkUnavailable, StartupError
from schemas.records import Coordinates, Resource
from schemas.settings import Embedder, Settings


class Index(FakeIndex):
    """Notes the order of calls; says no as often as it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.asked, self.refusals = Names("p", "g"), list[str](), 0

    def request(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append(path)

    def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        if any(write.target.kind in ("watermarks", "meta") for write in writes):
            self.asked.append(writes[0].target.kind)
            if self.refusals:
                self.refusals -= 1
                return [ItemOutcome(429)] * len(writes)
        return super().bulk(writes)

    def install(self, *, live: bool) -> None:
        pass

    def live(self, alias: str) -> dict[str, Any]:
        return {d["generation"]: d["parts"] for t, d in self.documents.items() if t.kind == "meta"}

    def marks(self) -> dict[str, Any]:
        found = [d for t, d in self.documents.items() if t.kind == "watermarks"]
        return {mark["level"]: (mark["newest_ms"], mark.get("offset")) for mark in found}


def fold_of(offset: int, time_ms: int, days: int = 1) -> Fold:
    fold = Fold()
    at = Coordinates("logs", "id", 0, offset)
    for day in range(days):
        target = Target("tallies", f"2026.11.{day:02}", "t")
        fold.change(target, lambda: {"rule": "x"}, counted=True).count(at)
    fold.note(at, Resource(workload="cart"), time_ms)
    return fold


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def sink(index: Index) -> Sink:
    settings = Settings(embedder=Embedder(kind="hashing", dimensions=4))
    return Sink(settings, index, make_embedder(settings.embedder), {}, live=True)  # type: ignore[arg-type]


def test_watermarks_follow_the_refresh_and_survive_a_refusal(index: Index, sink: Sink) -> None:
    sink.write(fold_of(5, 9_000), Event())
    index.refusals = 1
    with pytest.raises(SinkUnavailable):
        sink.housekeeping()
    sink.write(fold_of(7, 8_000), Event())  # later in the partition, earlier in event time
    sink.housekeeping()
    assert index.marks() == {"source": (9_000, None), "partition": (9_000, 7)}
    refresh = "/p-tallies-g-2026.11.00/_refresh?ignore_unavailable=true"
    assert index.asked == [refresh, "watermarks", refresh, "watermarks"]
    sink.housekeeping()
    assert len(index.asked) == 4  # nothing new, nothing asked


def test_no_worker_starts_while_its_generation_is_not_claimed(index: Index, sink: Sink) -> None:
    index.refusals = 1
    with pytest.raises(StartupError, match="did not take the name of the generation"):
        sink.prepare()
    sink.prepare()
    sink.prepare()  # claimed already
    assert index.live("p-meta") == {"g": {}}


def test_many_days_are_refreshed_in_addresses_that_opensearch_takes(index: Index, sink: Sink) -> None:
    sink.write(fold_of(1, 1, days=2 * NAMES_PER_REQUEST + 1), Event())
    sink.housekeeping()
    assert len(index.asked) == 4
    assert max(map(len, index.asked)) < 4_096
