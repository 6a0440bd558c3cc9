"""The index documents: names, ids, mappings. Ids are pure functions of content, so every route writes the same ones."""

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
BLOCK_BITS: Final = 20  # a slice covers 2^20 offsets of one partition
LETTER: Final = "~"  # in a topic id: of a dead letter that is counted after all; Kafka's own ids never hold it

DAILY_KINDS: Final = ("patterns", "occurrences", "events", "alerts", "series", "tallies")
STATIC_KINDS: Final = ("watermarks", "meta")
# Daily ones that no generation owns: an incident is told on a topic, and outlives a switch to another generation.
SHARED_KINDS: Final = ("insights",)
SHARED_VERSION: Final = "v1"  # of their mappings, where others have a generation
DATED_KINDS: Final = (*DAILY_KINDS, *SHARED_KINDS)
MERGE_SCRIPT_VERSION: Final = 2
MOST_DAYS: Final = 31  # named in one address: OpenSearch takes lines of 4 kB


def digest(*parts: str) -> str:
    """80 bits in hex: with 10^7 documents a day the odds of one collision are below 10^-10 (birthday bound)."""
    return blake2b("\x1f".join(parts).encode(errors="surrogatepass"), digest_size=10).hexdigest()


def day_of(time_ms: int) -> str:
    """The UTC day of a moment, as index names carry it: `2026.11.20`."""
    return _day(time_ms // DAY_MS)


@lru_cache(maxsize=1024)
def _day(number: int) -> str:
    return dt.datetime.fromtimestamp(number * DAY_MS / 1000, dt.UTC).strftime("%Y.%m.%d")


def minute_of(time_ms: int) -> int:
    return time_ms - time_ms % MINUTE_MS


def hour_of(time_ms: int) -> int:
    return time_ms - time_ms % HOUR_MS


def slice_key(topic_id: str, partition: int, offset: int) -> str:
    return _slice_key(topic_id, partition, offset >> BLOCK_BITS)


def block_start(offset: int) -> int:
    """The first offset of the block that a slice covers."""
    return offset >> BLOCK_BITS << BLOCK_BITS


def slice_at(topic_id: str, partition: int, offset: int) -> tuple[str, int]:
    """The slice that counts a record, and the record's place in it.

    A dead letter that is counted after all is a slice by itself: complete whatever else is replayed and in whatever
    order, and the same one for each of its copies, wherever they lie.
    """
    if LETTER in topic_id:
        return slice_key(topic_id, 0, 0), 0
    return _slice_key(topic_id, partition, offset >> BLOCK_BITS), offset


@lru_cache(maxsize=1 << 12)
def _slice_key(topic_id: str, partition: int, block: int) -> str:
    return f"{topic_id}/{partition}/{block}"


class Target(NamedTuple):
    """Which document: its kind of index, the UTC day in the index name (empty for undated kinds) and its id."""

    kind: str
    day: str
    id: str


@dataclass(frozen=True, slots=True)
class Names:
    """Index names of one installation: `freshet-patterns-g1a2b3c4d-2026.11.20`, read through `freshet-patterns`."""

    prefix: str
    generation: str

    def index(self, target: Target) -> str:
        name = self.family(target.kind)
        return f"{name}-{target.day}" if target.day else name

    def family(self, kind: str) -> str:
        """What the names of all days of a kind begin with."""
        return f"{self.prefix}-{kind}-{SHARED_VERSION if kind in SHARED_KINDS else self.generation}"

    def alias(self, kind: str) -> str:
        return f"{self.prefix}-{kind}"

    def pattern(self, kind: str) -> str:
        """All days of a kind, of this generation."""
        return f"{self.family(kind)}-*"

    def between(self, kind: str, start_ms: int, end_ms: int) -> str:
        """The days of a kind from one moment to another, for a search; all of them when that is a long time."""
        days = range(start_ms // DAY_MS, end_ms // DAY_MS + 1)
        if len(days) > MOST_DAYS:
            return self.pattern(kind)
        return ",".join(self.index(Target(kind, _day(day), "")) for day in days)

    @property
    def script(self) -> str:
        return f"{self.prefix}-merge-v{MERGE_SCRIPT_VERSION}"


_KEYWORD: Final = {"type": "keyword", "ignore_above": 512}
_TEXT: Final = {"type": "text", "analyzer": "freshet_text"}
_STORED: Final = {"type": "object", "enabled": False}  # kept in _source only: no field explosion, no cost
_MS: Final = {"type": "date", "format": "epoch_millis"}
_WHO: Final = dict.fromkeys(("cluster", "namespace", "workload", "pod", "node", "entity"), _KEYWORD)
_SEVERITY: Final = {"severity": _KEYWORD, "severity_number": {"type": "byte"}}
_COUNTED: Final = {"count": {"type": "long"}, "slices": _STORED}
_SPAN: Final = {"first_ms": _MS, "last_ms": _MS, "clamped": {"type": "boolean"}}


_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "patterns": {
        **_WHO,
        **_SEVERITY,
        "pattern_id": _KEYWORD,
        "template": _TEXT,
        "template_hash": _KEYWORD,
        "search_text": _TEXT,
    },
    "occurrences": {
        **_WHO,
        **_SEVERITY,
        **_COUNTED,
        **_SPAN,
        # Counting by pattern needs its ordinals over all segments: made with a refresh, not by the next question.
        "pattern_id": {**_KEYWORD, "eager_global_ordinals": True},
        "minute_ms": _MS,
        "exemplars": _STORED,
        "identifiers": _KEYWORD,
    },
    "events": {
        **_WHO,
        **_SPAN,
        "uid": _KEYWORD,
        "object_kind": _KEYWORD,
        "object_name": _KEYWORD,
        "reason": _KEYWORD,
        "warning": {"type": "boolean"},
        "component": _KEYWORD,
        "message": _TEXT,
        "search_text": _TEXT,
        "count": {"type": "long"},
        "observations": _STORED,
        "latest": _STORED,
    },
    "alerts": {
        **_WHO,
        **_SPAN,
        "severity_number": {"type": "byte"},
        "fingerprint": _KEYWORD,
        "status": _KEYWORD,  # as of the latest notification
        "name": _KEYWORD,
        "runbook_url": _KEYWORD,
        "search_text": _TEXT,
        "labels": {"type": "flat_object"},
        "annotations": _STORED,
        "observations": _STORED,
        "latest": _STORED,
    },
    "series": {
        **_WHO,
        **_SPAN,
        "series_id": _KEYWORD,
        "hour_ms": _MS,
        "name": _KEYWORD,
        "search_text": _TEXT,
        "labels": {"type": "flat_object"},
        "unit": _KEYWORD,
        "monotonic": {"type": "boolean"},
        "points": _STORED,
    },
    "tallies": {**_COUNTED, **_SPAN, "rule": _KEYWORD, "topic": _KEYWORD, "minute_ms": _MS},
    # An incident as of its highest revision: `first_ms` is when it began, `last_ms` what made the revision.
    "insights": {
        **_SPAN,
        "incident_id": _KEYWORD,
        "cluster": _KEYWORD,
        "namespace": _KEYWORD,  # of all that it speaks of; empty: of things without one
        "workload": _KEYWORD,
        "entity": _KEYWORD,
        "state": _KEYWORD,
        "severity": _KEYWORD,
        "ended_ms": _MS,  # resolved or merged; null: it is open
        "fingerprint": _KEYWORD,
        "title": _TEXT,
        "search_text": _TEXT,
        "insight": _STORED,
        "revisions": _STORED,  # earlier ones, for questions about a moment before the latest
        "latest": _STORED,
    },
    "watermarks": {
        **_WHO,
        "level": _KEYWORD,  # partition | source | gap
        "topic": _KEYWORD,
        "topic_id": _KEYWORD,
        "partition": {"type": "integer"},
        "offset": {"type": "long"},  # of a gap: the first one that can be read again
        "from_offset": {"type": "long"},  # of a gap: where the group stood
        "reason": _KEYWORD,
        "newest_ms": _MS,
        "searchable_ms": _MS,
    },
    "meta": {"generation": _KEYWORD, "parts": _STORED, "created_ms": _MS},
}


def mappings(kind: str, *, dimensions: int, knn_engine: str) -> dict[str, Any]:
    """What OpenSearch is told about one kind of document; unknown fields are refused."""
    fields = dict(_FIELDS[kind])
    if kind == "patterns":
        graph = {"name": "hnsw", "space_type": "innerproduct", "engine": knn_engine}
        fields["vector"] = {"type": "knn_vector", "dimension": dimensions, "method": graph}
    return {"dynamic": "strict", "properties": fields}


def settings(kind: str, *, shards: int, replicas: int, refresh_interval_s: float) -> dict[str, Any]:
    """Index settings of one kind. Text is split at every non-alphanumeric so that `db-timeout` meets `db timeout`."""
    index: dict[str, Any] = {
        "number_of_shards": shards,
        "number_of_replicas": replicas,
        "refresh_interval": f"{round(refresh_interval_s * 1000)}ms",
        "analysis": {
            "analyzer": {
                "freshet_text": {
                    "type": "custom",
                    "tokenizer": "standard",
                    "filter": ["freshet_words", "flatten_graph", "lowercase", "porter_stem"],
                }
            },
            "filter": {
                # FailedScheduling is found by "scheduling" and by "FailedScheduling".
                "freshet_words": {"type": "word_delimiter_graph", "preserve_original": True},
            },
        },
    }
    if kind == "patterns":
        # Every segment has a graph of its own, and a search walks all of them: few, though new ones come each second.
        merging = {"merge.policy.segments_per_tier": 4, "merge.policy.floor_segment": "32mb"}
        index |= {"knn": True, **merging}
    return {"index": index}
