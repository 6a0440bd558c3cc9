"""What the kinds of incident have in common: the stage they play on, their symptoms elsewhere, their ground truth."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from random import Random
from typing import TypeVar

from deploy.shop.metrics import connections_of, errors_of, latency_of
from deploy.shop.script import Bends, Fires, Happens, Lines, Row
from deploy.shop.telemetry import pod_subject
from deploy.shop.topology import Estate, Pod, Service

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Something that a right answer must cite, in the words of EVALUATION.md."""

    kind: str  # evidence, object, runbook
    regex: str = ""
    signal: str = ""
    name: str = ""
    path: str = ""
    section: str = ""

    def as_json(self) -> dict[str, str]:
        return {key: value for key, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where one incident plays, and the seeded source of its details."""

    estate: Estate
    namespace: str
    seed: int
    rng: Random
    victim: str
    callers: tuple[str, ...]
    start_s: float  # epoch seconds
    duration_s: float

    @classmethod
    def of(
        cls, estate: Estate, kind: str, victim: str, *, namespace: str, seed: int, start_s: float, duration_s: float
    ) -> "Stage":
        return cls(
            estate=estate,
            namespace=namespace,
            seed=seed,
            rng=Random(f"{seed}:{namespace}:{kind}:{victim}"),
            victim=victim,
            callers=estate.callers(victim),
            start_s=start_s,
            duration_s=duration_s,
        )

    @property
    def service(self) -> Service:
        return self.estate.service(self.namespace, self.victim)

    @property
    def pods(self) -> tuple[Pod, ...]:
        return self.estate.pods_of(self.namespace, self.victim)

    @property
    def caller(self) -> str:
        """The caller that shows the symptoms most; the one nearest to the customer comes last in the table."""
        return self.callers[-1]

    @property
    def key(self) -> str:
        return f"{self.seed}:{self.namespace}:{self.victim}"

    def pods_of(self, service: str) -> tuple[Pod, ...]:
        return self.estate.pods_of(self.namespace, service)

    def variant(self, choices: tuple[T, ...]) -> T:
        """Three seeds in a row see three different variants."""
        return choices[self.seed % len(choices)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One written incident: what happens, and what of it is the cause."""

    rows: tuple[Row, ...]
    cause: tuple[Expectation, ...]
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of incident. Questions leave out namespace and question mark; they never name the cause."""

    name: str
    summary: str
    candidates: tuple[str, ...]  # workloads that it can hit
    runbook: str
    section: str
    question: str  # about the victim, as `{name}`
    caller_question: str = ""  # about a caller; empty: the victim is asked about in any case
    plot: Callable[[Stage], Plot]


def names_workload(stage: Stage) -> Expectation:
    return Expectation(kind="object", name=stage.victim)


def labels(stage: Stage, **more: str) -> tuple[tuple[str, str], ...]:
    return (("namespace", stage.namespace), ("deployment", stage.victim), *more.items())


def knock_on(stage: Stage, how: str, *, after_s: float, latency_s: float = 3.0) -> tuple[Row, ...]:
    """Symptoms in the callers and at the edge of the shop: many more lines than the cause has."""
    rows: list[Row] = []
    for caller in stage.callers:
        pods = stage.pods_of(caller)
        if caller == "gateway":
            text = f'[error] 31#31: *<id> {how} while reading response header, client: <ip>, upstream: "{stage.victim}"'
            sentences: tuple[str, ...] = (text,)
        else:
            sentences = (
                f"call to {stage.victim} failed after <slow> ms: {how}",
                f"giving up on {stage.victim} for request <hex>: {how}",
                f"request <hex> answered with 503, {stage.victim} did not help in time",
            )
        rows.append(Lines(pods=pods, level="error", sentences=sentences, per_minute=260, after_s=after_s))
        retry = f"retrying {stage.victim}, attempt <attempt> of 3"
        rows.append(Lines(pods=pods, level="warn", sentences=(retry,), per_minute=120, after_s=after_s))
        rows += [Bends(series=latency_of(pod), to=latency_s, after_s=after_s) for pod in pods]
        rows += [Bends(series=errors_of(pod), to=60, after_s=after_s) for pod in pods]
    edge = '<ip> - - "POST <path> HTTP/1.1" 503 <bytes> "-" "<agent>" rt=<n>.<n> uct=0.001 request=<hex>'
    rows.append(
        Lines(pods=stage.pods_of("gateway"), level="info", sentences=(edge,), per_minute=120, after_s=after_s + 20)
    )
    rows.append(
        Fires(
            name="ServiceErrorRateHigh",
            severity="critical",
            labels=(("namespace", stage.namespace), ("deployment", stage.caller)),
            summary=f"{stage.caller} answers more than 5 percent of its requests with an error",
            description=f"Customers of {stage.namespace} see failures, and {stage.caller} shows them first.",
            runbook="service-errors.md",
            after_s=after_s + 90,
        )
    )
    return tuple(rows)


def probe_failures(pods: tuple[Pod, ...], probe: str, *, after_s: float, why: str) -> tuple[Row, ...]:
    """Unhealthy events of the kubelet, again and again for each pod."""
    return tuple(
        Happens(
            subject=pod_subject(pod),
            reason="Unhealthy",
            message=f"{probe} probe failed: {why}",
            component="kubelet",
            after_s=after_s + 15 * n,
            again_s=30,
        )
        for n, pod in enumerate(pods)
    )


def slower(pods: tuple[Pod, ...], *, after_s: float, latency_s: float) -> tuple[Row, ...]:
    latency = tuple(Bends(series=latency_of(pod), to=latency_s, after_s=after_s) for pod in pods)
    return (*latency, *(Bends(series=errors_of(pod), to=45, after_s=after_s) for pod in pods))


def busy_pool(pods: tuple[Pod, ...], *, size: int) -> tuple[Row, ...]:
    """All connections of a pool in use: the count reaches its size and stays."""
    return tuple(Bends(series=connections_of(pod, wobble=0), to=size) for pod in pods)
