"""Names that follow from a name: the workload whose pod this is, the database of that workload. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from cag.question.spelling import FEW, Index, squash

# What Kubernetes puts behind the name of a workload: a hash and five of its safe letters, those five, or an ordinal.
_POD_SUFFIX: Final = re.compile(r"(?:[a-z0-9]{6,10}-)?[bcdfghjklmnpqrstvwxz2456789]{5}|\d{1,5}|\d{8}(?:-[a-z0-9]{5})?")

_ROLE: Final = re.compile(r"[-_.](?:api|service|svc|server|app|web|worker|frontend|backend|deployment)$")
# Other words for what a workload's companions are called by.
KIN: Final[Mapping[str, tuple[str, ...]]] = {
    word: tuple(names.split())
    for words, names in (
        ("database databases db dbs", "db database postgres postgresql pg mysql mariadb mongo mongodb sql data"),
        ("queue queues broker", "queue mq rabbitmq kafka nats broker"),
        ("cache caches", "cache redis memcached valkey"),
        ("proxy", "proxy envoy nginx"), ("gateway", "gateway gw"), ("worker workers", "worker workers"),
        ("frontend ui", "frontend ui web"), ("backend", "backend api"), ("api", "api"), ("scheduler", "scheduler"),
        ("index", "index elasticsearch opensearch"), ("redis", "redis valkey"),
    )
    for word in words.split()
}  # fmt: skip


def kin(workloads: Sequence[str], word: str, index: Index) -> list[str]:
    """Workloads that are called after one of these and what the word says: checkout-db for checkout's database."""
    found: dict[str, None] = {}
    for workload in workloads[:FEW]:
        own, called = squash(workload), squash(_ROLE.sub("", workload.lower()))
        for other in KIN.get(word, ()):
            for spelling in (own + other, other + own, called + other, other + called):
                for kind, name in (*index.whole.get(spelling, ()), *index.runs.get(spelling, ())):
                    if kind == "workload" and name != workload:
                        found.setdefault(name)
    return list(found)[:FEW]


def owner_of(pod: str, index: Index) -> str | None:
    """The workload whose pod this is, by its name; a static pod is called after its node."""
    for parts in (1, 2):
        front = pod.rsplit("-", parts)[0]
        suffix = pod[len(front) + 1 :]
        if front in index.owners and (_POD_SUFFIX.fullmatch(suffix) or any(c.isdigit() for c in suffix)):
            return index.owners[front]
    places = [place for place, letter in enumerate(pod[:128]) if letter == "-"]
    return next(
        (index.owners[pod[:p]] for p in places if pod[:p] in index.owners and pod[p + 1 :] in index.nodes), None
    )
