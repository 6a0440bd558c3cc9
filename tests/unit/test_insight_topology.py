"""Who owns whom and who calls whom: learned from lines, labels and owners, bounded, and the same after a restart."""

from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.insights.mentions import words_of
from processors.insights.topology import CALLS, NAMESPACE, ON_NODE, SAME, SHARED, Topology, owner_of
from schemas.documents import Target
from schemas.insights import Entity
from schemas.records import Resource
from schemas.summaries import Happened, Point, Said, Sampled, Seen, Summary

MINUTE = 60_000


def who(workload: str, pod: str = "", node: str = "", namespace: str = "shop") -> Resource:
    return Resource("prod", namespace, workload, pod, "", node)


def said(resource: Resource, text: str, minute: int = 1) -> Said:
    at = minute * MINUTE
    target = Target("occurrences", "2026-11-21", f"{resource.entity}{text}")
    return Said(resource, target, "p", text, 17, at, {}, at, at, text, ())


def sampled(resource: Resource, labels: Mapping[str, str], minute: int = 1) -> Sampled:
    return Sampled(resource, "s", "requests_total", labels, "", True, (Point(minute * MINUTE, 1, 1, 1),))


def learned(*summaries: Summary, **bounds: int) -> Topology:
    topology = Topology(**bounds)
    for summary in summaries:
        topology.see(summary)
    return topology


def workload(name: str, namespace: str = "shop") -> Entity:
    return Entity("workload", name, namespace)


SHOP = [said(who(name), "ready") for name in ("inventory", "redis", "cart", "worker", "order-history")]


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("call to inventory failed after 21272 ms: deadline exceeded", ["inventory"]),
        ("GET http://inventory:8080/items 503", ["inventory"]),
        ("renewal of certificate shop/inventory-tls failed: issuer is not ready", ["inventory"]),
        ("dial tcp redis.shop.svc.cluster.local:6379: connect: connection refused", ["redis"]),
        ("redis-0.redis.shop.svc:6379 is loading the dataset", ["redis"]),
        ("upstream order-history-7d9f8b6c5-x2x4z reset", ["order-history"]),
        ("lookup order-history-service: no such host", ["order-history"]),
        ("worker 7 is idle", []),  # of everything
        ("http://worker:9090/jobs timed out", ["worker"]),
        ("cart=17 checked out", []),  # a key
        ("10.0.0.7:6379 refused", []),
        ("inventory.billing.svc refused", []),  # another namespace, where nobody of this name was heard
        ("checkout is ready", []),  # itself
    ],
)
def test_lines_name_whom_their_speaker_calls(text: str, called: list[str]) -> None:
    topology = learned(*SHOP, said(who("checkout"), text))
    assert topology.calls("shop", "checkout") == tuple(workload(name) for name in called)


@pytest.mark.parametrize(
    ("labels", "caller", "callee"),
    [
        ({"upstream": "cart"}, "checkout", "cart"),
        ({"peer.service": "redis"}, "checkout", "redis"),
        ({"grpc_target": "dns:///inventory.shop:50051"}, "checkout", "inventory"),
        ({"envoy_cluster_name": "outbound|80||cart.shop.svc.cluster.local"}, "checkout", "cart"),
        ({"destination_workload": "redis", "destination_workload_namespace": "shop"}, "checkout", "redis"),
        ({"client": "cart", "server": "redis"}, "cart", "redis"),  # service graph: whoever tells it
        ({"source_workload": "cart"}, "cart", "checkout"),
    ],
)
def test_labels_name_peers(labels: Mapping[str, str], caller: str, callee: str) -> None:
    topology = learned(*SHOP, sampled(who("checkout"), labels))
    assert topology.calls("shop", caller) == (workload(callee),)
    assert topology.callers("shop", callee) == (workload(caller),)


def test_who_is_called_by_the_one_it_names() -> None:
    topology = learned(*SHOP, said(who("checkout"), "request from order-history rejected"))
    assert topology.calls("shop", "order-history") == (workload("checkout"),)
    assert topology.resolve(["request from order-history rejected"], who("checkout")) == ()


def test_a_surer_name_says_who_calls() -> None:
    topology = learned(
        *SHOP, said(who("cart"), "http://inventory:80/ timed out"), said(who("inventory"), "cart 17 not found")
    )
    assert topology.calls("shop", "inventory") == ()
    assert topology.distance(workload("cart"), workload("inventory")) == 1
    assert topology.distance(workload("inventory"), workload("cart")) is None


def test_the_same_name_elsewhere_is_somebody_else() -> None:
    elsewhere = said(who("billing", namespace="bank"), "ready")
    again = said(who("redis", namespace="bank"), "ready")
    line = said(who("checkout"), "redis:6379 refused, billing:80 refused")
    topology = learned(*SHOP, elsewhere, again, line)
    assert topology.calls("shop", "checkout") == (workload("billing", "bank"), workload("redis"))


def test_how_near_two_speakers_are() -> None:
    redis, cart = who("redis", "redis-0", "n1"), who("cart", "cart-1", "n2")
    topology = learned(
        said(redis, "ready"),
        said(cart, "redis:6379 refused"),
        said(who("checkout", "checkout-1", "n2"), "http://cart/ 500"),
        said(who("mail", "mail-1", "n1"), "ready"),
        said(who("search", "search-1", "n3"), "redis:6379 refused"),
    )
    near = topology.related
    assert near(redis, who("redis", "redis-1", "n2")) == near(cart, who("", "cart-1")) == SAME
    assert near(cart, redis) == near(redis, cart) == CALLS[0]
    assert near(who("checkout"), redis) == CALLS[1]
    assert near(who("search"), cart) == SHARED
    assert near(Resource("prod", node="n1"), who("redis", "redis-0")) == ON_NODE
    assert near(Resource("prod", node="n1"), who("mail")) == ON_NODE
    assert near(Resource("prod", node="n1"), cart) == 0
    assert near(who("mail"), who("cart")) == NAMESPACE
    assert NAMESPACE < near(redis, who("mail", "mail-1")) < SHARED
    assert near(who("mail"), who("mail", namespace="bank")) == 0


def test_owners() -> None:
    topology = learned(said(who("redis", "redis-0", "n1"), "x"), sampled(who("redis", "redis-1"), {}))
    assert topology.pods("shop", "redis") == ("redis-0", "redis-1")
    assert topology.node_of(who("redis", "redis-0")) == "n1"
    topology.see(said(who("redis", "redis-0", "n2"), "moved"))
    assert topology.distance(Entity("pod", "redis-0", "shop"), Entity("node", "n2")) == 1
    assert topology.distance(workload("redis"), Entity("node", "n1")) is None
    assert owner_of(who("", "", "n1", "")) == Entity("node", "n1")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3), st.integers(0, 5)), max_size=80))
def test_a_restart_changes_nothing_and_memory_is_bounded(rows: list[tuple[int, int, int, int]]) -> None:
    def summary(row: tuple[int, int, int, int]) -> Said:
        a, b, node, minute = row
        return said(who(f"svc-{a}", f"svc-{a}-{b}", f"n{node}"), f"svc-{b}:80 refused", minute)

    bounds = {"most_pods": 8, "most_workloads": 6, "most_calls": 5, "most_nodes": 2}
    topology = learned(*map(summary, rows), **bounds)
    dumped = topology.dump()
    again = Topology.load(orjson.loads(orjson.dumps(dumped)), **bounds)
    assert again.dump() == dumped
    for name in ("pods", "workloads", "calls", "nodes"):
        assert len(dumped[name]) <= bounds[f"most_{name}"]
    for each in range(10):
        assert again.calls("shop", f"svc-{each}") == topology.calls("shop", f"svc-{each}")
        assert again.pods("shop", f"svc-{each}") == topology.pods("shop", f"svc-{each}")
    for row in [*rows[:9], *rows]:
        topology.see(summary(row))
        again.see(summary(row))
    assert again.dump() == topology.dump()


@given(st.text(max_size=2_000))
def test_any_text_is_read(text: str) -> None:
    assert all(word.name for word in words_of(text))


def test_what_we_saw_begin_is_young_for_ten_minutes() -> None:
    def happened(name: str, reason: str, text: str, minute: int) -> Happened:
        seen = Seen(minute * 60_000, 1, False, text, "")
        return Happened(who(name), Target("events", "2026.11.22", name), name, "Pod", name, reason, "", (seen,))

    rolled = happened("cart", "ScalingReplicaSet", "Scaled up replica set cart-2 to 1", 1)
    first = happened("wallet", "Scheduled", "Successfully assigned shop/wallet-1 to worker-1", 1)
    again = happened("ledger", "ScalingReplicaSet", "Scaled up replica set ledger-2 to 1", 1)
    older = happened("ledger", "ScalingReplicaSet", "Scaled down replica set ledger-1 to 1", 1)
    topology = Topology.load(learned(*SHOP, rolled, first, again, older).dump())
    young = [name for name in ("cart", "wallet", "ledger") if topology.births.young(who(name), 10 * 60_000)]
    assert young == ["wallet"]
    assert not topology.births.young(who("wallet"), 11 * 60_000)
