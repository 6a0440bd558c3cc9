"""Sending summaries: what became durable in the index is told to the topic before its records are acknowledged.

At least once: a worker that dies in between reads the same records again, writes the same documents again (which
changes nothing), and tells of them again.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from processors.fold import Fold
from processors.index import Write
from processors.insights.summaries import encode, summary_of
from schemas.documents import Target
from schemas.settings import Settings
from schemas.summaries import Feedback, Summary, Tick
from streams.insights.outbox import Outbox, Outgoing
from streams.metrics import InsightMetrics

KINDS: Final = frozenset(("occurrences", "series", "events", "alerts"))


class SummaryProducer:
    """`note` and `deliver` from the thread that writes, `tick` from another, `forward` from a third."""

    def __init__(self, outbox: Outbox, metrics: InsightMetrics) -> None:
        self._outbox, self._metrics = outbox, metrics
        self._noted: list[Write] = []
        self._newest_ms = self._told_ms = 0
        self._partitions: list[int] = []

    @classmethod
    def from_settings(cls, settings: Settings, metrics: InsightMetrics) -> "SummaryProducer":
        return cls(Outbox(settings.kafka, settings.insights.summaries_topic), metrics)

    @property
    def paused(self) -> str:
        """Why sending waits, '' while it runs."""
        return self._outbox.paused

    def note(self, write: Write) -> None:
        """A document is durable as this write has it; `Writer` calls it."""
        if write.delta is not None and write.target.kind in KINDS:
            self._noted.append(write)

    def deliver(self, fold: Fold, stop: threading.Event) -> None:
        """Tell what was noted of this fold. Blocks until Kafka confirmed it; raises Stopped."""
        noted, self._noted = self._noted, []
        summaries: list[Summary] = []
        for write in noted:
            pattern = fold.patterns.get(Target("patterns", write.target.day, write.fixed.get("pattern_id", "")), {})
            summary = summary_of(write.target, write.fixed, write.delta or {}, pattern.get("template", ""))
            if summary is not None:
                summaries.append(summary)
        if summaries:
            messages = [Outgoing(cluster.encode(), value) for cluster, value in encode(summaries)]
            left_out = self._outbox.deliver(messages, stop)
            self._metrics.sent(Counter(write.target.kind for write in noted), left_out)
        self._newest_ms = max(self._newest_ms, *fold.sources.values(), 0)

    def forward(self, feedback: Sequence[Feedback], stop: threading.Event) -> None:
        """To every partition: which of them holds the incident is not known here. Blocks; raises Stopped."""
        values = [value for _, value in encode(feedback)]
        self._outbox.deliver([Outgoing(b"", value, p) for value in values for p in self._all_partitions()], stop)

    def tick(self) -> None:
        """Tell every partition how far event time has come, if it has. Blocks; raises SinkUnavailable."""
        newest_ms = self._newest_ms
        if newest_ms <= self._told_ms:
            return
        [(_, value)] = encode([Tick(newest_ms)])
        self._outbox.offer([Outgoing(b"", value, partition) for partition in self._all_partitions()])
        self._told_ms = newest_ms

    def _all_partitions(self) -> Sequence[int]:
        """Their number is fixed for good."""
        self._partitions = self._partitions or self._outbox.partitions()
        return self._partitions
