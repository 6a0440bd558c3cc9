"""Where a case ended in the pure pipeline, and what of that is wrong."""

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Final

import orjson

from processors.fold import Change, Fold, count_of
from processors.index import FakeIndex
from processors.pipeline import Pipeline
from processors.sink import dead_letters
from processors.writer import Writer
from schemas.dead_letters import DeadLetter
from schemas.documents import digest
from schemas.records import Message
from schemas.settings import Settings
from tests.bad_input.case import Case, World, inputs

MEASURED_BYTES: Final = 256 * 1024  # smaller messages cost nothing that could be measured
FILTERED: Final = "filtered:"
NOTICED_MS: Final = 40.0
AGAIN: Final = 2  # more runs of what took longer; the best counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`wrong` says in words what differs from the expectation; empty when nothing does."""

    case: Case
    wrong: str
    letters: int
    ms: float  # processor time of the pipeline
    peak_mb: float = 0.0  # of memory, where it was measured


def pipeline() -> Pipeline:
    """The product's own, over the topics of all cases."""
    settings = Settings()
    made = Pipeline.from_settings(settings)
    return Pipeline(
        inputs={each.topic: each for each in inputs()},
        redact=made.redact,
        lines=made.lines,
        retention_days=made.retention_days,
    )


def message_of(case: Case, world: World, offset: int) -> Message:
    return Message(
        topic=case.topic,
        topic_id=digest(case.topic)[:8],
        partition=0,
        offset=offset,
        timestamp_ms=world.at_ms if case.at_ms is None else case.at_ms,
        key=b"till-0",
        value=case.value,
        headers=case.headers,
    )


def judge(case: Case, world: World, run: Pipeline, *, measure: bool = False) -> Verdict:
    """Fold one case by itself, write it to a fake index, and compare."""
    message, fold = message_of(case, world, 1), Fold()
    began = time.process_time()
    letters = run.run(message, fold)
    took_ms = (time.process_time() - began) * 1000
    for _ in range(AGAIN if took_ms > NOTICED_MS else 0):  # the collector of garbage comes when it likes
        began = time.process_time()
        run.run(message, Fold())
        took_ms = min(took_ms, (time.process_time() - began) * 1000)
    wrong = [*_accounts(case, fold, letters), *_placed(case, fold), *_stored(case, fold, letters, message)]
    peak_mb = _peak_mb(message, run) if measure and len(case.value or b"") >= MEASURED_BYTES else 0.0
    return Verdict(case=case, wrong="; ".join(wrong), letters=len(letters), ms=took_ms, peak_mb=peak_mb)


def counts(changes: Iterable[Change]) -> Counter[str]:
    """Records by kind, and by the rule that filtered them."""
    found: Counter[str] = Counter()
    for change in changes:
        if change.target.kind == "occurrences":
            found["log"] += sum(map(count_of, change.spots.values()))
        elif change.target.kind == "tallies":
            found[str(change.fixed["rule"])] += sum(map(count_of, change.spots.values()))
    return found


def _accounts(case: Case, fold: Fold, letters: Sequence[DeadLetter]) -> Iterable[str]:
    expect, found = case.expect, counts(fold)
    wanted = expect.counted | {f"{FILTERED}{rule}": number for rule, number in expect.filtered.items()}
    if found != wanted:
        yield f"counted {dict(found)}, not {wanted}"
    got = {letter.index: letter.reason for letter in letters}
    if len(got) != len(letters):
        yield "one record in two letters"
    if got.keys() != expect.letters.keys():
        yield f"letters {dict(sorted(got.items())[:4])}, not at {sorted(expect.letters)[:4]}"
    elif wrong := {index: reason for index, reason in got.items() if reason not in expect.letters[index]}:
        yield f"reasons {dict(list(wrong.items())[:4])}, not {expect.letters[next(iter(wrong))]}"
    if any(letter.stage != "decode" or letter.message.value != case.value for letter in letters):
        yield "a letter of another stage or with another value"
    if fold.records != sum(found.values()) + len(letters):
        yield f"{fold.records} records noted, {sum(found.values()) + len(letters)} accounted for"


def _placed(case: Case, fold: Fold) -> Iterable[str]:
    expect = case.expect
    for change in fold:
        if change.target.kind == "tallies" or expect.placed_ms is None:
            continue
        if change.last_ms != expect.placed_ms:
            yield f"placed at {change.last_ms}, not {expect.placed_ms}"
        if expect.clamped is not None and change.clamped != expect.clamped:
            yield f"clamped is {change.clamped}"


def _stored(case: Case, fold: Fold, letters: Sequence[DeadLetter], message: Message) -> Iterable[str]:
    """What a user finds of it; nothing may be refused for its shape."""
    index = FakeIndex()
    refused = dead_letters(Writer(index, bulk_bytes=5_000_000, cached_slices=100_000).write(fold, Event()), fold)
    if refused:
        yield f"the index refuses it: {refused[0].reason}"
    counted = sum(d["count"] for t, d in index.documents.items() if t.kind in ("occurrences", "tallies"))
    if counted + len(letters) != fold.records:
        yield f"{counted} in documents, {len(letters)} letters, {fold.records} records"
    expect = case.expect
    if expect.shows or expect.hides:
        shown = orjson.dumps([*index.documents.values()]).decode()
        plain = "".join(_texts(orjson.loads(shown)))
        if expect.shows not in plain:
            yield f"does not show {expect.shows!r}"
        if seen := sorted(set(expect.hides) & set(plain)):
            yield f"shows {seen!a}"


def _texts(node: object) -> Iterable[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | dict):
        for each in [*node.keys(), *node.values()] if isinstance(node, dict) else node:
            yield from _texts(each)


def _peak_mb(message: Message, run: Pipeline) -> float:
    gc.collect()
    tracemalloc.start()
    run.run(message, Fold())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6
