"""The edge to OpenSearch: install templates, read slices back, send bulk requests. `FakeIndex` ships beside it.

Neither waits nor retries: one call, one answer or one error. Patience is in `writer.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import orjson
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError as SearchConnectionError
from opensearchpy.exceptions import SerializationError, TransportError

from processors.fold import Slice
from processors.merge import MERGE_SOURCE, join
from processors.outcomes import NOOP, item_outcome
from schemas import documents
from schemas.documents import DAILY_KINDS, DATED_KINDS, SHARED_KINDS, STATIC_KINDS, Names, Target
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.settings import OpenSearch as OpenSearchSettings

EXISTS: Final = "resource_already_exists_exception"
Json = dict[str, Any]
WORKLOAD: Final = ("cluster", "namespace", "workload")  # whose turn it is to be embedded
PAGE_WORKLOADS, PAGE_PATTERNS = 8, 50  # so many of each; OpenSearch's own limit for the latter is 100
PAGE_SAMPLE: Final = 400  # of all, so that a large backlog does not take as many pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One document to write: created once and for all, or joined with what is there."""

    target: Target
    fixed: Mapping[str, Any]
    delta: Mapping[str, Any] | None  # None: create

    @property
    def create(self) -> bool:
        return self.delta is None


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    status: int
    reason: str = ""

    @property
    def changed(self) -> bool:
        """Whether the document is another one than before."""
        return self.status in (200, 201) and self.reason != NOOP


class WithoutVector(NamedTuple):
    """A page of the patterns that miss their vector."""

    total: int  # in the index, on all pages
    texts: dict[tuple[str, ...], dict[Target, str]]  # by workload
    following: Json | None  # the page after this one; None: this was the last


def workload_of(pattern: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(pattern.get(name) or "" for name in WORKLOAD)


class Index(Protocol):
    """Reads and writes documents. Every call may block and raises SinkUnavailable or SinkMisconfigured."""

    def ensure_days(self, targets: Sequence[Target]) -> None:
        """Make the indices of these targets where they are missing."""

    def forget_days(self) -> None:
        """Look again which indices exist: one that was written to has gone."""

    def slices(self, targets: Sequence[Target]) -> dict[Target, dict[str, Slice]]:
        """Stored slices by document, read in real time (not as of the last refresh); missing documents are left out."""

    def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        """One bulk request: an outcome per write in order; None when the answer does not match the question."""

    def without_vector(self, page: Json | None = None) -> WithoutVector:
        """Patterns that still miss their vector, as of the last refresh: some of a few workloads each, and some of all.

        Page by page every workload. Costs the index about a millisecond per thousand of them.
        """

    def set_vectors(self, vectors: Mapping[Target, Sequence[float]]) -> None:
        """Add a vector to patterns that exist; one that has been expired meanwhile is left alone."""


def client_options(settings: OpenSearchSettings) -> dict[str, Any]:
    """How to connect, for the blocking and for the asynchronous client: they never retry by themselves."""
    options: dict[str, Any] = {"hosts": str(settings.url), "max_retries": 0, "timeout": settings.timeout_s}
    if settings.username:
        options["http_auth"] = (settings.username, settings.password.get_secret_value())
    if settings.ca_file:
        options["ca_certs"] = str(settings.ca_file)
    if settings.url.scheme == "https":
        options |= {"verify_certs": settings.verify_certs, "ssl_show_warn": False}
    return options


def connect(settings: OpenSearchSettings) -> OpenSearch:
    """A blocking client; nothing is sent yet."""
    return OpenSearch(**client_options(settings), pool_maxsize=4)


class OpenSearchIndex:
    """The real thing."""

    def __init__(self, client: OpenSearch, names: Names, settings: OpenSearchSettings, dimensions: int) -> None:
        self._client, self.names, self._settings, self._dimensions = client, names, settings, dimensions
        self._known: set[str] = set()

    def install(self, *, live: bool = True) -> None:
        """Put the merge script and the index templates; make the undated indices.

        Only what is `live` is under the aliases that readers use.
        """
        self._call("PUT", f"/_scripts/{self.names.script}", {"script": {"lang": "painless", "source": MERGE_SOURCE}})
        for kind in (*DATED_KINDS, *STATIC_KINDS):
            name = self.names.family(kind)
            template = {
                "index_patterns": [f"{name}-*" if kind in DATED_KINDS else name],
                "priority": 500,
                "template": {
                    "aliases": {self.names.alias(kind): {}} if live or kind in SHARED_KINDS else {},
                    "settings": documents.settings(
                        kind,
                        shards=self._settings.shards,
                        replicas=self._settings.replicas,
                        refresh_interval_s=self._settings.refresh_interval_s,
                    ),
                    "mappings": documents.mappings(
                        kind, dimensions=self._dimensions, knn_engine=self._settings.knn_engine
                    ),
                },
            }
            self._call("PUT", f"/_index_template/{name}", template)
        self.ensure_days([Target(kind, "", "") for kind in STATIC_KINDS])
        if live:
            self._show()

    def _show(self) -> None:
        """Put those of our indices behind the aliases that were made just before this label became the live one."""
        kinds = {self.names.pattern(kind): kind for kind in DAILY_KINDS}
        kinds |= {self.names.index(Target(kind, "", "")): kind for kind in STATIC_KINDS}
        options = "ignore_unavailable=true&allow_no_indices=true"
        actions = [
            {"add": {"index": index, "alias": self.names.alias(kind)}}
            for name, kind in kinds.items()
            for index, there in self._call("GET", f"/{name}/_alias?{options}").items()
            if self.names.alias(kind) not in there["aliases"]
        ]
        if actions:
            self._call("POST", "/_aliases", {"actions": actions})

    def ensure_days(self, targets: Sequence[Target]) -> None:
        for name in sorted({self.names.index(target) for target in targets} - self._known):
            try:
                self._call("PUT", f"/{name}")
            except _Refused as refused:
                if refused.kind != EXISTS:
                    raise SinkMisconfigured(f"OpenSearch refused to create index {name}: {refused}") from None
            self._known.add(name)

    def forget_days(self) -> None:
        """Look again which indices exist: one that was written to has gone."""
        self._known.clear()

    def slices(self, targets: Sequence[Target]) -> dict[Target, dict[str, Slice]]:
        docs = [{"_index": self.names.index(t), "_id": t.id, "_source": ["slices"]} for t in targets]
        answer = self._call("POST", "/_mget", {"docs": docs})
        read = answer.get("docs") if isinstance(answer, dict) else None
        asked = [(doc["_index"], doc["_id"]) for doc in docs]
        if not isinstance(read, list) or [_place(doc) for doc in read] != asked:
            raise SinkUnavailable(
                f"OpenSearch at {self._settings.address} answered a read with something else than was asked"
            )
        found = {}
        for target, doc in zip(targets, read, strict=True):
            if doc.get("found"):
                stored = doc["_source"].get("slices") or {}
                found[target] = {key: Slice(mark, records) for key, (mark, records) in stored.items()}
            elif "error" in doc and doc["error"].get("type") != "index_not_found_exception":
                raise SinkUnavailable(f"OpenSearch could not read {doc['_index']}: {doc['error'].get('type')}")
        return found

    def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        body = b"".join(self.encode(write) for write in writes)
        try:
            answer = self._call("POST", "/_bulk", body)
        except _Refused as refused:
            # Too large, or one item that cannot even be parsed: halving finds it. A 400 without OpenSearch's own error
            # comes from something in between and says nothing about the documents.
            if refused.status == 413 or (refused.status == 400 and refused.kind):
                return [ItemOutcome(413, refused.kind or "request too large")] * len(writes)
            raise
        items = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(items, list) or len(items) != len(writes):
            return None
        outcomes = []
        for write, item in zip(writes, items, strict=True):
            read = item_outcome(item)
            if read is None or read[0] != write.target.id:
                return None
            outcomes.append(ItemOutcome(*read[1:]))
        return outcomes

    def encode(self, write: Write) -> bytes:
        """The two lines of one bulk item."""
        place = {"_index": self.names.index(write.target), "_id": write.target.id}
        if write.delta is None:
            return b"%b\n%b\n" % (orjson.dumps({"create": place}), orjson.dumps(write.fixed))
        body = {
            "scripted_upsert": True,
            "script": {"id": self.names.script, "params": {"delta": write.delta}},
            "upsert": write.fixed,
        }
        return b"%b\n%b\n" % (orjson.dumps({"update": place}), orjson.dumps(body))

    def live(self, alias: str) -> dict[str, dict[str, str]]:
        """Every label behind this alias with what it is made of: one, or none in an installation that is new."""
        self._call("POST", f"/{alias}/_refresh?ignore_unavailable=true")
        path = f"/{alias}/_search?ignore_unavailable=true"
        hits = self._call("POST", path, {"size": 100, "query": {"match_all": {}}})["hits"]["hits"]
        return {hit["_source"]["generation"]: hit["_source"]["parts"] for hit in hits}

    def without_vector(self, page: Json | None = None) -> WithoutVector:
        missing = {"bool": {"must_not": {"exists": {"field": "vector"}}}}
        sources = [{name: {"terms": {"field": name, "missing_bucket": True}}} for name in WORKLOAD]
        composite = {"size": PAGE_WORKLOADS, "sources": sources, **({"after": page} if page else {})}
        some = {"top_hits": {"size": PAGE_PATTERNS, "_source": ["template", *WORKLOAD]}}
        body = {
            "size": PAGE_SAMPLE,
            "_source": ["template", *WORKLOAD],
            "track_total_hits": True,
            # At random, so that several workers seldom embed the same ones.
            "query": {"function_score": {"query": missing, "random_score": {}, "boost_mode": "replace"}},
            "aggs": {"workloads": {"composite": composite, "aggs": {"some": some}}},
        }
        path = f"/{self.names.pattern('patterns')}/_search?search_pipeline=_none&allow_no_indices=true"
        answer = self._call("POST", path, body)
        found = answer.get("aggregations", {}).get("workloads", {"buckets": []})
        texts: dict[tuple[str, ...], dict[Target, str]] = {}
        for hits in (answer["hits"], *(bucket["some"]["hits"] for bucket in found["buckets"])):
            for hit in hits["hits"]:
                target = Target("patterns", hit["_index"].rsplit("-", 1)[1], hit["_id"])
                texts.setdefault(workload_of(hit["_source"]), {})[target] = hit["_source"]["template"]
        following = found.get("after_key") if len(found["buckets"]) == PAGE_WORKLOADS else None
        return WithoutVector(answer["hits"]["total"]["value"], texts, following)

    def set_vectors(self, vectors: Mapping[Target, Sequence[float]]) -> None:
        lines = []
        for target, vector in vectors.items():
            place = {"update": {"_index": self.names.index(target), "_id": target.id}}
            lines.append(b"%b\n%b\n" % (orjson.dumps(place), orjson.dumps({"doc": {"vector": list(vector)}})))
        answer = self._call("POST", "/_bulk", b"".join(lines))
        items = answer.get("items") if isinstance(answer, dict) else None
        read = [item_outcome(item) for item in items] if isinstance(items, list) else []
        statuses = [outcome[1] if outcome else 503 for outcome in read] or [503]
        if any(status >= 429 for status in statuses):
            raise SinkUnavailable(f"OpenSearch at {self._settings.address} did not take vectors ({max(statuses)})")
        if all(status in (400, 401, 403) for status in statuses):
            raise SinkMisconfigured(
                f"OpenSearch at {self._settings.address} refuses vectors ({statuses[0]}): their dimensions?"
            )

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other call, with the same errors. Raises SinkMisconfigured where OpenSearch says that we are wrong."""
        try:
            return self._call(method, path, body)
        except _Refused as refused:
            raise SinkMisconfigured(f"OpenSearch refused {method} {path}: {refused}") from None

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        try:
            return self._client.transport.perform_request(
                method, path, body=body if body is None or isinstance(body, bytes) else orjson.dumps(body),
                headers={"content-type": "application/x-ndjson" if path == "/_bulk" else "application/json"},
            )  # fmt: skip
        except SearchConnectionError as error:
            raise SinkUnavailable(
                f"OpenSearch at {self._settings.address} does not answer ({type(error).__name__})"
            ) from None
        except SerializationError:  # a proxy's page with status 200, or an answer that was cut off
            raise SinkUnavailable(
                f"OpenSearch at {self._settings.address} answered something that is not JSON"
            ) from None
        except TransportError as error:
            status = error.status_code if isinstance(error.status_code, int) else 0
            kind = kind_of(error)
            if status in (401, 403):
                raise SinkMisconfigured(
                    f"OpenSearch at {self._settings.address} refuses our user: {status} {kind}"
                ) from None
            if status in (400, 404, 413):
                # What is said about a bulk request may quote the documents.
                raise _Refused(status, kind, "" if path == "/_bulk" else _told(error)) from None
            raise SinkUnavailable(f"OpenSearch at {self._settings.address} answered {status} {kind}".rstrip()) from None


class _Refused(SinkMisconfigured):
    def __init__(self, status: int, kind: str, told: str) -> None:
        super().__init__(" ".join(filter(None, (str(status), kind, told))))
        self.status, self.kind = status, kind


def kind_of(error: TransportError) -> str:
    """OpenSearch's own name for the error; empty when something in between answered."""
    return error.error if isinstance(error.error, str) and error.error.replace("_", "").isalpha() else ""


def _told(error: TransportError) -> str:
    cause = error.info.get("error") if isinstance(error.info, dict) else None
    return str(cause.get("reason"))[:300] if isinstance(cause, dict) else ""


def _place(doc: object) -> tuple[object, object] | None:
    return (doc.get("_index"), doc.get("_id")) if isinstance(doc, dict) else None


@dataclass
class FakeIndex:
    """The same laws in memory, for tests without a server. `fault` may answer for an item: (write) -> outcome."""

    documents: dict[Target, dict[str, Any]] = field(default_factory=dict)
    fault: Callable[[Write], ItemOutcome | None] = lambda write: None
    calls: int = 0

    def ensure_days(self, targets: Sequence[Target]) -> None:
        pass

    def forget_days(self) -> None:
        pass

    def slices(self, targets: Sequence[Target]) -> dict[Target, dict[str, Slice]]:
        return {
            target: {key: Slice(*value) for key, value in self.documents[target].get("slices", {}).items()}
            for target in targets
            if target in self.documents
        }

    def bulk(self, writes: Sequence[Write]) -> list[ItemOutcome] | None:
        self.calls += 1
        outcomes = []
        for write in writes:
            outcome = self.fault(write)
            if outcome is None:
                outcome = self._apply(write)
            outcomes.append(outcome)
        return outcomes

    def _apply(self, write: Write) -> ItemOutcome:
        stored = self.documents.get(write.target)
        if write.delta is None:
            if stored is not None:
                return ItemOutcome(409, "version_conflict_engine_exception")
            self.documents[write.target] = dict(write.fixed)
            return ItemOutcome(201)
        joined = join(stored if stored is not None else write.fixed, write.delta)
        if joined == stored:
            return ItemOutcome(200, NOOP)
        self.documents[write.target] = joined
        return ItemOutcome(201 if stored is None else 200)

    def without_vector(self, page: Json | None = None) -> WithoutVector:
        missing = {t: d for t, d in self.documents.items() if t.kind == "patterns" and "vector" not in d}
        after = workload_of(page) if page else ()
        workloads = sorted({workload_of(pattern) for pattern in missing.values()})
        shown = [workload for workload in workloads if workload > after][:PAGE_WORKLOADS]
        texts: dict[tuple[str, ...], dict[Target, str]] = {}
        for nth, (target, pattern) in enumerate(missing.items()):
            mine = texts.setdefault(workload_of(pattern), {})
            if nth < PAGE_SAMPLE or (workload_of(pattern) in shown and len(mine) < PAGE_PATTERNS):
                mine[target] = pattern["template"]
        following = dict(zip(WORKLOAD, shown[-1], strict=True)) if len(shown) == PAGE_WORKLOADS else None
        return WithoutVector(len(missing), texts, following)

    def set_vectors(self, vectors: Mapping[Target, Sequence[float]]) -> None:
        for target, vector in vectors.items():
            if target in self.documents:
                self.documents[target]["vector"] = list(vector)
