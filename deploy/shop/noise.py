"""The steady background: log lines, ordinary Kubernetes events, alerts that come and go and mean little."""

from collections.abc import Iterator
from random import Random
from typing import Final

from deploy.shop.phrases import LOUDNESS, phrases_of
from deploy.shop.telemetry import Log, Notice, Observation, Subject, pod_subject, workload_subject
from deploy.shop.topology import Estate, Pod, stable_uid
from deploy.shop.wording import fill

RUNBOOK_URL: Final = "https://runbooks.shop.example/"
TRACED_SHARE: Final = 0.3

# reason, message, component, shape, warning
_POD_EVENTS: Final = (
    ("Pulled", 'Container image "{image}" already present on machine', "kubelet", "exporter", False),
    ("Created", "Created container {service}", "kubelet", "exporter", False),
    ("Started", "Started container {service}", "kubelet", "exporter", False),
    ("Scheduled", "Successfully assigned {namespace}/{pod} to {node}", "default-scheduler", "events", False),
    ("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503", "kubelet", "exporter", True),
)
_WORKLOAD_EVENTS: Final = (
    (
        "SuccessfulRescale",
        "New size: {n}; reason: All metrics below target",
        "horizontal-pod-autoscaler",
        "events",
        False,
    ),
    ("ScalingReplicaSet", "Scaled down replica set {service} to {n}", "deployment-controller", "core", False),
    ("SuccessfulCreate", "Created pod: {pod}", "replicaset-controller", "core", False),
)
# name, severity, service, summary, runbook
_PASSING_ALERTS: Final = (
    ("CPUThrottlingHigh", "info", "search", "CPU of search is throttled 27 percent of the time", "cpu-throttling.md"),
    ("CPUThrottlingHigh", "info", "catalog", "CPU of catalog is throttled 31 percent of the time", "cpu-throttling.md"),
    ("ServiceLatencyHigh", "warning", "recommendations", "p95 of recommendations is above 400 ms", "latency.md"),
    ("KubeHpaMaxedOut", "warning", "frontend", "The autoscaler of frontend has been at its limit", "scale-out.md"),
)


def noise_logs(estate: Estate, *, seed: int, start_s: float, per_second: float) -> Iterator[Log]:
    """Log lines of all pods without end, in order of time; `per_second` is for each shop."""
    rng = Random(f"{seed}:noise:logs")
    table: list[tuple[tuple[Pod, ...], str, str]] = []
    cumulative: list[float] = []
    total = 0.0
    for pods in _by_service(estate):
        phrases = phrases_of(pods[0].service.name)
        loudness = LOUDNESS.get(pods[0].service.name, 1.0) / sum(weight for weight, _, _ in phrases)
        for weight, level, sentence in phrases:
            table.append((pods, level, sentence))
            total += loudness * weight
            cumulative.append(total)
    rate = per_second * len(estate.shops)
    at_s = start_s
    while True:
        at_s += rng.expovariate(rate)
        pods, level, sentence = rng.choices(table, cum_weights=cumulative)[0]
        trace_id = f"{rng.getrandbits(128):032x}" if rng.random() < TRACED_SHARE else ""
        yield Log(at_s=at_s, pod=rng.choice(pods), level=level, text=fill(sentence, rng), trace_id=trace_id)


def _by_service(estate: Estate) -> list[tuple[Pod, ...]]:
    groups: dict[tuple[str, str], list[Pod]] = {}
    for pod in estate.pods:
        groups.setdefault((pod.namespace, pod.service.name), []).append(pod)
    return [tuple(pods) for pods in groups.values()]


def noise_events(estate: Estate, *, seed: int, start_s: float, every_s: float = 12.0) -> Iterator[Observation]:
    """Ordinary events without end: pods restarted by a roll-out, scaling, a start-up probe that needs a while."""
    rng = Random(f"{seed}:noise:events")
    at_s = start_s
    deployments = [pod for pod in estate.pods if pod.service.kind == "Deployment"]
    while True:
        at_s += rng.expovariate(1 / every_s)
        pod = rng.choice(deployments)
        table = _POD_EVENTS if rng.random() < 0.8 else _WORKLOAD_EVENTS
        reason, message, component, shape, warning = rng.choice(table)
        subject: Subject = pod_subject(pod) if table is _POD_EVENTS else workload_subject(pod)
        text = message.format(
            image=f"registry.shop.example/{pod.service.name}:{pod.version}",
            service=pod.service.name,
            namespace=pod.namespace,
            pod=pod.name,
            node=pod.node,
            n=pod.service.replicas,
        )
        yield Observation(
            at_s=at_s,
            first_s=at_s,
            uid=stable_uid("noise", str(seed), f"{at_s:.6f}"),
            count=1,
            subject=subject,
            reason=reason,
            message=text,
            warning=warning,
            component=component,
            host=pod.node if component == "kubelet" else "",
            shape=shape,
        )


def noise_alerts(estate: Estate, *, seed: int, start_s: float) -> Iterator[Notice]:
    """The watchdog, which always fires, and alerts that resolve by themselves after a few minutes; without end."""
    rng = Random(f"{seed}:noise:alerts")
    watchdog = {"alertname": "Watchdog", "severity": "none"}
    says = {"summary": "Always firing: shows that alerting works from end to end"}
    at_s = start_s
    while True:
        yield Notice(at_s=at_s, starts_s=start_s - 86_400, ends_s=None, labels=watchdog, annotations=says)
        name, severity, service, summary, runbook = rng.choice(_PASSING_ALERTS)
        labels = {"alertname": name, "severity": severity, "namespace": rng.choice(estate.shops), "deployment": service}
        annotations = {"summary": summary, "runbook_url": RUNBOOK_URL + runbook}
        fires_s = at_s + rng.uniform(20, 60)
        ends_s = fires_s + rng.uniform(60, 180)
        yield Notice(at_s=fires_s + 30, starts_s=fires_s, ends_s=None, labels=labels, annotations=annotations)
        yield Notice(at_s=ends_s + 30, starts_s=fires_s, ends_s=ends_s, labels=labels, annotations=annotations)
        at_s += 300
