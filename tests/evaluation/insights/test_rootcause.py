"""Scoring root causes: places in a ranking, the largest z, what the ranking makes of a table that stands out."""

from processors.insights.topology import Topology
from schemas.insights import Entity
from tests.evaluation.insights.peers import Table, by_largest_z, filled
from tests.evaluation.insights.rootcause import Answer, Case, by_group, given, hits, scored


def case(service: str, group: str = "a") -> Case:
    return Case(id=service, group=group, kind="cpu", inject_ms=1_000, service=service)


def test_places() -> None:
    cases = [case("redis"), case("cart"), case("mail", "b"), case("web", "b")]
    rankings = [["redis"], ["web", "cart"], ["web", "a", "b", "c", "mail"], []]
    assert hits(cases, rankings) == {"cases": 4, "top1": 0.25, "top3": 0.5, "top5": 0.75}
    assert by_group(cases, rankings, hits)["b"] == {"cases": 2, "top1": 0.0, "top3": 0.0, "top5": 0.5}


def test_delay_is_of_what_was_noticed() -> None:
    answers = [Answer(services=["redis"], detected_ms=31_000), Answer()]
    found = scored([case("redis"), case("cart")], answers)
    assert (found["noticed"], found["delay_s"]) == (1, {"median": 30.0, "worst": 30.0})


TABLE = Table(
    times=range(24),
    inject=20,
    columns={
        "redis|memory_bytes": [10.0 + i % 2 for i in range(20)] + [50.0] * 4,
        "cart|latency_p99": [10.0 + i % 2 for i in range(20)] + [60.0] * 4,
        "mail|latency_p99": [10.0 + i % 2 for i in range(24)],
        "web|up": [1.0] * 24,
    },
)


def test_the_largest_z() -> None:
    assert TABLE.services(by_largest_z(TABLE))[:2] == ["cart", "redis"]


def test_the_ranking_alone() -> None:
    alone, known = Topology(), Topology()
    assert given(TABLE, "c", "shop", alone).services == ["redis", "cart"]  # memory names a cause, latency does not
    known.connect(Entity("workload", "redis", "shop"), Entity("workload", "cart", "shop"))
    assert given(TABLE, "c", "shop", known).services == ["cart", "redis"]  # unless the one depends on the other


def test_gaps() -> None:
    assert filled([None, 1.0, None, float("nan"), 2.0]) == [0.0, 1.0, 1.0, 1.0, 2.0]
