"""Incidents that come from beneath or outside: a node's disk, a provider, name resolution, the scheduler."""

from typing import Final

from deploy.shop.metrics import MIB, Series, disk_of, unavailable_of
from deploy.shop.plot import Expectation, Kind, Plot, Stage, knock_on, labels, names_workload, probe_failures, slower
from deploy.shop.script import Bends, Fires, Happens, Lines, Moves, Row
from deploy.shop.telemetry import node_subject, pod_subject, workload_subject
from deploy.shop.topology import Pod

# What fills the disk.
_HEAPS: Final = ("heap dumps", "request traces", "unrotated access logs")
_UNFIT: Final = (
    (
        "0/8 nodes are available: 2 node(s) had untolerated taint {pool: infra}, 6 Insufficient memory. preemption: "
        "0/8 nodes are available: 2 Preemption is not helpful for scheduling, 6 No preemption victims found.",
        "nodes are available: .*Insufficient memory",
    ),
    (
        "0/8 nodes are available: 8 node(s) didn't match Pod's node affinity/selector. "
        "preemption: 0/8 nodes are available: 8 Preemption is not helpful for scheduling.",
        "nodes are available: .*didn't match Pod's node affinity",
    ),
    (
        "0/8 nodes are available: 2 node(s) had untolerated taint {pool: infra}, 6 Insufficient cpu. preemption: "
        "0/8 nodes are available: 2 Preemption is not helpful for scheduling, 6 No preemption victims found.",
        "nodes are available: .*Insufficient cpu",
    ),
)
_RESOLVER: Final = "10.96.0.10:53"


def _disk_pressure(stage: Stage) -> Plot:
    node = stage.pods[0].node
    hoard = stage.variant(_HEAPS)
    agent = stage.estate.node_agent(node)
    crowd = tuple(
        pod
        for pod in stage.estate.pods
        if pod.node == node and pod.namespace == stage.namespace and pod.service.kind == "Deployment"
    )
    leaving = tuple(pod for pod in crowd if pod.service.name == stage.victim) + tuple(
        pod for pod in crowd if pod.service.name != stage.victim
    )
    garbage = "failed to garbage collect required amount of images. Wanted to free <big> bytes, but freed 0 bytes"
    rows: list[Row] = [
        Lines(
            pods=(agent,),
            level="warn",
            sentences=(f"kubelet: /var/lib/containerd is <n> percent full, largest directory holds {hoard}",),
            per_minute=6,
        ),
        Lines(pods=(agent,), level="error", sentences=(f"kubelet: {garbage}",), per_minute=4, after_s=40, grows=False),
        Lines(
            pods=crowd,
            level="error",
            sentences=("cannot write temporary file /tmp/upload-<hex>: no space left on device",),
            per_minute=80,
            after_s=70,
        ),
        *_node_complains(node, garbage),
        Bends(series=disk_of(node), to=900 * MIB),
        Fires(
            name="NodeDiskPressure",
            severity="critical",
            labels=(("node", node), ("condition", "DiskPressure")),
            summary=f"Node {node} is under disk pressure and evicts pods",
            description=f"Less than 10 percent of /var/lib/containerd is free on {node}.",
            runbook="node-disk-pressure.md",
            after_s=120,
        ),
    ]
    for n, pod in enumerate(leaving):
        rows += _evicted(stage, pod, after_s=75 + 45 * n)
    rows.append(Bends(series=unavailable_of(stage.pods[0]), to=1, after_s=75))
    rows += knock_on(stage, "no route to host", after_s=100, latency_s=1)
    regex = (
        "low on resource: ephemeral-storage|NodeHasDiskPressure|failed to garbage collect required amount|"
        "no space left on device|Attempting to reclaim ephemeral-storage"
    )
    cause = (Expectation(kind="evidence", regex=regex), Expectation(kind="object", name=node))
    return Plot(rows=tuple(rows), cause=cause, node=node)


def _node_complains(node: str, garbage: str) -> tuple[Row, ...]:
    """What the kubelet reports about its node."""
    about = node_subject(node)
    return (
        Happens(
            subject=about, reason="FreeDiskSpaceFailed", message=garbage, component="kubelet", after_s=45, again_s=90
        ),
        Happens(
            subject=about,
            reason="NodeHasDiskPressure",
            message=f"Node {node} status is now: NodeHasDiskPressure",
            component="kubelet",
            warning=False,
            after_s=60,
            again_s=120,
        ),
        Happens(
            subject=about,
            reason="EvictionThresholdMet",
            message="Attempting to reclaim ephemeral-storage",
            component="kubelet",
            after_s=62,
            again_s=60,
        ),
    )


def _evicted(stage: Stage, pod: Pod, *, after_s: float) -> tuple[Row, ...]:
    elsewhere = [node for node in stage.estate.nodes[stage.namespace] if node != pod.node]
    new = stage.estate.new_pod(pod, seed=stage.key, node=stage.rng.choice(elsewhere), same_set=True)
    return (
        Happens(
            subject=pod_subject(pod),
            reason="Evicted",
            message=(
                "The node was low on resource: ephemeral-storage. Threshold quantity: 5368709120, available: <kb>Ki. "
                f"Container {pod.service.name} was using <kb>Ki, request is 0."
            ),
            component="kubelet",
            after_s=after_s,
        ),
        Moves(pod=pod, to=new, after_s=after_s),
        Happens(
            subject=pod_subject(new),
            reason="Scheduled",
            message=f"Successfully assigned {new.namespace}/{new.name} to {new.node}",
            component="default-scheduler",
            shape="events",
            warning=False,
            after_s=after_s + 3,
        ),
    )


def _slow_upstream(stage: Stage) -> Plot:
    provider, budget_ms = stage.service.provider, stage.variant((1500, 2000, 2500))
    latency = [
        Series(
            name="http.client.request.duration",
            usual=0.12,
            pod=pod,
            kind="histogram",
            unit="s",
            labels={"server.address": provider},
            wobble=0.5,
        )
        for pod in stage.pods
    ]
    rows: list[Row] = [
        Lines(
            pods=stage.pods,
            level="warn",
            sentences=(f"call to {provider} took <slow> ms, budget is {budget_ms} ms",),
            per_minute=40,
        ),
        Lines(
            pods=stage.pods,
            level="error",
            sentences=(f"circuit breaker for {provider} is open after <n> slow answers",),
            per_minute=10,
            after_s=90,
        ),
        Lines(
            pods=stage.pods,
            level="warn",
            sentences=("worker queue is long: <n> requests wait, oldest for <slow> ms",),
            per_minute=50,
            after_s=60,
        ),
        *(Bends(series=series, to=9.0) for series in latency),
        *slower(stage.pods, after_s=20, latency_s=9),
        Happens(
            subject=workload_subject(stage.pods[0]),
            reason="SuccessfulRescale",
            message=f"New size: {len(stage.pods) + 2}; reason: pods metric http_requests_in_flight above target",
            component="horizontal-pod-autoscaler",
            shape="events",
            warning=False,
            after_s=120,
        ),
        *probe_failures(stage.pods, "Liveness", after_s=130, why="context deadline exceeded while awaiting headers"),
        Fires(
            name="UpstreamProviderSlow",
            severity="warning",
            labels=labels(stage, provider=provider),
            summary=f"Calls of {stage.victim} to {provider} exceed their time budget",
            description=f"p95 is above {budget_ms} ms; the provider's own status page may not show it yet.",
            runbook="slow-upstream.md",
            after_s=110,
        ),
        *knock_on(stage, "deadline exceeded", after_s=45, latency_s=8),
    ]
    regex = r"call to \S+ took \d+ ms, budget is|circuit breaker for [a-z]\S+ is open"
    return Plot(rows=tuple(rows), cause=(Expectation(kind="evidence", regex=regex), names_workload(stage)))


def _dns_failure(stage: Stage) -> Plot:
    provider = stage.service.provider
    coredns = stage.pods_of("coredns")
    forward = stage.variant(("10.0.0.2", "10.0.128.2", "10.0.64.2"))
    wording = stage.variant(("server misbehaving", "i/o timeout", "Temporary failure in name resolution"))
    servfail = Series(
        name="coredns_dns_responses_total",
        usual=0.2,
        labels={"namespace": "kube-system", "pod": coredns[0].name, "rcode": "SERVFAIL", "zone": provider},
        kind="sum",
    )
    rows: list[Row] = [
        Lines(
            pods=coredns,
            level="error",
            sentences=(
                f"plugin/errors: 2 {provider}. A: read udp {coredns[0].ip}:<port>->{forward}:53: i/o timeout",
                f"plugin/errors: 2 {provider}. AAAA: read udp {coredns[0].ip}:<port>->{forward}:53: i/o timeout",
            ),
            per_minute=30,
        ),
        Lines(
            pods=stage.pods,
            level="error",
            sentences=(f"cannot reach provider: lookup {provider} on {_RESOLVER}: {wording}",),
            per_minute=24,
            after_s=5,
        ),
        Lines(
            pods=stage.pods,
            level="error",
            sentences=("request <hex> failed in <slow> ms: provider not available",),
            per_minute=140,
            after_s=20,
        ),
        Bends(series=servfail, to=400),
        *slower(stage.pods, after_s=10, latency_s=5),
        *probe_failures(coredns, "Readiness", after_s=40, why="HTTP probe failed with statuscode: 503"),
        *probe_failures(stage.pods[:1], "Readiness", after_s=80, why="HTTP probe failed with statuscode: 503"),
        Fires(
            name="DNSLookupsFailing",
            severity="critical",
            labels=labels(stage),
            summary=f"{stage.victim} cannot resolve names outside the cluster",
            description=f"CoreDNS gets no answer from its forward address {forward}; names inside the cluster resolve.",
            runbook="dns-failure.md",
            after_s=90,
        ),
        *knock_on(stage, "503 Service Unavailable", after_s=40, latency_s=5),
    ]
    regex = "cannot reach provider: lookup|plugin/errors: .* i/o timeout"
    return Plot(rows=tuple(rows), cause=(Expectation(kind="evidence", regex=regex), names_workload(stage)))


def _failed_scheduling(stage: Stage) -> Plot:
    unfit, regex = stage.variant(_UNFIT)
    have = len(stage.pods)
    phase = Series(
        name="kube_pod_status_phase_pending",
        usual=0,
        labels={"namespace": stage.namespace, "deployment": stage.victim},
        wobble=0,
        whole=True,
    )
    rows: list[Row] = [
        Happens(
            subject=workload_subject(stage.pods[0]),
            reason="ScalingReplicaSet",
            message=f"Scaled up replica set {stage.pods[0].replica_set} from {have} to {have + 3}",
            component="deployment-controller",
            shape="core",
            warning=False,
        ),
        *_unplaced(stage, unfit),
        Lines(
            pods=stage.pods,
            level="warn",
            sentences=("load shedding: <n> of <n> worker threads busy, request <hex> refused",),
            per_minute=160,
            after_s=40,
        ),
        Bends(series=phase, to=3),
        Bends(series=unavailable_of(stage.pods[0]), to=3),
        *slower(stage.pods, after_s=30, latency_s=4),
        Fires(
            name="KubePodsPending",
            severity="warning",
            labels=labels(stage),
            summary=f"Pods of {stage.victim} have been pending for two minutes",
            description=f"{stage.victim} runs {have} of {have + 3} wanted replicas.",
            runbook="failed-scheduling.md",
            after_s=150,
        ),
        *knock_on(stage, "429 Too Many Requests", after_s=60, latency_s=4),
    ]
    cause = (Expectation(kind="evidence", regex=regex, signal="event"), names_workload(stage))
    return Plot(rows=tuple(rows), cause=cause)


def _unplaced(stage: Stage, unfit: str) -> tuple[Row, ...]:
    """What scheduler and autoscaler say about three new pods that find no node."""
    pending = [stage.estate.new_pod(stage.pods[0], seed=f"{stage.key}:{n}", same_set=True) for n in range(3)]
    return (
        Lines(
            pods=stage.pods_of("kube-scheduler"),
            level="info",
            sentences=(f"Unable to schedule pod {stage.namespace}/{stage.victim}; no fit; waiting. {unfit}",),
            per_minute=4,
            after_s=4,
            grows=False,
        ),
        Lines(
            pods=stage.pods_of("cluster-autoscaler"),
            level="warn",
            sentences=(f"Skipping node group {stage.namespace}-workers: max size reached",),
            per_minute=3,
            after_s=20,
            grows=False,
        ),
        *(
            Happens(
                subject=pod_subject(pod),
                reason="FailedScheduling",
                message=unfit,
                component="default-scheduler",
                shape="events",
                after_s=3 + 2 * n,
                again_s=40,
            )
            for n, pod in enumerate(pending)
        ),
    )


KINDS: Final = (
    Kind(
        name="node-disk-pressure",
        summary="a node's disk fills up, so the kubelet evicts its pods",
        candidates=("catalog", "search", "frontend", "checkout", "cart"),
        runbook="node-disk-pressure.md",
        section="Mitigation",
        question="why does {name} keep losing pods",
        plot=_disk_pressure,
    ),
    Kind(
        name="slow-upstream",
        summary="a provider outside the cluster answers late and its caller runs out of workers",
        candidates=("shipping", "payments", "reviews", "accounts", "pricing"),
        runbook="slow-upstream.md",
        section="Mitigation",
        question="why is {name} so slow",
        caller_question="why is {name} failing right now",
        plot=_slow_upstream,
    ),
    Kind(
        name="dns-failure",
        summary="CoreDNS gets no answer for names outside the cluster",
        candidates=("payments", "notifications", "shipping", "accounts", "pricing"),
        runbook="dns-failure.md",
        section="Mitigation",
        question="why is {name} returning errors",
        plot=_dns_failure,
    ),
    Kind(
        name="failed-scheduling",
        summary="new pods of a workload find no node and stay pending",
        candidates=("search", "frontend", "recommendations", "checkout", "catalog"),
        runbook="failed-scheduling.md",
        section="Mitigation",
        question="why is {name} short of replicas",
        plot=_failed_scheduling,
    ),
)
