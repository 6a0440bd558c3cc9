"""Query bodies, pure: the scope is a required argument of every one and is applied inside the kNN clause too."""

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any, Final

from schemas.context import Plan, Scope, Span

Json = dict[str, Any]
HYBRID_HITS: Final = 150
ACTIVE_PATTERNS: Final = 300
WARN: Final = 13
HISTORY_MS: Final = 24 * 3_600_000
MOST_DAYS: Final = 31  # named in a query; a longer span means all


def millis(span: Span) -> tuple[int, int]:
    return int(span.start.timestamp() * 1000), int(span.end.timestamp() * 1000)


def in_scope(scope: Scope) -> list[Json]:
    filters: list[Json] = []
    if scope.clusters:
        filters.append({"terms": {"cluster": list(scope.clusters)}})
    if scope.namespaces:
        filters.append({"terms": {"namespace": list(scope.namespaces)}})
    return filters


def visible_in(scope: Scope, cluster: str, namespace: str) -> bool:
    """`in_scope` once more, on what came back: a query that forgot its filter must not leak."""
    in_cluster = not scope.clusters or cluster in scope.clusters
    return in_cluster and (not scope.namespaces or namespace in scope.namespaces)


def named(plan: Plan) -> list[Json]:
    """A namespace that was named narrows the search; things without a namespace (nodes) stay."""
    if not plan.namespaces:
        return []
    return [{"terms": {"namespace": [*plan.namespaces, ""]}}]


def active_in(span: Span) -> list[Json]:
    start, end = millis(span)
    return [{"range": {"first_ms": {"lte": end}}}, {"range": {"last_ms": {"gte": start}}}]


def minutes_in(span: Span) -> Json:
    start, end = millis(span)
    return {"range": {"minute_ms": {"gte": start - start % 60_000, "lte": end}}}


def words_of(plan: Plan) -> Json:
    """BM25 on the text of a document; single words, since the analyser splits names."""
    return {"match": {"search_text": {"query": plan.search_text, "auto_generate_synonyms_phrase_query": False}}}


def hybrid(plan: Plan, scope: Scope, vector: Sequence[float] | None) -> Json:
    """Patterns by words and by meaning; without a vector (the embedder is still loading) by words alone."""
    filters = [*in_scope(scope), *named(plan)]
    words: Json = {
        "bool": {
            "must": words_of(plan),
            "filter": filters,
        }
    }  # fmt: skip
    source = {"size": HYBRID_HITS, "_source": ["pattern_id"]}
    if vector is None:
        return {**source, "query": words}
    nearest: Json = {"vector": list(vector), "k": HYBRID_HITS}
    if filters:
        nearest["filter"] = {"bool": {"filter": filters}}
    return {**source, "query": {"hybrid": {"queries": [words, {"knn": {"vector": nearest}}]}}}


def active_patterns(plan: Plan, scope: Scope, *, entities: Sequence[Json] = ()) -> Json:
    """What was said in the range, worst first: severity, then how often."""
    filters = [minutes_in(plan.span), *in_scope(scope), *named(plan)]
    query: Json = {"bool": {"filter": filters}}
    if entities:
        query["bool"] |= {"should": list(entities), "minimum_should_match": 1}
    by_severity = {"order": [{"severity": "desc"}, {"seen": "desc"}]}
    return {
        "size": 0,
        "query": query,
        "aggs": {"patterns": {"terms": {"field": "pattern_id", "size": ACTIVE_PATTERNS, **by_severity}, "aggs": _SEEN}},
    }


_SEEN: Final[Json] = {"severity": {"max": {"field": "severity_number"}}, "seen": {"sum": {"field": "count"}}}


def details(plan: Plan, scope: Scope, pattern_ids: Sequence[str]) -> Json:
    """Of these patterns, in the range: counts, times, who said it, and the latest and the first occurrence."""
    span = [minutes_in(plan.span), {"terms": {"pattern_id": list(pattern_ids)}}, *in_scope(scope)]
    shown = ["exemplars", "pod", "node", "entity", "cluster", "namespace", "workload", "severity_number", "identifiers"]
    one: Json = {"size": 1, "_source": shown}
    aggs: Json = {
        **_SEEN,
        "first": {"min": {"field": "first_ms"}},
        "last": {"max": {"field": "last_ms"}},
        "entities": {"terms": {"field": "entity", "size": 20}},
        "nodes": {"terms": {"field": "node", "size": 20}},
        "newest": {"top_hits": {**one, "sort": [{"last_ms": "desc"}, {"_id": "asc"}]}},
        "oldest": {"top_hits": {**one, "sort": [{"first_ms": "asc"}, {"_id": "asc"}]}},
    }
    terms = {"field": "pattern_id", "size": max(len(pattern_ids), 1)}
    return {"size": 0, "query": {"bool": {"filter": span}}, "aggs": {"patterns": {"terms": terms, "aggs": aggs}}}


def history(plan: Plan, scope: Scope, pattern_ids: Sequence[str]) -> Json:
    """How often the same was said in the day before the range: the pattern's own normal."""
    start, _ = millis(plan.span)
    before = {"range": {"minute_ms": {"gte": start - HISTORY_MS, "lt": start - start % 60_000}}}
    filters = [before, {"terms": {"pattern_id": list(pattern_ids)}}, *in_scope(scope)]
    terms = {"field": "pattern_id", "size": max(len(pattern_ids), 1)}
    first = {"first": {"min": {"field": "first_ms"}}}
    aggs = {"patterns": {"terms": terms, "aggs": {**_SEEN, **first}}}
    return {"size": 0, "query": {"bool": {"filter": filters}}, "aggs": aggs}


def pattern_texts(scope: Scope, pattern_ids: Sequence[str]) -> Json:
    filters = [{"terms": {"pattern_id": list(pattern_ids)}}, *in_scope(scope)]
    shown = ["pattern_id", "template", "cluster", "namespace", "workload", "severity"]
    return {"size": len(pattern_ids) * 3, "_source": shown, "query": {"bool": {"filter": filters}}}


def events(plan: Plan, scope: Scope, *, warning: bool, size: int) -> Json:
    filters: list[Json] = [*active_in(plan.span), {"term": {"warning": warning}}, *in_scope(scope)]
    if plan.namespaces:  # events about nodes live in the namespace "default"
        about = [*named(plan), {"term": {"object_kind": "Node"}}]
        filters.append({"bool": {"should": about, "minimum_should_match": 1}})
    mine = {"terms": {"workload": [*plan.workloads], "boost": 5}}
    return {
        "size": size,
        "query": {"bool": {"filter": filters, "should": [words_of(plan), mine]}},
        "sort": ["_score", {"last_ms": "desc"}, {"_id": "asc"}],
        "track_scores": True,
    }


def alerts(plan: Plan, scope: Scope, *, size: int) -> Json:
    """Alerts that fired at some time in the range. One that still fires has no later observation, so it looks back."""
    start, end = millis(plan.span)
    filters: list[Json] = [
        {"range": {"first_ms": {"lte": end}}},
        {"range": {"last_ms": {"gte": start - HISTORY_MS}}},
        *in_scope(scope),
        *named(plan),
    ]
    return {"size": size, "query": {"bool": {"filter": filters}}, "sort": [{"first_ms": "desc"}, {"_id": "asc"}]}


def series(plan: Plan, scope: Scope, who: Sequence[Json], *, size: int) -> Json:
    start, end = millis(plan.span)
    hours = {"range": {"hour_ms": {"gte": start - 2 * 3_600_000, "lte": end}}}
    query: Json = {"bool": {"filter": [hours, *in_scope(scope), *named(plan)]}}
    query["bool"] |= {"should": [*who, words_of(plan)], "minimum_should_match": 1}
    return {"size": size, "query": query}


def who_is(*, workloads: Sequence[str], pods: Sequence[str], nodes: Sequence[str], boost: float = 10) -> list[Json]:
    pairs: Mapping[str, Sequence[str]] = {"workload": workloads, "pod": pods, "node": nodes}
    return [{"terms": {name: list(values), "boost": boost}} for name, values in pairs.items() if values]


def catalog(scope: Scope, start_ms: int) -> Json:
    """Every name that exists, for the entities of a question."""
    names = {"cluster": 100, "namespace": 2_000, "workload": 10_000, "node": 5_000}
    of_alerts = {"name": {"terms": {"field": "name", "size": 2_000}}}
    alerts = {"filter": {"exists": {"field": "fingerprint"}}, "aggs": of_alerts}
    moment = {"range": {"last_ms": {"gte": start_ms}}}
    return {
        "size": 0,
        "query": {"bool": {"filter": [moment, *in_scope(scope)]}},
        # Metrics have names too, and there are more of them: only those of alerts are wanted.
        "aggs": {"alerts": alerts, **{name: {"terms": {"field": name, "size": size}} for name, size in names.items()}},
    }


def watermarks(scope: Scope) -> Json:
    """Sources in scope, and all partitions and gaps in them (a partition belongs to no namespace)."""
    partitions = {"terms": {"level": ["partition", "gap"]}}
    sources = {"bool": {"filter": [{"term": {"level": "source"}}, *in_scope(scope)]}}
    return {"size": 5_000, "query": {"bool": {"should": [partitions, sources], "minimum_should_match": 1}}}


def text_only(scope: Scope, span: Span, namespaces: Sequence[str] = ()) -> Json:
    """How many patterns of these days are not embedded yet, and of which workloads most of them are."""
    first, last = (moment.astimezone(UTC).date() for moment in (span.start, span.end))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    filters = in_scope(scope)
    if namespaces:
        filters.append({"terms": {"namespace": [*namespaces, ""]}})
    if len(days) <= MOST_DAYS:
        filters.append({"bool": {"should": [{"wildcard": {"_index": f"*-{day:%Y.%m.%d}"}} for day in days]}})
    return {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"filter": filters, "must_not": {"exists": {"field": "vector"}}}},
        "aggs": {"workloads": {"terms": {"field": "workload", "size": 3}}},
    }
