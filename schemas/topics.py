"""The topics table: each topic is declared once, with who writes it, who reads it and how long it is kept."""

from dataclasses import dataclass, field
from typing import Final

from schemas.insight_settings import Insights
from schemas.records import Format, Signal

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """An input topic. Names are the user's own; the format is sniffed for each message when `auto`."""

    topic: str
    signal: Signal
    format: Format = Format.AUTO
    cluster: str = ""  # used where the shipper does not say which cluster it runs in


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic that `python -m streams topics create` makes and `topics verify` checks."""

    name: str
    partitions: int
    purpose: str
    config: dict[str, str] = field(default_factory=dict)


DEFAULT_INPUTS: Final = (
    Input(topic="logs", signal=Signal.LOG),
    Input(topic="metrics", signal=Signal.METRIC),
    Input(topic="k8s-events", signal=Signal.EVENT),
    Input(topic="alerts", signal=Signal.ALERT),
)
RUNBOOKS: Final = "freshet.runbooks.v1"
DEAD_LETTERS: Final = "freshet.dead-letters.v1"


def topics_table(
    inputs: tuple[Input, ...],
    *,
    partitions: int,
    retention_ms: int,
    runbooks: str,
    dead_letters: str,
    insights: Insights,
) -> tuple[Topic, ...]:
    """Every topic that the product needs, inputs first. `retention_ms` is for the inputs; -1 keeps for ever."""
    telemetry = {"cleanup.policy": "delete", "retention.ms": str(retention_ms), "max.message.bytes": "16777216"}
    return (
        *(
            Topic(name=i.topic, partitions=partitions, purpose=f"{i.signal} telemetry ({i.format})", config=telemetry)
            for i in inputs
        ),
        Topic(
            name=runbooks,
            # Fixed for good: a compacted topic that gains partitions loses the order of a key.
            partitions=3,
            purpose="runbooks: key = path, value = Markdown, null = deleted",
            config={
                "cleanup.policy": "compact",
                "min.cleanable.dirty.ratio": "0.1",
                "delete.retention.ms": str(7 * DAY_MS),
                "segment.ms": str(DAY_MS),
                "max.message.bytes": "2097152",  # a runbook of 1 MiB that does not compress
            },
        ),
        Topic(
            name=dead_letters,
            partitions=3,
            purpose="rejected records: original bytes, reason in the headers; restrict who may read it",
            config={
                "cleanup.policy": "delete",
                "retention.ms": str(14 * DAY_MS),
                "max.message.bytes": "17825792",
                # Kept for so long after the rejection. By the source's own time, a letter about an old or an undated
                # record would be deleted before anybody saw it.
                "message.timestamp.type": "LogAppendTime",
            },
        ),
        *(insight_topics(insights) if insights.enabled else ()),
    )


def insight_topics(insights: Insights) -> tuple[Topic, ...]:
    """Partition counts are fixed for good: each holds the order of its keys."""
    return (
        Topic(
            name=insights.summaries_topic,
            partitions=6,
            purpose="internal: per-minute summaries, key = cluster",
            config={"cleanup.policy": "delete", "retention.ms": str(3 * DAY_MS), "max.message.bytes": "4194304"},
        ),
        insights_topic(insights.topic),
        Topic(
            name=insights.feedback_topic,
            partitions=3,
            purpose="what people said about incidents, key = incident id",
            config={"cleanup.policy": "delete", "retention.ms": str(365 * DAY_MS)},
        ),
        Topic(
            name=insights.state_topic,
            partitions=1,
            purpose="internal: snapshots of what is known of each partition of the summaries",
            config={
                "cleanup.policy": "compact",
                "min.cleanable.dirty.ratio": "0.1",
                "segment.ms": str(DAY_MS // 24),
                "max.message.bytes": "4194304",
            },
        ),
    )


def insights_topic(name: str) -> Topic:
    """Compacted, so that a newcomer reads the present state; incidents that ended long ago go."""
    return Topic(
        name=name,
        partitions=3,
        purpose="incident insights: Avro, CloudEvents headers, key = incident id; the highest revision counts",
        config={
            "cleanup.policy": "compact,delete",
            "retention.ms": str(30 * DAY_MS),
            "min.cleanable.dirty.ratio": "0.1",
            "segment.ms": str(DAY_MS // 4),
            "max.message.bytes": "1048576",
        },
    )
