"""The workload that owns a pod, by the naming rules of the Kubernetes controllers.

Logs name a pod's owner, metric labels and events often do not. Patterns, series and events of one pod must still meet
under one name, so the rules for a known owner and for a bare pod name end in the same place.
"""

import re
from functools import lru_cache
from typing import Final

# k8s.io/apimachinery/pkg/util/rand: names end in letters and digits that spell no words. A pod template hash is a
# decimal number written in that alphabet, which leaves it ten characters.
_SUFFIX: Final = "[bcdfghjklmnpqrstvwxz2456789]"
_TEMPLATE_HASH: Final = "[4-9bcdf]"
_LONGEST_POD: Final = 63  # a longer generated name loses characters before its five random ones

_REPLICA_SET: Final = re.compile(rf"(.+)-(?:{_TEMPLATE_HASH}{{4,10}}|{_SUFFIX}{{8,10}})", re.ASCII)
_POD_OF_REPLICA_SET: Final = re.compile(
    rf"(.+)-(?:{_TEMPLATE_HASH}{{4,10}}|{_SUFFIX}{{8,10}}|\d{{8,10}}(?:--?\d{{1,5}})?)-[a-z0-9]{{5}}",
    re.ASCII,
)
_POD_OF_LONG_NAME: Final = re.compile(rf"(.+?)-?{_TEMPLATE_HASH}{{0,10}}-?{_SUFFIX}{{5}}", re.ASCII)
_POD_OF_DAEMON_SET_OR_JOB: Final = re.compile(rf"(.+)-{_SUFFIX}{{5}}", re.ASCII)
_POD_OF_STATEFUL_SET: Final = re.compile(r"(.+)-\d{1,5}", re.ASCII)
_JOB_OF_CRON_JOB: Final = re.compile(r"(.+)-\d{8,10}", re.ASCII)  # minutes (once seconds) since the epoch
# Static pods end in the name of their node. Where that is not known: what the control plane is called, how AWS names
# its nodes, and a revision before a name with dots.
_STATIC_POD: Final = re.compile(
    r"((?:openshift-)?kube-scheduler|kube-apiserver|kube-controller-manager|kube-proxy|etcd)-.*[.\d].*", re.ASCII
)
_STATIC_POD_OF_REVISION: Final = re.compile(
    r"(.+?)(?:(?:-\d{1,5})?-ip(?:-\d{1,3}){4}(?:\..*)?|-\d{1,5}-[a-z][^.]*\..*)", re.ASCII
)
_OWNERS_AS_THEY_ARE: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "CronJob"})


@lru_cache(maxsize=16_384)
def workload_of(pod: str, owner_kind: str = "", owner_name: str = "", node: str = "") -> str:
    """The deployment, stateful set, daemon set, job or cron job behind a pod; the pod itself when it stands alone."""
    if owner_name and owner_kind != "Node":
        if owner_kind == "ReplicaSet":
            return _shorter(_REPLICA_SET, owner_name)
        if owner_kind == "Job":
            return _shorter(_JOB_OF_CRON_JOB, owner_name)
        if owner_kind in _OWNERS_AS_THEY_ARE or not pod or pod.startswith(f"{owner_name}-"):
            return owner_name
    return _of_pod(pod, node)


def _of_pod(pod: str, node: str) -> str:
    if node and pod.endswith(f"-{node}") and len(pod) > len(node) + 1:  # a static pod, which the kubelet itself runs
        return _shorter(_POD_OF_STATEFUL_SET, pod[: -len(node) - 1])
    if found := _POD_OF_REPLICA_SET.fullmatch(pod):
        return found[1]
    if len(pod) == _LONGEST_POD and (found := _POD_OF_LONG_NAME.fullmatch(pod)):
        return found[1]
    for shape in (_POD_OF_DAEMON_SET_OR_JOB, _STATIC_POD, _STATIC_POD_OF_REVISION, _POD_OF_STATEFUL_SET):
        if found := shape.fullmatch(pod):
            return found[1]
    return pod


def _shorter(shape: re.Pattern[str], text: str) -> str:
    found = shape.fullmatch(text)
    return found[1] if found else text
