"""Tells questions that a replay into the live generation is going on: counts may still change until it ends."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from processors.index import OpenSearchIndex
from schemas.documents import Target, digest
from streams.replay.loop import Replay

BEAT_EVERY_S: Final = 10.0  # questions take one that is silent for a minute for interrupted


class Announcement:
    """A document of the watermarks: written now and then, removed at the end, left behind by an interruption."""

    def __init__(
        self,
        index: OpenSearchIndex,
        group: str,
        topics: Sequence[str],
        publish: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`publish` is called before each beat; `clock` tells seconds since 1970."""
        self._index, self._topics, self._publish, self._clock = index, ", ".join(topics), publish, clock
        identity = digest("replay", group)
        self._path = f"/{index.names.index(Target('watermarks', '', identity))}/_doc/{identity}"
        self._told_at = 0.0
        self._left = 0  # messages

    def note(self, replay: Replay) -> None:
        self._left = replay.left

    def beat(self) -> None:
        """Called every second or so; raises SinkUnavailable."""
        self._publish()
        now = self._clock()
        if now - self._told_at >= BEAT_EVERY_S:
            self._told_at = now
            told: dict[str, Any] = {"level": "replay", "topic": self._topics, "offset": self._left}
            self._index.request("PUT", self._path, told | {"searchable_ms": int(now * 1000)})

    def end(self) -> None:
        """Also what an interrupted run before this one has left. Raises SinkUnavailable."""
        self._told_at = 0.0
        self.beat()  # there is something to delete then, however short this run was
        self._index.request("DELETE", self._path)
