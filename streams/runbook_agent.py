"""The runbooks topic: each record is applied to the store as it comes; a store that lost something is rebuilt."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from cag.registry import Decode, ValueDecoder
from cag.served import Outcome, WritableStore
from cag.store import RunbookStore
from processors.letters import LetterProducer
from processors.registry import address, registry_client
from processors.writer import Stopped
from schemas.dead_letters import DeadLetter
from schemas.errors import InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.records import Message
from schemas.settings import Kafka, Settings
from streams.intake import message_of
from streams.runbooks import Ignored, apply_runbook_message, repair
from streams.watchdog import Progress

log = structlog.get_logger()

BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.2, 5.0


class RunbookAgent:
    """Applies records one by one. `paused` says why it waits, '' while it runs."""

    def __init__(
        self,
        *,
        kafka: Kafka,
        store: WritableStore,
        decode: Decode,
        letters: LetterProducer,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._kafka, self._store, self._decode, self._letters = kafka, store, decode, letters
        self._progress, self._stop = progress, stop
        self._positions: dict[int, int] = {}  # next offset to read, by partition
        self.topic_id = ""
        self.paused = ""

    @classmethod
    def from_settings(
        cls, settings: Settings, *, letters: LetterProducer, progress: Progress, stop: threading.Event
    ) -> "RunbookAgent":
        decode = ValueDecoder(registry_client(settings.registry), address(settings.registry))
        store = RunbookStore(settings.redis)
        return cls(kafka=settings.kafka, store=store, decode=decode, letters=letters, progress=progress, stop=stop)

    def prepare(self, positions: Mapping[int, int]) -> None:
        """Ask the store once. `positions` are the group's committed offsets. Raises StartupError."""
        self._positions.update(positions)
        try:
            self._store.corpus_version()
        except SinkMisconfigured as error:
            raise StartupError(f"{error}. Check FRESHET_REDIS__*.") from None
        except SinkUnavailable as error:
            raise StartupError(f"{error}. Start it (`make up`) or set FRESHET_REDIS__URL.") from None

    async def take(self, _: str, records: Sequence[Any], acknowledge: Callable[[], Awaitable[object]]) -> None:
        """Apply a chunk and acknowledge it. Raises Stopped when told to stop while a service is away."""
        self._progress.taken += 1
        letters = await asyncio.to_thread(self._apply_all, [message_of(r, self.topic_id) for r in records])
        if letters:
            await asyncio.to_thread(self._letters.deliver, letters, self._stop)
        await acknowledge()
        self._progress.acknowledged += 1

    def repair(self) -> None:
        """Rebuild the store if it cannot hold what was read. Blocks; raises SinkUnavailable and SinkMisconfigured."""
        done = repair(self._store, self._kafka, self._kafka.runbooks_topic, dict(self._positions), self._decode)
        if done is not None:
            log.info("runbooks rebuilt", runbooks=done.runbooks, records=done.records, invalid=done.invalid)
            for partition, end in done.ends.items():  # a position past the end is of a topic that is no more
                self._positions[partition] = min(self._positions.get(partition, 0), end)

    def _apply_all(self, messages: Sequence[Message]) -> list[DeadLetter]:
        letters = []
        for message in messages:
            try:
                self._apply_patiently(message)
            except InvalidRecord as error:
                letters.append(DeadLetter(message=message, index=0, reason=error.reason, stage=error.stage))
            self._positions[message.partition] = message.offset + 1
        return letters

    def _apply_patiently(self, message: Message) -> None:
        delay = BACKOFF_FIRST_S
        while True:
            try:
                applied = apply_runbook_message(message, self._store, self._decode)
            except (SinkUnavailable, SinkMisconfigured) as error:
                if not self.paused:
                    log.warning("runbooks wait", reason=str(error))
                self.paused = str(error)
                if self._stop.wait(random.uniform(0, delay)):  # noqa: S311 - jitter, not a secret
                    raise Stopped(self.paused) from None
                delay = min(delay * 2, BACKOFF_MOST_S)
                continue
            self.paused = ""
            if isinstance(applied, Ignored):
                # Nothing is lost: `repair` reads an unbuilt topic from its beginning, and the others are history.
                level = log.info if applied.reason is Outcome.UNBUILT else log.debug
                level("runbook record ignored", path=applied.path, reason=applied.reason)
            elif applied.warnings:
                log.warning("runbook", path=applied.path, warnings=applied.warnings)
            return
