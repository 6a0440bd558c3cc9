"""Query bodies, pure: the scope is a required argument of every one and is applied inside the kNN clause too."""

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any, Final

from cag.changes import LOOKED_BACK, ROLLOUTS, STEPS
from cag.evidence import TELLING_REASONS, links_in
from cag.scope import in_scope
from schemas.context import Plan, Scope, Span
from schemas.documents import MOST_DAYS

Json = dict[str, Any]
SIMILAR: Final = 150  # by words, and as many by meaning
ACTIVE_PATTERNS: Final = 300
WARN: Final = 13
HISTORY_MS: Final = 24 * 3_600_000
SERIES_MS: Final = 2 * 3_600_000  # of a series before the range: what is usual


def millis(span: Span) -> tuple[int, int]:
    return int(span.start.timestamp() * 1000), int(span.end.timestamp() * 1000)


def named(plan: Plan) -> list[Json]:
    """A namespace that was named narrows the search; things without a namespace (nodes) stay."""
    if not plan.namespaces:
        return []
    return [{"terms": {"namespace": [*plan.namespaces, ""]}}]


def active_in(span: Span) -> list[Json]:
    start, end = millis(span)
    return [{"range": {"first_ms": {"lte": end}}}, {"range": {"last_ms": {"gte": start}}}]


def minutes_in(span: Span) -> Json:
    """What was said by the end: the minute that it lies in counts only where nothing was said in it afterwards."""
    start, end = millis(span)
    minutes = {"range": {"minute_ms": {"gte": start - start % 60_000, "lte": end}}}
    return {"bool": {"filter": [minutes, {"range": {"last_ms": {"lte": end}}}]}}


def words_of(plan: Plan) -> Json:
    """BM25 on the text of a document; single words, since the analyser splits names."""
    return {"match": {"search_text": {"query": plan.search_text, "auto_generate_synonyms_phrase_query": False}}}


def by_words(plan: Plan, scope: Scope) -> Json:
    """Patterns that hold the words of the question."""
    query = {"bool": {"must": words_of(plan), "filter": [*in_scope(scope), *named(plan)]}}
    return {**_IDS, "size": SIMILAR, "query": query}


def by_meaning(plan: Plan, scope: Scope, vector: Sequence[float]) -> Json:
    """Patterns near to the question. The filter stands inside the clause: what it hides takes nobody's place."""
    nearest: Json = {"vector": list(vector), "k": SIMILAR}
    if filters := [*in_scope(scope), *named(plan)]:
        nearest["filter"] = {"bool": {"filter": filters}}
    return {**_IDS, "size": SIMILAR, "query": {"knn": {"vector": nearest}}}


# Which patterns, and nothing else: reading only the names of those found takes as long as finding them.
_IDS: Final[Json] = {"stored_fields": "_none_", "docvalue_fields": ["pattern_id"], "track_total_hits": False}


def active_patterns(plan: Plan, scope: Scope, *, severe: bool | None = None, entities: Sequence[Json] = ()) -> Json:
    """What was said in the range, worst first: severity, then how often. `severe`: from warnings on, or below them."""
    filters = [minutes_in(plan.span), *in_scope(scope), *named(plan)]
    if severe is not None:
        filters.append({"range": {"severity_number": {"gte": WARN} if severe else {"lt": WARN}}})
    query: Json = {"bool": {"filter": filters}}
    if entities:
        query["bool"] |= {"should": list(entities), "minimum_should_match": 1}
    by_severity = {"order": [{"severity": "desc"}, {"seen": "desc"}]}
    severity = {"max": {"field": "severity_number"}}
    return _per_pattern(query, ACTIVE_PATTERNS, {"severity": severity, **_SEEN}, **by_severity)


def _per_pattern(query: Json, size: int, aggs: Json, **more: Any) -> Json:
    terms = {"field": "pattern_id", "size": size, **more}
    aggs = {"patterns": {"terms": terms, "aggs": aggs}}
    return {"size": 0, "track_total_hits": False, "query": query, "aggs": aggs}


_WHO: Final = ("cluster", "namespace", "workload", "pod", "node")
_SEEN: Final[Json] = {"seen": {"sum": {"field": "count"}}}


def details(plan: Plan, scope: Scope, pattern_ids: Sequence[str]) -> Json:
    """Of these patterns, in the range: how often, since when, and whether by one or by several."""
    aggs = {**_SEEN, "first": {"min": {"field": "first_ms"}}, "entities": {"terms": {"field": "entity", "size": 2}}}
    return _per_pattern(_of(pattern_ids, minutes_in(plan.span), scope), len(pattern_ids), aggs)


def newest(plan: Plan, scope: Scope, pattern_ids: Sequence[str]) -> Json:
    """The latest occurrence of each of these patterns in the range."""
    shown = ["pattern_id", "exemplars", "last_ms", "severity_number", *_WHO]
    return _one_each(_of(pattern_ids, minutes_in(plan.span), scope), len(pattern_ids), {"last_ms": "desc"}, shown)


def oldest(plan: Plan, scope: Scope, pattern_ids: Sequence[str]) -> Json:
    """The first occurrence of each of these patterns in the range: where to look for what began it."""
    query = _of(pattern_ids, minutes_in(plan.span), scope)
    return _one_each(query, len(pattern_ids), {"first_ms": "asc"}, ["pattern_id", "exemplars"])


def _one_each(query: Json, size: int, first: Json, shown: Sequence[str]) -> Json:
    """One search for all of them: a list of hits in each bucket of an aggregation costs a search for each."""
    sort = [first, {"entity": "asc"}, {"node": "asc"}]
    collapse = {"field": "pattern_id"}
    return {
        "size": size, "track_total_hits": False, "query": query, "sort": sort, "collapse": collapse,
        "_source": list(shown),
    }  # fmt: skip


def _of(pattern_ids: Sequence[str], when: Json, scope: Scope) -> Json:
    return {"bool": {"filter": [when, {"terms": {"pattern_id": list(pattern_ids)}}, *in_scope(scope)]}}


def history(plan: Plan, scope: Scope, pattern_ids: Sequence[str]) -> Json:
    """How often the same was said in the compared period, or in the day before: the pattern's own normal.

    `heard`: the minutes in which any of them was said, since the index may know less than a day, or have gaps.
    """
    start, _ = millis(plan.span)
    before: Json = {"range": {"minute_ms": {"gte": start - HISTORY_MS, "lt": start - start % 60_000}}}
    if plan.compared:
        before = minutes_in(plan.compared)
    body = _per_pattern(_of(pattern_ids, before, scope), len(pattern_ids), _SEEN)
    body["aggs"]["heard"] = {"cardinality": {"field": "minute_ms", "precision_threshold": HISTORY_MS // 60_000}}
    return body


def events(plan: Plan, scope: Scope, *, warning: bool, size: int) -> Json:
    """Those that warn, or the others: what names a cause or a change before what says that all is well."""
    filters: list[Json] = [*active_in(plan.span), {"term": {"warning": warning}}, *in_scope(scope)]
    if plan.namespaces:  # events about nodes live in the namespace "default"
        about = [*named(plan), {"term": {"object_kind": "Node"}}]
        filters.append({"bool": {"should": about, "minimum_should_match": 1}})
    should: list[Json] = [words_of(plan), {"terms": {"workload": [*plan.workloads], "boost": 5}}]
    if not warning:
        should += [
            {"terms": {"reason": sorted(TELLING_REASONS), "boost": 4}},
            _reasons(ROLLOUTS, 3),
            _reasons(STEPS, 1),
        ]
        if plan.intent == "change":
            filters.append(_reasons(STEPS))
    return _by_score(filters, should, size)


def changes(plan: Plan, scope: Scope, *, size: int) -> Json:
    """Steps of changes in the day before the end of the range, rollouts first, the latest first."""
    day = Span(start=plan.span.end - LOOKED_BACK, end=plan.span.end)
    filters = [*active_in(day), _reasons(STEPS), {"term": {"warning": False}}, *in_scope(scope), *named(plan)]
    if plan.workloads:
        filters.append({"terms": {"workload": list(plan.workloads)}})
    return _by_score(filters, [_reasons(ROLLOUTS)], size)


def _reasons(reasons: Sequence[str], boost: float = 1) -> Json:
    return {"terms": {"reason": list(reasons), "boost": boost}}


def _by_score(filters: Sequence[Json], should: Sequence[Json], size: int) -> Json:
    return {
        "size": size,
        "query": {"bool": {"filter": list(filters), "should": list(should)}},
        "sort": ["_score", {"last_ms": "desc"}, {"uid": "asc"}],
        "track_total_hits": False,
        "track_scores": True,
    }


def alerts(plan: Plan, scope: Scope, *, size: int) -> Json:
    """Alerts that fired at some time in the range: begun by its end, and not resolved before its start.

    One that fires says so with its start, however long ago: `last_ms` tells when it was resolved, or nothing.
    """
    start, end = millis(plan.span)
    over = {"bool": {"filter": [{"term": {"status": "resolved"}}, {"range": {"last_ms": {"lt": start}}}]}}
    asked: list[Json] = [{"terms": {"name": list(plan.alerts), "boost": 100}}] if plan.alerts else []
    if urls := links_in(plan.question):
        asked.append({"terms": {"runbook_url": list(urls), "boost": 100}})
    asked += who_is(workloads=plan.workloads, pods=plan.pods, nodes=plan.nodes)
    return {
        "size": size,
        "query": {
            "bool": {
                "filter": [{"range": {"first_ms": {"lte": end}}}, *in_scope(scope), *named(plan)],
                "must_not": [over],
                "should": asked,
            }
        },
        "sort": ["_score", {"first_ms": "desc"}, {"fingerprint": "asc"}],
        "track_total_hits": False,
    }


def incidents(plan: Plan, scope: Scope, *, size: int) -> Json:
    """Those that were known to go on at some time in the range, as far as their newest revision tells.

    One of several namespaces is found by any of them; whether all of it may be seen is asked of each that is found.
    """
    start, end = millis(plan.span)
    asked = who_is(workloads=plan.workloads, pods=(), nodes=())
    asked += [{"terms": {"entity": [f"node/{node}" for node in plan.nodes], "boost": 10}}] if plan.nodes else []
    return {
        "size": size,
        "query": {
            "bool": {
                "filter": [{"range": {"first_ms": {"lte": end}}}, *in_scope(scope), *named(plan)],
                "must_not": [{"range": {"ended_ms": {"lt": start}}}],
                "should": asked,
            }
        },
        "sort": ["_score", {"last_ms": "desc"}, {"incident_id": "asc"}],
        "track_total_hits": False,
    }


def series(plan: Plan, scope: Scope, who: Sequence[Json], *, size: int) -> Json:
    """Of these things, of the metrics that the question names, and of what sounds like it."""
    start, end = millis(plan.span)
    if plan.metrics:
        who = [*who, {"terms": {"name": list(plan.metrics), "boost": 20}}]
    hours = {"range": {"hour_ms": {"gte": start - SERIES_MS, "lte": end}}}
    query: Json = {"bool": {"filter": [hours, *in_scope(scope), *named(plan)]}}
    query["bool"] |= {"should": [*who, words_of(plan)], "minimum_should_match": 1}
    return {"size": size, "track_total_hits": False, "query": query}


def series_then(ids: Sequence[str], compared: Span, scope: Scope, *, size: int) -> Json:
    """The same series in the compared period."""
    start, end = millis(compared)
    hours = {"range": {"hour_ms": {"gte": start - start % 3_600_000, "lte": end}}}
    filters = [hours, {"terms": {"series_id": list(ids)}}, *in_scope(scope)]
    return {"size": size, "track_total_hits": False, "query": {"bool": {"filter": filters}}}


def who_is(*, workloads: Sequence[str], pods: Sequence[str], nodes: Sequence[str], boost: float = 10) -> list[Json]:
    pairs: Mapping[str, Sequence[str]] = {"workload": workloads, "pod": pods, "node": nodes}
    return [{"terms": {name: list(values), "boost": boost}} for name, values in pairs.items() if values]


def catalog(scope: Scope, start_ms: int) -> Json:
    """Every name that exists, for the entities of a question."""
    names = {"cluster": 100, "namespace": 2_000, "workload": 10_000, "node": 5_000}
    by_name = {"name": {"terms": {"field": "name", "size": 2_000}}}
    alerts = {"filter": {"exists": {"field": "fingerprint"}}, "aggs": by_name}
    metrics = {"filter": {"exists": {"field": "series_id"}}, "aggs": by_name}
    moment = {"range": {"last_ms": {"gte": start_ms}}}
    return {
        "size": 0,
        "query": {"bool": {"filter": [moment, *in_scope(scope)]}},
        "aggs": {
            "alerts": alerts,
            "metrics": metrics,
            **{name: {"terms": {"field": name, "size": size}} for name, size in names.items()},
        },
    }


def watermarks(scope: Scope) -> Json:
    """Sources in scope; partitions with their gaps and replays, which belong to no namespace."""
    partitions = {"terms": {"level": ["partition", "gap", "replay"]}}
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
