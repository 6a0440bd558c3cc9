"""The insights agent: folds summaries into incidents, publishes each revision, then acknowledges.

    summary -> fold (pure) -> runbooks attached -> topic -> index -> snapshot, now and then -> acknowledge

The state of a partition decides where its reading begins: at the position of the newest snapshot, or at the first
summary. What is folded again gives the same revisions; those that the topic holds already are not sent again. A worker
that has lost the partition without knowing it sends identical copies, which readers fold.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from cag.insight_guides import Guides
from processors.index import Write
from processors.insights.documents import write_of
from processors.insights.step import State, fold
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidRecord
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.feedback import feedback_of
from streams.insights.publisher import InsightPublisher
from streams.insights.snapshots import SLOTS, Snapshots
from streams.insights.summaries import SummaryProducer
from streams.intake import message_of
from streams.metrics import InsightMetrics
from streams.watchdog import Progress, Pulse

log = structlog.get_logger()

STAGE: Final = "insight"
SAVING_SHARE: Final = 30  # of a large state snapshots are rarer: folding waits for them a thirtieth of the time
PUT_AWAY_S: Final = 8.0  # for all partitions together: a stop is given up after twenty


class Publisher(Protocol):
    """The topic of insights. `paused` says why it waits, '' while it runs."""

    paused: str

    def deliver(self, insights: Sequence[Insight], stop: threading.Event) -> None:
        """Blocks until Kafka confirmed them all. Raises Stopped."""

    def published(self) -> Mapping[str, int]:
        """The highest revision of each incident that the topic holds. Blocks; raises SinkUnavailable."""


class Attaching(Protocol):
    def attach(self, insight: Insight) -> Insight:
        """The incident with the runbook sections that help."""


class Documents(Protocol):
    def tell(self, writes: Sequence[Write], stop: threading.Event) -> Sequence[tuple[Write, str]]:
        """Blocks until they are durable; returns what is refused, and why. Raises Stopped."""


class Letters(Protocol):
    def deliver(self, letters: Sequence[DeadLetter], stop: threading.Event) -> None:
        """Blocks until Kafka confirmed them all. Raises Stopped."""


@dataclass(slots=True)
class Held:
    """What is known of one partition."""

    state: State
    position: int  # the next offset to fold
    slot: int = 0  # where the next snapshot goes
    saved_at: float = 0.0
    saving_s: float = 0.0  # how long the last snapshot took
    saved_position: int = -1
    told: bool = True  # all that was folded is published and indexed


class InsightAgent:
    """One per worker. A lock guards what it holds: chunks, assignments and snapshots come from several threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        publisher: Publisher,
        guides: Attaching,
        documents: Documents,
        snapshots: Snapshots,
        summaries: SummaryProducer,
        letters: Letters,
        metrics: InsightMetrics,
        progress: Progress,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings, self._publisher, self._guides, self._documents = settings, publisher, guides, documents
        self._snapshots, self._summaries, self._letters, self._metrics = snapshots, summaries, letters, metrics
        self._progress, self._stop, self._clock, self._wall_ms = progress, stop, clock, wall_ms
        self._held: dict[int, Held] = {}
        self._ours: frozenset[int] = frozenset()
        self._published: dict[str, int] = {}
        self._lock = threading.Lock()
        self.pulse = Pulse(settings.worker.session_timeout_s, time.monotonic)
        self.topic_ids: Mapping[str, str] = {}

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        documents: Documents,
        summaries: SummaryProducer,
        letters: Letters,
        metrics: InsightMetrics,
        progress: Progress,
        stop: threading.Event,
    ) -> "InsightAgent":
        """Nothing connects yet."""
        made = cls(
            settings,
            publisher=InsightPublisher.from_settings(settings),
            guides=Guides.from_settings(settings),
            documents=documents,
            snapshots=Snapshots.from_settings(settings),
            summaries=summaries,
            letters=letters,
            metrics=metrics,
            progress=progress,
            stop=stop,
        )
        metrics.watch(made._snapshots.size, made._snapshots.age_s)
        return made

    @property
    def paused(self) -> str:
        """Why it waits, '' while it runs."""
        return self._publisher.paused

    # -- partitions come and go ---------------------------------------------------------------------------------------

    def hold(self, topic_id: str, partitions: Collection[int]) -> dict[int, int | None]:
        """Take up these partitions: the next offset to fold of each, None where nothing is known.

        What is held of them already stays. Blocks; raises SinkUnavailable.
        """
        if not partitions:
            return {}
        with self._lock:
            self._drop_others()
            self._published = dict(self._publisher.published())
            unknown = [partition for partition in partitions if partition not in self._held]
            for partition, found in self._snapshots.restore(topic_id, unknown).items():
                log.info("what is known of a partition is restored", partition=partition, position=found.position)
                self._held[partition] = Held(
                    found.state,
                    found.position,
                    slot=(found.slot + 1) % SLOTS,
                    saved_at=self._clock(),
                    saved_position=found.position,
                )
            return {
                partition: self._held[partition].position if partition in self._held else None
                for partition in partitions
            }

    def begin(self, positions: Mapping[int, int]) -> None:
        """Reading of these partitions begins here. One that begins earlier than it is known begins anew."""
        with self._lock:
            for partition, position in positions.items():
                held = self._held.get(partition)
                if held is None or position < held.position:
                    state = State(self._settings.detection, self._settings.correlation)
                    self._held[partition] = Held(state, position, saved_at=self._clock())
                else:
                    held.position = position  # further on: retention took what lies between, and that is noted

    def keep(self, partitions: Collection[int]) -> None:
        """These are all our partitions now. Does not wait: what is held of others goes when it is looked at next."""
        self._ours = frozenset(partitions)

    def put_away(self) -> None:
        """Snapshots of what is held: somebody else may go on with it. Blocks for some seconds at most."""
        deadline = self._clock() + PUT_AWAY_S
        if not self._lock.acquire(timeout=PUT_AWAY_S):
            return  # a chunk waits for a service, and what it told is not published
        try:
            self._drop_others()
            for partition, held in self._held.items():
                if self._clock() < deadline:
                    self._save(partition, held)
        finally:
            self._lock.release()

    def _drop_others(self) -> None:
        gone = self._held.keys() - self._ours
        for partition in gone:
            del self._held[partition]
        self._snapshots.forget(gone)

    # -- records ------------------------------------------------------------------------------------------------------

    async def take(self, topic: str, records: Sequence[Any], acknowledge: Callable[[], Awaitable[object]]) -> None:
        """Fold a chunk of summaries, and acknowledge it when all it told is published. Raises Stopped."""
        self._progress.taken += 1
        messages = [message_of(record, self.topic_ids[topic]) for record in records]
        if await asyncio.to_thread(self._fold, messages):
            await acknowledge()
            self._progress.acknowledged += 1

    async def take_feedback(
        self, topic: str, records: Sequence[Any], acknowledge: Callable[[], Awaitable[object]]
    ) -> None:
        """Pass a chunk of feedback on to the summaries, and acknowledge it. Raises Stopped."""
        self._progress.taken += 1
        messages = [message_of(record, self.topic_ids[topic]) for record in records]
        await asyncio.to_thread(self._pass_on, messages)
        await acknowledge()
        self._progress.acknowledged += 1

    def _fold(self, messages: Sequence[Message]) -> bool:
        """False: the partition is not ours any more, whoever has it reads these again."""
        partition = messages[0].partition
        with self._lock:
            held = self._held.get(partition)
            if held is None or partition not in self._ours:
                return False
            held.told = False
            told: list[tuple[Insight, int]] = []
            letters: list[DeadLetter] = []
            for message in messages:
                if message.offset < held.position:
                    continue
                try:
                    told += [(insight, message.timestamp_ms) for insight in fold(held.state, message)]
                except InvalidRecord as error:
                    letters.append(DeadLetter(message=message, index=0, reason=error.reason, stage=STAGE))
                held.position = message.offset + 1
            if letters:
                self._letters.deliver(letters, self._stop)
            self._tell(told)
            held.told = True
            self._metrics.folded(folded=len(messages) - len(letters), rejected=len(letters))
            self._metrics.known(sum(map(open_incidents, self._states())), sum(map(left_out, self._states()), Counter()))
            if self._clock() - held.saved_at >= max(self._settings.insights.snapshot_s, SAVING_SHARE * held.saving_s):
                self._save(partition, held)
        return True

    def _tell(self, told: Sequence[tuple[Insight, int]]) -> None:
        """Publish what the topic does not hold yet, then index all of it: that may have been missed before."""
        new = [(i, sent_ms) for i, sent_ms in told if i.revision > self._published.get(i.id, 0)]
        complete = {(i.id, i.revision): self._guides.attach(i) for i, _ in told}
        if new:
            self.pulse.check()
            self._publisher.deliver([complete[i.id, i.revision] for i, _ in new], self._stop)
            now_ms = self._wall_ms()
            for insight, sent_ms in new:
                self._published[insight.id] = insight.revision
                self._metrics.published(insight.state, max(0, now_ms - sent_ms) / 1000)
        self._metrics.held_already(len(told) - len(new))
        if told:
            refused = self._documents.tell([write_of(insight) for insight in complete.values()], self._stop)
            for write, reason in refused:  # it is on the topic, which is what counts
                log.error("the index refuses an incident", incident=write.fixed.get("incident_id"), reason=reason)

    def _pass_on(self, messages: Sequence[Message]) -> None:
        feedback, letters = [], []
        for message in messages:
            try:
                feedback.append(feedback_of(message))
            except InvalidRecord as error:
                letters.append(DeadLetter(message=message, index=0, reason=error.reason, stage=STAGE))
        if feedback:
            self._summaries.forward(feedback, self._stop)
        if letters:
            self._letters.deliver(letters, self._stop)

    def _save(self, partition: int, held: Held) -> None:
        """Only what is published: what a snapshot holds is not told again."""
        if not held.told or held.position == held.saved_position:
            return
        began = self._clock()
        topic_id = self.topic_ids[self._settings.insights.summaries_topic]
        if self._snapshots.save(topic_id, partition, held.slot, held.state, held.position):
            held.slot, held.saved_position = (held.slot + 1) % SLOTS, held.position
        held.saved_at = self._clock()
        held.saving_s = held.saved_at - began

    def _states(self) -> list[State]:
        return [held.state for held in self._held.values()]


def open_incidents(state: State) -> int:
    return sum(cluster.open_incidents for cluster in state.clusters.values())


def left_out(state: State) -> Counter[str]:
    """What detectors and correlators did not take up, or forgot, since the state began; by who and what."""
    found: Counter[str] = Counter({"clusters": state.dropped} if state.dropped else {})
    for cluster in state.clusters.values():
        series = cluster.series
        counted = {
            "patterns": cluster.patterns.dropped,
            "states": cluster.states.dropped,
            "series": {"forgotten": series.dropped, "late": series.late, "refused": series.refused},
            "incidents": cluster.correlator.dropped,
        }
        found.update({f"{who}: {what}": n for who, counts in counted.items() for what, n in counts.items()})
    return found
