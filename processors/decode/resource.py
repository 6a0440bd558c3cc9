"""Who speaks: one Resource from the several ways in which shippers describe a pod."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from processors.decode.values import first, mapping, name, sequence
from processors.decode.workload import workload_of
from schemas.records import Resource


class Origin(NamedTuple):
    """What is known about a message before it is read."""

    cluster: str  # of the input's configuration; used where the shipper names none
    received_ms: int  # the Kafka timestamp


@lru_cache(maxsize=8192)
def resource_of(
    cluster: str = "",
    namespace: str = "",
    pod: str = "",
    container: str = "",
    node: str = "",
    owner_kind: str = "",
    owner_name: str = "",
    service: str = "",
) -> Resource:
    """The resource of a pod; without a pod or an owner, `service` is the workload. Arguments are already names."""
    workload = workload_of(pod, owner_kind, owner_name, node) if pod or owner_name else service
    return Resource(cluster=cluster, namespace=namespace, workload=workload, pod=pod, container=container, node=node)


def owner_of(references: object) -> tuple[str, str]:
    """Kind and name of the controlling owner in `ownerReferences`; empty strings without one."""
    owners = [owner for owner in sequence(references) if isinstance(owner, dict)]
    owner = next((each for each in owners if each.get("controller") is True), owners[0] if owners else {})
    return name(owner.get("kind")), name(owner.get("name"))


def app_label(labels: Mapping[str, object]) -> str:
    return name(first(labels, "app.kubernetes.io/name", "app", "k8s-app", "name"))


def flat_pod(kubernetes: Mapping[str, object], origin: Origin, *, node: str = "", service: str = "") -> Resource:
    """The `kubernetes` block of Fluent Bit and Vector."""
    get = kubernetes.get
    pod = name(get("pod_name"))
    owner_kind, owner_name = "", ""
    if "ownerReferences" in kubernetes:
        owner_kind, owner_name = owner_of(kubernetes["ownerReferences"])
    elif "pod_owner" in kubernetes:
        owner_kind, _, owner_name = name(kubernetes["pod_owner"]).partition("/")
    if not pod and not service:
        service = app_label(mapping(first(kubernetes, "labels", "pod_labels")))
    return resource_of(  # by position: the cache is twice as quick
        name(get("cluster_name")) or origin.cluster,
        name(get("namespace_name") or get("pod_namespace")),
        pod,
        name(get("container_name")),
        name(get("host") or get("pod_node_name")) or node,
        owner_kind,
        owner_name,
        service,
    )


OWNED: Final = frozenset({"ownerReferences", "pod_owner", "cluster_name"})  # without these a `plain_pod` is all


@lru_cache(maxsize=8192)
def plain_pod(cluster: str, pod: str, namespace: str, container: str, host: str) -> Resource:
    return resource_of(cluster, name(namespace), name(pod), name(container), name(host), "", "", "")


def beats_pod(event: Mapping[str, object], origin: Origin) -> Resource:
    """The nested fields of Filebeat and Elastic Agent."""
    kubernetes = mapping(event.get("kubernetes"))
    host = mapping(event.get("host"))
    owner_kind, owner_name = "", ""
    for field, kind in (
        ("deployment", "Deployment"),
        ("statefulset", "StatefulSet"),
        ("daemonset", "DaemonSet"),
        ("cronjob", "CronJob"),
        ("job", "Job"),
        ("replicaset", "ReplicaSet"),
    ):
        if found := name(mapping(kubernetes.get(field)).get("name")):
            owner_kind, owner_name = kind, found
            break
    orchestrator = mapping(mapping(event.get("orchestrator")).get("cluster"))
    return resource_of(
        cluster=name(orchestrator.get("name")) or origin.cluster,
        namespace=name(kubernetes.get("namespace")),
        pod=name(mapping(kubernetes.get("pod")).get("name")),
        container=name(mapping(kubernetes.get("container")).get("name")),
        node=name(mapping(kubernetes.get("node")).get("name")) or name(first(host, "hostname", "name")),
        owner_kind=owner_kind,
        owner_name=owner_name,
        service=name(mapping(event.get("service")).get("name")) or app_label(mapping(kubernetes.get("labels"))),
    )


_OWNER_ATTRIBUTES: Final = (
    ("k8s.deployment.name", "Deployment"),
    ("k8s.statefulset.name", "StatefulSet"),
    ("k8s.daemonset.name", "DaemonSet"),
    ("k8s.cronjob.name", "CronJob"),
    ("k8s.job.name", "Job"),
    ("k8s.replicaset.name", "ReplicaSet"),
)
POD_ATTRIBUTES: Final = frozenset(
    {"k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name", "k8s.node.name", "host.name"}
) | {attribute for attribute, _ in _OWNER_ATTRIBUTES}


def otel_resource(attributes: Mapping[str, object], origin: Origin) -> Resource:
    """OpenTelemetry's resource attributes."""
    owner_kind, owner_name = "", ""
    for attribute, kind in _OWNER_ATTRIBUTES:
        if found := name(attributes.get(attribute)):
            owner_kind, owner_name = kind, found
            break
    return resource_of(
        cluster=name(attributes.get("k8s.cluster.name")) or origin.cluster,
        namespace=name(first(attributes, "k8s.namespace.name", "service.namespace")),
        pod=name(attributes.get("k8s.pod.name")),
        container=name(attributes.get("k8s.container.name")),
        node=name(first(attributes, "k8s.node.name", "host.name")),
        owner_kind=owner_kind,
        owner_name=owner_name,
        service=name(attributes.get("service.name")),
    )


# Metric and alert labels, best first: kube-state-metrics without honorLabels prefixes what it talks about.
_LABELS: Final = {
    "cluster": ("cluster", "k8s_cluster_name", "cluster_name"),
    "namespace": ("exported_namespace", "namespace", "kubernetes_namespace", "k8s_namespace_name"),
    "pod": ("exported_pod", "pod", "pod_name", "kubernetes_pod_name", "k8s_pod_name"),
    "container": ("exported_container", "container", "container_name", "k8s_container_name"),
    "node": ("exported_node", "node", "node_name", "kubernetes_node", "k8s_node_name", "nodename"),
}
_OWNER_LABELS: Final = (
    ("deployment", "Deployment"),
    ("statefulset", "StatefulSet"),
    ("daemonset", "DaemonSet"),
    ("cronjob", "CronJob"),
    ("job_name", "Job"),
    ("replicaset", "ReplicaSet"),
)
_SPEAK_FOR_THEIR_NODE: Final = frozenset({"node-exporter", "node_exporter", "kubelet"})


def labelled(labels: dict[str, str], origin: Origin) -> tuple[Resource, dict[str, str]]:
    """The resource that labels describe, and the labels that are left when it is lifted out of them."""
    rest = dict(labels)
    found = dict.fromkeys(_LABELS, "")
    for field, candidates in _LABELS.items():
        for candidate in candidates:
            if candidate in rest:
                found[field] = rest.pop(candidate)
                break
    owner_kind, owner_name = "", ""
    for label, kind in _OWNER_LABELS:
        if label in rest:
            owner_kind, owner_name = kind, rest.pop(label)
            break
    job = rest.get("job", "")
    if not found["node"] and (job in _SPEAK_FOR_THEIR_NODE or not (found["pod"] or found["namespace"] or owner_name)):
        # `instance` and `job` stay labels: they also tell two exporters on one host apart.
        found["node"] = rest.pop("host", "") or rest.get("instance", "").rpartition(":")[0] or rest.get("instance", "")
    service = first_label(rest, "service_name", "app", "app_kubernetes_io_name", "service", "job")
    found["cluster"] = found["cluster"] or origin.cluster
    return resource_of(**found, owner_kind=owner_kind, owner_name=owner_name, service=service), rest


def first_label(labels: Mapping[str, str], *keys: str) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")
