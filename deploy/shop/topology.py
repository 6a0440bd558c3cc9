"""Who is there to speak: services, pods and nodes of the shop, the same for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

CLUSTER: Final = "shop-prod"
HOME: Final = "shop"  # the namespace of a shop that stands alone
NODES_PER_SHOP: Final = 6
# The letters and digits that Kubernetes uses in generated names (apimachinery, util/rand).
NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One workload. `style` is how its process writes a line, `shipper` how the line travels."""

    name: str
    style: str
    shipper: str = "fluent-bit"  # or otlp-json, otlp-proto
    replicas: int = 2
    kind: str = "Deployment"  # or StatefulSet, DaemonSet
    calls: tuple[str, ...] = ()
    store: str = ""  # the stateful set that holds its state
    provider: str = ""  # a host outside the cluster that it depends on
    namespace: str = ""  # empty: the shop's own
    version: str = "1.0.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    name: str
    namespace: str
    service: Service
    node: str
    ip: str
    replica_set: str = ""  # of a Deployment
    version: str = ""

    @property
    def uid(self) -> str:
        return stable_uid("pod", self.namespace, self.name)


def _deployment(name: str, style: str, shipper: str, replicas: int, version: str, *calls: str) -> Service:
    store, provider = STATE.get(name, ""), PROVIDERS.get(name, "")
    return Service(
        name=name,
        style=style,
        shipper=shipper,
        replicas=replicas,
        version=version,
        calls=calls,
        store=store,
        provider=provider,
    )


STATE: Final = {
    "payments": "payments-db",
    "orders": "orders-db",
    "catalog": "catalog-db",
    "inventory": "inventory-db",
    "accounts": "accounts-db",
    "cart": "cart-redis",
    "search": "search-index",
}
PROVIDERS: Final = {
    "payments": "api.cardgate.example",
    "catalog": "media.picstore.example",
    "shipping": "rates.parcelhub.example",
    "pricing": "vat.taxwise.example",
    "accounts": "login.idhub.example",
    "reviews": "moderation.textguard.example",
    "notifications": "smtp.postbird.example",
}
SHOP_SERVICES: Final = (
    _deployment("gateway", "nginx", "fluent-bit", 3, "1.27.3", "frontend", "accounts"),
    _deployment(
        "frontend",
        "json",
        "fluent-bit",
        4,
        "5.11.0",
        "checkout",
        "catalog",
        "search",
        "cart",
        "recommendations",
        "reviews",
    ),
    _deployment("checkout", "java", "fluent-bit", 3, "3.8.1", "payments", "orders", "cart", "shipping", "pricing"),
    _deployment("payments", "logfmt", "otlp-proto", 3, "2.19.4", "fraud-scorer", "card-vault"),
    _deployment("orders", "java", "fluent-bit", 3, "4.2.7", "inventory", "notifications"),
    _deployment("cart", "logfmt", "fluent-bit", 3, "1.14.2", "pricing"),
    _deployment("catalog", "java", "otlp-json", 3, "6.0.3", "inventory"),
    _deployment("search", "python", "fluent-bit", 3, "2.7.0", "catalog"),
    _deployment("inventory", "java", "fluent-bit", 3, "3.3.9"),
    _deployment("shipping", "logfmt", "otlp-json", 2, "1.9.5"),
    _deployment("pricing", "logfmt", "fluent-bit", 2, "2.2.2"),
    _deployment("accounts", "logfmt", "otlp-proto", 3, "7.1.0", "notifications"),
    _deployment("recommendations", "python", "fluent-bit", 2, "0.22.6", "catalog"),
    _deployment("reviews", "json", "fluent-bit", 2, "1.5.8", "accounts"),
    _deployment("notifications", "python", "otlp-json", 2, "2.0.1"),
    *(
        Service(name=name, style=style, replicas=replicas, kind="StatefulSet", version=version)
        for name, style, replicas, version in (
            ("payments-db", "postgres", 1, "16.4"),
            ("orders-db", "postgres", 2, "16.4"),
            ("catalog-db", "postgres", 1, "16.4"),
            ("inventory-db", "postgres", 1, "16.4"),
            ("accounts-db", "postgres", 1, "16.4"),
            ("cart-redis", "redis", 2, "7.4.1"),
            ("search-index", "java", 2, "2.18.0"),
        )
    ),
)
SYSTEM_SERVICES: Final = (
    Service(name="coredns", style="coredns", namespace="kube-system", version="1.11.3"),
    Service(name="kube-scheduler", style="klog", replicas=1, namespace="kube-system", version="1.33.2"),
    Service(name="cluster-autoscaler", style="klog", replicas=1, namespace="kube-system", version="1.33.0"),
    Service(name="cert-manager", style="klog", replicas=1, namespace="cert-manager", version="1.16.1"),
    Service(name="fraud-scorer", style="python", namespace="payments-infra", version="0.9.4"),
    Service(name="card-vault", style="logfmt", replicas=1, namespace="payments-infra", version="1.3.0"),
)
# One pod on every node; reads the node's journal, so kubelet and kernel lines arrive under its name.
NODE_AGENT: Final = Service(
    name="node-problem-detector", style="klog", kind="DaemonSet", namespace="kube-system", version="0.8.20"
)


def stable_uid(*parts: str) -> str:
    """A UUID-shaped id that depends on nothing but `parts`."""
    digest = sha256("/".join(parts).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def generated_name(rng: Random, length: int) -> str:
    return "".join(rng.choices(NAME_ALPHABET, k=length))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """The whole cluster: one or more shops side by side, each on nodes of its own, and what they share."""

    cluster: str
    shops: tuple[str, ...]  # namespaces
    pods: tuple[Pod, ...]
    nodes: dict[str, tuple[str, ...]]  # by shop namespace; "" holds the shared ones
    _by_service: dict[tuple[str, str], tuple[Pod, ...]] = field(repr=False)

    def pods_of(self, namespace: str, service: str) -> tuple[Pod, ...]:
        """Pods of a service of the shop in `namespace`; a shared service is found from every shop."""
        found = self._by_service.get((namespace, service))
        return found if found else self._by_service[("", service)]

    def service(self, namespace: str, name: str) -> Service:
        return self.pods_of(namespace, name)[0].service

    def callers(self, name: str) -> tuple[str, ...]:
        """Services of the shop that call `name`, or the owners of a store."""
        return tuple(s.name for s in SHOP_SERVICES if name in s.calls or s.store == name)

    def node_agent(self, node: str) -> Pod:
        return next(p for p in self._by_service[("", NODE_AGENT.name)] if p.node == node)

    def new_pod(self, pod: Pod, *, seed: str, node: str = "", version: str = "", same_set: bool = False) -> Pod:
        """A pod that takes the place of `pod`: another suffix, and another replica set unless `same_set`."""
        rng = Random(f"{seed}:{pod.name}")
        new_set = pod.replica_set if same_set else f"{pod.service.name}-{generated_name(rng, 10)}"
        return Pod(
            name=f"{new_set}-{generated_name(rng, 5)}",
            namespace=pod.namespace,
            service=pod.service,
            node=node or pod.node,
            ip=_pod_ip(rng),
            replica_set=new_set,
            version=version or pod.version,
        )


def build_estate(shops: tuple[str, ...] = (HOME,), *, seed: int, cluster: str = CLUSTER) -> Estate:
    """Lay out every pod. Shops are namespaces; `shop-eu` runs on nodes `worker-eu-1` to `worker-eu-6`."""
    nodes = {shop: tuple(_node_names(shop)) for shop in shops} | {"": ("infra-1", "infra-2")}
    by_service: dict[tuple[str, str], tuple[Pod, ...]] = {}
    for shop in shops:
        for service in SHOP_SERVICES:
            by_service[(shop, service.name)] = tuple(_lay_out(service, shop, nodes[shop], seed))
    for service in SYSTEM_SERVICES:
        by_service[("", service.name)] = tuple(_lay_out(service, service.namespace, nodes[""], seed))
    everywhere = tuple(name for names in nodes.values() for name in names)
    by_service[("", NODE_AGENT.name)] = tuple(_lay_out(NODE_AGENT, NODE_AGENT.namespace, everywhere, seed))
    return Estate(
        cluster=cluster,
        shops=shops,
        pods=tuple(pod for pods in by_service.values() for pod in pods),
        nodes=nodes,
        _by_service=by_service,
    )


def _node_names(shop: str) -> Iterator[str]:
    _, _, region = shop.partition("-")
    stem = f"worker-{region}" if region else "worker"
    return (f"{stem}-{n}" for n in range(1, NODES_PER_SHOP + 1))


def _lay_out(service: Service, namespace: str, nodes: tuple[str, ...], seed: int) -> Iterator[Pod]:
    rng = Random(f"{seed}:{namespace}:{service.name}")
    replica_set = f"{service.name}-{generated_name(rng, 10)}" if service.kind == "Deployment" else ""
    first = rng.randrange(len(nodes))
    for n in range(len(nodes) if service.kind == "DaemonSet" else service.replicas):
        suffix = generated_name(rng, 5)
        name = {"Deployment": f"{replica_set}-{suffix}", "StatefulSet": f"{service.name}-{n}"}.get(
            service.kind, f"{service.name}-{suffix}"
        )
        yield Pod(
            name=name,
            namespace=namespace,
            service=service,
            node=nodes[(first + n) % len(nodes)],
            ip=_pod_ip(rng),
            replica_set=replica_set,
            version=service.version,
        )


def _pod_ip(rng: Random) -> str:
    return f"10.244.{rng.randrange(1, 40)}.{rng.randrange(2, 250)}"
