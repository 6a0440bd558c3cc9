"""The rows an incident is written in, and how rows become things that happen."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from deploy.shop.metrics import Series
from deploy.shop.noise import RUNBOOK_URL
from deploy.shop.telemetry import Log, Notice, Observation, Subject
from deploy.shop.topology import Pod, stable_uid
from deploy.shop.wording import fill

LEAST_PER_MINUTE = 4.0  # quiet rows keep their rate when the others are turned down
GROUPED_S, AGAIN_S = 30.0, 330.0  # after its start an alert is sent, and sent again
FIRST_SHARE = 0.15  # of the full rate, when a growing row begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Log lines that begin `after_s` into the incident and, if `grows`, become more until its end."""

    pods: tuple[Pod, ...]
    level: str
    sentences: tuple[str, ...]
    per_minute: float  # at full growth, over all pods
    after_s: float = 0.0
    grows: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Happens:
    """A Kubernetes event, seen once or again and again under the same uid."""

    subject: Subject
    reason: str
    message: str
    component: str
    shape: str = "exporter"
    warning: bool = True
    after_s: float = 0.0
    again_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fires:
    """An alert that fires and, for the time that is played, does not resolve."""

    name: str
    severity: str
    labels: tuple[tuple[str, str], ...]
    summary: str
    description: str
    runbook: str
    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bends:
    """A series that leaves its usual value `after_s` into the incident and reaches `to` at its end."""

    series: Series
    to: float
    after_s: float = 0.0

    def bent(self, *, begin_s: float, end_s: float, over_s: float = math.inf) -> Series:
        return replace(self.series, bent=self.to, bends_from_s=begin_s, bends_until_s=end_s, bends_back_s=over_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """A pod that ends `after_s` into the incident: from then on `to` speaks in its place."""

    pod: Pod
    to: Pod
    after_s: float


Row = Lines | Happens | Fires | Bends | Moves


def say(row: Lines, *, seed: str, start_s: float, end_s: float, loudness: float) -> Iterator[Log]:
    """The log lines of a row, without end. `loudness` scales the rate, but never to less than 4 a minute."""
    rng = Random(f"{seed}:{row.sentences[0]}:{row.pods[0].name}")
    per_second = max(row.per_minute * loudness, min(row.per_minute, LEAST_PER_MINUTE)) / 60
    begins_s = start_s + row.after_s
    at_s = begins_s
    while True:
        share = 1.0
        if row.grows:
            grown = min(1.0, (at_s - begins_s) / max(1.0, end_s - begins_s))
            share = FIRST_SHARE + (1 - FIRST_SHARE) * grown
        at_s += rng.expovariate(per_second * share)
        sentence = rng.choice(row.sentences)
        trace_id = f"{rng.getrandbits(128):032x}" if rng.random() < 0.5 else ""
        yield Log(at_s=at_s, pod=rng.choice(row.pods), level=row.level, text=fill(sentence, rng), trace_id=trace_id)


def observe(row: Happens, *, seed: str, start_s: float) -> Iterator[Observation]:
    """The event of a row; when it comes again, with a higher count and longer gaps, without end."""
    rng = Random(f"{seed}:{row.reason}:{row.subject.name}")
    first_s = start_s + row.after_s + rng.uniform(0, 2)
    at_s, count, gap_s = first_s, 1, row.again_s
    message = fill(row.message, rng)
    while True:
        yield Observation(
            at_s=at_s,
            first_s=first_s,
            uid=stable_uid("event", seed, row.reason, row.subject.name, row.message),
            count=count,
            subject=row.subject,
            reason=row.reason,
            message=message,
            warning=row.warning,
            component=row.component,
            host=row.subject.node if row.component in ("kubelet", "kernel-monitor") else "",
            shape=row.shape,
        )
        if gap_s is None:
            return
        at_s += gap_s * rng.uniform(0.8, 1.2)
        count += rng.randint(1, 3)
        gap_s = min(gap_s * 1.15, 120.0)


def notify(row: Fires, *, start_s: float, over_s: float = math.inf) -> Iterator[Notice]:
    """The alert of a row: after half a minute of grouping, once more after five minutes, and when it is over."""
    starts_s = start_s + row.after_s
    ends_s = max(over_s, starts_s + GROUPED_S)
    firing = [(starts_s + wait_s, None) for wait_s in (GROUPED_S, AGAIN_S) if starts_s + wait_s <= ends_s]
    for at_s, resolved_s in [*firing, (ends_s + GROUPED_S, ends_s)]:
        if at_s == math.inf:
            return
        yield Notice(
            at_s=at_s,
            starts_s=starts_s,
            ends_s=resolved_s,
            labels={"alertname": row.name, "severity": row.severity, **dict(row.labels)},
            annotations={
                "summary": row.summary,
                "description": row.description,
                "runbook_url": RUNBOOK_URL + row.runbook,
            },
        )
