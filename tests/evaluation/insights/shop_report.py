"""What the shop's plays say together: by group, by kind of incident, beside the peers, and what goes wrong. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from rich.table import Table

from tests.evaluation.insights import report
from tests.evaluation.insights.report import Goal, Part
from tests.evaluation.insights.truth import Episode, Judged, Verdict

BESIDE: Final = ("found", "within_60s", "delay_p50_s", "top1", "top3", "insights_per_incident", "false_per_hour")
Row = Mapping[str, Any]


class _Play(Protocol):
    @property
    def group(self) -> str: ...
    @property
    def seed(self) -> int: ...


class Told(Protocol):
    """See `shop.Told`."""

    @property
    def play(self) -> _Play: ...
    @property
    def judged(self) -> Judged: ...
    @property
    def peers(self) -> Mapping[str, Judged]: ...
    @property
    def latencies_s(self) -> Sequence[float]: ...
    @property
    def records(self) -> int: ...
    @property
    def seconds(self) -> float: ...


def reported(told: Sequence[Told]) -> Part:
    """Tables, figures and goals of all plays together."""
    groups = {each.play.group: [t.judged for t in told if t.play.group == each.play.group] for each in told}
    by_group = {name: report.figures(judged) for name, judged in groups.items()}
    whole = report.figures([each.judged for each in told])
    latencies = [latency for each in told for latency in each.latencies_s]
    whole |= {
        "latency_p50_s": report.percentile(latencies, 0.5),
        "latency_p99_s": report.percentile(latencies, 0.99),
        "records_per_s": round(sum(each.records for each in told) / sum(each.seconds for each in told)),
    }
    peers = {name: report.figures([each.peers[name] for each in told]) for name in (told[0].peers if told else ())}
    return Part(
        tables=[
            report.table("the shop, by group", by_group | {"all": whole}),
            report.table("the shop, by kind", _by_kind(told)),
            report.table("the shop, beside simple peers", {"Freshet": whole} | peers, BESIDE),
            *_wrong(told),
        ],
        figures=whole | {"groups": by_group, "peers": {n: {c: row[c] for c in BESIDE} for n, row in peers.items()}},
        goals=_goals(whole),
        details={f"{each.play.group}-{each.play.seed}": _details(each) for each in told},
    )


def _goals(whole: Row) -> list[Goal]:
    return [
        Goal(name="incidents found within 60 s", value=whole["within_60s"], limit=1.0, at_least=True),
        Goal(name="right entity first", value=whole["top1"], limit=report.RIGHT, at_least=True),
        Goal(
            name="false incidents per quiet hour", value=whole["false_per_hour"], limit=report.FALSE_PER_HOUR,
            at_least=False,
        ),
    ]  # fmt: skip


def _by_kind(told: Sequence[Told]) -> dict[str, Row]:
    verdicts = [verdict for each in told for verdict in each.judged.verdicts]
    kinds = sorted({verdict.truth.kind for verdict in verdicts})
    return {
        kind: report.figures(
            [Judged(verdicts=tuple(v for v in verdicts if v.truth.kind == kind), false=(), quiet_hours=0.0)]
        )
        for kind in kinds
    }


def _wrong(told: Sequence[Told]) -> list[Table]:
    """False incidents, and true ones that were missed, late, in pieces, or blamed on somebody else."""
    false = Table("play", "opened", "title", "symptoms", "state", title="false incidents")
    amiss = Table("play", "incident", "at fault", "delay s", "rank", "insights", "first cause", title="amiss")
    for each in told:
        name = f"{each.play.group} {each.play.seed}"
        for episode in each.judged.false:
            false.add_row(name, *_cells(episode))
        for v in each.judged.verdicts:
            late = v.delay_s is None or v.delay_s > report.WITHIN_S
            if late or v.last_rank != 1 or v.insights != 1:
                cells = (v.delay_s, v.last_rank, v.insights)
                amiss.add_row(name, v.truth.kind, str(v.truth.fault), *map(report.number, cells), _blamed(v))
    return [shown for shown in (amiss, false) if shown.row_count]


def _cells(episode: Episode) -> tuple[str, ...]:
    first = episode.arrivals[0].insight
    symptoms = "; ".join(f"{each.kind} {each.name} of {each.entity}" for each in first.symptoms[:4])
    return f"{first.detected:%m-%d %H:%M:%S}", first.title[:70], symptoms[:160], episode.last.state


def _blamed(verdict: Verdict) -> str:
    if not verdict.episodes:
        return ""
    causes = verdict.episodes[0].known_at(verdict.truth.grown_ms).causes[:1]
    return ", ".join(f"{cause.kind}/{cause.name}: {cause.why}"[:120] for cause in causes)


def _details(told: Told) -> Row:
    return {
        "incidents": [
            {
                "kind": v.truth.kind,
                "fault": str(v.truth.fault),
                "delay_s": v.delay_s,
                "delay_bad_s": v.delay_bad_s,
                "first_rank": v.first_rank,
                "last_rank": v.last_rank,
                "resolved_s": v.resolved_s,
                "insights": [_last(episode) for episode in v.episodes],
            }
            for v in told.judged.verdicts
        ],
        "false": [_last(episode) for episode in told.judged.false],
    }


def _last(episode: Episode) -> Row:
    return episode.last.model_dump(mode="json")
