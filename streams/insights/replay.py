"""Incidents told again from the summaries, by the same fold: to look at, or into a topic of their own.

What is told again never reaches the topic that people are paged from: it is printed, or written to a topic that carries
the replay's name, and its records say in their headers whose they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cag.topic import describe, read_to_end
from processors.insights.step import State, fold
from schemas.errors import InvalidRecord
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings


def replay_topic(settings: Settings, name: str) -> str:
    """The namespace of one replay."""
    return f"{settings.insights.topic}.replay.{name}"


@dataclass(slots=True)
class Seen:
    """What a replay has read."""

    messages: int = 0
    invalid: int = 0
    partitions: set[int] = field(default_factory=set)


def told_again(settings: Settings, seen: Seen, *, until_ms: int | None = None) -> Iterator[Insight]:
    """Every revision that the summaries topic tells now, in order within a partition. Blocks while it reads.

    From the first summary that Kafka still holds: what is usual is learned from what came before. `until_ms`: Kafka
    time before which summaries count. Raises StartupError, SinkUnavailable and SinkMisconfigured.
    """
    states: dict[int, State] = {}
    topic = describe(settings.kafka, settings.insights.summaries_topic)
    for message in read_to_end(settings.kafka, topic):
        if not isinstance(message, Message):
            continue
        if until_ms is not None and message.timestamp_ms >= until_ms:
            continue
        seen.messages += 1
        seen.partitions.add(message.partition)
        state = states.setdefault(message.partition, State(settings.detection, settings.correlation))
        try:
            yield from fold(state, message)
        except InvalidRecord:
            seen.invalid += 1  # the worker has written the dead letter
