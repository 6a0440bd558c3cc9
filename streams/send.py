"""`python -m streams send`: put a recording or a pipe on a topic, so that people can try it with their own logs."""

import datetime as dt
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.errors import StartupError
from schemas.records import Format, Signal
from schemas.settings import Kafka, kafka_client_config
from schemas.topics import Input
from streams.recording import Dated, Item, Place, Survey, batched, keyed, moved, opened, read

MESSAGE_BYTES: Final = 16_777_216  # as the input topics take them
CONFIRM_S: Final = 60.0
REDRAW_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`speed` 1 is the pace of the recording, None as fast as Kafka takes it."""

    source: str  # a path, or - for standard input
    topic: str
    format: Format | None = None
    shift_to_now: bool = False
    speed: float | None = None
    batch: int = 1
    key_field: str = ""
    place: Place = field(default_factory=Place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was confirmed by Kafka; times are those that the messages carry now."""

    messages: int
    items: int
    size_bytes: int
    seconds: float
    first_ms: int | None
    last_ms: int | None
    rejected: dict[str, int]  # records the worker will send to the dead letters, by reason


def input_of(kafka: Kafka, topic: str, chosen: Format | None) -> Input:
    """How the worker will read this topic; a topic that it does not consume is read as logs, any format."""
    for declared in kafka.declared_inputs():
        if declared.topic == topic:
            return Input(
                topic=topic, signal=declared.signal, format=chosen or declared.format, cluster=declared.cluster
            )
    return Input(topic=topic, signal=Signal.LOG, format=chosen or Format.AUTO)


def send(kafka: Kafka, options: Options, console: Console) -> Sent:
    """Send everything and wait until Kafka has confirmed it. Raises StartupError for what cannot be read or sent."""
    source = input_of(kafka, options.topic, options.format)
    if source.format is Format.TEXT and options.place:
        raise StartupError(f"{options.topic} takes plain text: --cluster, --namespace and --pod need another format")
    began, started_ms = time.monotonic(), time.time_ns() // 1_000_000
    with _rewindable(options) as stream, _progress(console) as progress:
        by_ms, first_ms = 0, None
        if options.shift_to_now or options.speed:
            tick = _ticker(progress, "reading", stream)
            seen = _survey(read(opened(stream)), source, started_ms, tick)
            stream.seek(0)
            first_ms = seen.first_ms
            if options.shift_to_now and seen.last_ms is None:
                raise StartupError("no time was found in it: --shift-to-now has nothing to move; send it without")
            if options.shift_to_now:
                by_ms = shift_ms(seen, started_ms, options.speed)
        dated = Dated(read(opened(stream)), source, started_ms)
        items: Iterable[Item] = moved(dated, by_ms, options.place)
        if options.key_field:
            items = keyed(items, options.key_field)
        batches = batched(items, options.batch)
        if options.speed and first_ms is not None:
            batches = paced(batches, first_ms + by_ms, options.speed, time.monotonic, time.sleep)
        delivery = Delivery(kafka, options.topic, _ticker(progress, f"sending to {options.topic}", stream))
        for item in batches:
            delivery.send(item)
        delivery.finish()
    survey = dated.survey
    return Sent(
        messages=delivery.messages,
        items=delivery.items,
        size_bytes=delivery.size_bytes,
        seconds=time.monotonic() - began,
        first_ms=None if survey.first_ms is None else survey.first_ms + by_ms,
        last_ms=None if survey.last_ms is None else survey.last_ms + by_ms,
        rejected=dict(survey.rejected),
    )


def shift_ms(seen: Survey, started_ms: int, speed: float | None) -> int:
    """By how much to move times so that the last record is now when it is sent, and none lies in the future.

    Whole seconds, down: notations without fractions then move as far as the others.
    """
    if seen.last_ms is None:
        return 0
    sending_ms = seen.span_ms / max(speed, 1.0) if speed else 0.0
    return int(started_ms - seen.last_ms + sending_ms) // 1000 * 1000


def paced(
    items: Iterable[Item], first_ms: int, speed: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[Item]:
    """The same items, each not before its time."""
    began = clock()
    for item in items:
        if item.time_ms is not None:
            wait_s = began + (item.time_ms - first_ms) / 1000 / speed - clock()
            if wait_s > 0:
                sleep(wait_s)
        yield item


class Delivery:
    """A producer that counts what Kafka confirmed. Raises StartupError when Kafka refuses or does not answer."""

    def __init__(self, kafka: Kafka, topic: str, on_confirmed: Callable[[int], None]) -> None:
        self._address, self._topic, self._on_confirmed = kafka.bootstrap_servers, topic, on_confirmed
        self.messages = self.items = self.size_bytes = 0
        self._failed: KafkaError | None = None
        options: dict[str, Any] = {
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "message.max.bytes": MESSAGE_BYTES,
            "message.timeout.ms": int(CONFIRM_S * 1000),
            "log_level": 0,
            "error_cb": lambda _: None,
        }
        self._producer = Producer(kafka_client_config(kafka) | options)

    def send(self, item: Item) -> None:
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    key=item.key,
                    value=item.value,
                    headers=list(item.headers),
                    timestamp=item.time_ms or 0,  # 0: now
                    on_delivery=self._confirm(item.lines, len(item.value)),
                )
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise self._refused(error.args[0]) from None
            else:
                break
        self._producer.poll(0)
        self._check()

    def finish(self) -> None:
        """Wait for the last confirmation."""
        left = self._producer.flush(CONFIRM_S)
        self._check()
        self._on_confirmed(0)
        if left:
            raise StartupError(f"Kafka at {self._address} did not confirm {left} messages in time")

    def _confirm(self, items: int, size_bytes: int) -> Callable[[KafkaError | None, object], None]:
        def note(error: KafkaError | None, _: object) -> None:
            if error is not None:
                self._failed = self._failed or error
                return
            self.messages += 1
            self.items += items
            self.size_bytes += size_bytes
            self._on_confirmed(items)

        return note

    def _check(self) -> None:
        if self._failed is not None:
            raise self._refused(self._failed)

    def _refused(self, error: KafkaError) -> StartupError:
        sent = f"{self.messages} messages were confirmed before"
        return StartupError(f"Kafka at {self._address} did not take a message for {self._topic}: {error.str()}; {sent}")


def report(sent: Sent, options: Options, consumed: bool) -> list[str]:
    """What to tell the user, and what to do next."""
    rate = sent.items / sent.seconds if sent.seconds else 0.0
    lines = [
        f"{sent.items:,} records in {sent.messages:,} messages ({sent.size_bytes / 1e6:.1f} MB) to {options.topic}, "
        f"all confirmed, in {sent.seconds:.1f} s ({rate:,.0f}/s)"
    ]
    lines += [f"{count:,} of them will be dead letters: {reason}" for reason, count in sent.rejected.items()]
    if not consumed:
        return [*lines, f"no worker reads {options.topic}: add it to FRESHET_KAFKA__INPUTS"]
    if sent.first_ms is None or sent.last_ms is None:
        return [*lines, 'next: python -m api ask "what went wrong just now?"']
    first, last = (dt.datetime.fromtimestamp(ms / 1000, dt.UTC) for ms in (sent.first_ms, sent.last_ms))
    until = "%H:%M" if first.date() == last.date() else "%Y-%m-%d %H:%M"
    lines.append(f"they speak of {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC")
    end = last + dt.timedelta(minutes=1)
    return [*lines, f'next: python -m api ask "what went wrong between {first:%Y-%m-%d %H:%M} and {end:{until}} UTC?"']


def _survey(items: Iterable[Item], source: Input, now_ms: int, tick: Callable[[int], None]) -> Survey:
    dated = Dated(items, source, now_ms)
    for _ in dated:
        tick(1)
    tick(0)
    return dated.survey


@contextmanager
def _rewindable(options: Options) -> Iterator[IO[bytes]]:
    """The recording; standard input is kept in a temporary file where it has to be read twice."""
    try:
        if options.source != "-":
            with Path(options.source).open("rb") as stream:
                yield stream
        elif options.shift_to_now or options.speed:
            with tempfile.TemporaryFile() as spool:
                shutil.copyfileobj(sys.stdin.buffer, spool)
                spool.seek(0)
                yield spool
        else:
            yield sys.stdin.buffer
    except OSError as error:
        raise StartupError(f"{options.source} cannot be read: {error.strerror or error}") from None


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[records]:,} records, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        console=console,
    )


def _ticker(progress: Progress, text: str, stream: IO[bytes]) -> Callable[[int], None]:
    """A bar over the bytes of a file (a pipe has no end to measure against), with the number of records so far."""
    size = os.fstat(stream.fileno()).st_size if stream.seekable() else None
    task = progress.add_task(text, total=size, records=0, rate=0.0)
    began = drawn = time.monotonic()
    count = 0

    def tick(records: int) -> None:  # 0: draw now
        nonlocal count, drawn
        count += records
        now = time.monotonic()
        if not records or now - drawn > REDRAW_S:
            drawn, rate = now, count / max(now - began, REDRAW_S)
            progress.update(task, completed=stream.tell() if size else None, records=count, rate=rate)

    return tick
