"""What differs from the table is said in one line each; metrics are declared once and soundly."""

import re

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from schemas import telemetry
from schemas.settings import Kafka
from schemas.topics import Topic
from streams import topics
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


@pytest.mark.parametrize(("deaf", "clients"), [(0, 1), (1, 2)])
def test_a_client_that_has_waited_in_vain_is_replaced(deaf: int, clients: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left as it is, it would never hear the coordinator again."""
    made: list[object] = []

    class Member:
        def __init__(self, _: object) -> None:
            made.append(self)

        def committed(self, _: object, *, timeout: float) -> list[TopicPartition]:
            if len(made) <= deaf:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return [TopicPartition("logs", 0, 7), TopicPartition("logs", 1, OFFSET_INVALID)]

    monkeypatch.setattr(topics, "Consumer", Member)
    broker = topics.Broker(Kafka())
    assert [broker.committed("group", [("logs", 0), ("logs", 1)]) for _ in range(2)] == [{("logs", 0): 7}] * 2
    assert len(made) == clients
