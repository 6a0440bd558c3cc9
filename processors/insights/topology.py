"""Who owns whom and who calls whom, learned from telemetry: pod, workload, node; peers named in logs and labels."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from processors.insights.births import Births
from processors.insights.mentions import Word, peers_of, words_of
from schemas.insights import Entity
from schemas.records import Resource
from schemas.summaries import Fired, Happened, Said, Sampled, Summary

Json = dict[str, Any]
MINUTE_MS: Final = 60_000

# How near two speakers are. Ours: in order of how often one fails because of the other.
SAME: Final = 1.0
CALLS: Final = (0.8, 0.5, 0.3)  # directly, over one other, over two; times how sure the names are
ON_NODE: Final = 0.6  # one of them is the node
SHARED: Final = 0.3  # both call a third
NEIGHBOURS: Final = 0.1  # their pods run on the same node
NAMESPACE: Final = 0.05

# Bounds for one cluster: Kubernetes is tested to 5,000 nodes and 150,000 pods, of which one cluster in a thousand has
# a tenth. Beyond, what has been silent for longest goes.
MOST_PODS: Final = 20_000
MOST_WORKLOADS: Final = 10_000
MOST_CALLS: Final = 20_000
MOST_NODES: Final = 5_000
MOST_REACHED: Final = 1_000  # workloads whose dependencies are remembered until a call is learned
HOPS: Final = 4  # between one that depends and what it depends on; further is everything


class Topology:
    """Of one cluster."""

    def __init__(
        self,
        *,
        most_pods: int = MOST_PODS,
        most_workloads: int = MOST_WORKLOADS,
        most_calls: int = MOST_CALLS,
        most_nodes: int = MOST_NODES,
    ) -> None:
        self._most_pods, self._most_workloads = most_pods, most_workloads
        self._most_calls, self._most_nodes = most_calls, most_nodes
        # The idlest first. Workloads are `namespace/name`, pods `namespace/pod`; times are minutes since the epoch.
        self._pods: dict[str, tuple[str, str, int]] = {}  # workload, node, last heard of
        self._workloads: dict[str, int] = {}
        self._calls: dict[tuple[str, str], tuple[float, int]] = {}  # how sure, last heard of
        self._nodes: dict[str, int] = {}
        self.births = Births()
        self.forgotten = 0
        # Worked out from the above.
        self._known: dict[Resource, int] = {}  # until this minute: to meet it again would change nothing
        self._namespaces: dict[str, dict[str, None]] = {}  # of workloads, by name
        self._members: dict[str, dict[str, None]] = {}  # pods, by workload
        self._hosted: dict[str, dict[str, int]] = {}  # workloads by node, and how many of their pods
        self._out: dict[str, dict[str, float]] = {}
        self._in: dict[str, dict[str, float]] = {}
        self._distances: dict[str, dict[str, int]] = {}

    def see(self, summary: Summary) -> None:
        """Learn from one summary."""
        resource, minute = summary.resource, _minute_of(summary)
        speaker = _key(resource.namespace, resource.workload) if resource.workload else ""
        if type(summary) is Happened:
            known = speaker in self._workloads if speaker else resource.node in self._nodes
            self.births.see(summary, known=known, minute=minute)
        if self._known.get(resource, -1) < minute:
            self._meet(resource, speaker, minute)
        if type(summary) is Said:
            if speaker:
                self._hear(speaker, words_of(summary.text), minute)
        elif type(summary) is Sampled or type(summary) is Fired:
            called, calling = peers_of(summary.labels)
            if called or calling:
                self._link(speaker, resource.namespace, called, calling, minute)

    def connect(self, caller: Entity, callee: Entity, minute: int = 0) -> None:
        """A dependency that somebody knows, telemetry or not."""
        for each in (caller, callee):
            self._know(_key(each.namespace, each.name), minute)
        self._call(_key(caller.namespace, caller.name), _key(callee.namespace, callee.name), 1.0, minute)

    def related(self, a: Resource, b: Resource) -> float:
        """0..1. 1: the same pod or workload; high: one calls the other; medium: on the node that one is about."""
        inside = a.namespace == b.namespace
        if inside and ((a.workload and a.workload == b.workload) or (a.pod and a.pod == b.pod)):
            return SAME
        if _is_node(a) or _is_node(b):
            if _is_node(a) and _is_node(b):
                return SAME if a.node == b.node else 0.0
            node, other = (a.node, b) if _is_node(a) else (b.node, a)
            return ON_NODE if self._runs_on(other, node) else 0.0
        near = NAMESPACE if inside and a.namespace else 0.0
        if a.workload and b.workload:
            near = max(near, self._called(_key(a.namespace, a.workload), _key(b.namespace, b.workload)))
        if near < NEIGHBOURS and a.pod and b.pod and (node := self.node_of(a)) and node == self.node_of(b):
            return NEIGHBOURS
        return near

    def calls(self, namespace: str, workload: str) -> tuple[Entity, ...]:
        """The workloads that it calls, in order of name."""
        key = _key(namespace, workload)
        return tuple(_entity(each) for each in sorted(self._out.get(key, {})) if self._directed(key, each))

    def callers(self, namespace: str, workload: str) -> tuple[Entity, ...]:
        """The workloads that call it, in order of name."""
        key = _key(namespace, workload)
        return tuple(_entity(each) for each in sorted(self._in.get(key, {})) if self._directed(each, key))

    def distance(self, dependent: Entity, dependency: Entity) -> int | None:
        """Hops by which one depends on the other: 0 the same, 1 calls it or runs on it; None: not within reach."""
        if dependent == dependency:
            return 0
        if dependency.kind == "node":
            node = dependency.name
            if dependent.kind == "pod":
                return 1 if self._pods.get(_key(dependent.namespace, dependent.name), ("", "", 0))[1] == node else None
            return 1 if _key(dependent.namespace, dependent.name) in self._hosted.get(node, {}) else None
        return self._reached(self._owner(dependent)).get(self._owner(dependency))

    def pods(self, namespace: str, workload: str) -> tuple[str, ...]:
        """Its pods that have been heard of, in order of name."""
        return tuple(sorted(pod.split("/", 1)[1] for pod in self._members.get(_key(namespace, workload), {})))

    def node_of(self, resource: Resource) -> str:
        """Where its pod runs; empty when nobody said."""
        if resource.node or not resource.pod:
            return resource.node
        return self._pods.get(_key(resource.namespace, resource.pod), ("", "", 0))[1]

    def resolve(self, mentions: Iterable[str], near: Resource) -> tuple[Entity, ...]:
        """The workloads and nodes that these words name for somebody who stands there; never itself."""
        found: dict[Entity, None] = {}
        itself = _key(near.namespace, near.workload)
        for mention in mentions:
            if mention in self._nodes:
                found[Entity("node", mention)] = None
                continue
            for word in words_of(mention):
                if word.name in self._nodes:
                    found[Entity("node", word.name)] = None
                elif not word.calls and (key := self._named(word, near.namespace)) and key != itself:
                    found[_entity(key)] = None
        return tuple(found)

    def dump(self) -> Json:
        return {
            "pods": [[pod, *held] for pod, held in self._pods.items()],
            "workloads": [[key, minute] for key, minute in self._workloads.items()],
            "calls": [[*pair, *held] for pair, held in self._calls.items()],
            "nodes": [[node, minute] for node, minute in self._nodes.items()],
            "born": self.births.rows(),
            "forgotten": self.forgotten,
        }

    @classmethod
    def load(cls, dumped: Json, **bounds: int) -> "Topology":
        topology = cls(**bounds)
        for key, minute in dumped["workloads"]:
            topology._know(key, minute)
        for pod, workload, node, minute in dumped["pods"]:
            topology._enter(pod, workload, node, minute)
        for caller, callee, sure, minute in dumped["calls"]:
            topology._call(caller, callee, sure, minute)
        topology._nodes.update((node, minute) for node, minute in dumped["nodes"])
        topology.births = Births(dict(dumped["born"]))
        topology.forgotten = dumped["forgotten"]
        return topology

    # What is learned.

    def _meet(self, resource: Resource, speaker: str, minute: int) -> None:
        if len(self._known) >= self._most_pods:
            self._known.clear()
        self._known[resource] = minute
        if resource.pod:
            self._place(_key(resource.namespace, resource.pod), resource.workload, resource.node, minute)
        if resource.node and self._touch(self._nodes, resource.node, minute, self._most_nodes):
            self._forgot()
        if speaker:
            self._know(speaker, minute)

    def _forgot(self) -> None:
        self.forgotten += 1
        self._known.clear()

    def _place(self, pod: str, workload: str, node: str, minute: int) -> None:
        held = self._pods.get(pod)
        if held is not None:
            # An event names no node, a metric perhaps no workload: what was said before holds.
            now = workload or held[0], node or held[1], max(minute, held[2])
            if now == held:
                return
            if now[:2] == held[:2]:
                del self._pods[pod]
                self._pods[pod] = now
                return
            self._leave(pod)
            self._known.clear()  # two may say different things of one pod, in turn
            workload, node, minute = now
        self._enter(pod, workload, node, minute)
        if len(self._pods) > self._most_pods:
            self._leave(next(iter(self._pods)))
            self._forgot()

    def _enter(self, pod: str, workload: str, node: str, minute: int) -> None:
        self._pods[pod] = workload, node, minute
        key = _key(pod.split("/", 1)[0], workload)
        if workload:
            self._members.setdefault(key, {})[pod] = None
        if node:
            hosted = self._hosted.setdefault(node, {})
            if workload:
                hosted[key] = hosted.get(key, 0) + 1

    def _leave(self, pod: str) -> None:
        workload, node, _ = self._pods.pop(pod)
        key = _key(pod.split("/", 1)[0], workload)
        if workload:
            _drop(self._members, key, pod)
        if node and workload:
            hosted = self._hosted[node]
            hosted[key] -= 1
            if not hosted[key]:
                _drop(self._hosted, node, key)

    def _know(self, key: str, minute: int) -> None:
        gone = self._touch(self._workloads, key, minute, self._most_workloads)
        namespace, name = key.split("/", 1)
        self._namespaces.setdefault(name, {})[namespace] = None
        if gone:
            namespace, name = gone.split("/", 1)
            _drop(self._namespaces, name, namespace)
            self._forgot()

    @staticmethod
    def _touch(held: dict[str, int], key: str, minute: int, most: int) -> str:
        """Note that it was heard of; the idlest, when it had to go for that."""
        last = held.get(key)
        if last is not None:
            if minute > last:
                del held[key]
                held[key] = minute
            return ""
        held[key] = minute
        if len(held) <= most:
            return ""
        idlest = next(iter(held))
        del held[idlest]
        return idlest

    def _hear(self, speaker: str, words: Sequence[Word], minute: int) -> None:
        namespace = speaker.split("/", 1)[0]
        for word in words:
            if (key := self._named(word, namespace)) and key != speaker:
                caller, callee = (key, speaker) if word.calls else (speaker, key)
                self._call(caller, callee, word.sure, minute)

    def _link(self, speaker: str, namespace: str, called: Sequence[Word], calling: Sequence[Word], minute: int) -> None:
        callees, callers = (
            [key for word in words if (key := self._named(word, namespace))] for words in (called, calling)
        )
        for caller in callers or [speaker] if callees else callers:
            for callee in callees or [speaker]:
                if caller and callee and caller != callee:
                    self._call(caller, callee, 1.0, minute)

    def _named(self, word: Word, near: str) -> str:
        """The workload of this name: in the namespace that is said, else in the speaker's, else in the only one."""
        for name in word.stems:
            namespaces = self._namespaces.get(name)
            if namespaces:
                if word.namespace in namespaces:
                    return _key(word.namespace, name)
                if near in namespaces and (not word.namespace or word.sure < 1):
                    return _key(near, name)
                if not word.namespace and len(namespaces) == 1:
                    return _key(next(iter(namespaces)), name)
        return ""

    def _call(self, caller: str, callee: str, sure: float, minute: int) -> None:
        pair = caller, callee
        held = self._calls.get(pair)
        if held is not None:
            now = max(sure, held[0]), max(minute, held[1])
            if now == held:
                return
            del self._calls[pair]
            self._calls[pair] = now
            if now[0] == held[0]:
                return
            sure = now[0]
        else:
            self._calls[pair] = sure, minute
        self._out.setdefault(caller, {})[callee] = sure
        self._in.setdefault(callee, {})[caller] = sure
        if len(self._calls) > self._most_calls:
            one, other = next(iter(self._calls))
            del self._calls[one, other]
            _drop(self._out, one, other)
            _drop(self._in, other, one)
            self.forgotten += 1
        self._distances.clear()

    # What is asked.

    def _directed(self, caller: str, callee: str) -> bool:
        """Two that name each other: the surer name tells who calls; both, when they are equally sure."""
        return self._out[caller][callee] >= self._out.get(callee, {}).get(caller, 0.0)

    def _reached(self, key: str) -> dict[str, int]:
        """Everything that it depends on, and over how many calls."""
        found = self._distances.get(key)
        if found is None:
            if len(self._distances) >= MOST_REACHED:
                self._distances.clear()
            found = self._distances[key] = {key: 0}
            waiting = deque([key])
            while waiting:
                at = waiting.popleft()
                if found[at] < HOPS:
                    for callee in self._out.get(at, ()):
                        if callee not in found and self._directed(at, callee):
                            found[callee] = found[at] + 1
                            waiting.append(callee)
        return found

    def _called(self, a: str, b: str) -> float:
        """How near two workloads are by their calls."""
        near = 0.0
        for one, other in ((a, b), (b, a)):
            hops = self._reached(one).get(other, 0)
            if 0 < hops <= len(CALLS):
                sure = self._out[one].get(other, 1.0) if hops == 1 else 1.0
                near = max(near, CALLS[hops - 1] * sure)
        if near < SHARED and any(third in self._out.get(b, ()) for third in self._out.get(a, ())):
            return SHARED
        return near

    def _runs_on(self, resource: Resource, node: str) -> bool:
        if resource.pod:
            return self.node_of(resource) == node
        return resource.node == node or _key(resource.namespace, resource.workload) in self._hosted.get(node, {})

    def _owner(self, entity: Entity) -> str:
        key = _key(entity.namespace, entity.name)
        if entity.kind == "pod" and (workload := self._pods.get(key, ("", "", 0))[0]):
            return _key(entity.namespace, workload)
        return key


def owner_of(resource: Resource) -> Entity:
    """What can be at fault there: the workload, else the pod, else the node, the namespace, the cluster."""
    for kind, name in (("workload", resource.workload), ("pod", resource.pod)):
        if name:
            return Entity(kind, name, resource.namespace)
    if resource.node:
        return Entity("node", resource.node)
    if resource.namespace:
        return Entity("namespace", resource.namespace)
    return Entity("cluster", resource.cluster)


def _minute_of(summary: Summary) -> int:
    if type(summary) is Said:
        return summary.minute_ms // MINUTE_MS
    if type(summary) is Sampled:
        return summary.points[-1].time_ms // MINUTE_MS if summary.points else 0
    if type(summary) is Happened:
        return max((seen.time_ms for seen in summary.observations), default=0) // MINUTE_MS
    return max((told.sent_ms for told in summary.observations), default=0) // MINUTE_MS  # type: ignore[union-attr]


def _is_node(resource: Resource) -> bool:
    return bool(resource.node) and not resource.pod and not resource.workload


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def _entity(key: str) -> Entity:
    namespace, name = key.split("/", 1)
    return Entity("workload", name, namespace)


def _drop(held: dict[str, Any], key: str, part: str) -> None:
    parts = held[key]
    del parts[part]
    if not parts:
        del held[key]
