"""The worker: composition root, agents without logic, start and stop.

    Kafka -> BatchConsumer -> agent per topic -> Intake (pipeline, fold) -> Flusher (index, dead letters) -> commit

Read `consumer.py` for what is committed when, `flusher.py` for the order of writing and acknowledging.
"""

import asyncio
import logging
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
import structlog
from prometheus_client import CollectorRegistry, start_http_server

from processors.pipeline import Pipeline
from processors.sink import Sink
from processors.writer import Stopped
from schemas.errors import SinkUnavailable, StartupError
from schemas.settings import Kafka, Settings
from streams import consumer, logs, topics
from streams.dead_letters import DeadLetterLimit, LetterProducer, RejectShare
from streams.exits import Exit, leave
from streams.flusher import Chunk, Flusher
from streams.intake import Intake
from streams.metrics import WorkerMetrics
from streams.runbook_agent import RunbookAgent
from streams.watchdog import Progress, Watchdog, rounds

log = structlog.get_logger()

STOP_WITHIN_S: Final = 10.0  # after that a flush that waits for a service is given up, unacknowledged
BUFFERED_CHUNKS: Final = 16  # per agent
LONGEST_POLL_S: Final = 2_147_483  # the largest that fits; a blocked sink must not cost the membership for good
SIGNALS: Final = {"log": "logs", "metric": "metrics", "event": "events", "alert": "alerts"}  # signal -> --only
RUNBOOKS: Final = "runbooks"
CHOICES: Final = (*SIGNALS.values(), RUNBOOKS)
UNFINISHED: Final = "stopped while a service is away; what is not written is read again"
REJECTS_ADVICE: Final = (
    "look at the dead letters; set the topic's format in FRESHET_KAFKA__INPUTS, "
    "or raise FRESHET_WORKER__DEAD_LETTER_LIMIT"
)
Step = Callable[[str, Sequence[Any], Callable[[], Awaitable[object]]], Awaitable[None]]


class Worker:
    """Everything one process needs. Also what its consumer reports to (`consumer.Listener`)."""

    def __init__(self, settings: Settings, only: Collection[str]) -> None:
        self._kafka = settings.kafka
        chosen = [i for i in settings.kafka.declared_inputs() if SIGNALS[i.signal] in only]
        self.sink = Sink.from_settings(settings)
        self.letters = LetterProducer(settings.kafka, settings.worker.id)
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
        await self.flusher.reassigned()
        self.assigned_partitions = frozenset((topic, partition) for topic, partition in partitions)
        self.progress.acknowledged = self.progress.taken
        ids = self.intake.topic_ids = await asyncio.to_thread(self._topic_ids)
        if self.runbooks:
            self.runbooks.topic_id = ids[self._kafka.runbooks_topic]

    def drain(self) -> None:
        self.flusher.drain()

    def restarted(self, topic: str, partition: int, expected: int, got: int) -> None:
        leave(Exit.REPLACED, "offsets ran backwards", topic=topic, partition=partition, expected=expected, got=got)

    # -- rounds beside the event loop ---------------------------------------------------------------------------------

    def check_topics(self) -> None:
        """Publish the lag; leave when a topic was replaced, its offsets mean something else now."""
        known, found = dict(self.intake.topic_ids), self.broker.topic_ids(self.steps)
        for topic, topic_id in known.items():
            if found.get(topic, topic_id) != topic_id:
                leave(Exit.REPLACED, "a topic was deleted and made again", topic=topic)
        self.metrics.lag(self.broker.lag(self._kafka.group, self.assigned_partitions))

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


class App(faust.App):
    """Faust's application, with the worker's own tasks started before and ended after its consumer."""

    logger = logging.getLogger("faust.app")  # the library's voice, not ours
    worker: Worker

    async def on_start(self) -> None:
        await super().on_start()
        self._duties = [asyncio.create_task(self._flush()), asyncio.create_task(self._beat())]

    async def on_stop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(STOP_WITHIN_S, self.worker.flusher.stop.set)
        loop.call_later(
            2 * STOP_WITHIN_S, leave, Exit.UNFINISHED, "did not stop in time; what is not committed is read again"
        )
        await super().on_stop()  # waits until everything that was taken is acknowledged, then commits
        for duty in self._duties:
            duty.cancel()

    async def _flush(self) -> None:
        try:
            await self.worker.flusher.run()
        except asyncio.CancelledError:
            raise
        except Stopped as stopped:
            leave(Exit.UNFINISHED, UNFINISHED, reason=str(stopped))
        except BaseException as error:  # noqa: BLE001 - nothing may be acknowledged after this
            leave(Exit.DEFECT, "flush failed", error)

    async def _beat(self) -> None:
        while True:
            self.worker.progress.beats += 1
            await asyncio.sleep(1)


def build_app(settings: Settings, only: Collection[str] = CHOICES) -> App:
    """The composition root. Nothing connects yet."""
    worker = Worker(settings, only)
    kafka, timing = settings.kafka, settings.worker
    app = App(
        kafka.group,
        broker=[f"kafka://{address.strip()}" for address in kafka.bootstrap_servers.split(",")],
        broker_credentials=credentials(kafka),
        broker_session_timeout=timing.session_timeout_s,
        broker_heartbeat_interval=timing.session_timeout_s / 4,
        broker_rebalance_timeout=60,
        broker_request_timeout=max(90.0, timing.session_timeout_s),
        broker_max_poll_interval=LONGEST_POLL_S,
        broker_max_poll_records=consumer.CHUNK_RECORDS,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=timing.id or None,
        consumer_metadata_max_age_ms=60_000,
        stream_wait_empty=True,
        stream_buffer_maxsize=BUFFERED_CHUNKS,
        table_standby_replicas=0,  # no tables; round-robin instead of Faust's own assignor
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        datadir=Path(tempfile.gettempdir()) / f"freshet-{kafka.group}-faust",  # stays empty
    )
    app.worker = worker
    app.transport.Consumer = consumer.bound(worker)  # type: ignore[misc] # a class attribute, meant to be replaced
    for topic, step in worker.steps.items():
        app.agent(app.topic(topic, schema=consumer.PassThrough()), name=f"take-{topic}", concurrency=1)(
            agent(app, topic, step)
        )
    return app


def agent(app: App, topic: str, step: Step) -> Callable[[Any], Awaitable[None]]:
    """A Faust agent: hand each chunk to `step`; acknowledging is left to whoever made it durable."""

    async def take(stream: Any) -> None:
        stream.enable_acks = False
        try:
            async for event in stream.events():
                await step(topic, event.value, partial(stream.ack, event))
        except asyncio.CancelledError:
            if app.should_stop:
                raise
            leave(Exit.DEFECT, "agent was cancelled", topic=topic)
        except Stopped as stopped:
            leave(Exit.UNFINISHED, UNFINISHED, reason=str(stopped))
        except DeadLetterLimit as limit:
            leave(Exit.REJECTS, "too many dead letters", topic=topic, reason=str(limit), next=REJECTS_ADVICE)
        except BaseException as error:  # noqa: BLE001 - a restarted agent would acknowledge past the failed chunk
            leave(Exit.DEFECT, "agent failed", error, topic=topic)

    return take


def credentials(kafka: Kafka) -> Any:
    """Faust's credentials for these settings, None for plain text. Raises StartupError for files it cannot use."""
    if kafka.security_protocol == "PLAINTEXT":
        return None
    context = tls(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def tls(kafka: Kafka) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(kafka.ca_file) if kafka.ca_file else None)
        if kafka.cert_file:
            context.load_cert_chain(kafka.cert_file, kafka.key_file)
    except (OSError, ssl.SSLError) as error:
        raise StartupError(
            f"Kafka's certificates cannot be used ({error}). Check FRESHET_KAFKA__CA_FILE, __CERT_FILE and __KEY_FILE."
        ) from None
    return context


def run(settings: Settings, only: Collection[str] = CHOICES) -> None:
    """Start and work until a signal comes. Raises StartupError before anything was consumed; ends with SystemExit."""
    logs.configure(settings.log_level)
    app = build_app(settings, only)
    worker = app.worker
    if not worker.steps:
        raise StartupError("nothing to consume: FRESHET_KAFKA__INPUTS has no topic for what --only names")
    worker.broker.reach()
    topics.require(worker.broker, [*worker.steps, settings.kafka.dead_letters_topic])
    worker.sink.prepare()
    if worker.runbooks:
        worker.runbooks.prepare(worker.runbook_positions())
        rounds("runbooks", 5.0, worker.runbooks.repair, worker.metrics.put_off)
    if settings.worker.metrics_port:
        serve_metrics(settings.worker.metrics_port, worker.registry)
    rounds("housekeeping", 1.0, worker.sink.housekeeping, worker.metrics.put_off)
    rounds("topics", 5.0, worker.check_topics, worker.metrics.put_off)
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
