"""The worker: composition root and start.

    Kafka -> BatchConsumer -> agent per topic -> Intake (pipeline, fold) -> Flusher (index, dead letters) -> commit

Read `flusher.py` for the order of writing and acknowledging, `consumer.py` for what is committed when, `app.py` for
Faust's settings.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from typing import Any, Final

import faust
import structlog
from prometheus_client import CollectorRegistry, start_http_server

from processors import logs
from processors.generation import group_of
from processors.letters import LetterProducer
from processors.pipeline import Pipeline
from processors.sink import Sink, live_label
from schemas.errors import FreshetError, SinkUnavailable, StartupError
from schemas.settings import Settings
from streams import topics
from streams.app import App, Step, make_app
from streams.dead_letters import RejectShare
from streams.exits import Exit, leave
from streams.flusher import Chunk, Flusher
from streams.intake import Intake
from streams.metrics import WorkerMetrics
from streams.runbook_agent import RunbookAgent
from streams.watchdog import Progress, Watchdog, rounds

log = structlog.get_logger()

TOPICS_EVERY_S: Final = 5.0
LEFT_OUT_ROUNDS: Final = 18  # 90 s: longer than a living leader takes to notice new partitions (60 s)
SIGNALS: Final = {"log": "logs", "metric": "metrics", "event": "events", "alert": "alerts"}  # signal -> --only
RUNBOOKS: Final = "runbooks"
CHOICES: Final = (*SIGNALS.values(), RUNBOOKS)


class Worker:
    """Everything one process needs. Also what its consumer reports to (`consumer.Listener`)."""

    def __init__(self, settings: Settings, only: Collection[str], label: str = "") -> None:
        self._kafka, self._id = settings.kafka, settings.worker.id
        self._session_timeout_s = settings.worker.session_timeout_s
        self._left_out_rounds = 0
        chosen = [i for i in settings.kafka.declared_inputs() if SIGNALS[i.signal] in only]
        self.sink = Sink.from_settings(settings, label=label)
        self.letters = LetterProducer(settings.kafka, settings.worker.id, generation=self.sink.label)
        self.broker = topics.Broker(settings.kafka)
        self.progress = Progress()
        self.registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self.registry, wall_ms=lambda: time.time_ns() // 1_000_000)
        self.flusher = Flusher(
            write=self.sink.write,
            deliver=self.letters.deliver,
            forget=self.sink.forget,
            outcome=self,
            clock=time.monotonic,
            interval_s=settings.worker.flush_interval_s,
            max_records=settings.worker.flush_records,
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
        if RUNBOOKS in only:
            self.runbooks = RunbookAgent.from_settings(
                settings, letters=self.letters, progress=self.progress, stop=self.flusher.stop
            )
            self.steps[settings.kafka.runbooks_topic] = self.runbooks.take
        self.assigned_partitions: frozenset[tuple[str, int]] = frozenset()
        self.metrics.watch(
            pending=lambda: self.progress.pending,
            paused={
                "opensearch": lambda: bool(self.sink.paused),
                "kafka": lambda: bool(self.letters.paused),
                "redis": lambda: bool(self.runbooks and self.runbooks.paused),
            },
        )

    @property
    def paused(self) -> bool:
        """A service is known to be away: waiting is right."""
        return bool(self.sink.paused or self.letters.paused or (self.runbooks and self.runbooks.paused))

    # -- told by the flusher ------------------------------------------------------------------------------------------

    def flushed(self, seconds: float, fold: Any, letters: Sequence[Any]) -> None:
        self.metrics.flushed(seconds, fold, letters)

    def durable(self, chunk: Chunk) -> None:
        self.progress.acknowledged += 1
        self.metrics.durable(chunk)

    # -- told by the consumer -----------------------------------------------------------------------------------------

    async def assigned(self, partitions: Collection[tuple[str, int]]) -> None:
        try:
            await self.flusher.reassigned()
            self.assigned_partitions = frozenset((topic, partition) for topic, partition in partitions)
            self.progress.acknowledged = self.progress.taken
            ids = self.intake.topic_ids = await asyncio.to_thread(self._topic_ids)
            if self.runbooks:
                self.runbooks.topic_id = ids[self._kafka.runbooks_topic]
        except StartupError as error:  # aiokafka would log these two and consume on, half assigned
            leave(Exit.REPLACED, "a topic is missing", reason=str(error))
        except (FreshetError, RuntimeError) as error:
            leave(Exit.DEFECT, "assignment failed", error)

    def drain(self) -> None:
        self.flusher.drain()

    async def ran_backwards(self, topic: str, partition: int, expected: int, got: int) -> None:
        found = await asyncio.to_thread(self._topic_ids)
        if found[topic] != self.intake.topic_ids[topic]:
            leave(Exit.REPLACED, "a topic was deleted and made again", topic=topic)
        log.error("offsets ran backwards", topic=topic, partition=partition, expected=expected, got=got)

    # -- rounds beside the event loop ---------------------------------------------------------------------------------

    def check_topics(self) -> None:
        """Publish the lag; leave when a topic was replaced, its offsets mean something else now."""
        known, found = dict(self.intake.topic_ids), self.broker.topic_ids(self.steps)
        for topic, topic_id in known.items():
            if found.get(topic, topic_id) != topic_id:
                leave(Exit.REPLACED, "a topic was deleted and made again", topic=topic)
        self.metrics.lag(self.broker.lag(self._kafka.group, self.assigned_partitions))
        left_out = self.broker.left_out(self.broker.group(self._kafka.group), self.steps)
        self._left_out_rounds = self._left_out_rounds + 1 if left_out else 0
        if self._left_out_rounds >= LEFT_OUT_ROUNDS:
            leave(Exit.REPLACED, "partitions are read by nobody", partitions=left_out)

    def wait_for_old_self(self) -> None:
        """Let an old membership under our static id expire if its assignment leaves partitions out."""
        deadline = time.monotonic() + self._session_timeout_s + 10
        while time.monotonic() < deadline:
            group = self.broker.group(self._kafka.group)
            if self._id not in group.instances or not self.broker.left_out(group, self.steps):
                return
            log.info("waiting for an old membership to expire", group=self._kafka.group, worker=self._id)
            time.sleep(2)

    def runbook_positions(self) -> dict[int, int]:
        """Up to where the group has read the runbooks topic: the store must hold all of that."""
        topic = self._kafka.runbooks_topic
        asked = [(topic, partition) for partition in self.broker.partitions(topic)]
        return {p: offset for (_, p), offset in self.broker.committed(self._kafka.group, asked).items()}

    def _topic_ids(self) -> dict[str, str]:
        for _ in range(3):
            try:
                return topics.require(self.broker, self.steps)
            except SinkUnavailable as error:
                log.warning("topic ids are not known yet", reason=str(error))
        return topics.require(self.broker, self.steps)


def build_app(settings: Settings, only: Collection[str] = CHOICES) -> App:
    """The composition root. Nothing connects yet."""
    return _app_of(settings, Worker(settings, only))


def _app_of(settings: Settings, worker: Worker) -> App:
    return make_app(settings, steps=worker.steps, flusher=worker.flusher, progress=worker.progress, listener=worker)


def run(settings: Settings, only: Collection[str] = CHOICES) -> None:
    """Start and work until a signal comes. Raises StartupError before anything was consumed; ends with SystemExit."""
    logs.configure(settings.log_level)
    label = live_label(settings)
    group = group_of(settings.kafka.group, label)
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"group": group})})
    worker = Worker(settings, only, label)
    app = _app_of(settings, worker)
    if not worker.steps:
        raise StartupError("nothing to consume: FRESHET_KAFKA__INPUTS has no topic for what --only names")
    worker.broker.reach()
    topics.require(worker.broker, [*worker.steps, settings.kafka.dead_letters_topic])
    worker.sink.prepare()
    worker.wait_for_old_self()
    if worker.runbooks:
        worker.runbooks.prepare(worker.runbook_positions())
        rounds("runbooks", 5.0, worker.runbooks.repair, worker.metrics.put_off)
    if settings.worker.metrics_port:
        serve_metrics(settings.worker.metrics_port, worker.registry)
    rounds("housekeeping", 1.0, worker.sink.housekeeping, worker.metrics.put_off)
    rounds("topics", TOPICS_EVERY_S, worker.check_topics, worker.metrics.put_off)
    watchdog = Watchdog(worker.progress, lambda: worker.paused, time.monotonic)
    rounds("watchdog", 5.0, watchdog.bark, worker.metrics.put_off)
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
