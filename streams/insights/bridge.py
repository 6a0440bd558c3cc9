"""The live insight topic to a receiver of alerts: a restart of either side loses nothing, and no replay pages.

What is open is rebuilt from the compacted topic at the start. Positions are committed when what was read is delivered.
"""

import datetime as dt
import random
import re
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Final, Protocol, TypeVar

import structlog

from cag.topic import End, Topic, describe, read_to_end
from processors.registry import address, registry_client
from processors.writer import Stopped
from schemas.errors import FreshetError, InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.insight_settings import Bridge as BridgeSettings
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.alerts import OVER, Alert, alert_of
from streams.insights.reading import MOST_OPEN, Reader, Revisions, present
from streams.insights.receivers import Change, Receiver
from streams.insights.records import RecordDecoder, source_of

log = structlog.get_logger()
T = TypeVar("T")

BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 10.0
_LIVE: Final = re.compile(r"/freshet/[^/]+/clusters/[^/]*")
Decode = Callable[[Message], Insight]


class Positioned(Protocol):
    """What the bridge needs of a reader (see `streams/insights/reading.py`)."""

    def committed(self) -> dict[int, int]: ...
    def start(self, offsets: Mapping[int, int]) -> None: ...
    def read(self) -> list[Message]: ...
    def commit(self, offsets: Mapping[int, int]) -> None: ...


def refused(message: Message) -> str:
    """Why a record pages nobody; '' for one that the live publisher wrote."""
    return "" if _LIVE.fullmatch(source_of(message)) else "its ce_source is not that of a live incident"


@dataclass(slots=True)
class Standing:
    """What a receiver has been told: the alert of each open incident."""

    settings: BridgeSettings
    revisions: Revisions = field(default_factory=Revisions)
    open: dict[str, Alert] = field(default_factory=dict)

    def take(self, insight: Insight, now: dt.datetime) -> Change | None:
        """None for a copy, or an older revision than one that was told."""
        if not self.revisions.news(insight.id, insight.revision):
            return None
        before = self.open.pop(insight.id, None)
        alert = alert_of(insight, self.settings, now, before)
        if insight.state not in OVER:
            self.open[insight.id] = alert
            if len(self.open) > MOST_OPEN:
                gone = next(iter(self.open))
                del self.open[gone]
                log.warning("more open incidents than are reminded of", incident=gone, most=MOST_OPEN)
        return Change(alert, before)


class Bridge:
    """Tells one receiver. `paused` says why it waits, '' while it runs."""

    def __init__(
        self,
        settings: Settings,
        receiver: Receiver,
        reader: Positioned,
        decode: Decode,
        *,
        records: Callable[[], Iterable[Message | End]],
        stop: Event,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`records`: a reading of the whole topic."""
        self._settings, self._receiver, self._reader, self._decode = settings, receiver, reader, decode
        self._records, self._stop, self._now, self._monotonic = records, stop, now, monotonic
        self._standing = Standing(settings.bridge)
        self._reminded = 0.0
        self.paused = ""
        self.told = self.refused = 0

    @classmethod
    def from_settings(cls, settings: Settings, receiver: Receiver, group: str, stop: Event) -> "Bridge":
        """Raises StartupError when there is no such topic, or when it is one of replays."""
        topic = live_topic(settings)
        decode = RecordDecoder(registry_client(settings.registry), address(settings.registry))
        reader = Reader(settings.kafka, topic, f"{settings.kafka.group}.{group}")
        return cls(settings, receiver, reader, decode, records=lambda: read_to_end(settings.kafka, topic), stop=stop)

    def run(self) -> None:
        """Until `stop` is set. What was not delivered then is delivered after the next start."""
        try:
            self.begin()
            while not self._stop.is_set():
                self.turn()
        except Stopped:
            return

    def begin(self) -> None:
        """Rebuild what is open and tell it. Raises Stopped."""
        committed = self._patiently(self._reader.committed)
        found = self._patiently(lambda: present(self._records(), committed))
        starts = {p: committed.get(p, end) for p, end in found.ends.items()}
        changes = self._changes(found.open.values())
        self._standing.revisions = found.revisions
        fresh = {m.key for m in found.open.values() if m.partition not in committed}
        # A receiver of news was told, before the restart, what stands below a committed position.
        self._tell([c for c in changes if c.alert.incident.encode() in fresh])
        self._remind(found.gone)
        self._patiently(lambda: self._reader.commit(starts))
        self._reader.start(starts)
        log.info("bridge runs", open=len(self._standing.open), invalid=found.invalid, reads_from=starts)

    def turn(self) -> None:
        """One batch: told, then committed. Raises Stopped."""
        messages = self._patiently(self._reader.read)
        if messages:
            self._tell(self._changes(messages))
            ends = {m.partition: m.offset + 1 for m in messages}
            self._patiently(lambda: self._reader.commit(ends))
        if self._monotonic() - self._reminded >= self._settings.bridge.resend_s:
            self._remind()

    def _changes(self, messages: Iterable[Message]) -> list[Change]:
        changes = []
        for message in messages:
            why = refused(message)
            try:
                insight = None if why else self._patiently(lambda m=message: self._decode(m))  # type: ignore[misc]
            except InvalidRecord as error:
                insight, why = None, error.reason
            if insight is None:
                self.refused += 1
                log.warning("record is not told", partition=message.partition, offset=message.offset, reason=why)
            elif change := self._standing.take(insight, self._now()):
                changes.append(change)
        return changes

    def _tell(self, changes: Sequence[Change]) -> None:
        self._patiently(lambda: self._receiver.tell(changes))
        self.told += len(changes)

    def _remind(self, but: Container[str] = ()) -> None:
        """`but`: what ended while nobody looked: its end is about to be told, and must not page first."""
        self._reminded = self._monotonic()
        alerts = [alert for incident, alert in self._standing.open.items() if incident not in but]
        self._patiently(lambda: self._receiver.remind(alerts))

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call until it is answered, without a limit in time. Raises Stopped when told to stop meanwhile."""
        delay = BACKOFF_FIRST_S
        while True:
            try:
                result = call()
            except (SinkUnavailable, SinkMisconfigured) as error:
                self._say(error)
            else:
                self.paused = ""
                return result
            if self._stop.wait(random.uniform(0, delay)):  # noqa: S311 - jitter, not a secret
                raise Stopped(self.paused)
            delay = min(delay * 2, BACKOFF_MOST_S)

    def _say(self, error: FreshetError) -> None:
        reason = str(error)
        if reason != self.paused:
            alarm = isinstance(error, SinkMisconfigured)
            (log.error if alarm else log.warning)("bridge waits", reason=reason)
        self.paused = reason


def live_topic(settings: Settings) -> Topic:
    """Raises StartupError for a topic in the namespace of replays: nobody is paged from there."""
    name = settings.insights.topic
    if ".replay." in name:
        raise StartupError(f"{name} is a replay's topic, and a replay pages nobody: mend FRESHET_INSIGHTS__TOPIC")
    return describe(settings.kafka, name)
