"""What differs from the table is said in one line each; metrics are declared once and soundly."""

import re

import pytest

from schemas import telemetry
from schemas.topics import Topic
from streams.topics import Broker, Described, Group, differences

WANTED = Topic(name="logs", partitions=6, purpose="", config={"cleanup.policy": "delete"})


def described(**changes: object) -> dict[str, Described]:
    fields = {"name": "logs", "topic_id": "ID", "partitions": 6, "replication": 3}
    there = Described(**(fields | {"config": {"cleanup.policy": "delete"}} | changes))  # type: ignore[arg-type]
    return {there.name: there}


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (described(), []),
        (described(partitions=12, config={"cleanup.policy": "delete", "retention.ms": "5"}), []),
        ({}, ["logs: missing"]),
        (described(partitions=3), ["logs: 3 partitions, 6 wanted"]),
        (described(replication=1), ["logs: replication 1, 3 wanted"]),
        (described(config={"cleanup.policy": "compact"}), ["logs: cleanup.policy=compact, delete wanted"]),
        (described(config={}), ["logs: cleanup.policy=, delete wanted"]),
    ],
)
def test_differences(found: dict[str, Described], lines: list[str]) -> None:
    assert differences([WANTED], found, 3) == lines


@pytest.mark.parametrize(
    ("stable", "assigned", "misplaced"),
    [
        (True, {("t", 0), ("t", 1)}, []),
        (True, {("t", 0), ("other", 1)}, [("t", 1)]),
        (True, {("t", 0), ("t", 1), ("t", 2)}, [("t", 2)]),  # the topic was made again with fewer
        (False, set(), []),  # a rebalance is open: it will hand them out
    ],
)
def test_misplaced(stable: bool, assigned: set[tuple[str, int]], misplaced: list[tuple[str, int]]) -> None:
    class Two(Broker):
        def __init__(self) -> None: ...

        def partitions(self, topic: str) -> list[int]:
            return [0, 1]

    group = Group(stable=stable, instances=frozenset(), assigned=frozenset(assigned))
    assert Two().misplaced(group, ["t"]) == misplaced


def test_metrics_are_declared_once() -> None:
    names = [metric.name for metric in telemetry.WORKER_METRICS]
    assert len(set(names)) == len(names)
    declared = {value for value in vars(telemetry).values() if isinstance(value, telemetry.Metric)}
    assert set(telemetry.WORKER_METRICS) <= declared
    for metric in telemetry.WORKER_METRICS:
        assert re.fullmatch(r"freshet_[a-z_]+", metric.name)
        assert metric.help.endswith(".")
        assert (metric.kind == "histogram") is bool(metric.buckets)
