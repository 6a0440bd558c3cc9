"""What is asked of the index, and in which order: every search in scope, the severe first, none waits for the model."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cag import queries
from cag.evidence import Candidate
from cag.question.plan import Catalog
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
    """Answers with `severe` patterns from warnings on and two below, and with these documents by kind of index."""

    def __init__(self, severe: int = 1, **documents: Mapping[str, Any]) -> None:
        self.severe, self.documents = severe, documents
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((index, body))
        await asyncio.sleep(0)
        if "severity" not in str(body.get("aggs")):
            kind = index.split("-")[1]
            found = [{"_source": self.documents[kind], "_index": "x-1", "_id": "a"}] if kind in self.documents else []
            return {"hits": {"hits": found}}
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
    assert {index for index, _ in reader.asked} == {*both, *today, "shop-events", "shop-alerts", "shop-insights"}
    later = Reader()
    await ask(later, plan(), vector(), live=None)
    assert {index for index, _ in later.asked} == {
        f"shop-{kind}" for kind in ("patterns", "occurrences", "events", "alerts", "series", "insights")
    }


ROLLOUT: dict[str, Any] = {
    "cluster": "prod", "namespace": "shop", "workload": "cart", "entity": "deployment/cart", "pod": "", "node": "",
    "reason": "ScalingReplicaSet", "object_kind": "Deployment", "object_name": "cart", "message": "Scaled up",
    "warning": False, "first_ms": END.timestamp() * 1000 - 3_600_000, "latest": {"order": f"{1:015d}/"},
}  # fmt: skip
WEEK = Span(start=END - timedelta(days=7, hours=1), end=END - timedelta(days=7))


async def test_the_change_that_is_meant_is_looked_up_in_scope() -> None:
    at = END - timedelta(hours=1)
    seen = {"x": {"t": at.timestamp() * 1000, "n": 1, "at": "k/i/0/1/0"}}
    reader = Reader(events=ROLLOUT | {"observations": seen})
    retrieval = Retrieval(reader, NAMES)  # type: ignore[arg-type]
    asked = plan(anchor="change", workloads=("cart",))
    found = await retrieval.anchored(asked, SCOPE, NAMES)
    assert (found.span.start, found.span.end) == (at - timedelta(minutes=10), at + timedelta(minutes=20))
    ((index, body),) = reader.asked
    assert index == "shop-events"
    for wanted in ({"terms": {"cluster": ["prod"]}}, {"terms": {"workload": ["cart"]}}):
        assert wanted in filters(body)
    assert await retrieval.anchored(plan(), SCOPE, NAMES) == plan()  # no anchor, no search
    assert len(reader.asked) == 1
    later = Retrieval(Reader(), NAMES)  # type: ignore[arg-type]
    assert await later.anchored(asked, SCOPE, NAMES) == asked  # nothing has changed


async def test_the_other_period_is_searched_in_its_own_days_in_scope() -> None:
    points = {f"{ms:015d}": {"o": f"{ms:015d}/m/i/0/1/0", "v": 7.0} for ms in [int(END.timestamp()) * 1000 - 60_000]}
    series = {**ROLLOUT, "series_id": "s", "hour_ms": 0, "name": "q", "labels": {}, "unit": "", "monotonic": False}
    reader = Reader(series=series | {"points": points})
    retrieval = Retrieval(reader, NAMES)  # type: ignore[arg-type]
    (made,) = await retrieval.evidence(plan(compared=WEEK), SCOPE, NAMES, vector(), Catalog(), 9, Stopwatch())
    assert "now 7, not seen in the compared period" in made.text
    then = [(index, body) for index, body in reader.asked if "2026.11.13" in index]
    assert {index.split("-")[1] for index, _ in then} == {"occurrences", "series"}
    for _, body in then:
        assert {"terms": {"cluster": ["prod"]}} in filters(body)


async def test_the_catalog_tells_alerts_from_metrics_and_asks_for_whole_days() -> None:
    class Cataloged(Reader):
        async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
            self.asked.append((index, body))
            named = {kind: {"name": {"buckets": [{"key": f"{kind}-1"}]}} for kind in ("alerts", "metrics")}
            return {"aggregations": {**named, "workload": {"buckets": [{"key": "cart"}, {"key": ""}]}}}

    reader = Cataloged()
    found = await Retrieval(reader, NAMES).catalog(SCOPE, int(END.timestamp() * 1000))  # type: ignore[arg-type]
    assert (found.alerts, found.metrics, found.workloads) == ({"alerts-1"}, {"metrics-1"}, {"cart"})
    day = int(END.replace(hour=0, minute=0).timestamp() * 1000)
    assert {"range": {"last_ms": {"gte": day}}} in filters(reader.asked[0][1])  # so that the past is remembered


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (plan(), None),
        (plan(alerts=("CartDown",)), {"terms": {"name": ["CartDown"], "boost": 100}}),
        (plan(workloads=("cart",)), {"terms": {"workload": ["cart"], "boost": 10}}),
        (
            plan().model_copy(update={"question": "what about https://r.example/cart#fix, now?"}),
            {"terms": {"runbook_url": ["https://r.example/cart#fix"], "boost": 100}},
        ),
    ],
)
def test_alerts_that_the_question_names_are_found_first(asked: Plan, wanted: Any) -> None:
    """There may be more that fire than are looked at; those that are over take nobody's place."""
    query = queries.alerts(asked, SCOPE, size=9)["query"]["bool"]
    assert query["should"] == ([wanted] if wanted else [])
    assert "resolved" in str(query["must_not"])
    assert not any("last_ms" in str(each) for each in query["filter"])  # it may have begun days ago


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
    assert len(reader.asked) == 7  # words, worst, the rest of them, events, changes, alerts, incidents
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
