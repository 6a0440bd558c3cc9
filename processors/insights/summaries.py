"""What a flush wrote becomes summaries, and back from the wire. Pure.

One message holds what one flush knows of one cluster: `{"v": 1, "said": [[...], ...], "sampled": [...], ...}`, rows in
the order of the fields of `schemas/summaries.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from schemas.documents import Target
from schemas.errors import InvalidRecord
from schemas.insights import TEXT_CHARS
from schemas.records import Resource
from schemas.summaries import (
    VERSION,
    Feedback,
    Fired,
    Happened,
    Notified,
    Point,
    Said,
    Sampled,
    Seen,
    Summary,
    Tick,
    Told,
)

AT: Final = 3  # coordinates that a summary of log lines carries
MESSAGE_BYTES: Final = 512 * 1024  # roughly; a flush may need several
NAMES: Final = {Said: "said", Sampled: "sampled", Happened: "happened", Fired: "fired"}


def summary_of(target: Target, fixed: Mapping[str, Any], delta: Mapping[str, Any], template: str) -> Summary | None:
    """A document as it was written, its slices whole; None for kinds that nobody judges.

    `template`: of the pattern that an occurrence counts.
    """
    if target.kind == "occurrences":
        return _said(target, fixed, delta, template)
    if target.kind == "series":
        points = (
            Point(int(item["o"].split("/", 1)[0]), item["v"], item["lo"], item["hi"])
            for _, item in sorted(delta["items"]["values"].items())
        )
        return Sampled(
            _resource(fixed), fixed["series_id"], fixed["name"], fixed["labels"], fixed["unit"], fixed["monotonic"],
            tuple(points),
        )  # fmt: skip
    if target.kind == "events":
        observed = (o for _, o in sorted(delta["items"]["values"].items()))
        seen = tuple(Seen(o["t"], o["n"], o["warning"], o["text"][:TEXT_CHARS], o["at"]) for o in observed)
        return Happened(
            _resource(fixed), target, fixed["uid"], fixed["object_kind"], fixed["object_name"], fixed["reason"],
            fixed["component"], seen,
        )  # fmt: skip
    if target.kind == "alerts":
        observed = (o for _, o in sorted(delta["items"]["values"].items()))
        notified = tuple(
            Notified(o["t"], o["status"] == "firing", o["text"][:TEXT_CHARS], o["url"], o["sent"], o["at"])
            for o in observed
        )
        return Fired(
            _resource(fixed), target, fixed["fingerprint"], fixed["name"], fixed["severity_number"], fixed["labels"],
            notified,
        )  # fmt: skip
    return None


def _said(target: Target, fixed: Mapping[str, Any], delta: Mapping[str, Any], template: str) -> Said:
    exemplars = delta.get("exemplars", ())
    return Said(
        _resource(fixed),
        target,
        fixed["pattern_id"],
        template[:TEXT_CHARS],
        fixed["severity_number"],
        fixed["minute_ms"],
        {key: (mark, count) for key, (mark, count) in delta.get("slices", {}).items()},
        delta.get("first_ms", fixed["minute_ms"]),
        delta.get("last_ms", fixed["minute_ms"]),
        exemplars[0]["text"][:TEXT_CHARS] if exemplars else "",
        tuple(e["at"] for e in exemplars[:AT]),
    )


def _resource(fixed: Mapping[str, Any]) -> Resource:
    return Resource(
        cluster=fixed["cluster"],
        namespace=fixed["namespace"],
        workload=fixed["workload"],
        pod=fixed["pod"],
        node=fixed["node"],
    )


def encode(told: Iterable[Told]) -> Iterator[tuple[str, bytes]]:
    """Messages, by cluster: key and value. A tick is for every cluster, so it has a message of its own and no key."""
    by_cluster: dict[str, list[Summary]] = defaultdict(list)
    for each in told:
        if isinstance(each, Tick):
            yield "", orjson.dumps({"v": VERSION, "tick": each.time_ms})
        elif isinstance(each, Feedback):
            yield "", orjson.dumps({"v": VERSION, "feedback": each._asdict()})
        else:
            by_cluster[each.resource.cluster].append(each)
    for cluster, summaries in by_cluster.items():
        for some in _messages(summaries):
            yield cluster, some


def _messages(summaries: Sequence[Summary]) -> Iterator[bytes]:
    rows: dict[str, list[bytes]] = defaultdict(list)
    size = 0
    for each in summaries:
        row = orjson.dumps(each, default=_plain)
        rows[NAMES[type(each)]].append(row)
        size += len(row)
        if size > MESSAGE_BYTES:
            yield _joined(rows)
            rows, size = defaultdict(list), 0
    if rows:
        yield _joined(rows)


def _joined(rows: Mapping[str, Sequence[bytes]]) -> bytes:
    parts = [b'"%s":[%s]' % (name.encode(), b",".join(some)) for name, some in rows.items()]
    return b'{"v":%d,%s}' % (VERSION, b",".join(parts))


def _plain(value: Any) -> Any:
    """Named tuples as rows: orjson knows plain ones only, and asks for each of them."""
    return tuple(value) if isinstance(value, tuple) else dict(value)


def decode(value: bytes | None) -> list[Told]:
    """Raises InvalidRecord for what no worker of ours has sent."""
    try:
        body = orjson.loads(value or b"")
        if body["v"] != VERSION:
            raise InvalidRecord(f"summary of version {body['v']!r}; this worker reads {VERSION}")
        told: list[Told] = [_read_said(row) for row in body.get("said", ())]
        told += [_read_sampled(row) for row in body.get("sampled", ())]
        told += [_read_happened(row) for row in body.get("happened", ())]
        told += [_read_fired(row) for row in body.get("fired", ())]
        if "tick" in body:
            told.append(Tick(int(body["tick"])))
        if "feedback" in body:
            told.append(Feedback(**body["feedback"]))
        return told
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidRecord("not a message of summaries") from error


def _read_said(row: Sequence[Any]) -> Said:
    who, target, pattern, template, severity, minute, slices, first, last, text, at = row
    whole = {key: (mark, count) for key, (mark, count) in slices.items()}
    return Said(
        Resource(*who), Target(*target), pattern, template, severity, minute, whole, first, last, text, tuple(at)
    )


def _read_sampled(row: Sequence[Any]) -> Sampled:
    who, series, name, labels, unit, monotonic, points = row
    return Sampled(Resource(*who), series, name, labels, unit, monotonic, tuple(Point(*p) for p in points))


def _read_happened(row: Sequence[Any]) -> Happened:
    who, target, uid, kind, name, reason, component, seen = row
    return Happened(
        Resource(*who), Target(*target), uid, kind, name, reason, component, tuple(Seen(*each) for each in seen)
    )


def _read_fired(row: Sequence[Any]) -> Fired:
    who, target, fingerprint, name, severity, labels, notified = row
    return Fired(
        Resource(*who), Target(*target), fingerprint, name, severity, labels, tuple(Notified(*n) for n in notified)
    )
