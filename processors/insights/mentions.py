"""Whom a line or the labels of a series name: host names, addresses, pods, plain words. Pure, no state."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from processors.decode.workload import workload_of

# How sure it is that a name is that of a workload, if there is one of this name.
ADDRESS: Final = 1.0  # host:port, URL, name.namespace.svc, a label that is there to name the peer
NAME: Final = 0.8  # a word with a hyphen: few are said by chance
WORD: Final = 0.5  # `cart` is a workload or a cart

# Labels that name whom the speaker calls: OpenTelemetry (peer.service, server.address, and the older net.peer.name),
# Istio, Linkerd, Envoy, nginx-ingress, gRPC, Spring's http client; with dots and as Prometheus writes them.
_CALLEES: Final = frozenset({
    "peer", "peer_service", "server", "server_address", "net_peer_name", "upstream", "upstream_cluster",
    "destination", "destination_workload", "destination_service", "destination_service_name", "destination_app",
    "upstream_host", "dst_deployment", "dst_service", "dst_workload", "grpc_target", "rpc_target", "target_service",
    "backend", "callee", "client_name", "envoy_cluster_name", "remote_service", "dependency", "remote",
})  # fmt: skip
# Labels that name who calls the speaker, or, beside one of those above, who makes the call.
_CALLERS: Final = frozenset({
    "client", "client_service", "source_workload", "source_service", "source_app", "caller", "downstream",
    "src_deployment", "src_workload",
})  # fmt: skip
CALLEES, CALLERS = (names | {name.replace("_", ".") for name in names} for names in (_CALLEES, _CALLERS))
NAMESPACES: Final = {
    "destination_workload": "destination_workload_namespace",
    "destination_service_name": "destination_service_namespace",
    "dst_deployment": "dst_namespace",
    "dst_service": "dst_namespace",
    "source_workload": "source_workload_namespace",
    "src_deployment": "src_namespace",
}
# Of what is named after its workload: a Kubernetes service, and a certificate (as in cert-manager's guide).
SUFFIXES: Final = ("-service", "-svc", "-headless", "-tls", "-cert")
# What lines say of anything: as a plain word it names nobody.
SAID_OF_ALL: Final = frozenset({
    "api", "app", "backend", "cache", "client", "cluster", "controller", "data", "database", "default", "error",
    "gateway", "host", "http", "https", "job", "local", "localhost", "main", "manager", "master", "node", "operator",
    "pod", "proxy", "queue", "request", "response", "root", "server", "service", "session", "system", "test", "user",
    "web", "worker",
})  # fmt: skip
WORDS_CHARS: Final = 1_000  # of a text that are looked at

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_PORT: Final = re.compile(r":\d{2,5}(?![\d.:])")
_CALLED_BY: Final = re.compile(
    r"(?:\b(?:request|requests|call|calls|called|connection|connections|client|traffic|invoked|received)\s+(?:from|by)\s+"
    r"|\b(?:client|caller|source|user-agent)\s*[=:]\s*)[\"'`\[(]?$"
)


class Word(NamedTuple):
    name: str
    stems: tuple[str, ...]  # the name, and what it may be a service or a pod of
    namespace: str  # empty: not said
    sure: float
    calls: bool  # the one that is named calls the speaker


@lru_cache(maxsize=8_192)  # of a kilobyte or two each: a text comes again with each flush of its minute
def words_of(text: str) -> tuple[Word, ...]:
    """What could be names of workloads, pods and nodes, each once, the surest form of it."""
    text = text[:WORDS_CHARS].lower()
    found: dict[tuple[str, str], Word] = {}
    for match in _NAME.finditer(text):
        for word in _read(text, match):
            at = word.name, word.namespace
            if at not in found or found[at].sure < word.sure:
                found[at] = word
    return tuple(found.values())


def _read(text: str, match: re.Match[str]) -> Iterator[Word]:
    host, begin, end = match[0], match.start(), match.end()
    if len(host) < 3 or host.isdigit():
        return
    labels = host.split(".")
    before = text[max(0, begin - 32) : begin]
    calls = _CALLED_BY.search(before) is not None
    if len(labels) > 1:
        if labels[-1].isdigit():  # an IP address, a version
            return
        cluster = "svc" in labels[1:]
        at = labels.index("svc", 1) if cluster else 2
        # pod.service.namespace.svc of a stateful set, else service.namespace
        name, namespace = (labels[at - 2], labels[at - 1]) if cluster and at >= 2 else (labels[0], labels[1])
        yield Word(name, stems_of(name), namespace, ADDRESS, calls)
        return
    address = before.endswith(("//", "@")) or _PORT.match(text, end) is not None
    if not address and (host in SAID_OF_ALL or text[end : end + 1] == "="):  # the key of a pair names nobody
        return
    if not address and "_" in (before[-1:], text[end : end + 1]):  # nor does a part of orders_idempotency_key
        return
    yield Word(host, stems_of(host), "", ADDRESS if address else NAME if "-" in host else WORD, calls)


def stems_of(name: str) -> tuple[str, ...]:
    """The name, and what it may be a service or a pod of."""
    if "-" not in name:
        return (name,)
    services = (name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix))
    return tuple(dict.fromkeys((name, *services, workload_of(name))))


def peers_of(labels: Mapping[str, str]) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Whom the labels of a series or an alert name as called, and as calling."""
    called: list[Word] = []
    calling: list[Word] = []
    for label, value in labels.items():
        if label in CALLEES:
            called += _labelled(labels, label, value)
        elif label in CALLERS:
            calling += _labelled(labels, label, value)
    return tuple(called), tuple(calling)


def _labelled(labels: Mapping[str, str], label: str, value: str) -> list[Word]:
    namespace = labels.get(NAMESPACES.get(label, ""), "").lower()
    return [word._replace(namespace=word.namespace or namespace, sure=ADDRESS) for word in _whole(value)]


@lru_cache(maxsize=8_192)
def _whole(value: str) -> tuple[Word, ...]:
    """A label is one name or one address, however plain the word: `backend="cart"`."""
    lowered = value.lower()
    if _NAME.fullmatch(lowered) and "." not in lowered:
        return (Word(lowered, stems_of(lowered), "", ADDRESS, False),)
    return tuple(word for word in words_of(value) if word.sure == ADDRESS)
