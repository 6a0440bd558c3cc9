"""Which offsets to read: from a block's start, as the law of slices asks, to where the live group has got to."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import typer
from confluent_kafka import Consumer, KafkaException, TopicPartition

from cag.topic import describe
from schemas.documents import block_start, slice_key
from schemas.errors import SinkUnavailable, StartupError
from schemas.settings import Kafka
from spark_jobs.kafka_source import Range, client_options

ANSWER_S: Final = 10.0
TASKS_PER_CORE: Final = 4  # so that a slow one does not hold up the end
TASK_OFFSETS: Final = (64, 65_536)  # fewest and most in one task: what a task costs, and what is lost with it
Bound = int | dt.datetime | None  # an offset, a moment of Kafka's timestamps, or the end of what there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One partition as Kafka holds it, with what is asked of it as offsets."""

    topic: str
    topic_id: str
    partition: int
    low: int
    high: int
    start: int | None = None
    end: int | None = None
    committed: int | None = None  # of the group that must not be overtaken


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    ranges: tuple[Range, ...]
    continued: frozenset[str]  # slices whose block's beginning is gone: they go on from what the index holds
    notes: tuple[str, ...]  # what was asked for and is not read, for people

    @property
    def offsets(self) -> int:
        return sum(map(len, self.ranges))


def bound(text: str) -> Bound:
    """An offset or an ISO 8601 moment (UTC without a zone). Raises ValueError."""
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    moment = dt.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def option(text: str, name: str) -> Bound:
    """The same for a command line. Raises BadParameter."""
    try:
        return bound(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither an offset nor an ISO 8601 moment", param_hint=name) from None


def hold(kafka: Kafka, topics: Collection[str], start: Bound, end: Bound, group: str) -> list[Held]:
    """Ask Kafka. `group`: which must not be overtaken, if any. Raises StartupError, SinkUnavailable."""
    consumer = Consumer(client_options(kafka) | ({"group.id": group} if group else {}))
    held = []
    try:
        for topic in [describe(kafka, name) for name in sorted(set(topics))]:
            places = [TopicPartition(topic.name, partition) for partition in topic.partitions]
            committed = {p.partition: p.offset for p in consumer.committed(places, timeout=ANSWER_S)} if group else {}
            starts, ends = (_offsets(consumer, places, each) for each in (start, end))
            for place in places:
                low, high = consumer.get_watermark_offsets(place, timeout=ANSWER_S)
                position = committed.get(place.partition, -1)
                held.append(
                    Held(
                        topic=topic.name,
                        topic_id=topic.topic_id,
                        partition=place.partition,
                        low=low,
                        high=high,
                        start=_or(starts.get(place.partition), high),
                        end=_or(ends.get(place.partition), high),
                        committed=position if position >= 0 else None,
                    )
                )
    except KafkaException as error:
        raise SinkUnavailable(f"Kafka at {kafka.bootstrap_servers}: {error.args[0].str()}") from None
    finally:
        consumer.close()
    return held


def _offsets(consumer: Consumer, places: Sequence[TopicPartition], at: Bound) -> dict[int, int]:
    """By partition; a negative offset is the end: nothing is as young as that."""
    if at is None:
        return {}
    if isinstance(at, int):
        return {place.partition: at for place in places}
    at_ms = int(at.timestamp() * 1000)
    asked = [TopicPartition(place.topic, place.partition, at_ms) for place in places]
    return {place.partition: place.offset for place in consumer.offsets_for_times(asked, timeout=ANSWER_S)}


def _or(offset: int | None, end: int) -> int | None:
    return end if offset is not None and offset < 0 else offset


def plan(held: Sequence[Held]) -> Plan:
    """From the start of a block (or what retention has left). Raises StartupError when all that is asked is gone."""
    ranges, notes, continued = [], [], set()
    gone: list[str] = []
    for each in held:
        asked = each.low if each.start is None else each.start
        end = each.high if each.end is None else min(each.end, each.high)
        name = f"{each.topic}/{each.partition}"
        if each.start is not None and asked < each.low:
            missing = f"offsets {asked} to {min(each.low, end) - 1}" if end > asked else f"offset {asked}"
            notes.append(f"{name}: {missing} are gone, retention has left {each.low} to {each.high - 1}")
            if (each.end is not None and each.end <= each.low) or each.low == each.high:
                gone.append(notes[-1])
                continue
        if each.committed is not None and each.committed < end:
            notes.append(f"{name}: ends at {each.committed}, where the live group has got to, instead of {end}")
            end = each.committed
        start = max(each.low, block_start(asked))
        if min(asked, each.high) < end and start < end:
            if start != block_start(start):
                continued.add(slice_key(each.topic_id, each.partition, start))
            ranges.append(Range(each.topic, each.topic_id, each.partition, start, end))
    if gone and not ranges:
        raise StartupError("nothing of that is left:\n  " + "\n  ".join(gone))
    if not ranges and any(each.start is not None and each.start >= each.high > 0 for each in held):
        notes += [f"{each.topic}/{each.partition}: holds {each.low} to {each.high - 1}" for each in held]
    return Plan(ranges=tuple(ranges), continued=frozenset(continued), notes=tuple(notes))


def tasks(ranges: Sequence[Range], cores: int) -> list[list[Range]]:
    """Cut and pack into tasks of about the same number of offsets."""
    fewest, most = TASK_OFFSETS
    size = min(max(-(-sum(map(len, ranges)) // (cores * TASKS_PER_CORE)), fewest), most)
    made: list[list[Range]] = []
    room = 0
    for each in ranges:
        at = each.start
        while at < each.end:
            if not room:
                made.append([])
                room = size
            cut = min(at + room, each.end)
            made[-1].append(Range(each.topic, each.topic_id, each.partition, at, cut))
            room, at = room - (cut - at), cut
    return made
