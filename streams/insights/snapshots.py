"""Snapshots of what is known of a partition of the summaries, so that a restart goes on in seconds.

    <topic id>/<partition>/<slot>/0 .. n-1     the state as JSON, cut into chunks (Kafka compresses them)
    <topic id>/<partition>/<slot>/manifest     last: position, number of chunks, digest, version

Two slots take turns, so that one that was not finished, or that two writers mixed, leaves the other whole. The newest
whole one is restored; without any the summaries are folded again from their start, which ends in the same state.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson
import structlog

from cag.topic import Topic, describe, read_to_end
from processors.insights.step import State
from schemas.errors import SinkUnavailable
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.outbox import Outbox, Outgoing

log = structlog.get_logger()

VERSION: Final = 1  # of the chunks and the manifest; the state has its own
CHUNK_BYTES: Final = 512 * 1024
SLOTS: Final = 2
MANIFEST: Final = "manifest"
CONFIRM_S: Final = 5.0  # a snapshot may be late, and a rebalance or a stop must not wait for it
# What `State.load` raises for something that another version of it has written.
UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state that holds everything of its partition below `position`. `slot`: where it lies."""

    state: State
    position: int
    slot: int


class Snapshots:
    """Calls block, but for `size` and `age_s`."""

    def __init__(
        self, settings: Settings, outbox: Outbox, *, read: Callable[[], Iterable[Message]] | None = None
    ) -> None:
        self._settings, self._outbox = settings, outbox
        self._read = read or self._read_topic
        self._saved_at: dict[int, float] = {}  # by partition, seconds of `time.monotonic`
        self._size_bytes = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "Snapshots":
        return cls(settings, Outbox(settings.kafka, settings.insights.state_topic, confirm_s=CONFIRM_S))

    def restore(self, topic_id: str, partitions: Iterable[int]) -> dict[int, Snapshot]:
        """The newest whole one of each; partitions without one are left out. Raises SinkUnavailable."""
        wanted = {str(partition): partition for partition in partitions}
        slots: dict[tuple[int, int], dict[str, bytes]] = {}
        for message in self._read() if wanted else ():
            parts = (message.key or b"").decode(errors="replace").split("/")
            if len(parts) != 4 or parts[0] != topic_id or parts[1] not in wanted or not message.value:
                continue
            if parts[2].isdecimal() and int(parts[2]) < SLOTS:
                slots.setdefault((wanted[parts[1]], int(parts[2])), {})[parts[3]] = message.value
        found: dict[int, Snapshot] = {}
        for (partition, slot), values in sorted(slots.items(), key=lambda each: position_of(each[1]), reverse=True):
            if partition not in found and (snapshot := self._whole(partition, slot, values)):
                found[partition] = snapshot
        return found

    def save(self, topic_id: str, partition: int, slot: int, state: State, position: int) -> bool:
        """Whether it was confirmed; when not, the one in the other slot still counts."""
        body = orjson.dumps(state.dump())
        pieces = [body[start : start + CHUNK_BYTES] for start in range(0, len(body), CHUNK_BYTES)]
        manifest = {"v": VERSION, "position": position, "chunks": len(pieces), "digest": digest_of(body)}
        named = [*((str(n), piece) for n, piece in enumerate(pieces)), (MANIFEST, orjson.dumps(manifest))]
        messages = [Outgoing(f"{topic_id}/{partition}/{slot}/{name}".encode(), value, 0) for name, value in named]
        try:
            self._outbox.offer(messages)
        except SinkUnavailable as error:
            log.warning("a snapshot is put off", partition=partition, reason=str(error))
            return False
        self._saved_at[partition], self._size_bytes = time.monotonic(), len(body)
        return True

    def forget(self, partitions: Iterable[int]) -> None:
        """These are no longer ours to report."""
        for partition in partitions:
            self._saved_at.pop(partition, None)

    def size(self) -> float:
        """Bytes of the last one."""
        return self._size_bytes

    def age_s(self) -> float:
        """Of the oldest among those of our partitions; 0 without any."""
        return time.monotonic() - min(self._saved_at.values(), default=time.monotonic())

    def _whole(self, partition: int, slot: int, values: Mapping[str, bytes]) -> Snapshot | None:
        """None when it is not finished, or of another version."""
        try:
            manifest: dict[str, Any] = orjson.loads(values[MANIFEST])
            if manifest["v"] != VERSION:
                raise ValueError(f"snapshot of version {manifest['v']!r}")
            body = b"".join(values[str(n)] for n in range(manifest["chunks"]))
            if digest_of(body) != manifest["digest"]:
                raise ValueError("snapshot is not whole")
            state = State.load(orjson.loads(body), self._settings.detection, self._settings.correlation)
            return Snapshot(state=state, position=int(manifest["position"]), slot=slot)
        except UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            log.warning("a snapshot cannot be used", partition=partition, slot=slot, reason=reason)
            return None

    def _read_topic(self) -> Iterable[Message]:
        """One partition by declaration; the order of a slot's records is that of their writing."""
        topic: Topic = describe(self._settings.kafka, self._outbox.topic)
        return (message for message in read_to_end(self._settings.kafka, topic) if isinstance(message, Message))


def position_of(values: Mapping[str, bytes]) -> int:
    """Of a slot, as its manifest says; -1 without one that can be read."""
    try:
        return int(orjson.loads(values[MANIFEST])["position"])
    except UNREADABLE:
        return -1


def digest_of(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()
