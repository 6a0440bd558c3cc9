"""What the topic of insights must hold after all that happened, by an undisturbed fold and by what was planted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Final

from processors.insights.reader import Present
from processors.insights.step import State, fold
from processors.registry import address, registry_client
from schemas.errors import InvalidRecord
from schemas.insights import Insight
from schemas.records import Message
from schemas.settings import Settings
from streams.insights.records import RecordDecoder
from tests.faults.insight_traffic import Planted

SHOWN: Final = 12


@dataclass(slots=True)
class Findings:
    """What is wrong, by kind, with some of it in words."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    shown: list[str] = field(default_factory=list)

    def note(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= SHOWN:
            self.shown.append(f"{kind}: {what}")

    @property
    def ok(self) -> bool:
        return not self.counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    findings: Findings
    figures: Mapping[str, Any]


def check(
    settings: Settings,
    *,
    summaries: Sequence[Message],
    insights: Sequence[Message],
    planted: Sequence[Planted],
    calm_until_s: float,
) -> Outcome:
    """`calm_until_s`: incidents that were planted before were disturbed by nothing; latency is told from them."""
    findings = Findings()
    with registry_client(settings.registry) or nullcontext() as client:
        decode = RecordDecoder(client, address(settings.registry))
        read = [(message, decode(message)) for message in insights]
    revisions = same_copies(read, findings)
    told = undisturbed(settings, summaries)
    same_as_undisturbed(revisions, told, findings)
    present = Present()
    for _, insight in read:
        present.see(insight)
    opened = truth(present, planted, findings)
    waits = latencies(read, opened, calm_until_s)
    figures: dict[str, Any] = {
        "planted": len(planted),
        "incidents": len(present),
        "open_at_the_end": len(present.open()),
        "merged": sum(each.state == "merged" for each in present),
        "reopened": sum(each.reopened > 0 for each in present),
        "revisions": sum(map(len, revisions.values())),
        "copies": len(read) - sum(map(len, revisions.values())),
        "summaries": len(summaries),
        "partitions": len({message.partition for message in summaries if message.key}),
        "latency_of": len(waits),
    }
    if len(waits) > 1:
        figures["latency_p50_s"] = round(median(waits), 2)
        figures["latency_p99_s"] = round(quantiles(waits, n=100, method="inclusive")[98], 2)
    return Outcome(findings=findings, figures=figures)


def same_copies(read: Sequence[tuple[Message, Insight]], findings: Findings) -> dict[str, dict[int, Insight]]:
    """Every revision once, its copies byte-identical, none left out, none before the one below it."""
    first: dict[tuple[str, int], Message] = {}
    found: dict[str, dict[int, Insight]] = {}
    for message, insight in read:
        which = (insight.id, insight.revision)
        known = first.setdefault(which, message)
        if (known.value, known.headers) != (message.value, message.headers):
            findings.note("different copies", f"{which} at {known.offset} and {message.offset}")
        mine = found.setdefault(insight.id, {})
        if insight.revision not in mine and insight.revision != len(mine) + 1:
            findings.note("gap", f"{which} came after {len(mine)} revisions")
        if (insight.state == "opened") != (insight.revision == 1):
            findings.note("opened again", f"{which} is {insight.state}")
        mine.setdefault(insight.revision, insight)
    return found


def undisturbed(settings: Settings, summaries: Iterable[Message]) -> dict[tuple[str, int], Insight]:
    """What one process tells that reads the summaries from their first to their last."""
    states: dict[int, State] = {}
    told: dict[tuple[str, int], Insight] = {}
    for message in summaries:
        state = states.setdefault(message.partition, State(settings.detection, settings.correlation))
        try:
            told |= {(insight.id, insight.revision): insight for insight in fold(state, message)}
        except InvalidRecord:
            continue
    return told


def same_as_undisturbed(
    found: Mapping[str, Mapping[int, Insight]], told: Mapping[tuple[str, int], Insight], findings: Findings
) -> None:
    published = {(identity, n): insight for identity, mine in found.items() for n, insight in mine.items()}
    for which in told.keys() - published.keys():
        findings.note("missing", f"{which}: {told[which].title}")
    for which in published.keys() - told.keys():
        findings.note("invented", f"{which}: {published[which].title}")
    for which in told.keys() & published.keys():
        mine, theirs = published[which], told[which]
        if mine.model_copy(update={"runbooks": ()}) != theirs:
            fields = [name for name in Insight.model_fields if getattr(mine, name) != getattr(theirs, name)]
            findings.note("other than undisturbed", f"{which}: {', '.join(fields)}")


def truth(present: Present, planted: Sequence[Planted], findings: Findings) -> dict[str, Planted]:
    """Each that was planted was told once: by one incident that was not merged into another. Returns it by id."""
    at: dict[str, list[Insight]] = defaultdict(list)
    for insight in present:
        for name in {entity.name for entity in insight.entities}:
            at[name].append(insight)
    found: dict[str, Planted] = {}
    for one in planted:
        mine = [each for each in at[one.workload] if each.state != "merged"]
        if not mine:
            findings.note("not found", f"{one.kind} of {one.workload} in {one.cluster!r}")
        if len(mine) > 1:
            findings.note("told twice", f"{one.kind} of {one.workload}: {', '.join(each.id for each in mine)}")
        found |= {each.id: one for each in (*mine, *at[one.workload], *at.get(one.peer, ()))}
    for insight in present:
        if insight.id not in found:
            findings.note("not planted", f"{insight.id}: {insight.title}")
    return found


def latencies(
    read: Sequence[tuple[Message, Insight]], planted: Mapping[str, Planted], calm_until_s: float
) -> list[float]:
    """Seconds from the first record of an incident that opens at once to its first revision, by Kafka's timestamps."""
    first: dict[int, float] = {}
    for message, insight in read:
        one = planted.get(insight.id)
        if one and insight.revision == 1 and one.kind != "crashes" and one.at_s < calm_until_s:
            first.setdefault(one.number, message.timestamp_ms / 1000 - one.at_s)
    return sorted(first.values())
