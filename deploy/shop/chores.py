"""What happens on a good day: roll-outs, scaling, a batch, a backup. All goes well, and nobody wants to be called."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from deploy.shop.metrics import Series, scraped
from deploy.shop.telemetry import Happening, Log, Observation, Subject, pod_subject, workload_subject
from deploy.shop.topology import Estate, Pod, Service, stable_uid
from deploy.shop.wording import fill

HOUR_S: Final = 3600.0
POD_EVERY_S: Final = 45.0  # a roll-out replaces one pod after the other
BATCH_S: Final = 420.0
BATCH_PER_S: Final = 4.0
BUSY: Final = 25.0  # CPU seconds in a scrape, of a container that works on a batch
_STARTED: Final = (
    "starting {service} {version}",
    "configuration loaded from /etc/{service}/config.yaml",
    "listening on :8080",
)
_BATCH: Final = (
    "nightly export: wrote <n> rows for order <order>",
    "nightly export: page <id> of partition <n> done in <ms> ms",
)
_BACKUP: Final = Service(name="db-backup", style="logfmt", kind="Job", replicas=1, version="1.2.0")
_BACKUP_SAYS: Final = (
    "backup of orders-db begins",
    "copied <big> bytes to bucket shop-backups",
    "backup of orders-db is done",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chore:
    """One of them: what is seen of it, who takes whose place and when, and which series it moves."""

    kind: str
    workload: str
    start_s: float
    happenings: tuple[Happening, ...]
    moves: tuple[tuple[Pod, float, Pod], ...] = ()
    bent: tuple[Series, ...] = ()


def usual_chores(estate: Estate, namespace: str, *, seed: int, start_s: float, end_s: float) -> Iterator[Chore]:
    """Each kind once an hour, at the seed's choice of time and workload; each workload is rolled out once at most."""
    rng = Random(f"{seed}:{namespace}:chores")
    deployments = sorted({p.service.name for p in estate.pods if p.namespace == namespace and p.replica_set})
    rng.shuffle(deployments)
    hour_s = start_s
    while hour_s + HOUR_S <= end_s and len(deployments) >= 3:
        at = [hour_s + HOUR_S * (part + rng.uniform(0.1, 0.6)) / 4 for part in range(4)]
        yield _rollout(estate, estate.pods_of(namespace, deployments.pop()), seed, at[0])
        yield _scaling(estate, estate.pods_of(namespace, deployments.pop())[0], seed, at[1])
        yield _batch(estate.pods_of(namespace, deployments.pop())[0], seed, at[2])
        yield _backup(namespace, estate.nodes[namespace][0], at[3])
        hour_s += HOUR_S


def _rollout(estate: Estate, pods: tuple[Pod, ...], seed: int, start_s: float) -> Chore:
    service, old = pods[0].service, pods[0]
    version = f"{old.version.rpartition('.')[0]}.{int(old.version.rpartition('.')[2]) + 1}"
    key = f"{seed}:rollout:{service.name}"
    first = estate.new_pod(old, seed=key, version=version)
    seen: list[Happening] = []
    moves = []
    for n, gone in enumerate(pods):
        at_s = start_s + n * POD_EVERY_S
        new = first if n == 0 else replace(estate.new_pod(first, seed=f"{key}:{n}", same_set=True), node=gone.node)
        seen += [
            _scaled(new, "up", new.replica_set, n, n + 1, at_s),
            *_pod_starts(new, at_s + 1),
            _event(
                new, "Unhealthy", "Startup probe failed: dial tcp: connect: connection refused", "kubelet", at_s + 9,
                warning=True,
            ),
            _scaled(gone, "down", gone.replica_set, len(pods) - n, len(pods) - n - 1, at_s + 20),
            Log(at_s=at_s + 20.5, pod=gone, level="info", text="received SIGTERM, finishing 7 requests"),
            _event(gone, "Killing", f"Stopping container {service.name}", "kubelet", at_s + 21),
        ]  # fmt: skip
        moves.append((gone, at_s + 22, new))
    return Chore(
        kind="rollout", workload=service.name, start_s=start_s, happenings=tuple(seen), moves=tuple(moves),
    )  # fmt: skip


def _scaling(estate: Estate, pod: Pod, seed: int, start_s: float) -> Chore:
    """One replica more for ten minutes; it says that it starts and that it ends."""
    new = estate.new_pod(pod, seed=f"{seed}:scaling", same_set=True)
    have, back_s = pod.service.replicas, start_s + 600
    above, below = "cpu resource utilization above target", "All metrics below target"
    seen = (
        _rescaled(pod, f"New size: {have + 1}; reason: {above}", start_s),
        _scaled(pod, "up", pod.replica_set, have, have + 1, start_s + 1),
        *_pod_starts(new, start_s + 2),
        _rescaled(pod, f"New size: {have}; reason: {below}", back_s),
        _scaled(pod, "down", pod.replica_set, have + 1, have, back_s + 1),
        Log(at_s=back_s + 1.5, pod=new, level="info", text="received SIGTERM, finishing 2 requests"),
        _event(new, "Killing", f"Stopping container {pod.service.name}", "kubelet", back_s + 2),
    )
    return Chore(kind="scaling", workload=pod.service.name, start_s=start_s, happenings=seen)


def _batch(pod: Pod, seed: int, start_s: float) -> Chore:
    """One pod works through a queue: many lines that it has never said before, and its processor is busy."""
    rng = Random(f"{seed}:batch:{pod.name}")
    seen: list[Happening] = []
    at_s = start_s
    while (at_s := at_s + rng.expovariate(BATCH_PER_S)) < start_s + BATCH_S:
        seen.append(Log(at_s=at_s, pod=pod, level="info", text=fill(rng.choice(_BATCH), rng)))
    busy = replace(
        scraped("container_cpu_usage_seconds_total", pod, 3.0, kind="sum"),
        bent=BUSY, bends_from_s=start_s, bends_until_s=start_s + 20, bends_back_s=start_s + BATCH_S,
    )  # fmt: skip
    return Chore(
        kind="batch", workload=pod.service.name, start_s=start_s, happenings=tuple(seen), bent=(busy,),
    )  # fmt: skip


def _backup(namespace: str, node: str, start_s: float) -> Chore:
    """A job of an hour's schedule."""
    rng = Random(f"{start_s}:backup")
    name = f"{_BACKUP.name}-{int(start_s // 60)}"
    pod = Pod(
        name=f"{name}-x7k2p", namespace=namespace, service=_BACKUP, node=node, ip="10.244.9.9", version=_BACKUP.version
    )
    job = Subject(kind="Job", name=name, namespace=namespace, api_version="batch/v1", owner=("CronJob", _BACKUP.name))
    logs = [
        Log(at_s=start_s + 4 + 30 * n, pod=pod, level="info", text=fill(text, rng))
        for n, text in enumerate(_BACKUP_SAYS)
    ]
    seen = (
        _observed(job, "SuccessfulCreate", f"Created pod: {pod.name}", "job-controller", start_s),
        *_pod_starts(pod, start_s + 1, says=()),
        *logs,
        _observed(job, "Completed", "Job completed", "job-controller", start_s + 70),
    )
    return Chore(kind="backup", workload=_BACKUP.name, start_s=start_s, happenings=seen)


def _pod_starts(pod: Pod, at_s: float, says: tuple[str, ...] = _STARTED) -> Iterator[Happening]:
    name, image = pod.service.name, f"registry.shop.example/{pod.service.name}:{pod.version}"
    bound = f"Successfully assigned {pod.namespace}/{pod.name} to {pod.node}"
    yield _event(pod, "Scheduled", bound, "default-scheduler", at_s, shape="events")
    yield _event(pod, "Pulled", f'Container image "{image}" already present on machine', "kubelet", at_s + 1)
    yield _event(pod, "Created", f"Created container {name}", "kubelet", at_s + 1.5)
    yield _event(pod, "Started", f"Started container {name}", "kubelet", at_s + 2)
    for n, text in enumerate(says):
        line = text.format(service=name, version=pod.version)
        yield Log(at_s=at_s + 2.5 + n, pod=pod, level="info", text=line)


def _scaled(pod: Pod, way: str, replica_set: str, have: int, want: int, at_s: float) -> Observation:
    message = f"Scaled {way} replica set {replica_set} from {have} to {want}"
    return _observed(
        workload_subject(pod), "ScalingReplicaSet", message, "deployment-controller", at_s, shape="core"
    )  # fmt: skip


def _rescaled(pod: Pod, message: str, at_s: float) -> Observation:
    subject = workload_subject(pod)
    return _observed(subject, "SuccessfulRescale", message, "horizontal-pod-autoscaler", at_s, shape="events")


def _event(
    pod: Pod, reason: str, message: str, component: str, at_s: float, *, warning: bool = False, shape: str = "exporter"
) -> Observation:
    return _observed(pod_subject(pod), reason, message, component, at_s, warning=warning, shape=shape, host=pod.node)


def _observed(
    subject: Subject, reason: str, message: str, component: str, at_s: float, *, warning: bool = False,
    shape: str = "exporter", host: str = "",
) -> Observation:  # fmt: skip
    return Observation(
        at_s=at_s, first_s=at_s, uid=stable_uid("chore", subject.name, reason, f"{at_s:.3f}"), count=1, subject=subject,
        reason=reason, message=message, warning=warning, component=component,
        host=host if component == "kubelet" else "", shape=shape,
    )  # fmt: skip
