"""Kubernetes events of core/v1 and events.k8s.io/v1: bare, listed, watched, or enriched by an exporter."""

import re
from collections.abc import Mapping
from typing import Final

from processors.decode.resource import Origin, owner_of, resource_of
from processors.decode.timestamps import epoch_ms
from processors.decode.values import first, mapping, name, told, visible
from schemas.errors import InvalidRecord
from schemas.records import Filtered, KubernetesEvent, Rejected, Resource

Outcome = KubernetesEvent | Filtered | Rejected

_FIELD_PATH: Final = re.compile(r"spec\.(?:init|ephemeral)?[cC]ontainers\{([^}]{1,253})\}")
_WORKLOADS: Final = frozenset(
    {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController"}
)
_MOST_TIMES: Final = 2**31 - 1  # the type of `count` in the API


def kubernetes_events(event: Mapping[str, object], origin: Origin) -> list[Outcome]:
    """The event, or the events of a list or watch envelope; raises InvalidRecord for anything else."""
    items = event.get("items")
    if isinstance(items, list) and str(event.get("kind", "")).endswith("List"):
        return [_listed(each, origin) for each in items]
    return [_event(event, origin)]


def _listed(item: object, origin: Origin) -> Outcome:
    try:
        return _event(mapping(item), origin)
    except InvalidRecord as error:
        return Rejected(reason=error.reason)


def _event(event: Mapping[str, object], origin: Origin) -> Outcome:
    watched = event.get("object")
    if isinstance(watched, dict) and "type" in event:
        if event["type"] == "DELETED":
            return Filtered(rule="event-deleted")
        if event["type"] == "BOOKMARK":
            return Filtered(rule="watch-bookmark")
        event = watched
    about = event.get("involvedObject", event.get("regarding"))
    if about is None and event.get("kind") != "Event":
        raise InvalidRecord("not kubernetes-event")
    return _built(event, mapping(about), origin)


def _built(event: Mapping[str, object], about: Mapping[str, object], origin: Origin) -> KubernetesEvent:
    metadata = mapping(event.get("metadata"))
    series = mapping(event.get("series"))
    source = mapping(first(event, "source", "deprecatedSource"))
    first_seen = _first_time(
        first(event, "firstTimestamp", "deprecatedFirstTimestamp"),
        event.get("eventTime"),
        metadata.get("creationTimestamp"),
    )
    last_seen = _first_time(
        series.get("lastObservedTime"),
        first(event, "lastTimestamp", "deprecatedLastTimestamp"),
        event.get("eventTime"),
        first(event, "firstTimestamp", "deprecatedFirstTimestamp"),
        metadata.get("creationTimestamp"),
    )
    component = name(first(source, "component") or first(event, "reportingComponent", "reportingController"))
    host = name(source.get("host"))
    if not host and component == "kubelet":
        host = name(event.get("reportingInstance"))
    return kubernetes_event(
        uid=name(metadata.get("uid")),
        time_ms=last_seen,
        first_ms=first_seen,
        resource=object_resource(
            about, origin, namespace=name(metadata.get("namespace")), host=host, cluster=name(event.get("clusterName"))
        ),
        about=about,
        reason=name(event.get("reason")),
        message=told(first(event, "message", "note")),
        warning=event.get("type") == "Warning",
        count=first(series, "count") or first(event, "count", "deprecatedCount"),
        component=component,
    )


def kubernetes_event(
    *,
    uid: str,
    time_ms: int | None,
    first_ms: int | None,
    resource: Resource,
    about: Mapping[str, object],
    reason: str,
    message: str,
    warning: bool,
    count: object,
    component: str,
) -> KubernetesEvent:
    """The record; raises InvalidRecord when it would have no identity, no reason or no object."""
    kind, object_name = name(about.get("kind")), name(about.get("name"))
    if not uid:
        raise InvalidRecord("event without a uid")
    if not reason:
        raise InvalidRecord("event without a reason")
    if not kind and not object_name:  # controllers are seen to leave out one of the two
        raise InvalidRecord("event without an involved object")
    return KubernetesEvent(
        uid=uid,
        time_ms=time_ms,
        first_ms=first_ms,
        resource=resource,
        object_kind=kind,
        object_name=object_name,
        reason=reason,
        message=visible(message).strip(),
        warning=warning,
        count=min(max(count, 1), _MOST_TIMES) if isinstance(count, int) else 1,
        component=component,
    )


def object_resource(
    about: Mapping[str, object], origin: Origin, *, namespace: str, host: str, cluster: str = ""
) -> Resource:
    """Pod, workload or node that the event is about; other objects have only their namespace."""
    kind, object_name = name(about.get("kind")), name(about.get("name"))
    cluster = cluster or origin.cluster
    namespace = name(about.get("namespace")) or (namespace if kind == "Pod" or kind in _WORKLOADS else "")
    if kind == "Node":
        return resource_of(cluster=cluster, node=object_name)
    if kind in _WORKLOADS:
        return resource_of(cluster=cluster, namespace=namespace, owner_kind=kind, owner_name=object_name)
    if kind != "Pod":
        return resource_of(cluster=cluster, namespace=namespace)
    owner_kind, owner_name = owner_of(about.get("ownerReferences"))
    path = _FIELD_PATH.match(name(about.get("fieldPath")))
    return resource_of(
        cluster=cluster,
        namespace=namespace,
        pod=object_name,
        container=path[1] if path else "",
        node=host,
        owner_kind=owner_kind,
        owner_name=owner_name,
    )


def _first_time(*values: object) -> int | None:
    return next((found for value in values if (found := epoch_ms(value)) is not None), None)
