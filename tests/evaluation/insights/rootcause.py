"""What the evaluations of root causes share: cases, how well rankings name them, the product's route into a state."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import median, quantiles
from typing import Any, Final

from processors.decode.workload import workload_of
from processors.insights.causes import ranked
from processors.insights.correlate import Correlator
from processors.insights.step import Cluster, State, step
from processors.insights.topology import Topology
from schemas.insights import Cause, Change, Insight, Sign, Symptom
from schemas.records import WARN, Resource
from schemas.summaries import Told
from tests.evaluation.insights.peers import Table

Json = dict[str, Any]
TOPS: Final = (1, 3, 5)
FAR: Final = 3.0  # interquartile ranges: Tukey's outer fence
STRONG: Final = 10.0  # ranges, at which a symptom has half of its strength
LEAST_ROWS: Final = 10
LEAST_SCALE: Final = 0.01  # of the median: a metric that hardly ever changes has no range of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault."""

    id: str
    group: str
    kind: str
    inject_ms: int
    service: str  # at fault
    pod: str = ""


@dataclass(slots=True)
class Ear:
    """Stands before a correlator and remembers what it is told, and when."""

    correlator: Any
    since_ms: int = 0  # what began before is not passed on
    heard: list[tuple[int, Sign]] = field(default_factory=list)

    def add(self, sign: Sign, now_ms: int) -> None:
        if began(sign) >= self.since_ms or isinstance(sign, Change):
            self.heard.append((now_ms, sign))
            self.correlator.add(sign, now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.correlator, name)


@dataclass(slots=True)
class Answer:
    """What was told of one case."""

    services: list[str] = field(default_factory=list)  # the most suspect first
    entities: list[str] = field(default_factory=list)  # as they were named: pods, too
    detected_ms: int | None = None
    why: str = ""


def heard(state: State, name: str, since_ms: int = 0) -> Ear:
    """Listen to a cluster from now on, whose correlator knows nothing of before."""
    cluster: Cluster = state.cluster(name)
    ear = Ear(Correlator(name, cluster.topology, state.correlation), since_ms)
    cluster.correlator = ear  # type: ignore[assignment]
    return ear


def tell(state: State, told: Sequence[Told], sent_ms: int) -> list[Insight]:
    return step(state, told, sent_ms)[1]


def of_symptoms(heard: Iterable[tuple[int, Sign]], state: State, name: str, case: Case) -> Answer:
    """The causes of all that was told since the fault, whether or not the correlator put it together."""
    newest: dict[str, Symptom] = {}
    changes: list[Change] = []
    seen_ms: list[int] = []
    for at_ms, sign in heard:
        if isinstance(sign, Change):
            changes.append(sign)
        elif not sign.ended:
            newest[sign.id] = sign
            seen_ms.append(at_ms)
    return _answer(ranked(list(newest.values()), changes, state.cluster(name).topology), min(seen_ms, default=None))


def began(sign: Sign) -> int:
    return sign.time_ms if isinstance(sign, Change) else sign.start_ms


def given(table: Table, cluster: str, namespace: str, topology: Topology) -> Answer:
    """The ranking alone, knowing what the peers know: when the fault began, and all metrics before and after.

    A simple stand-in for detection: a metric is a symptom from the first row that leaves what was usual before by
    `FAR` interquartile ranges.
    """
    symptoms = []
    for column, values in sorted(table.columns.items()):
        service, metric = column.split("|", 1)
        before = [value for time, value in zip(table.times, values, strict=True) if time < table.inject]
        if len(before) < LEAST_ROWS:
            continue
        low, middle, high = quantiles(before, n=4)
        scale = max(high - low, abs(middle) * LEAST_SCALE)
        after = [(time, value) for time, value in zip(table.times, values, strict=True) if time >= table.inject]
        far = [
            (time, abs(value - middle) / scale) for time, value in after if scale and abs(value - middle) > FAR * scale
        ]
        if far:
            most = max(distance for _, distance in far)
            resource = Resource(cluster=cluster, namespace=namespace, workload=service)
            symptoms.append(
                Symptom(
                    id=column, fingerprint=column, kind="metric-shift", resource=resource, start_ms=int(far[0][0]),
                    seen_ms=int(far[0][0]), last_ms=int(far[-1][0]), strength=most / (most + STRONG), opens=True,
                    severity=WARN, name=metric, text=f"{metric} left its band", evidence=column,
                )
            )  # fmt: skip
    return _answer(ranked(symptoms, (), topology), min((each.seen_ms for each in symptoms), default=None))


def of_insights(insights: Sequence[tuple[int, Insight]]) -> Answer:
    """What a subscriber reads: the first cause of each incident as it stands at the end, the largest incident first,
    then their second causes, and so on; and when the first of them came.
    """
    if not insights:
        return Answer()
    newest = {insight.id: insight for _, insight in insights}
    largest = sorted(newest.values(), key=lambda each: (each.state == "merged", -each.symptom_count, each.id))
    rounds = zip_longest(*(insight.causes for insight in largest))
    causes = [cause for together in rounds for cause in together if cause is not None]
    return _answer(causes, min(at_ms for at_ms, _ in insights))


def _answer(causes: Sequence[Cause], detected_ms: int | None) -> Answer:
    named = [workload_of(cause.name) if cause.kind == "pod" else cause.name for cause in causes]
    return Answer(
        services=list(dict.fromkeys(named)), entities=[cause.name for cause in causes], detected_ms=detected_ms,
        why=causes[0].why if causes else "",
    )  # fmt: skip


def hits(cases: Sequence[Case], rankings: Sequence[Sequence[str]]) -> Json:
    """Share of cases whose service is among the first."""
    found = [
        row.index(case.service) + 1 if case.service in row else 0 for case, row in zip(cases, rankings, strict=True)
    ]
    count = len(cases)
    return {"cases": count} | {
        f"top{most}": round(sum(0 < place <= most for place in found) / count, 3) if count else None for most in TOPS
    }


def scored(cases: Sequence[Case], answers: Sequence[Answer]) -> Json:
    """As `hits`, with how many were noticed at all, how soon, and the pod where it is named."""
    delays = [
        (answer.detected_ms - case.inject_ms) / 1000
        for case, answer in zip(cases, answers, strict=True)
        if answer.detected_ms is not None
    ]
    return hits(cases, [answer.services for answer in answers]) | {
        "noticed": len(delays),
        "delay_s": {"median": round(median(delays), 1), "worst": round(max(delays), 1)} if delays else None,
    }


def by_group(
    cases: Sequence[Case], rows: Sequence[Any], score: Callable[[Sequence[Case], Sequence[Any]], Json]
) -> dict[str, Json]:
    """Scores of each group, and of all."""
    groups = sorted({case.group for case in cases})
    picked = {group: [i for i, case in enumerate(cases) if case.group == group] for group in groups}
    if len(groups) > 1:
        picked["all"] = list(range(len(cases)))
    return {group: score([cases[i] for i in at], [rows[i] for i in at]) for group, at in picked.items()}


def table(title: str, results: Mapping[str, Mapping[str, Json]]) -> str:
    """Methods down, groups across: top-1, top-3 and top-5."""
    groups = list(next(iter(results.values())))
    head = f"{title:<34}" + "".join(f"{group:>26}" for group in groups)
    lines = [head, " " * 34 + f"{'top-1  top-3  top-5':>26}" * len(groups)]
    for method, scores in results.items():
        cells = ["  ".join(f"{scores[group][f'top{most}']:.3f}" for most in TOPS) for group in groups]
        lines.append(f"{method:<34}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)
