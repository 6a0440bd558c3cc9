"""Faust's side of the worker: the application and its settings, agents without logic, credentials."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import faust

from processors.writer import Stopped
from schemas.errors import StartupError
from schemas.settings import Kafka, Settings
from streams import consumer
from streams.exits import Exit, leave
from streams.flusher import Flusher
from streams.header_names import tolerate
from streams.reject_share import DeadLetterLimit
from streams.watchdog import Progress

STOP_WITHIN_S: Final = 10.0  # after that a flush that waits for a service is given up, unacknowledged
BUFFERED_CHUNKS: Final = 16  # per agent
LONGEST_POLL_S: Final = 2_147_483  # the largest that fits; a blocked sink must not cost the membership for good
METADATA_MS: Final = 10_000  # how long new partitions may go unnoticed
UNFINISHED: Final = "stopped while a service is away; what is not written is read again"
REJECTS_ADVICE: Final = (
    "look at the dead letters; set the topic's format in FRESHET_KAFKA__INPUTS, "
    "or raise FRESHET_WORKER__DEAD_LETTER_LIMIT"
)
# Takes the topic, a chunk of Kafka records, and how to acknowledge it.
Step = Callable[[str, Sequence[Any], Callable[[], Awaitable[object]]], Awaitable[None]]


class App(faust.App):
    """Faust's application, with the worker's own tasks started before and ended after its consumer."""

    logger = logging.getLogger("faust.app")  # the library's voice, not ours
    flusher: Flusher
    progress: Progress
    farewell: Callable[[], None]  # called in a thread, when all that was taken is acknowledged

    async def on_start(self) -> None:
        await super().on_start()
        self._duties = [asyncio.create_task(self._flush()), asyncio.create_task(self._beat())]

    async def on_stop(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(STOP_WITHIN_S, self.flusher.stop.set)
        loop.call_later(
            2 * STOP_WITHIN_S, leave, Exit.UNFINISHED, "did not stop in time; what is not committed is read again"
        )
        await super().on_stop()  # waits until everything that was taken is acknowledged, then commits
        for duty in self._duties:
            duty.cancel()
        await asyncio.to_thread(self.farewell)

    def _crash(self, reason: BaseException) -> None:
        """Faust would stop in good order, as far as it can; whether that ends is not known."""
        leave(Exit.DEFECT, "faust crashed", reason)

    def _create_directories(self) -> None:
        """There are no tables, so nothing is kept in files."""

    async def _flush(self) -> None:
        try:
            await self.flusher.run()
        except asyncio.CancelledError:
            raise
        except Stopped as stopped:
            leave(Exit.UNFINISHED, UNFINISHED, reason=str(stopped))
        except BaseException as error:  # noqa: BLE001 - nothing may be acknowledged after this
            leave(Exit.DEFECT, "flush failed", error)

    async def _beat(self) -> None:
        while True:
            self.progress.beats += 1
            await asyncio.sleep(1)


def make_app(
    settings: Settings,
    *,
    steps: Mapping[str, Step],
    flusher: Flusher,
    progress: Progress,
    listener: consumer.Listener,
    farewell: Callable[[], None],
) -> App:
    """One agent for each topic in `steps`. Nothing connects yet; raises StartupError for files it cannot use."""
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
        consumer_auto_offset_reset="none",  # positions are settled by the listener, never in silence
        consumer_group_instance_id=timing.id or None,
        consumer_metadata_max_age_ms=METADATA_MS,
        stream_wait_empty=True,
        stream_buffer_maxsize=BUFFERED_CHUNKS,
        table_standby_replicas=0,  # no tables; round-robin instead of Faust's own assignor
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
    )
    app.flusher, app.progress, app.farewell = flusher, progress, farewell
    tolerate()
    app.transport.Consumer = consumer.bound(listener)  # type: ignore[misc] # a class attribute, meant to be replaced
    for topic, step in steps.items():
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
