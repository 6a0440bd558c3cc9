"""Incidents that a workload brings upon itself: a bad deploy, memory, the connection pool, a certificate."""

from typing import Final

from deploy.shop.metrics import MIB, Series, errors_of, memory_of, restarts_of, unavailable_of
from deploy.shop.plot import (
    Expectation,
    Kind,
    Plot,
    Stage,
    busy_pool,
    knock_on,
    labels,
    names_workload,
    probe_failures,
    slower,
)
from deploy.shop.script import Bends, Fires, Happens, Lines, Moves, Row
from deploy.shop.telemetry import Subject, node_subject, pod_subject, workload_subject
from deploy.shop.topology import Pod

# What the new version says before it exits, and a wording that finds it again.
_BAD_VERSIONS: Final = (
    (
        "required environment variable PRICE_ROUNDING_MODE is not set, refusing to start",
        "environment variable .* is not set",
    ),
    (
        "cannot load configuration: unknown field retryBudget in section client, refusing to start",
        "cannot load configuration: unknown field",
    ),
    (
        "pending database migration: column promo_code does not exist, refusing to start",
        "pending database migration: column promo_code",
    ),
)
# Why memory grows.
_HOARDS: Final = (
    ("result cache has no size limit: holding <big> entries", "result cache has no size limit"),
    ("export keeps the whole result set in memory: <big> rows buffered", "export keeps the whole result set in memory"),
    ("session map grows without eviction: <big> entries", "session map grows without eviction"),
)
# Who keeps the connections.
_BORROWERS: Final = ("ReportExporter.run", "PriceAuditJob.execute", "StockReconciler.compareAll")
_RENEWAL_FAILURES: Final = (
    "acme: rateLimited: too many certificates already issued for this exact set of domains",
    "issuer shop-ca is not ready: secret shop-ca-key not found",
    "challenge dns-01 did not pass: TXT record is not visible yet",
)
CRASH_AFTER_S: Final = 45.0


def _bad_deploy(stage: Stage) -> Plot:
    complaint, wording = stage.variant(_BAD_VERSIONS)
    old = stage.pods[0]
    version = f"{old.version.rpartition('.')[0]}.{int(old.version.rpartition('.')[2]) + 1}-rc1"
    first = stage.estate.new_pod(old, seed=stage.key, version=version)
    new = (first, stage.estate.new_pod(first, seed=stage.key, version=version, same_set=True))
    workload, hello = workload_subject(first), f"starting {stage.victim} {version}"
    rows: list[Row] = [
        Happens(
            subject=workload,
            reason="ScalingReplicaSet",
            message=f"Scaled up replica set {first.replica_set} to {len(new)}",
            component="deployment-controller",
            shape="core",
            warning=False,
        ),
    ]
    # The roll-out takes the old pods away without waiting for the new ones; one is left.
    for gone in stage.pods[:-1]:
        rows += [
            Happens(
                subject=pod_subject(gone),
                reason="Killing",
                message=f"Stopping container {stage.victim}",
                component="kubelet",
                warning=False,
                after_s=6,
            ),
            Moves(pod=gone, to=stage.pods[-1], after_s=8),
        ]
    for n, pod in enumerate(new):
        rows += _crash_loop(pod, after_s=3 + 8 * n)
        rows += [
            Lines(pods=(pod,), level="info", sentences=(hello,), per_minute=4, grows=False),
            Lines(pods=(pod,), level="fatal", sentences=(complaint,), per_minute=6, after_s=12 + 8 * n, grows=False),
            Bends(series=restarts_of(pod), to=1.0, after_s=CRASH_AFTER_S),
        ]
    summary = f"Pod of {stage.victim} restarts again and again: {first.name}"
    rows.append(
        Fires(
            name="KubePodCrashLooping",
            severity="critical",
            labels=labels(stage, pod=first.name, container=stage.victim),
            summary=summary,
            description=f"{stage.namespace}/{first.name} is in CrashLoopBackOff since version {version}.",
            runbook="crash-loop.md",
            after_s=120,
        )
    )
    rows.append(Bends(series=unavailable_of(old), to=len(new), after_s=CRASH_AFTER_S))
    rows += knock_on(stage, "no healthy upstream", after_s=60)
    return Plot(
        rows=tuple(rows),
        cause=(Expectation(kind="evidence", regex=wording, signal="log"), names_workload(stage)),
    )


def _crash_loop(pod: Pod, *, after_s: float) -> tuple[Row, ...]:
    subject, name = pod_subject(pod), pod.service.name
    image = f"registry.shop.example/{name}:{pod.version}"
    return (
        Happens(
            subject=subject,
            reason="Pulled",
            message=f'Successfully pulled image "{image}" in 2.1s. Image size: 88412034 bytes.',
            component="kubelet",
            warning=False,
            after_s=after_s,
        ),
        Happens(
            subject=subject,
            reason="Started",
            message=f"Started container {name}",
            component="kubelet",
            warning=False,
            after_s=after_s + 2,
            again_s=40,
        ),
        Happens(
            subject=subject,
            reason="BackOff",
            message=_back_off(pod),
            component="kubelet",
            after_s=after_s + 20,
            again_s=20,
        ),
    )


def _back_off(pod: Pod) -> str:
    return f"Back-off restarting failed container {pod.service.name} in pod {pod.name}_{pod.namespace}({pod.uid})"


def _oom_kill(stage: Stage) -> Plot:
    hoard, wording = stage.variant(_HOARDS)
    limit_mib = stage.variant((768, 1024, 1536))
    process = {"java": "java", "python": "python3", "json": "node"}.get(stage.service.style, stage.victim)
    killed = (
        f"Memory cgroup out of memory: Killed process <port> ({process}) total-vm:<kb>kB, anon-rss:<kb>kB, "
        f"file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:<n>kB oom_score_adj:<n>"
    )
    rows: list[Row] = [
        Lines(pods=stage.pods, level="warn", sentences=(f"{hoard}, limit {limit_mib} MiB",), per_minute=14),
        Lines(
            pods=stage.pods, level="warn", sentences=("collecting garbage took <slow> ms",), per_minute=60, after_s=60
        ),
    ]
    for n, pod in enumerate(stage.pods):
        rows += _killed(stage, pod, killed, after_s=150 + 40 * n)
        rows.append(Bends(series=memory_of(pod, 420), to=limit_mib * MIB))
    rows.append(
        Fires(
            name="ContainerMemoryNearLimit",
            severity="warning",
            labels=labels(stage, pod=stage.pods[0].name, container=stage.victim),
            summary=f"Containers of {stage.victim} use more than 95 percent of their memory limit",
            description=f"The limit is {limit_mib} MiB. A container that reaches it is killed and started again.",
            runbook="out-of-memory.md",
            after_s=130,
        )
    )
    rows += knock_on(stage, "connection reset by peer", after_s=160)
    regex = f"{wording}|Memory cgroup out of memory|OOMKilled"
    return Plot(rows=tuple(rows), cause=(Expectation(kind="evidence", regex=regex), names_workload(stage)))


def _killed(stage: Stage, pod: Pod, killed: str, *, after_s: float) -> tuple[Row, ...]:
    """What the kernel, the kubelet and the container itself say when one container is killed, again and again."""
    last_state = f"starting {stage.victim} again: last state was OOMKilled, exit code 137"
    agent = stage.estate.node_agent(pod.node)
    return (
        Happens(
            subject=node_subject(pod.node),
            reason="OOMKilling",
            message=f"{killed} cgroup {pod.uid}",
            component="kernel-monitor",
            after_s=after_s,
            again_s=60,
        ),
        Happens(
            subject=pod_subject(pod),
            reason="BackOff",
            message=_back_off(pod),
            component="kubelet",
            after_s=after_s + 30,
            again_s=45,
        ),
        Lines(pods=(pod,), level="warn", sentences=(last_state,), per_minute=2, after_s=after_s + 5, grows=False),
        Lines(
            pods=(agent,), level="error", sentences=(f"kernel: {killed}",), per_minute=1, after_s=after_s, grows=False
        ),
        Bends(series=restarts_of(pod), to=0.6, after_s=after_s),
    )


def _pool_exhaustion(stage: Stage) -> Plot:
    borrower, size = stage.variant(_BORROWERS), stage.variant((10, 20, 15))
    trace = (
        f"\n\tat com.zaxxer.hikari.pool.HikariPool.createTimeoutException(HikariPool.java:686)"
        f"\n\tat example.shop.{stage.victim}.Repository.load(Repository.java:<n>)"
    )
    store = stage.pods_of(stage.service.store)
    rows: list[Row] = [
        Lines(
            pods=stage.pods,
            level="warn",
            sentences=(f"connection leak detected: borrowed by {borrower} and not returned for <slow> ms",),
            per_minute=12,
        ),
        Lines(
            pods=stage.pods,
            level="error",
            sentences=(
                f"Connection is not available, request timed out after 30000ms (total={size}, active={size}, idle=0, "
                f"waiting=<n>){trace}",
            ),
            per_minute=40,
            after_s=50,
        ),
        Lines(
            pods=store,
            level="warn",
            sentences=("session is idle in transaction for <slow> s, holding locks on <n> rows",),
            per_minute=8,
            after_s=20,
        ),
        *busy_pool(stage.pods, size=size),
        *slower(stage.pods, after_s=40, latency_s=12),
        *probe_failures(
            stage.pods,
            "Readiness",
            after_s=110,
            why='Get "http://10.244.3.7:8080/ready": context deadline exceeded (Client.Timeout exceeded)',
        ),
        Fires(
            name="DatabasePoolWaiting",
            severity="critical",
            labels=labels(stage, pool=stage.service.store),
            summary=f"Requests of {stage.victim} wait for a database connection",
            description=f"All {size} connections of a pod to {stage.service.store} are in use and threads queue.",
            runbook="connection-pool.md",
            after_s=100,
        ),
        *knock_on(stage, "deadline exceeded", after_s=70, latency_s=8),
    ]
    regex = "connection leak detected|Connection is not available, request timed out"
    return Plot(rows=tuple(rows), cause=(Expectation(kind="evidence", regex=regex), names_workload(stage)))


def _expired_certificate(stage: Stage) -> Plot:
    reason = stage.variant(_RENEWAL_FAILURES)
    secret = f"{stage.victim}-tls"
    certificate = Subject(kind="Certificate", name=secret, namespace=stage.namespace, api_version="cert-manager.io/v1")
    callers = tuple(pod for name in stage.callers for pod in stage.pods_of(name))
    expiry = Series(
        name="certmanager_certificate_expiration_timestamp_seconds",
        usual=stage.start_s,
        labels={"namespace": stage.namespace, "name": secret},
        wobble=0,
        whole=True,
    )
    rows: list[Row] = [
        Happens(
            subject=certificate,
            reason="Failed",
            message=f"The certificate request has failed to complete and will be retried: {reason}",
            component="cert-manager-certificates-issuing",
            shape="core",
            again_s=70,
        ),
        Lines(
            pods=stage.pods_of("cert-manager"),
            level="error",
            sentences=(f"renewal of certificate {stage.namespace}/{secret} failed: {reason}",),
            per_minute=4,
            grows=False,
        ),
        Lines(
            pods=callers,
            level="error",
            sentences=(f"tls: cannot verify {stage.victim}: x509: certificate has expired or is not yet valid",),
            per_minute=24,
            after_s=10,
        ),
        Lines(
            pods=stage.pods,
            level="warn",
            sentences=("TLS handshake error from <ip>:<port>: remote error: tls: expired certificate",),
            per_minute=30,
            after_s=10,
        ),
        Bends(series=expiry, to=stage.start_s),
        *(Bends(series=errors_of(pod), to=45, after_s=10) for pod in stage.pods),
        Fires(
            name="CertificateExpiry",
            severity="critical",
            labels=labels(stage, certificate=secret),
            summary=f"Certificate {secret} in {stage.namespace} is past its end date",
            description=f"cert-manager could not renew it: {reason}",
            runbook="expired-certificate.md",
            after_s=30,
        ),
        *probe_failures(callers[:1], "Readiness", after_s=120, why="HTTP probe failed with statuscode: 503"),
        *knock_on(stage, "connection closed during handshake", after_s=30),
    ]
    regex = "certificate has expired or is not yet valid|remote error: tls: expired certificate"
    return Plot(rows=tuple(rows), cause=(Expectation(kind="evidence", regex=regex), names_workload(stage)))


KINDS: Final = (
    Kind(
        name="bad-deploy",
        summary="a new version exits at start and is restarted again and again",
        candidates=("checkout", "cart", "reviews", "pricing", "recommendations"),
        runbook="crash-loop.md",
        section="Mitigation",
        question="why is {name} not answering",
        plot=_bad_deploy,
    ),
    Kind(
        name="oom-kill",
        summary="memory grows until the kernel kills the container at its limit",
        candidates=("search", "frontend", "recommendations", "catalog"),
        runbook="out-of-memory.md",
        section="Mitigation",
        question="why does {name} keep restarting",
        plot=_oom_kill,
    ),
    Kind(
        name="pool-exhaustion",
        summary="a code path keeps database connections until none is left",
        candidates=("orders", "inventory", "catalog"),
        runbook="connection-pool.md",
        section="Mitigation",
        question="why do requests to {name} time out",
        caller_question="why is {name} failing right now",
        plot=_pool_exhaustion,
    ),
    Kind(
        name="expired-certificate",
        summary="a service's certificate was not renewed and its callers refuse it",
        candidates=("orders", "accounts", "cart", "inventory", "payments"),
        runbook="expired-certificate.md",
        section="Mitigation",
        question="why do calls to {name} fail",
        caller_question="why is {name} failing right now",
        plot=_expired_certificate,
    ),
)
