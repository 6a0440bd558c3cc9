"""The worker: composition root and start.

    Kafka -> BatchConsumer -> agent per topic -> Intake (pipeline, fold) -> Flusher (index, dead letters) -> commit

Read `flusher.py` for the order of writing and acknowledging, `consumer.py` for what is committed when, `positions.py`
for where reading begins, `app.py` for Faust's settings.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import faust
import structlog
from prometheus_client import CollectorRegistry, start_http_server

from processors import logs
from processors.canonical import COMPILED
from processors.fold import Fold
from processors.generation import group_of
from processors.letters import LetterProducer
from processors.pipeline import Pipeline
from processors.sink import Sink, live_label
from processors.writer import Stopped
from schemas.dead_letters import DeadLetter
from schemas.documents import Target
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.settings import Settings
from streams import positions, topics
from streams.app import App, Step, make_app
from streams.exits import Exit, leave
from streams.flusher import Chunk, Flusher
from streams.insights.agent import InsightAgent
from streams.insights.summaries import SummaryProducer
from streams.intake import Intake
from streams.metrics import InsightMetrics, WorkerMetrics
from streams.reject_share import RejectShare
from streams.runbook_agent import RunbookAgent
from streams.watchdog import Progress, Watchdog, rounds

log = structlog.get_logger()

CHECKED_EVERY_S: Final = 5.0
EMBEDDED_EVERY_S: Final = 0.5  # of rest for the pipeline after as long a turn of the model
BEAT_S: Final = 0.5  # of the pulse by which a freeze is noticed
AGAIN_S: Final = 1.0  # before a service that is away is asked again
MISPLACED_ROUNDS: Final = 6  # 30 s: longer than a living leader takes to notice new partitions (10 s)
SIGNALS: Final = {"log": "logs", "metric": "metrics", "event": "events", "alert": "alerts"}  # signal -> --only
RUNBOOKS: Final = "runbooks"
INSIGHTS: Final = "insights"
# A fold holds some hundred thousand objects without a cycle; by Python's own threshold (700, 10, 10) looking through
# them again and again took up to 40 % of a worker's time.
GARBAGE: Final = (50_000, 10, 20)
CHOICES: Final = (*SIGNALS.values(), RUNBOOKS, INSIGHTS)


class Worker:
    """Everything one process needs. Also what its consumer reports to (`consumer.Listener`)."""

    def __init__(self, settings: Settings, only: Collection[str], label: str = "") -> None:
        self._kafka, self._id = settings.kafka, settings.worker.id
        self._session_timeout_s = settings.worker.session_timeout_s
        self._misplaced_rounds = 0
        chosen = [i for i in settings.kafka.declared_inputs() if SIGNALS[i.signal] in only]
        self._insights = settings.insights
        self.registry = CollectorRegistry()
        insight_metrics = InsightMetrics(self.registry)
        self.summaries = SummaryProducer.from_settings(settings, insight_metrics) if settings.insights.enabled else None
        written = self.summaries.note if self.summaries else (lambda _: None)
        self.sink = Sink.from_settings(settings, label=label, written=written)
        self.letters = LetterProducer(settings.kafka, settings.worker.id, generation=self.sink.label)
        self.broker = topics.Broker(settings.kafka)
        self.progress = Progress()
        self.metrics = WorkerMetrics(self.registry, wall_ms=lambda: time.time_ns() // 1_000_000)
        self.flusher = Flusher(
            write=self.write,
            urgent=self.sink.urgent,
            show=self.show,
            deliver=self.letters.deliver,
            forget=self.sink.forget,
            outcome=self,
            clock=time.monotonic,
            interval_s=settings.worker.flush_interval_s,
            update_s=settings.worker.update_interval_s,
            max_records=settings.worker.flush_records,
            max_documents=settings.worker.flush_documents,
        )
        self.intake = Intake(
            pipeline=Pipeline.from_settings(settings),
            flusher=self.flusher,
            share=RejectShare(settings.worker.dead_letter_limit),
            metrics=self.metrics,
            progress=self.progress,
            signals={i.topic: i.signal for i in chosen},
            clock=time.monotonic,
        )
        self.steps: dict[str, Step] = {i.topic: self.intake.take for i in chosen}
        self.runbooks: RunbookAgent | None = None
        self.insights: InsightAgent | None = None
        self._add_agents(settings, only, insight_metrics)
        self.assigned_partitions: frozenset[tuple[str, int]] = frozenset()
        self.away = ""  # why positions or topic ids cannot be checked, '' while they can
        self.metrics.watch(
            pending=lambda: self.progress.pending,
            paused={
                "opensearch": lambda: bool(self.sink.paused) or self._waits_for("OpenSearch"),
                "kafka": lambda: bool(self.letters.paused or self._telling) or self._waits_for("Kafka"),
                "redis": lambda: bool(self.runbooks and self.runbooks.paused),
                "registry": lambda: bool(self.insights and self.insights.paused) and not self._waits_for("Kafka"),
            },
        )

    def _add_agents(self, settings: Settings, only: Collection[str], insight_metrics: InsightMetrics) -> None:
        """For what is no telemetry."""
        if RUNBOOKS in only:
            self.runbooks = RunbookAgent.from_settings(
                settings, letters=self.letters, progress=self.progress, stop=self.flusher.stop
            )
            self.steps[settings.kafka.runbooks_topic] = self.runbooks.take
        if INSIGHTS in only and self.summaries:
            self.insights = InsightAgent.from_settings(
                settings,
                documents=self.sink,
                summaries=self.summaries,
                letters=self.letters,
                metrics=insight_metrics,
                progress=self.progress,
                stop=self.flusher.stop,
            )
            self.steps[settings.insights.summaries_topic] = self.insights.take
            self.steps[settings.insights.feedback_topic] = self.insights.take_feedback

    @property
    def paused(self) -> bool:
        """A service is known to be away: waiting is right."""
        agents = [agent.paused for agent in (self.runbooks, self.insights) if agent]
        return bool(self.away or self.sink.paused or self.letters.paused or self._telling or any(agents))

    def _waits_for(self, service: str) -> bool:
        """Reasons begin with the name of the service."""
        return any(reason.startswith(service) for reason in (self.away, self.insights.paused if self.insights else ""))

    @property
    def _telling(self) -> str:
        """Why summaries wait, '' while they are sent."""
        return self.summaries.paused if self.summaries else ""

    # -- told by the flusher ------------------------------------------------------------------------------------------

    def write(self, fold: Fold, stop: threading.Event) -> list[DeadLetter]:
        """Write only what is known to come from the topics whose ids it carries. Blocks.

        Kafka hands out records by a topic's name. Its id does not come back, so if it is still the same after the
        records were read, they are of that topic: a new one of the same name is never counted under the old id.
        """
        self._check_ids(fold, stop)
        letters = self.sink.write(fold, stop)
        if self.summaries:
            self.summaries.deliver(fold, stop)
        return letters

    def show(self, urgent: Fold, stop: threading.Event) -> list[Target]:
        """The same for what is written ahead of its fold; returns what is refused. Blocks."""
        self._check_ids(urgent, stop)
        refused = self.sink.show(urgent, stop)
        if self.summaries:
            self.summaries.deliver(urgent, stop)
        return refused

    def _check_ids(self, fold: Fold, stop: threading.Event) -> None:
        expected = {at.topic: topic_id for (topic_id, _), at in fold.partitions.items()}
        while True:
            try:
                found = self.broker.topic_ids(expected)
                break
            except SinkUnavailable as error:
                self._wait(error)
                if stop.wait(AGAIN_S):
                    raise Stopped(str(error)) from None
        self.away = ""
        self._leave_if_replaced(expected, found)

    def flushed(self, seconds: float, fold: Fold, letters: Sequence[DeadLetter]) -> None:
        self.metrics.flushed(seconds, fold, letters)

    def durable(self, chunk: Chunk) -> None:
        self.progress.acknowledged += 1
        self.metrics.durable(chunk)

    # -- told by the consumer -----------------------------------------------------------------------------------------

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        await self.flusher.reassigned()
        self.assigned_partitions = frozenset((topic, partition) for topic, partition in partitions)
        if self.insights:
            self.insights.keep(self._of_summaries(self.assigned_partitions))
        self.progress.acknowledged = self.progress.taken

    async def settle(self, stood: Mapping[Any, int | None]) -> Mapping[Any, int]:
        try:
            found = await asyncio.to_thread(self._settle, {(topic, p): at for (topic, p), at in stood.items()})
        except StartupError as error:
            leave(Exit.REPLACED, "a topic is missing", reason=str(error))
        except (SinkUnavailable, SinkMisconfigured) as error:
            self._wait(error)
            await asyncio.sleep(AGAIN_S)
            return {}
        self.away = ""
        return {place: found[place] for place in stood}

    def drain(self) -> None:
        self.flusher.drain()

    async def drained(self) -> None:
        if self.insights:
            await asyncio.to_thread(self.insights.put_away)

    def _of_summaries(self, places: Iterable[positions.Place]) -> list[int]:
        return [partition for topic, partition in places if topic == self._insights.summaries_topic]

    def _settle(self, stood: Mapping[positions.Place, int | None]) -> Mapping[positions.Place, int]:
        """Learn the topics' ids, then where to begin. Blocks; raises what both services raise, and StartupError."""
        ids = topics.require(self.broker, self.steps)
        refused = any(position is not None for position in stood.values())
        if refused:  # there may be work in hand under the ids that were known
            self._leave_if_replaced(self.intake.topic_ids, ids)
        summaries = self._insights.summaries_topic
        held = self.insights.hold(ids[summaries], self._of_summaries(stood)) if self.insights else {}
        settled = positions.settle(
            stood,
            ids,
            group=self._kafka.group,
            broker=self.broker,
            index=self.sink,
            believed=(self._kafka.runbooks_topic, self._insights.feedback_topic),
            known={(summaries, partition): position for partition, position in held.items()},
        )
        if topics.require(self.broker, self.steps) != ids:
            raise SinkUnavailable("Kafka is replacing a topic")
        for gap in settled.gaps:
            self.metrics.gap(gap.topic, gap.reason)
            log.error("records were gone before they were read", **asdict(gap))
        if refused and any(gap.reason == positions.CUT for gap in settled.gaps):
            leave(Exit.REPLACED, "a log was cut, it is to be read again")
        self.intake.topic_ids = ids
        if self.runbooks:
            self.runbooks.topic_id = ids[self._kafka.runbooks_topic]
        if self.insights:
            self.insights.topic_ids = ids
            self.insights.begin({partition: settled.positions[summaries, partition] for partition in held})
        return settled.positions

    def _wait(self, error: Exception) -> None:
        if not self.away:
            log.warning("worker waits", reason=str(error))
        self.away = str(error)

    def _leave_if_replaced(self, known: Mapping[str, str], found: Mapping[str, str]) -> None:
        """Offsets mean something else now. A topic that is gone may still be worked off."""
        for topic, topic_id in known.items():
            if found.get(topic, topic_id) != topic_id:
                leave(Exit.REPLACED, "a topic was deleted and made again", topic=topic)

    # -- rounds beside the event loop ---------------------------------------------------------------------------------

    def check_topics(self) -> None:
        """Publish the lag; leave when a topic was replaced, its offsets mean something else now."""
        self._leave_if_replaced(self.intake.topic_ids, self.broker.topic_ids(self.steps))
        misplaced = self.broker.misplaced(self.broker.group(self._kafka.group), self.steps)
        self._misplaced_rounds = self._misplaced_rounds + 1 if misplaced else 0
        if self._misplaced_rounds >= MISPLACED_ROUNDS:
            leave(Exit.REPLACED, "the group's assignment does not fit the topics", partitions=misplaced)
        self.metrics.lag(self.broker.lag(self._kafka.group, self.assigned_partitions))

    def check_generation(self) -> None:
        """Leave when readers have been switched to another generation: a restart follows, or says why it cannot."""
        live = self.sink.live_labels()
        if live and self.sink.label not in live:
            leave(Exit.SUPERSEDED, "another generation is live", ours=self.sink.label, live=sorted(live))

    def embed(self) -> None:
        """Beside `publish`: a watermark must not wait for the model."""
        try:
            self.sink.embed()
        finally:
            self.metrics.embedded(self.sink.embedded())

    def farewell(self) -> None:
        """All that was taken is acknowledged: say how far it reaches."""
        try:
            self.sink.publish()
        except (SinkUnavailable, SinkMisconfigured) as error:
            log.warning("the last watermarks are not published", reason=str(error))

    def wait_for_old_self(self) -> None:
        """Let an old membership under our static id expire if its assignment does not fit the topics any more."""
        deadline = time.monotonic() + self._session_timeout_s + 10
        while time.monotonic() < deadline:
            group = self.broker.group(self._kafka.group)
            if self._id not in group.instances or not self.broker.misplaced(group, self.steps):
                return
            log.info("waiting for an old membership to expire", group=self._kafka.group, worker=self._id)
            time.sleep(2)

    def runbook_positions(self) -> dict[int, int]:
        """Up to where the group has read the runbooks topic: the store must hold all of that."""
        topic = self._kafka.runbooks_topic
        asked = [(topic, partition) for partition in self.broker.partitions(topic)]
        return {p: offset for (_, p), offset in self.broker.committed(self._kafka.group, asked).items()}


def app_of(settings: Settings, worker: Worker) -> App:
    """Nothing connects yet."""
    return make_app(
        settings,
        steps=worker.steps,
        flusher=worker.flusher,
        progress=worker.progress,
        listener=worker,
        farewell=worker.farewell,
    )


def run(settings: Settings, only: Collection[str] = CHOICES) -> None:
    """Start and work until a signal comes. Raises StartupError before anything was consumed; ends with SystemExit."""
    logs.configure(settings.log_level)
    label = live_label(settings)
    group = group_of(settings.kafka.group, label)
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"group": group})})
    worker = Worker(settings, only, label)
    app = app_of(settings, worker)
    if not worker.steps:
        raise StartupError("nothing to consume: FRESHET_KAFKA__INPUTS has no topic for what --only names")
    worker.broker.reach()
    told = (settings.insights.summaries_topic,) if worker.summaries else ()
    topics.require(worker.broker, [*worker.steps, *told, settings.kafka.dead_letters_topic])
    if worker.insights:
        topics.require(worker.broker, [settings.insights.topic, settings.insights.state_topic])
    worker.sink.prepare()
    worker.wait_for_old_self()
    if worker.runbooks:
        worker.runbooks.prepare(worker.runbook_positions())
        rounds("runbooks", 1.0, worker.runbooks.repair, worker.metrics.put_off)
    if settings.worker.metrics_port:
        serve_metrics(settings.worker.metrics_port, worker.registry)
    if worker.insights:
        rounds("pulse", BEAT_S, worker.insights.pulse.beat, worker.metrics.put_off)
    if worker.summaries:
        rounds("ticks", settings.insights.tick_s, worker.summaries.tick, worker.metrics.put_off)
    rounds("housekeeping", 1.0, worker.sink.publish, worker.metrics.put_off)
    rounds("vectors", EMBEDDED_EVERY_S, worker.embed, worker.metrics.put_off)
    rounds("topics", CHECKED_EVERY_S, worker.check_topics, worker.metrics.put_off)
    rounds("generation", CHECKED_EVERY_S, worker.check_generation, worker.metrics.put_off)
    watchdog = Watchdog(worker.progress, lambda: worker.paused, time.monotonic)
    rounds("watchdog", 5.0, watchdog.bark, worker.metrics.put_off)
    gc.set_threshold(*GARBAGE)
    if not COMPILED:
        log.warning("the compiled kernel is missing: lines cost several times as much", next="run `make ready`")
    log.info(
        "worker starts", group=settings.kafka.group, topics=sorted(worker.steps), kafka=settings.kafka.bootstrap_servers
    )
    process = faust.Worker(
        app,
        loglevel=settings.log_level,
        quiet=True,
        override_logging=False,
        redirect_stdouts=False,
        loop=asyncio.new_event_loop(),
    )
    process.spinner = None
    process.execute_from_commandline()


def serve_metrics(port: int, registry: CollectorRegistry) -> None:
    try:
        start_http_server(port, registry=registry)
    except OSError as error:
        raise StartupError(
            f"port {port} for metrics is taken ({error.strerror}). Set FRESHET_WORKER__METRICS_PORT."
        ) from None
