"""What an answer could see and what it could not, so that "no errors" is never confused with "no data". Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from cag.cadence import LATEST, Speaker, Speech
from cag.evidence import moment
from cag.inert import name
from schemas.context import Freshness, PartitionFreshness, Plan, SourceFreshness
from schemas.records import Signal

SCRAPED: Final = timedelta(seconds=90)  # a metric source: Prometheus scrapes each minute unless it is told otherwise
SLACK: Final = timedelta(minutes=1)  # of a past moment the minute that it lies in is not looked at
FORGOTTEN_AFTER: Final = timedelta(days=1)  # one that has been silent this long is taken for gone
LAG_WORTH_SAYING: Final = 1_000  # records
TEXT_ONLY_WORTH_SAYING: Final = 50  # patterns: any new one waits a second for its vector
RUNBOOKS_WORTH_SAYING_S: Final = 30.0
HEARTBEAT: Final = timedelta(minutes=1)  # a replay that has not been heard of for so long was interrupted
NAMED: Final = 5  # silent sources, or gaps, that are named before the rest is counted
ALL_SILENT, MOST_SILENT = 3, 0.75  # sources, and their share: so many fall silent together for one reason


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the stores say. `ends`: end offset of each partition, None when Kafka is away."""

    marks: Sequence[Mapping[str, Any]] = ()  # documents of the watermarks
    heard: Mapping[Speaker, Speech] = field(default_factory=dict)  # the rhythm of sources of logs
    past: bool = False  # the asked moment lies behind what is indexed: `heard` is as of then, the marks are not
    ends: Mapping[tuple[str, int], int] | None = None
    dead_letters: int | None = None  # since the range began; None: unknown
    text_only: TextOnly | None = None
    runbooks_age_s: float | None = None


def freshness(
    seen: Seen, *, now: datetime, steady: Mapping[str, Signal], plan: Plan | None = None, trouble: Sequence[str] = ()
) -> Freshness:
    """`steady`: topics whose sources speak all the time; events and alerts come when something happens."""
    sources = sorted(_sources(seen, now), key=lambda s: s.newest, reverse=True)
    if plan is not None and plan.namespaces:
        sources = [s for s in sources if not s.namespace or s.namespace in plan.namespaces]
    known = [s for s in sources if now - s.newest < FORGOTTEN_AFTER]
    newest = max((s.newest for s in known), default=None)
    partitions = [] if seen.past else [_partition(w, seen.ends) for w in _present(seen.marks)]
    heard_to = _heard_to(known, partitions, now)
    silent = [
        s for s in known if s.topic in steady and heard_to[s.topic] - s.newest > _patience(s, seen, steady[s.topic])
    ]
    asked = frozenset(plan.workloads) if plan else frozenset[str]()
    silent.sort(key=lambda s: (s.workload in asked, s.newest), reverse=True)
    # What was missing already before the time in question can hold nothing of it.
    since = plan.span.start if plan is not None else now - FORGOTTEN_AFTER
    gaps = [w for w in seen.marks if w["level"] == "gap" and moment(w["searchable_ms"]) >= since]
    replays = [] if seen.past else _replays(seen.marks, now)
    missing = [*trouble, *_silent(silent, known, partitions, now), *_gaps(gaps), *_behind(partitions), *replays]
    if not known:
        never = "no telemetry has been indexed yet for this scope"
        missing.append("every source has been silent for more than a day" if sources else never)
    if seen.ends is None:
        missing.append("Kafka did not answer, so the lag is unknown")
    if seen.text_only and seen.text_only.patterns >= TEXT_ONLY_WORTH_SAYING:
        missing.append(_unembedded(seen.text_only))
    if seen.dead_letters:
        missing.append(f"{seen.dead_letters} records of this time went to the dead letters and are not in the answer")
    if (age := seen.runbooks_age_s) is not None and age >= RUNBOOKS_WORTH_SAYING_S:
        missing.append(f"runbooks were last known to be up to date {_age(age)} ago")
    return Freshness(
        asked_at=now,
        newest=newest,
        sources=tuple(sources[:200]),
        partitions=tuple(sorted(partitions, key=lambda p: (p.topic, p.partition))),
        silent=tuple(silent[:200]),
        lag=_lag(partitions),
        dead_letters=seen.dead_letters,
        replays=tuple(replays),
        runbooks_age_s=seen.runbooks_age_s,
        text_only=seen.text_only.patterns if seen.text_only else 0,
        missing=tuple(missing),
        statement=statement(newest, now, len(known), missing),
    )


def _sources(seen: Seen, now: datetime) -> list[SourceFreshness]:
    marks = [w for w in seen.marks if w["level"] == "source"]
    if not seen.past:
        return [_source(w) for w in marks]
    topics = {Speaker(w["cluster"], w["namespace"], w["workload"]): w["topic"] for w in marks}
    then = [_source(w) for w in marks if moment(w["newest_ms"]) <= now]  # it has said nothing since
    return then + [
        SourceFreshness(topic=topics.get(who, ""), **who._asdict(), newest=said.newest)
        for who, said in seen.heard.items()
        if said.newest <= now
    ]


def _heard_to(
    known: Sequence[SourceFreshness], partitions: Sequence[PartitionFreshness], now: datetime
) -> dict[str, datetime]:
    """By topic, until when silence would show: what still waits in Kafka may be of any source.

    A topic that is not read at all any more would hide every silence: after `LATEST` it does not count as waiting.
    """
    newest: dict[str, datetime] = {}
    for source in known:
        newest[source.topic] = max(source.newest, newest.get(source.topic, source.newest))
    waiting = {p.topic for p in partitions if p.lag}
    return {t: at if t in waiting and now - at < LATEST else now for t, at in newest.items()}


def _patience(source: SourceFreshness, seen: Seen, signal: Signal) -> timedelta:
    """How long this source may be silent before it is worth saying."""
    slack = SLACK if seen.past else timedelta()
    if signal is not Signal.LOG:
        return SCRAPED + slack
    said = seen.heard.get(Speaker(source.cluster, source.namespace, source.workload))
    return (said.patience if said else LATEST) + slack


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


def _silent(
    silent: Sequence[SourceFreshness],
    known: Sequence[SourceFreshness],
    partitions: Sequence[PartitionFreshness],
    now: datetime,
) -> list[str]:
    """Those asked about first. All of them together have one reason, which is not theirs while records wait."""
    alike = [s for s in known if s.topic in {x.topic for x in silent}]
    if len(silent) >= max(ALL_SILENT, MOST_SILENT * len(alike)):
        since, all_of = _clock(max(s.newest for s in silent), now), len(silent) == len(alike)
        if all_of and (waiting := _lag(partitions)):
            return [f"nothing has been indexed since {since} and {waiting:,} records wait: are the workers running"]
        who = f"all {len(silent)}" if all_of else f"{len(silent)} of {len(alike)}"
        return [f"{who} sources have been silent since {since} or longer"]
    said = [
        f"{_place(s) or 'an unnamed source'} has been silent on {s.topic} since {_clock(s.newest, now)}"
        for s in silent[:NAMED]
    ]
    return [*said, f"{len(silent) - NAMED} more sources are silent"] if len(silent) > NAMED else said


def _replays(marks: Sequence[Mapping[str, Any]], now: datetime) -> list[str]:
    """A replay says what it reads and how much is left; one that ends says nothing any more."""
    said = []
    for mark in (w for w in marks if w["level"] == "replay"):
        old = now - moment(mark["searchable_ms"]) > HEARTBEAT
        state = "was interrupted" if old else "is going on"
        said.append(f"a replay of {mark['topic']} {state} with {mark['offset']:,} messages left: counts may change")
    return said


def _lag(partitions: Sequence[PartitionFreshness]) -> int | None:
    known = [partition.lag for partition in partitions if partition.lag is not None]
    return sum(known) if known else None


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


def with_trouble(seen: Freshness, trouble: Sequence[str]) -> Freshness:
    """The same with what went wrong elsewhere, which is said first."""
    if not trouble:
        return seen
    missing = tuple(dict.fromkeys((*trouble, *seen.missing)))  # what two have met is said once
    sources = len([s for s in seen.sources if seen.asked_at - s.newest < FORGOTTEN_AFTER])
    said = statement(seen.newest, seen.asked_at, sources, missing)
    return seen.model_copy(update={"missing": missing, "statement": said})


def statement(newest: datetime | None, now: datetime, sources: int, missing: Sequence[str]) -> str:
    """Two sentences for people: how fresh, and what is missing."""
    if newest is None:
        said = "No data to go by."
    else:
        age = max((now - newest).total_seconds(), 0)
        said = f"Newest data {_clock(newest, now)} UTC ({_age(age)} old), from {sources} sources."
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
