"""What the reasons of Kubernetes events mean: trouble, and from when on; a change; or everyday life. Pure.

Reasons: kubernetes/pkg/kubelet/events/event.go, the controllers and the scheduler; cert-manager and the like bring
more. Repetition: the kubelet tries a mount again after 0.5 s, then twice as long each time up to two minutes, an image
and a crashed container after 10 s, 20 s, ... up to five minutes; a probe every ten seconds, three failures being one
(defaults of `periodSeconds` and `failureThreshold`).
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from processors.insights.wording import of_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """From when on it is told, and from when on it opens an incident: so often, and for so long at one object."""

    kind: Literal["event", "restart"] = "event"
    tell_times: int = 1
    tell_s: float = 0.0
    tell_each: bool = False  # so often in the same words about the same object
    opens: bool = True
    open_times: int = 1
    open_s: float = 0.0
    open_each: int = 1  # times at the object where it lasts
    open_objects: int = 1_000_000  # or at so many at once, however short at each
    strength: float = 0.5  # as long as it does not open
    grave: bool = False  # also of what is young, see `births.py`


# Nobody evicts, kills or loses a node in passing.
_AT_ONCE: Final = Rule(strength=0.6, grave=True)
# A container that met its own limit, told of the node: the node is well, and its restarts tell how bad it is.
_LIMIT: Final = Rule(opens=False, strength=0.5, grave=True)
# Tried again within seconds, and ordinary while things start: a volume is attached, a secret made, a node added. What
# has not passed after half a minute has to wait for somebody; a mount is given up after two minutes and three seconds,
# so that its second such failure counts. Nodes that join are not ready for some minutes.
_WAITS: Final = Rule(tell_times=2, open_times=3, open_s=30.0)
_JOINING: Final = Rule(tell_times=5, tell_s=120.0, open_times=10, open_s=900.0, strength=0.3)
_MOUNTS: Final = Rule(tell_times=2, tell_s=20.0, open_times=4, open_s=240.0)
_PULLS: Final = Rule(tell_times=1, open_times=3, open_s=20.0)
# The first back-off comes after the second crash, the third after half a minute.
_CRASHES: Final = Rule(kind="restart", open_times=3, open_s=20.0, open_objects=5, strength=0.6)
_KILLED: Final = Rule(kind="restart", open_times=2, open_s=20.0, open_objects=3, strength=0.7)
# Readiness may fail for a while whenever something is slow; a start-up probe is there to fail.
_LIVENESS: Final = Rule(tell_times=2, open_times=6, open_s=60.0, open_each=6, strength=0.6)
_READINESS: Final = Rule(tell_times=3, tell_s=20.0, open_times=12, open_s=120.0, open_each=12, strength=0.6)
_STARTING: Final = Rule(tell_times=10, tell_s=120.0, opens=False, strength=0.3)
# Also a Warning of somebody whom we do not know: some controllers warn of everything, once, whenever they start.
_MINOR: Final = Rule(tell_times=3, tell_s=60.0, tell_each=True, opens=False, strength=0.3)

_RULES: Final = {
    **dict.fromkeys(
        (
            "OOMKilling", "SystemOOM", "Evicted", "EvictionThresholdMet", "NodeHasDiskPressure", "Rebooted",
            "NodeHasInsufficientMemory", "NodeHasInsufficientPID", "KernelOops", "TaskHung",
            "FilesystemIsReadOnly", "KubeletIsDown", "ContainerdUnhealthy", "NodeShutdown",
        ),
        _AT_ONCE,
    ),
    "NodeNotReady": Rule(strength=0.6),
    **dict.fromkeys(("FailedScheduling", "FailedCreate", "FailedPlacement", "ProvisioningFailed"), _WAITS),
    **dict.fromkeys(
        ("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox"), _MOUNTS
    ),
    **dict.fromkeys(("ErrImagePull", "ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "Failed"), _PULLS),
    **dict.fromkeys(("BackOff", "CrashLoopBackOff", "BackoffLimitExceeded"), _CRASHES),
    **dict.fromkeys(("FreeDiskSpaceFailed", "ImageGCFailed"), Rule(open_times=2, open_s=60.0, strength=0.6)),
    **dict.fromkeys(
        (
            "InvalidDiskCapacity", "DNSConfigForming", "FailedToUpdateEndpoint", "FailedToUpdateEndpointSlices",
            "FailedGetResourceMetric", "FailedComputeMetricsReplicas", "NoPods", "Preempted",
        ),
        _MINOR,
    ),
}  # fmt: skip
CHANGES: Final = frozenset({"ScalingReplicaSet", "SuccessfulRescale", "NodeNotSchedulable", "Pulling", "Killing"})
_STOPPED_ON_PURPOSE: Final = re.compile(r"^Stopping container", re.I)
_PROBE: Final = re.compile(r"\b(liveness|readiness|startup)\b", re.I)
# No node is there for it yet: none at all, none is ready, or all have a taint that keeps it away.
_UNREADY: Final = re.compile(
    r"node\.(?:kubernetes|cloudprovider\.kubernetes)\.io/(?:not-ready|uninitialized|network-unavailable)"
    r"|no nodes available|/(\d+) nodes are available: \1 node\(s\) had (?:untolerated )?taint"
)
_IMAGE: Final = re.compile(r"image \"([^\"\s]{1,300})\"")
_PROBES: Final = {"liveness": _LIVENESS, "readiness": _READINESS, "startup": _STARTING}


def rule_of(reason: str, text: str, *, warning: bool, of_node: bool = False) -> Rule | None:
    """None: nothing is wrong."""
    if reason == "OOMKilling" and of_node and of_limit(text):
        return _LIMIT
    if reason in ("Unhealthy", "ProbeWarning", "ProbeError"):
        probe = _PROBE.search(text)
        return _PROBES[probe[1].lower()] if probe else _READINESS
    if reason == "Killing":
        return _KILLED if "liveness probe" in text.lower() else None
    found = _RULES.get(reason)
    if reason == "NetworkNotReady" or (reason == "FailedScheduling" and _UNREADY.search(text)):
        return _JOINING
    if found is _PULLS and reason == "Failed" and "image" not in text.lower() and "pull" not in text.lower():
        found = _MINOR
    if found is not None and (warning or found.grave or reason == "NodeNotReady"):
        return found
    return _MINOR if warning else None


def image_of(text: str) -> str:
    """The image that an event of the kubelet names."""
    found = _IMAGE.search(text)
    return found[1] if found else ""


def changes(reason: str, text: str) -> bool:
    """Rolled out, scaled, drained or stopped on purpose."""
    return reason in CHANGES and (reason != "Killing" or _STOPPED_ON_PURPOSE.match(text) is not None)
