"""`replay diff`: what a shadow would change. Documents by kind, and whether the same questions find the same texts.

Only documents that lie wholly in a time range that both have read are compared, day by day, so that memory holds the
digests of one day of one kind at most.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cag.rank import fused
from processors.embed import Embedder
from processors.index import OpenSearchIndex
from processors.scan import document_digest, scan
from schemas.answer_settings import Ranking
from schemas.documents import DAILY_KINDS, MINUTE_MS, Target
from schemas.errors import SinkUnavailable
from streams.replay.stretches import Place
from streams.topics import Log

EXAMPLES: Final = 5
TEXT_CHARS: Final = 120
OPEN: Final = b""  # a document that is not wholly in the range
DEPTH: Final = 10  # overlap@10
LEFT_OUT: Final = ("slices", "latest")  # how it was counted, not what it says
# Occurrences before patterns: a pattern has no time, it is compared when an occurrence of it is.
ORDER: Final = ("occurrences", "patterns", *(kind for kind in DAILY_KINDS if kind not in ("occurrences", "patterns")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Event time that both have read. None: no bound on this side."""

    start_ms: int | None = None
    end_ms: int | None = None

    def holds(self, first_ms: int, last_ms: int) -> bool:
        after = self.start_ms is None or first_ms >= self.start_ms
        return after and (self.end_ms is None or last_ms < self.end_ms)

    def __str__(self) -> str:
        start, end = (
            datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds") if ms is not None else ""
            for ms in (self.start_ms, self.end_ms)
        )
        return f"from {start or 'the beginning'} to {end or 'the end'}"


@dataclass(frozen=True, slots=True)
class Example:
    """One document in few words; `before` is live's, `after` the shadow's."""

    id: str
    day: str
    before: str
    after: str


@dataclass(slots=True)
class KindDiff:
    same: int = 0
    added: int = 0
    changed: int = 0
    gone: int = 0
    open: int = 0  # not compared: not wholly in the range
    examples: dict[str, list[Example]] = field(default_factory=dict)  # added | changed | gone

    def note(self, how: str, target: Target, before: str, after: str) -> None:
        setattr(self, how, getattr(self, how) + 1)
        shown = self.examples.setdefault(how, [])
        if len(shown) < EXAMPLES:
            shown.append(Example(target.id, target.day, before, after))


@dataclass(slots=True, kw_only=True)
class Recall:
    """Of so many pattern texts asked as questions, the mean share of live's first ten texts that the shadow finds."""

    queries: int = 0
    overlap_at_10: float = 1.0
    words_only: int = 0  # questions for which one side had no vector, and both were asked by words


@dataclass(slots=True, kw_only=True)
class Diff:
    live: str
    shadow: str
    compared: Between
    kinds: dict[str, KindDiff]
    recall: Recall

    @property
    def equal(self) -> bool:
        return not any(kind.added + kind.changed + kind.gone for kind in self.kinds.values())

    def as_json(self) -> dict[str, Any]:
        return {"equal": self.equal, **asdict(self)}


def common(
    live: Mapping[Place, int],
    shadow: Mapping[Place, int],
    starts: Mapping[Place, int],
    logs: Mapping[Place, Log],
    time_at: Callable[[Place, int], int | None],
) -> Between:
    """What both have read, in event time: no record is later than its Kafka timestamp. `starts`: of the shadow."""
    begins = [time_at(p, max(at, logs[p].start)) for p, at in starts.items() if at > 0 and at < logs[p].end]
    reached = {p: min(live.get(p, 0), shadow.get(p, 0)) for p in logs}
    ends = [time_at(p, max(at, logs[p].start)) for p, at in reached.items() if at < logs[p].end]
    after = [ms for ms in begins if ms is not None]
    until = [ms for ms in ends if ms is not None]
    return Between(
        start_ms=-(-max(after) // MINUTE_MS) * MINUTE_MS if after else None,
        end_ms=min(until) // MINUTE_MS * MINUTE_MS if until else None,
    )


def compare(live: OpenSearchIndex, shadow: OpenSearchIndex, between: Between) -> dict[str, KindDiff]:
    """By kind. Blocks; raises SinkUnavailable and SinkMisconfigured."""
    found = {kind: KindDiff() for kind in DAILY_KINDS}
    for day in sorted({*_days(live), *_days(shadow)}):
        seen: tuple[set[str], set[str]] = set(), set()  # patterns whose occurrences were compared
        for kind in ORDER:
            _compare_day(live, shadow, kind, day, between, found[kind], seen)
    return found


def _compare_day(
    live: OpenSearchIndex,
    shadow: OpenSearchIndex,
    kind: str,
    day: str,
    between: Between,
    diff: KindDiff,
    seen: tuple[set[str], set[str]],
) -> None:
    theirs: dict[str, bytes] = {}
    for target, source in scan(live, (kind,), day=day):
        theirs[target.id] = _digest(target, source, between, seen[0])
    gone: set[str] = set(theirs)
    for target, source in scan(shadow, (kind,), day=day):
        mine, before = _digest(target, source, between, seen[1]), theirs.get(target.id)
        gone.discard(target.id)
        if OPEN in (mine, before):
            diff.open += 1
        elif before is None:
            diff.note("added", target, "", text_of(kind, source))
        elif before == mine:
            diff.same += 1
        else:
            stored = _get(live, target) if len(diff.examples.get("changed", ())) < EXAMPLES else {}
            diff.note("changed", target, text_of(kind, stored), text_of(kind, source))
    for identity in sorted(gone):
        target = Target(kind, day, identity)
        if theirs[identity] == OPEN:
            diff.open += 1
            continue
        stored = _get(live, target) if len(diff.examples.get("gone", ())) < EXAMPLES else {}
        diff.note("gone", target, text_of(kind, stored), "")


def _digest(target: Target, source: Mapping[str, Any], between: Between, seen: set[str]) -> bytes:
    if target.kind == "patterns":
        if target.id not in seen:
            return OPEN
    else:
        if not between.holds(*_span(source)):
            return OPEN
        if target.kind == "occurrences":
            seen.add(source["pattern_id"])
    said = {name: value for name, value in source.items() if name not in LEFT_OUT}
    return bytes.fromhex(document_digest(target, said))


def _span(source: Mapping[str, Any]) -> tuple[int, int]:
    """The event time that a document holds: its whole minute where it has one, else what it has seen so far."""
    if "minute_ms" in source:
        return source["minute_ms"], source["minute_ms"] + MINUTE_MS - 1
    return source["first_ms"], source["last_ms"]


def text_of(kind: str, source: Mapping[str, Any]) -> str:
    """A document in one short line; everything in it was redacted when it was indexed."""
    if kind == "patterns":
        said = f"{source.get('workload', '')}: {source.get('template', '')}"
    elif kind == "occurrences":
        exemplars = source.get("exemplars") or [{}]
        said = f"{source.get('count', 0)} times {source.get('entity', '')}: {exemplars[0].get('text', '')}"
    elif kind == "tallies":
        said = f"{source.get('count', 0)} {source.get('rule', '')} of {source.get('topic', '')}"
    else:
        name = source.get("name") or source.get("reason") or ""
        said = f"{source.get('entity', '')} {name} {source.get('message', '')}"
    return " ".join(said.split())[:TEXT_CHARS] if source else ""


def recall(
    live: OpenSearchIndex,
    shadow: OpenSearchIndex,
    own: Embedder,
    identities: tuple[str, str],
    queries: int,
    ranking: Ranking,
) -> Recall:
    """`own` embeds for a side that was built with it; elsewhere the vector of the same text is taken from the index.

    `identities`: the embedders of both sides. Blocks; raises SinkUnavailable.
    """
    asked, words, total = 0, 0, 0.0
    for text, vector in _sample(live, queries):
        vectors = [vector, _vector(shadow, text)]
        for side, identity in enumerate(identities):
            if vectors[side] is None and identity == own.identity:
                (vectors[side],) = own.embed([text])
        if None in vectors:
            words += 1
            vectors = [None, None]
        before, after = _texts(live, text, vectors[0], ranking), _texts(shadow, text, vectors[1], ranking)
        if before:
            asked += 1
            total += len(set(before) & set(after)) / len(before)
    return Recall(queries=asked, overlap_at_10=round(total / asked, 3) if asked else 1.0, words_only=words)


def _sample(index: OpenSearchIndex, size: int) -> Iterator[tuple[str, list[float] | None]]:
    chance = {"function_score": {"query": {"match_all": {}}, "random_score": {"seed": 7, "field": "_seq_no"}}}
    for hit in _search(index, {"size": size, "query": chance, "_source": ["template", "vector"]}):
        yield hit["template"], hit.get("vector")


def _vector(index: OpenSearchIndex, text: str) -> list[float] | None:
    known = {"bool": {"filter": [{"match_phrase": {"template": text}}, {"exists": {"field": "vector"}}]}}
    hits = _search(index, {"size": 5, "query": known, "_source": ["template", "vector"]})
    return next((hit["vector"] for hit in hits if hit["template"] == text), None)


def _texts(index: OpenSearchIndex, text: str, vector: list[float] | None, ranking: Ranking) -> list[str]:
    """The first different texts that a question finds, by words and by meaning, as an answer fuses them."""
    words: dict[str, Any] = {"match": {"search_text": {"query": text, "auto_generate_synonyms_phrase_query": False}}}
    size = DEPTH * 5
    said = _found(index, words, size)
    near = _found(index, {"knn": {"vector": {"vector": vector, "k": size}}}, size) if vector else {}
    templates = said | near
    return list(dict.fromkeys(templates[each] for each in fused(list(said), list(near), ranking, size)))[:DEPTH]


def _found(index: OpenSearchIndex, query: Mapping[str, Any], size: int) -> dict[str, str]:
    """Texts by pattern, the best first."""
    hits = _search(index, {"size": size, "query": query, "_source": ["pattern_id", "template"]})
    return {hit["pattern_id"]: hit["template"] for hit in hits}


def _search(index: OpenSearchIndex, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = f"/{index.names.pattern('patterns')}/_search?search_pipeline=_none&allow_no_indices=true"
    return [hit["_source"] for hit in index.request("POST", path, body)["hits"]["hits"]]


def _days(index: OpenSearchIndex) -> set[str]:
    days: set[str] = set()
    for kind in DAILY_KINDS:
        found = index.request("GET", f"/_resolve/index/{index.names.pattern(kind)}")["indices"]
        days.update(entry["name"].rsplit("-", 1)[1] for entry in found)
    return days


def _get(index: OpenSearchIndex, target: Target) -> dict[str, Any]:
    docs = [{"_index": index.names.index(target), "_id": target.id}]
    (found,) = index.request("POST", "/_mget", {"docs": docs})["docs"]
    if "error" in found:
        raise SinkUnavailable(f"OpenSearch could not read {found['_index']}")
    return dict(found.get("_source") or {})
