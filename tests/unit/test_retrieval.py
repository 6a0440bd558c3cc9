"""What is asked of the index, and in which order: every search in scope, the severe first, none waits for the model."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cag import queries
from cag.evidence import Candidate
from cag.plan import Catalog
from cag.retrieval import Retrieval, Stopwatch, _Places
from schemas.context import Evidence, Plan, Scope, Span
from schemas.documents import Names

END = datetime(2026, 11, 20, 0, 10, tzinfo=UTC)
NAMES = Names("shop", "g1")
SCOPE = Scope(clusters=("prod",), namespaces=("cart-team",))
TODAY, YESTERDAY = "shop-{}-g1-2026.11.20", "shop-{}-g1-2026.11.19"


def plan(**asked: Any) -> Plan:
    return Plan(question="?", search_text="pool", span=Span(start=END - timedelta(minutes=5), end=END), **asked)


class Reader:
    """Answers with `severe` patterns from warnings on and two below; every search is kept."""

    def __init__(self, severe: int = 1) -> None:
        self.severe = severe
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((index, body))
        await asyncio.sleep(0)
        if "severity" not in str(body.get("aggs")):
            return {"hits": {"hits": []}}
        names = [f"mild-{n}" for n in range(2)] if "'lt': 13" in str(body) else [f"bad-{n}" for n in range(self.severe)]
        return {"hits": {"hits": []}, "aggregations": {"patterns": {"buckets": [{"key": name} for name in names]}}}

    async def together(self, searches: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self.search(*each) for each in searches))


async def ask(reader: Reader, asked: Plan, nearest: Awaitable[list[float] | None], live: Names | None = NAMES) -> None:
    retrieval = Retrieval(reader, NAMES)  # type: ignore[arg-type]
    assert await retrieval.evidence(asked, SCOPE, live, nearest, Catalog(), 9, Stopwatch()) == []


async def vector() -> list[float] | None:
    return [0.6, 0.8]


def filters(body: Mapping[str, Any]) -> list[Any]:
    """Of a search: of a kNN clause those inside it."""
    query = body["query"]
    found: list[Any] = (query["knn"]["vector"]["filter"] if "knn" in query else query)["bool"]["filter"]
    return found


async def test_every_search_is_in_scope_the_nearest_ones_too() -> None:
    reader = Reader()
    await ask(reader, plan(workloads=("cart",)), vector())
    assert sum("knn" in body["query"] for _, body in reader.asked) == 1
    for _, body in reader.asked:
        assert {"terms": {"cluster": ["prod"]}} in filters(body)
        assert {"terms": {"namespace": ["cart-team"]}} in filters(body)


async def test_only_the_days_in_question_of_the_live_generation_are_searched() -> None:
    reader = Reader()
    await ask(reader, plan(), vector())
    both = {f"{YESTERDAY},{TODAY}".format(kind, kind) for kind in ("occurrences", "series")}  # what was usual before
    today = {TODAY.format(kind) for kind in ("patterns", "occurrences")}
    assert {index for index, _ in reader.asked} == {*both, *today, "shop-events", "shop-alerts"}
    later = Reader()
    await ask(later, plan(), vector(), live=None)
    assert {index for index, _ in later.asked} == {
        f"shop-{kind}" for kind in ("patterns", "occurrences", "events", "alerts", "series")
    }


@pytest.mark.parametrize(("severe", "looks_on"), [(1, True), (queries.ACTIVE_PATTERNS, False)])
async def test_what_is_no_complaint_is_looked_at_only_when_complaints_are_few(severe: int, looks_on: bool) -> None:
    reader = Reader(severe)
    await ask(reader, plan(), vector())
    mild = [body for _, body in reader.asked if "'lt': 13" in str(body)]
    assert bool(mild) == looks_on


async def test_the_other_searches_do_not_wait_for_the_question_to_be_embedded() -> None:
    reader, embedded = Reader(), asyncio.get_running_loop().create_future()
    asking = asyncio.create_task(ask(reader, plan(), embedded))
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(reader.asked) == 6  # words, worst, the rest of them, events, changes, alerts
    embedded.set_result(None)
    await asking
    assert not any("knn" in body["query"] for _, body in reader.asked)  # without a vector by words alone


@pytest.mark.parametrize(
    ("minutes", "coordinates", "asks"),
    [((7, 9), 1, True), ((7, 7), 1, False), ((7, 9), 4, False)],  # one minute has no other beginning; four are enough
)
async def test_where_it_began_is_looked_up_only_where_that_is_elsewhere(
    minutes: tuple[int, int], coordinates: int, asks: bool
) -> None:
    identity = f"log-{'a' * 20}-{minutes[0]}-{minutes[1]}"
    said = Evidence(id=identity, kind="log", text="x", coordinates=("t/i/0/1/0",) * coordinates)
    reader, metric = Reader(), Evidence(id="metric-b-7-9", kind="metric", text="x")
    chosen = [Candidate(evidence=each, severity=1.0, novel=1.0) for each in (said, metric)]
    where = _Places(NAMES, NAMES, 0, 1)
    assert await Retrieval(reader, NAMES)._beginnings(plan(), SCOPE, where, chosen) == {}  # type: ignore[arg-type]
    assert [{"terms": {"pattern_id": ["a" * 20]}} in filters(body) for _, body in reader.asked] == [True] * asks
