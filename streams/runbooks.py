"""What the runbook agent does with each record, and how a store that lost its content is made whole again."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cag.registry import Decode
from cag.runbooks import compile_runbook, normalise_path
from cag.served import Outcome, Place, WritableStore
from cag.topic import End, describe, read_to_end
from processors.redact import Redactor
from schemas.errors import InvalidRecord, SinkUnavailable
from schemas.records import Message
from schemas.runbooks import Runbook
from schemas.settings import Kafka, Redaction

REBUILD_ATTEMPTS: Final = 3
REBUILD_BATCH: Final = 100  # runbooks in one exchange with the store,
REBUILD_BYTES: Final = 2_000_000  # or so much text: Redis does nothing else meanwhile
_REDACT: Final = Redactor(Redaction(), keep=frozenset({"email"}))  # whom to write to is what a runbook is for


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    path: str
    sections: int  # 0: the runbook was deleted
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing changed. UNBUILT asks for `repair`; the record is read again by it."""

    path: str
    reason: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    records: int
    invalid: int
    runbooks: int
    ends: Mapping[int, int]  # of each partition, when it was read


def apply_runbook_message(message: Message, store: WritableStore, decode: Decode) -> Applied | Ignored:
    """Compile one record of the runbooks topic and serve it; a null value deletes.

    Raises InvalidRecord (the store has noted that it passed the record: send it to the dead letters), SinkUnavailable
    and SinkMisconfigured (nothing happened: wait and call again).
    """
    try:
        path = normalise_path(message.key)
        runbook = compiled(message, path, decode)
    except InvalidRecord:
        store.pass_over(_place(message, ""))
        raise
    outcome = store.apply(_place(message, path), runbook)
    if outcome is not Outcome.APPLIED:
        return Ignored(path=path, reason=outcome)
    if runbook is None:
        return Applied(path=path, sections=0)
    return Applied(path=path, sections=len(runbook.sections), warnings=runbook.warnings)


def compiled(message: Message, path: str, decode: Decode) -> Runbook | None:
    """The runbook that a record holds; None when it deletes one."""
    if message.value is None:
        return None
    published = decode(message)
    if published.path not in ("", path):
        raise InvalidRecord("runbook names another path than its key")
    return compile_runbook(
        path,
        _REDACT(published.text),
        version=published.revision,
        published_ms=message.timestamp_ms,
        source_url=published.source_url or "",
    )


def rebuild(
    store: WritableStore, topic_id: str, records: Iterable[Message | End], decode: Decode, *, token: str
) -> Rebuilt | None:
    """Apply a whole topic, then take out what it no longer holds and, for a new topic id, swap generations.

    `records` must start to read after this call has begun: an iterator from `read_to_end` does. Returns None when the
    store lost its content meanwhile or another process finished first: ask `behind` again.
    """
    joined = store.begin(topic_id, token)
    if joined is None:
        return None
    ends: dict[int, int] = {}
    seen: dict[tuple[int, str], Place] = {}
    count = invalid = size = 0
    waiting: list[tuple[Place, Runbook | None]] = []
    for record in records:
        if isinstance(record, End):
            ends[record.partition] = record.offset
            continue
        count += 1
        size += len(record.value or b"")
        try:
            path = normalise_path(record.key)
            # A broken new version does not take the last good one away, so it counts as seen.
            seen[record.partition, path] = _place(record, path)
            waiting.append((_place(record, path), compiled(record, path, decode)))
        except InvalidRecord:
            invalid += 1  # the agent that consumes the topic writes the dead letter
        if len(waiting) == REBUILD_BATCH or size > REBUILD_BYTES:
            if not _hold(store.apply_all(waiting)):
                return None
            waiting.clear()
            size = 0
    if waiting and not _hold(store.apply_all(waiting)):
        return None
    if not store.finish(topic_id, joined, ends, seen.values()):
        return None
    return Rebuilt(records=count, invalid=invalid, runbooks=len(seen), ends=ends)


def _hold(outcomes: list[Outcome]) -> bool:
    return all(outcome in (Outcome.APPLIED, Outcome.OLDER) for outcome in outcomes)


def repair(
    store: WritableStore, kafka: Kafka, topic: str, positions: Mapping[int, int], decode: Decode
) -> Rebuilt | None:
    """Rebuild the store from the topic if it cannot hold everything below `positions`; None when it does.

    `positions` are next offsets to read: the group's committed ones at the start, those processed later on. Ask every
    few seconds: a flushed Redis makes no noise. Blocks for the time of reading the topic.
    """
    for _ in range(REBUILD_ATTEMPTS):
        shape = describe(kafka, topic)
        if not store.behind(shape.topic_id, {p: positions.get(p, 0) for p in shape.partitions}):
            return None
        done = rebuild(store, shape.topic_id, read_to_end(kafka, shape), decode, token=secrets.token_hex(8))
        if done is not None:
            return done
    raise SinkUnavailable(f"the runbook store lost its content {REBUILD_ATTEMPTS} times while it was rebuilt")


def _place(message: Message, path: str) -> Place:
    return Place(topic_id=message.topic_id, partition=message.partition, offset=message.offset, path=path)
