"""Log lines of one message, folded: a pattern (what was said, once) and occurrences (how often, by whom, which minute).

Lines of one message that say the same in the same minute are folded in one step, and what a line says is worked out
once for all lines of its canonical form. So a line costs two looks into memories; both are invisible.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from processors.canonical import MOST_CHARS, canonical
from processors.fold import IDENTIFIERS, PRUNE_AT, Change, Fold, Sample
from processors.merge import smallest
from processors.redact_records import RecordRedactor
from processors.shape import EXEMPLAR_CHARS, tally, who
from processors.template import template
from schemas.documents import MINUTE_MS, Target, day_of, digest, slice_at
from schemas.records import IDENTIFIER, Coordinates, LogRecord, Resource, Signal, severity_band

CUT_MARK: Final = " <cut>"
CUT_MARGIN: Final = 4_096  # redacted beyond the cut, so that half a secret before it is seen for what it is
TOO_OLD: Final = "older-than-retention"


class Outline(NamedTuple):
    """What the canonical form of a line tells about every line of that form, none of which holds a secret."""

    template: str
    identifiers: tuple[tuple[int, int], ...]  # where they begin and end


class Group(NamedTuple):
    """Lines of one message that one document counts: for each its number in the message, its time and its text."""

    numbers: list[int]
    times: list[int]
    texts: list[str]
    identifiers: set[str]
    clamped: list[bool]  # any, or empty


class Place(NamedTuple):
    """Where a group is counted, and the immutable fields of its documents."""

    pattern: Target
    occurrence: Target
    shown: dict[str, Any]
    fixed: dict[str, Any]


class Lines:
    """Folds log records. Pure: the memories only save work."""

    def __init__(self, redact: RecordRedactor, *, max_body_chars: int) -> None:
        self._redact, self._limit = redact, max_body_chars
        self._outline = lru_cache(maxsize=1 << 15)(self._read_outline)  # of at most some 3 kB each

    def fold(
        self, at: Coordinates, kafka_ms: int, oldest_ms: int, lines: Sequence[tuple[int, LogRecord]], fold: Fold
    ) -> int:
        """Fold lines of the message at these coordinates, numbered; returns how many were older than `oldest_ms`."""
        old, newest_ms = 0, 0
        outlines, limit = self._outline, self._limit
        speaker: Resource | None = None
        groups: dict[tuple[str, int, int], Group] = {}
        for number, record in lines:
            time_ms, resource, severity, body, trace_id, form = record  # all at once: each `.name` costs more
            if clamped := time_ms is None or time_ms > kafka_ms:
                time_ms = kafka_ms
            elif time_ms < oldest_ms:
                tally(fold, at._replace(index=number), TOO_OLD, kafka_ms)
                old += 1
                continue
            if resource is not speaker:
                if speaker is not None:
                    self._close(fold, at, speaker, groups, newest_ms)
                speaker, groups, newest_ms = resource, {}, 0
            if not form and len(body) <= MOST_CHARS and body.isascii():
                form = canonical(body)
            outline = outlines(form) if form and len(body) <= limit else None
            if outline is None:
                text, shown, found = self._read(body)
            else:
                (shown, spans), text = outline, body
                found = [body[start:end] for start, end in spans] if spans else ()
            key = (shown, severity, time_ms // MINUTE_MS)
            group = groups.get(key)
            if group is None:
                group = groups[key] = Group([number], [time_ms], [text], set(found), [])
            else:
                group.numbers.append(number)
                group.times.append(time_ms)
                group.texts.append(text)
                if found:
                    group.identifiers.update(found)
            if trace_id:
                group.identifiers.add(trace_id)
            if clamped:
                group.clamped.append(True)
            if time_ms > newest_ms:
                newest_ms = time_ms
        if speaker is not None:
            self._close(fold, at, speaker, groups, newest_ms)
        return old

    def _read(self, body: str) -> tuple[str, str, Sequence[str]]:
        """The text as it may be shown, its template and its identifiers; the long way."""
        text = _cut(self._redact(body[: self._limit + CUT_MARGIN]), self._limit)
        return text, template(text), IDENTIFIER.findall(text)

    def _read_outline(self, form: str) -> Outline | None:
        """None where a rule of redaction has to look at the line itself."""
        if not self._redact.looks_clean(form):
            return None
        return Outline(template(form), tuple(found.span() for found in IDENTIFIER.finditer(form)))

    def _close(
        self,
        fold: Fold,
        at: Coordinates,
        speaker: Resource,
        groups: dict[tuple[str, int, int], Group],
        newest_ms: int,
    ) -> None:
        """Hand on what one speaker said in a row."""
        resource = self._redact.resource(speaker)
        key, offset = slice_at(at.topic_id, at.partition, at.offset)
        mixed = _mixed(at)
        records = 0
        for (shown, severity, minute), group in groups.items():
            place = _place(resource, shown, severity_band(severity), minute)
            change = fold.changes.get(place.occurrence)
            if change is None:
                fold.patterns.setdefault(place.pattern, place.shown)
                change = fold.change(place.occurrence, place.fixed.copy, counted=True)
            _sample(change, at, mixed, group)
            change.count_all(key, offset, group.numbers)
            change.span(min(group.times), max(group.times), clamped=bool(group.clamped))
            if group.identifiers:
                change.identifiers |= group.identifiers
                if len(change.identifiers) > PRUNE_AT:
                    change.identifiers = set(smallest(change.identifiers, IDENTIFIERS))
            records += len(group.numbers)
        fold.note(at, resource, newest_ms, records)


@lru_cache(maxsize=1 << 13)  # of at most some 5 kB each; a minute's are done with when the next begins
def _place(resource: Resource, shown: str, band: str, minute: int) -> Place:
    about = (resource.cluster, resource.namespace, resource.workload)
    identity = digest(Signal.LOG, *about, band, shown)
    day, minute_ms = day_of(minute * MINUTE_MS), minute * MINUTE_MS
    return Place(
        pattern=Target("patterns", day, identity),
        occurrence=Target("occurrences", day, digest(identity, resource.entity, resource.node, str(minute_ms))),
        shown={
            "cluster": resource.cluster,
            "namespace": resource.namespace,
            "workload": resource.workload,
            "severity": band,
            "pattern_id": identity,
            "template": shown,
            "template_hash": digest(shown),
            "search_text": f"{resource.namespace} {resource.workload} {shown}",
        },
        fixed={
            **who(resource),
            "severity": band,
            # The lowest of the band, which the id holds: with the record's own, the first to come would decide.
            "severity_number": _LOWEST[band],
            "pattern_id": identity,
            "minute_ms": minute_ms,
        },
    )


_LOWEST: Final = {severity_band(number): number for number in (0, 21, 17, 13, 9, 5, 1)}


def _sample(change: Change, at: Coordinates, mixed: int, group: Group) -> None:
    """Of the lines of one message the first, the last and one more may be kept: the one is the same by every route."""
    times, last = group.times, len(group.times) - 1
    chosen = {0, times.index(min(times)), last - times[::-1].index(max(times))} if last else (0,)
    for i in chosen:
        change.sample(Sample(times[i], mixed, at, group.numbers[i], _cut(group.texts[i], EXEMPLAR_CHARS)))


@lru_cache(maxsize=1 << 12)
def _seed(topic_id: str, partition: int) -> int:
    return int(digest(topic_id, str(partition))[:16], 16)


def _mixed(at: Coordinates) -> int:
    """64 bits of where a message lies; different for all messages of a partition (the multiplier is odd).

    The multiplier is 2^64 divided by the golden ratio: Knuth, The Art of Computer Programming 3, 6.4.
    """
    return ((at.offset * 0x9E3779B97F4A7C15) ^ _seed(at.topic_id, at.partition)) & 0xFFFFFFFFFFFFFFFF


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + CUT_MARK
