"""Incidents told again by the same fold: to look at, or into a topic of their own.

What is told again never reaches the topic that people are paged from: it is printed, or written to a topic in the
namespace of replays, and its records say in their headers whose they are (`records.Replay`).
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from cag.topic import describe, read_to_end
from processors.insights.history import History
from processors.insights.step import State, fold, step
from processors.pipeline import Pipeline
from schemas.errors import InvalidRecord
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from schemas.topics import insights_topic
from streams.insights.inputs import by_time
from streams.insights.publisher import InsightPublisher
from streams.insights.records import Replay
from streams.topics import Broker

FOR_EVER_MS: Final = 1 << 62
AT_ONCE: Final = 500  # insights


@dataclass(slots=True)
class Progress:
    """How far a replay has come."""

    messages: int = 0
    rejected: int = 0  # messages that are no summaries, or records of the inputs that cannot be read
    reached_ms: int = 0  # Kafka's time
    insights: int = 0


def from_summaries(settings: Settings, done: Progress, until_ms: int = FOR_EVER_MS) -> Iterator[Insight]:
    """Every revision that the summaries topic tells now, in order within a partition. Blocks while it reads.

    From the first summary that Kafka still holds: what is usual is learned from what came before. `until_ms`: Kafka
    time before which summaries count. Raises StartupError, SinkUnavailable and SinkMisconfigured.
    """
    states: dict[int, State] = {}
    for message in read_to_end(settings.kafka, describe(settings.kafka, settings.insights.summaries_topic)):
        if not isinstance(message, Message) or message.timestamp_ms >= until_ms:
            continue
        done.messages, done.reached_ms = done.messages + 1, message.timestamp_ms
        state = states.setdefault(message.partition, State(settings.detection, settings.correlation))
        try:
            yield from fold(state, message)
        except InvalidRecord:
            done.rejected += 1  # the worker has written the dead letter


def from_inputs(
    settings: Settings, done: Progress, since_ms: int = 0, until_ms: int = FOR_EVER_MS
) -> Iterator[Insight]:
    """The same from the telemetry itself, for what was before the summaries, or with other settings. Writes nothing.

    What is usual is learned from `since_ms` on, so begin hours before what is to be looked at.
    """
    history = History(Pipeline.from_settings(settings), tick_ms=int(settings.insights.tick_s * 1000))
    state = State(settings.detection, settings.correlation)
    for message in by_time(settings.kafka, [i.topic for i in settings.kafka.inputs], since_ms, until_ms):
        sent_ms = history.now_ms
        if told := history.take(message):
            yield from step(state, told, sent_ms)[1]
        done.messages, done.rejected, done.reached_ms = done.messages + 1, history.rejected, message.timestamp_ms
    yield from step(state, history.flush(), history.now_ms)[1]


class ReplayTopic:
    """A topic in the namespace of replays. Made when it is missing; raises StartupError for a name outside of it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = Replay.of(settings, f"{settings.insights.topic}.replay.{name}").topic
        Broker(settings.kafka).create([insights_topic(self.name)], settings.kafka.replication_factor)
        self._publisher = InsightPublisher.from_settings(settings, self.name)
        self._publisher.prepare()

    def fill(self, insights: Iterable[Insight], stop: threading.Event) -> Iterator[Insight]:
        """Hand on each once Kafka has confirmed it. Raises Stopped."""
        some: list[Insight] = []
        for insight in insights:
            some.append(insight)
            if len(some) >= AT_ONCE:
                self._publisher.deliver(some, stop)
                yield from some
                some = []
        self._publisher.deliver(some, stop)
        yield from some
