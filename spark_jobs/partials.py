"""What tasks hand to each other: parts of changes as small rows, sorted so that those of one document meet.

    home   groups what must be written together: a pattern and its occurrences; else the document alone
    kind   of document; or LETTER, SEEN
    day, id
    body   JSON: a change without its records (a pattern's fields, a letter, counts)

A part is as small as the document that it will become: a slice is two numbers, exemplars and identifiers are cut down.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from processors import merge
from processors.fold import IDENTIFIERS, Change, Fold, Slice
from schemas.dead_letters import DeadLetter
from schemas.documents import Target
from schemas.records import Message

LETTER: Final = "letter"  # id: coordinates of a message that has some
SEEN: Final = "seen"  # how much was read
SPARK_SCHEMA: Final = "home string, kind string, day string, id string, body binary"
ARROW_SCHEMA: Final = pa.schema(
    [("home", pa.string()), ("kind", pa.string()), ("day", pa.string()), ("id", pa.string()), ("body", pa.binary())]
)
FOLD_DOCUMENTS: Final = 4_000  # written at once; bounds a writer's memory


class Part(NamedTuple):
    home: str
    kind: str
    day: str
    id: str
    body: bytes

    @property
    def target(self) -> Target:
        return Target(self.kind, self.day, self.id)


def part_of(change: Change) -> Part:
    """`change` was settled. Raises TypeError for what JSON cannot hold, as writing it would."""
    body = {
        "fixed": change.fixed,
        "counted": change.counted,
        "spots": {key: list(spots.items()) for key, spots in change.spots.items()},
        "whole": change.whole,
        "span": (change.first_ms, change.last_ms, change.clamped),
        "exemplars": list(change.sampled().values()),
        "identifiers": merge.smallest(change.identifiers, IDENTIFIERS),
        "delta": change.delta,
    }
    target = change.target
    home = f"{target.day}/{change.fixed.get('pattern_id') or target.id}"
    return Part(home, target.kind, target.day, target.id, orjson.dumps(body, default=list))


def change_of(part: Part) -> Change:
    body = orjson.loads(part.body)
    first_ms, last_ms, clamped = body["span"]
    return Change(
        target=part.target,
        fixed=body["fixed"],
        counted=body["counted"],
        spots={key: dict(spots) for key, spots in body["spots"].items()},
        whole={key: Slice(*numbers) for key, numbers in body["whole"].items()},
        first_ms=first_ms,
        last_ms=last_ms,
        clamped=clamped,
        exemplars={exemplar["at"]: exemplar for exemplar in body["exemplars"]},
        identifiers=set(body["identifiers"]),
        delta=body["delta"],
    )


def pattern_part(target: Target, fixed: Any) -> Part:
    return Part(f"{target.day}/{target.id}", target.kind, target.day, target.id, orjson.dumps(fixed))


def letter_parts(letters: Iterable[DeadLetter]) -> Iterator[Part]:
    """A part for each message: ten thousand bad records in one of ten megabytes must not make it ten thousand times."""
    for (at, message), together in groupby(letters, key=lambda letter: (str(letter.message.at(0)), letter.message)):
        body = {
            "at": (message.topic, message.topic_id, message.partition, message.offset, message.timestamp_ms),
            "key": _text(message.key),
            "value": _text(message.value),
            "headers": [(name, _text(value)) for name, value in message.headers],
            "letters": [(letter.index, letter.reason, letter.stage, letter.rest) for letter in together],
        }
        yield Part(at, LETTER, "", at, orjson.dumps(body))


def letters_of(body: bytes) -> Iterator[DeadLetter]:
    read = orjson.loads(body)
    topic, topic_id, partition, offset, timestamp_ms = read["at"]
    message = Message(
        topic=topic,
        topic_id=topic_id,
        partition=partition,
        offset=offset,
        timestamp_ms=timestamp_ms,
        key=_bytes(read["key"]),
        value=_bytes(read["value"]),
        headers=tuple((name, _bytes(value)) for name, value in read["headers"]),
    )
    for index, reason, stage, rest in read["letters"]:
        yield DeadLetter(message=message, index=index, reason=reason, stage=stage, rest=rest)


def _text(value: bytes | None) -> str | None:
    return None if value is None else b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


def batch_of(parts: Iterable[Part]) -> pa.RecordBatch:
    rows = list(parts)
    columns = zip(*rows, strict=True) if rows else ([] for _ in ARROW_SCHEMA)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, ARROW_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=ARROW_SCHEMA)


def parts_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Part]:
    for batch in batches:
        yield from map(Part._make, zip(*(batch.column(name).to_pylist() for name in ARROW_SCHEMA.names), strict=True))


def folds(parts: Iterable[Part], limit: int = FOLD_DOCUMENTS) -> Iterator[Fold]:
    """Whole changes, as folds to write in turn. Parts of one document must be neighbours, patterns before occurrences.

    A pattern comes again with each fold that holds some of its occurrences: if the index refuses it, they must know.
    """
    fold, pattern = Fold(), (Target("patterns", "", ""), b"")
    for target, group in groupby(parts, key=lambda part: part.target):
        first, *others = group
        if target.kind == pattern[0].kind:
            pattern = (target, first.body)
            continue
        change = change_of(first)
        for more in others:
            change.absorb(change_of(more))
        if change.fixed.get("pattern_id") == pattern[0].id and target.day == pattern[0].day:
            fold.patterns.setdefault(pattern[0], orjson.loads(pattern[1]))
        fold.changes[target] = change
        if len(fold.changes) >= limit:
            yield fold
            fold = Fold()
    if fold.changes:
        yield fold
