"""Who owns whom and who calls whom, learned from telemetry: pod, workload, node; peers named in logs and labels."""

from collections.abc import Iterable
from typing import Any

from schemas.insights import Entity
from schemas.records import Resource
from schemas.summaries import Summary

Json = dict[str, Any]


class Topology:
    """Of one cluster."""

    def see(self, summary: Summary) -> None:
        """Learn from one summary."""

    def related(self, a: Resource, b: Resource) -> float:
        """0..1. 1: the same pod or workload; high: one calls the other; medium: on the node that one is about."""
        return 0.0

    def calls(self, namespace: str, workload: str) -> tuple[Entity, ...]:
        """The workloads that it calls, in order of name."""
        return ()

    def callers(self, namespace: str, workload: str) -> tuple[Entity, ...]:
        """The workloads that call it, in order of name."""
        return ()

    def distance(self, dependent: Entity, dependency: Entity) -> int | None:
        """Hops by which one depends on the other: 0 the same, 1 calls it; None: not within reach."""
        return None

    def pods(self, namespace: str, workload: str) -> tuple[str, ...]:
        """Its pods that have been heard of, in order of name."""
        return ()

    def node_of(self, resource: Resource) -> str:
        """Where its pod runs; empty when nobody said."""
        return resource.node

    def resolve(self, mentions: Iterable[str], near: Resource) -> tuple[Entity, ...]:
        """The workloads and nodes that these words name for somebody who stands there; never itself."""
        return ()

    def dump(self) -> Json:
        return {}

    @classmethod
    def load(cls, dumped: Json) -> "Topology":
        return cls()


def owner_of(resource: Resource) -> Entity:
    """What can be at fault there: the workload, else the pod, else the node, the namespace, the cluster."""
    for kind, name in (("workload", resource.workload), ("pod", resource.pod)):
        if name:
            return Entity(kind, name, resource.namespace)
    if resource.node:
        return Entity("node", resource.node)
    if resource.namespace:
        return Entity("namespace", resource.namespace)
    return Entity("cluster", resource.cluster)
