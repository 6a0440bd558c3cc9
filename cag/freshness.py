"""What an answer could see and what it could not, so that "no errors" is never confused with "no data". Pure."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from cag.evidence import moment
from cag.inert import name
from schemas.context import Freshness, PartitionFreshness, Plan, SourceFreshness

SILENT_AFTER: Final = timedelta(minutes=3)  # a source that spoke before and has said nothing for so long
FORGOTTEN_AFTER: Final = timedelta(days=1)  # one that has been silent this long is taken for gone
LAG_WORTH_SAYING: Final = 1_000  # records
TEXT_ONLY_WORTH_SAYING: Final = 50  # patterns: any new one waits a second for its vector
NAMED: Final = 5  # silent sources, or gaps, that are named before the rest is counted


class TextOnly(NamedTuple):
    """Patterns that are not embedded yet."""

    patterns: int
    workloads: Mapping[str, int]  # those with most of them

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "TextOnly":
        """What the index says to `queries.text_only`."""
        workloads = answer.get("aggregations", {}).get("workloads", {}).get("buckets", [])
        total = answer["hits"].get("total", {}).get("value", 0)
        return cls(total, {bucket["key"]: bucket["doc_count"] for bucket in workloads})


def freshness(
    watermarks: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
    steady: Collection[str],
    plan: Plan | None = None,
    ends: Mapping[tuple[str, int], int] | None,
    dead_letters: int | None,
    text_only: TextOnly | None = None,
    trouble: Sequence[str] = (),
) -> Freshness:
    """`steady`: topics whose sources speak all the time; events and alerts come when something happens.

    `ends`: end offset of each partition, None when Kafka is away; `dead_letters`: in the range, None if unknown.
    """
    sources = sorted((_source(w) for w in watermarks if w["level"] == "source"), key=lambda s: s.newest, reverse=True)
    partitions = [_partition(w, ends) for w in _present(watermarks)]
    if plan is not None and plan.namespaces:
        sources = [s for s in sources if not s.namespace or s.namespace in plan.namespaces]
    known = [s for s in sources if now - s.newest < FORGOTTEN_AFTER]
    newest = max((s.newest for s in known), default=None)
    # What was missing already before the time in question can hold nothing of it.
    since = plan.span.start if plan is not None else now - FORGOTTEN_AFTER
    gaps = [w for w in watermarks if w["level"] == "gap" and moment(w["searchable_ms"]) >= since]
    silent = _silent([s for s in known if s.topic in steady], now)
    missing = [*trouble, *silent, *_gaps(gaps), *_behind(partitions)]
    if not known:
        never = "no telemetry has been indexed yet for this scope"
        missing.append("every source has been silent for more than a day" if sources else never)
    if ends is None:
        missing.append("Kafka did not answer, so the lag is unknown")
    if text_only and text_only.patterns >= TEXT_ONLY_WORTH_SAYING:
        missing.append(_unembedded(text_only))
    if dead_letters:
        missing.append(f"{dead_letters} records of this time went to the dead letters and are not in the answer")
    return Freshness(
        asked_at=now,
        newest=newest,
        sources=tuple(sources[:200]),
        partitions=tuple(sorted(partitions, key=lambda p: (p.topic, p.partition))),
        text_only=text_only.patterns if text_only else 0,
        missing=tuple(missing),
        statement=_statement(newest, now, known, missing),
    )


def _source(w: Mapping[str, Any]) -> SourceFreshness:
    return SourceFreshness(
        topic=w["topic"],
        cluster=w["cluster"],
        namespace=w["namespace"],
        workload=w["workload"],
        newest=moment(w["newest_ms"]),
    )


def _partition(w: Mapping[str, Any], ends: Mapping[tuple[str, int], int] | None) -> PartitionFreshness:
    end = ends.get((w["topic"], w["partition"])) if ends is not None else None
    lag = max(end - w["offset"] - 1, 0) if end is not None else None
    return PartitionFreshness(
        topic=w["topic"], partition=w["partition"], offset=w["offset"], newest=moment(w["newest_ms"]), lag=lag
    )


def _present(watermarks: Sequence[Mapping[str, Any]]) -> Collection[Mapping[str, Any]]:
    """Of each partition the latest watermark: a topic that was deleted and made again has left an older one."""
    marks = (w for w in watermarks if w["level"] == "partition")
    return {(w["topic"], w["partition"]): w for w in sorted(marks, key=lambda w: w.get("searchable_ms", 0))}.values()


def _gaps(gaps: Sequence[Mapping[str, Any]]) -> list[str]:
    said = sorted({_gap(w) for w in gaps})
    return [*said[:NAMED], f"{len(said) - NAMED} more gaps are known"] if len(said) > NAMED else said


def _gap(w: Mapping[str, Any]) -> str:
    if w["offset"] < 0:
        return f"{w['topic']} was deleted and made again; what was left of the old one was never read"
    count, where = w["offset"] - w["from_offset"], f"{w['topic']} partition {w['partition']}"
    if w["reason"] == "cut":
        return f"up to {count:,} records of {where} may be missing: Kafka lost some and gave their offsets to others"
    return f"{count:,} records of {where} were removed by retention before they were read"


def _silent(sources: Sequence[SourceFreshness], now: datetime) -> list[str]:
    silent = sorted((s for s in sources if now - s.newest > SILENT_AFTER), key=lambda s: s.newest, reverse=True)
    said = [
        f"{_place(s) or 'an unnamed source'} has been silent on {s.topic} since {_clock(s.newest, now)}"
        for s in silent[:NAMED]
    ]
    return [*said, f"{len(silent) - NAMED} more sources are silent"] if len(silent) > NAMED else said


def _behind(partitions: Sequence[PartitionFreshness]) -> list[str]:
    behind: dict[str, int] = {}
    for partition in partitions:
        if partition.lag and partition.lag >= LAG_WORTH_SAYING:
            behind[partition.topic] = behind.get(partition.topic, 0) + partition.lag
    return [f"{lag:,} records of {topic} are not indexed yet" for topic, lag in sorted(behind.items())]


def _unembedded(text_only: TextOnly) -> str:
    said = f"{text_only.patterns:,} new log patterns are searchable by text only until they are embedded"
    most = [f"{name(workload)} {patterns:,}" for workload, patterns in text_only.workloads.items() if workload]
    return f"{said} (most: {', '.join(most)})" if most else said


def _statement(
    newest: datetime | None, now: datetime, sources: Sequence[SourceFreshness], missing: Sequence[str]
) -> str:
    if newest is None:
        said = "No data to go by."
    else:
        age = max((now - newest).total_seconds(), 0)
        said = f"Newest data {_clock(newest, now)} UTC ({_age(age)} old), from {len(sources)} sources."
    return f"{said} Not seen: {'; '.join(missing)}." if missing else f"{said} Nothing known to be missing."


def _place(source: SourceFreshness) -> str:
    """Telemetry chooses these names, and they stand outside of every fence."""
    return "/".join(name(part) for part in (source.cluster, source.namespace, source.workload) if part)


def _clock(when: datetime, now: datetime) -> str:
    """The time of day, with its date when that is not today's."""
    when, now = when.astimezone(UTC), now.astimezone(UTC)
    return when.strftime("%H:%M:%S" if when.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
