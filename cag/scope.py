"""Who may see what: the filter of every search, and the same law once more on what comes back. Pure."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from schemas.context import Evidence, Grant, Scope

Json = dict[str, Any]
EVERYTHING: Final = Grant()
NOTHING: Final[Json] = {"match_none": {}}


def in_scope(scope: Scope) -> list[Json]:
    """Filters for a search of documents with `cluster` and `namespace`."""
    filters: list[Json] = []
    if scope.clusters:
        filters.append({"terms": {"cluster": list(scope.clusters)}})
    if scope.namespaces:
        filters.append({"terms": {"namespace": list(scope.namespaces)}})
    if EVERYTHING not in scope.grants:
        granted = [{"bool": {"filter": _granted(grant)}} for grant in scope.grants]
        filters.append({"bool": {"should": granted, "minimum_should_match": 1}} if granted else NOTHING)
    return filters


def visible_in(scope: Scope, cluster: str, namespace: str) -> bool:
    """`in_scope` once more, on what came back: a query that forgot its filter must not leak."""
    if (scope.clusters and cluster not in scope.clusters) or (scope.namespaces and namespace not in scope.namespaces):
        return False
    return any(_covers(grant, cluster, namespace) for grant in scope.grants)


def whole_visible_in(scope: Scope, cluster: str, namespaces: Sequence[str]) -> bool:
    """Whether a thing of several namespaces may be seen, such as an incident: each of them must be granted.

    It is not cut to what may be seen: what it says of one namespace tells of the others. What the question is narrowed
    to is met by one of them.
    """
    narrowed = (not scope.clusters or cluster in scope.clusters) and (
        not scope.namespaces or any(namespace in scope.namespaces for namespace in namespaces)
    )
    granted = (any(_covers(grant, cluster, namespace) for grant in scope.grants) for namespace in namespaces)
    return narrowed and bool(namespaces) and all(granted)


def visible_incident(scope: Scope, document: Mapping[str, Any]) -> bool:
    """`whole_visible_in` of the document of an incident."""
    return whole_visible_in(scope, document["cluster"], document["namespace"])


def piece_visible_in(scope: Scope, piece: Evidence) -> bool:
    """The law for a piece of evidence, runbooks excepted."""
    if piece.namespaces:
        return whole_visible_in(scope, piece.cluster, piece.namespaces)
    return visible_in(scope, piece.cluster, piece.namespace)


def may_see_any(scope: Scope, namespaces: Sequence[str]) -> bool:
    """Whether one of these namespaces can be seen in some cluster: runbooks are restricted by namespaces alone."""
    asked = [n for n in namespaces if not scope.namespaces or n in scope.namespaces]
    return any(not grant.namespaces or _matches(grant.namespaces, n) for grant in scope.grants for n in asked)


def scope_key(scope: Scope) -> str:
    """The same for scopes that see the same, another one for all others: for cache keys and salts."""
    parts = (sorted(set(scope.clusters)), sorted(set(scope.namespaces)), sorted(map(repr, set(scope.grants))))
    return blake2b(repr(parts).encode(errors="replace"), digest_size=16).hexdigest()


def _granted(grant: Grant) -> list[Json]:
    filters: list[Json] = []
    if grant.clusters:
        filters.append(_named("cluster", grant.clusters))
    if grant.namespaces:
        # A thing without a namespace has the empty one.
        own = _named("namespace", grant.namespaces)
        either: Json = {"bool": {"should": [own, {"term": {"namespace": ""}}], "minimum_should_match": 1}}
        filters.append(either if grant.cluster_objects else own)
    elif not grant.cluster_objects:
        filters.append({"bool": {"must_not": {"term": {"namespace": ""}}}})
    return filters or [{"match_all": {}}]


def _named(field: str, names: Sequence[str]) -> Json:
    whole = [name for name in names if not name.endswith("*")]
    clauses: list[Json] = [{"terms": {field: whole}}] if whole else []
    clauses += [{"prefix": {field: name[:-1]}} for name in names if name.endswith("*")]
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}


def _covers(grant: Grant, cluster: str, namespace: str) -> bool:
    if grant.clusters and not _matches(grant.clusters, cluster):
        return False
    if not namespace:
        return grant.cluster_objects
    return not grant.namespaces or _matches(grant.namespaces, namespace)


def _matches(names: Sequence[str], name: str) -> bool:
    return any(name.startswith(n[:-1]) if n.endswith("*") else name == n for n in names)
