"""Removing a text that slipped through redaction: from every document of every generation, and from served runbooks.

Documents are rewritten in place under their ids, with their counts; a pattern whose words changed loses its vector and
is given another. A worker that writes the same document meanwhile wins, and the document is read and purged again.
"""

import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from processors.outcomes import item_outcome
from processors.scan import scan
from processors.sink import open_index
from schemas.documents import DAILY_KINDS, SHARED_KINDS, SHARED_VERSION, STATIC_KINDS, Target
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.runbooks import Runbook
from schemas.settings import Settings

PURGED: Final = "<redacted:purged>"
MOST_REGEX_CHARS: Final = 1_000
SECONDS_A_DOCUMENT: Final = 2.0
BATCH: Final = 200
ATTEMPTS: Final = 20
AROUND: Final = 40  # characters of an example before and behind
PROGRESS_EVERY: Final = 1_000
# By what documents are found, counted and merged: digests, numbers, coordinates, words of ours.
_STRUCTURE: Final = frozenset(
    ("slices", "template_hash", "pattern_id", "series_id", "h", "at", "o", "order", "topic", "topic_id", "vector")
    + ("generation", "parts", "level", "rule", "severity", "status", "points")
)
_FREE: Final = frozenset(("labels", "annotations"))  # whatever their keys are, they are not ours


def pattern_of(regex: str) -> re.Pattern[str]:
    """Raises StartupError for what is no regular expression, or would match nearly everywhere."""
    if len(regex) > MOST_REGEX_CHARS:
        raise StartupError(f"--regex is longer than {MOST_REGEX_CHARS} characters: narrow it")
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise StartupError(f"--regex is no regular expression: {error}") from None
    if pattern.search("") or all(pattern.search(character) for character in "a0 "):
        raise StartupError("--regex matches nearly everything: write what the secret looks like")
    return pattern


@dataclass(slots=True)
class Purge:
    """What to remove, and what was found so far."""

    pattern: re.Pattern[str]
    kinds: Counter[str] = field(default_factory=Counter)  # documents, by kind
    example: str = ""
    records: set[str] = field(default_factory=set)  # coordinates of records that are known to hold it
    topic_ids: set[str] = field(default_factory=set)  # of all records in documents that hold it
    newest_ms: int = 0  # event time of the newest record in such a document

    def clean(self, value: Any, *, free: bool = False) -> Any:
        """The same JSON value without the text. `free`: its keys mean nothing to us."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.clean(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {
            (self._text(key) if free else key): (
                each if key in _STRUCTURE and not free else self.clean(each, free=free or key in _FREE)
            )
            for key, each in value.items()
        }

    def document(self, target: Target, source: Mapping[str, Any]) -> dict[str, Any] | None:
        """The document without the text; None when it does not hold it."""
        with _in_time(f"{target.kind} {target.id}"):
            cleaned: dict[str, Any] = self.clean(source)
        if cleaned == source:
            return None
        if target.kind == "patterns" and cleaned["template"] != source["template"]:
            cleaned.pop("vector", None)  # the worker computes another
        return cleaned

    def note(self, target: Target, source: Mapping[str, Any], cleaned: Mapping[str, Any]) -> None:
        """Account for a document that holds it."""
        self.kinds[target.kind] += 1
        self.newest_ms = max(self.newest_ms, source.get("last_ms") or 0)
        self.topic_ids.update(key.split("/")[0] for key in source.get("slices") or ())
        both = zip(source.get("exemplars") or (), cleaned.get("exemplars") or (), strict=True)
        self.records.update(was["at"] for was, now in both if was != now)
        self.records.update(seen["at"] for seen in (source.get("observations") or {}).values())

    def runbook(self, runbook: Runbook) -> Runbook:
        """The same object when it does not hold it."""
        whole = orjson.loads(runbook.to_json())
        with _in_time(f"runbook {runbook.path}"):
            cleaned = self.clean(whole) | {"path": runbook.path, "digest": runbook.digest}
        if cleaned == whole:
            return runbook
        self.kinds["runbooks"] += 1
        return Runbook.from_json(orjson.dumps(cleaned))

    def _text(self, text: str) -> str:
        cleaned = self.pattern.sub(PURGED, text)
        if cleaned != text and not self.example:
            at = cleaned.find(PURGED)
            self.example = cleaned[max(0, at - AROUND) : at + len(PURGED) + AROUND]
        return cleaned


@contextmanager
def _in_time(what: str) -> Iterator[None]:
    """`re` looks for signals while it searches, so an alarm ends a search that would take for ever."""

    def stop(*_: object) -> None:
        raise StartupError(f"--regex took longer than {SECONDS_A_DOCUMENT:g} s on one document ({what}): narrow it")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_A_DOCUMENT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def labels(settings: Settings) -> list[str]:
    """Every generation, and every shadow of one, that has an index; and the version of what all of them share."""
    prefix = settings.opensearch.prefix
    path = f"/_cat/indices/{prefix}-*?h=index&format=json&expand_wildcards=all"
    kinds = "|".join((*DAILY_KINDS, *SHARED_KINDS, *STATIC_KINDS))
    shape = re.compile(rf"{re.escape(prefix)}-(?:{kinds})-([^-]+)(?:-[\d.]+)?")
    rows = open_index(settings, "any").request("GET", path)
    return sorted({match[1] for row in rows if (match := shape.fullmatch(str(row["index"])))})


class Documents:
    """The documents of one generation. Calls block; they raise SinkUnavailable and SinkMisconfigured."""

    def __init__(self, settings: Settings, label: str) -> None:
        self._index = open_index(settings, label)
        self._kinds = SHARED_KINDS if label == SHARED_VERSION else (*DAILY_KINDS, *STATIC_KINDS)

    def holding(self, purge: Purge, progress: Callable[[int], None]) -> list[Target]:
        """Look at all of them; `progress` is told every so many."""
        found = []
        for number, (target, source) in enumerate(scan(self._index, self._kinds), 1):
            cleaned = purge.document(target, source)
            if cleaned is not None:
                purge.note(target, source, cleaned)
                found.append(target)
            if number % PROGRESS_EVERY == 0:
                progress(PROGRESS_EVERY)
        return found

    def rewrite(self, targets: Sequence[Target], purge: Purge) -> None:
        """Those that changed meanwhile are read again; those that are gone are done."""
        for start in range(0, len(targets), BATCH):
            left: Sequence[Target] = targets[start : start + BATCH]
            for _ in range(ATTEMPTS):
                left = self._rewrite(left, purge)
                if not left:
                    break
            else:
                raise SinkUnavailable(f"{len(left)} documents change faster than they can be purged: run it again")
        for name in sorted({self._index.names.index(target) for target in targets}):
            self._index.request("POST", f"/{name}/_refresh?ignore_unavailable=true")
            # Old versions stay in the files of an index until they are merged away: ask for that now.
            self._index.request("POST", f"/{name}/_forcemerge?only_expunge_deletes=true&ignore_unavailable=true")

    def _rewrite(self, targets: Sequence[Target], purge: Purge) -> list[Target]:
        """Returns those to try again."""
        docs = [{"_index": self._index.names.index(t), "_id": t.id} for t in targets]
        read = self._index.request("POST", "/_mget", {"docs": docs})["docs"]
        lines, sent = [], []
        for target, doc in zip(targets, read, strict=True):
            cleaned = purge.document(target, doc["_source"]) if doc.get("found") else None
            if cleaned is not None:
                place = {"_index": doc["_index"], "_id": doc["_id"], "if_seq_no": doc["_seq_no"]}
                action = {"index": place | {"if_primary_term": doc["_primary_term"]}}
                lines.append(b"%b\n%b\n" % (orjson.dumps(action), orjson.dumps(cleaned)))
                sent.append(target)
        if not sent:
            return []
        outcomes = [item_outcome(item) for item in self._index.request("POST", "/_bulk", b"".join(lines))["items"]]
        refused = {o[1:] for o in outcomes if o is not None and o[1] not in (200, 201, 404, 409, 429, 503)}
        if refused:
            raise SinkMisconfigured(f"OpenSearch refuses to rewrite documents: {sorted(refused)[0]}")
        return [t for t, o in zip(sent, outcomes, strict=True) if o is None or o[1] in (409, 429, 503)]
