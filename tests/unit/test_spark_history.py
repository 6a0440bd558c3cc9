"""Spark's route without Spark: folded in any pieces, parts shuffled, written; the same documents and letters."""

import random
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import writer
from processors.fold import Fold, Slice
from processors.index import FakeIndex, ItemOutcome
from processors.merge import join, join_deltas
from processors.writer import Writer
from schemas.documents import slice_key
from schemas.records import Message
from schemas.settings import Settings
from spark_jobs import messages
from spark_jobs.folding import Folding, Refusal
from spark_jobs.partials import LETTER, Part, change_of, folds, letters_of, part_of
from tests.unit.test_pipeline import PIPELINE, Unsteady, counted, flush, line, logs_of_partitions, message, places

PARTS = st.fixed_dictionaries(
    {},
    optional={
        "max": st.dictionaries(st.sampled_from("ab"), st.integers(0, 9), max_size=2),
        "items": st.dictionaries(st.sampled_from("klmn"), st.integers(0, 9), max_size=4).map(
            lambda found: {
                "field": "points",
                "limit": 2,
                "values": {k: {"o": str(o), "v": o} for k, o in found.items()},
            }
        ),
        "latest": st.integers(0, 9).map(lambda n: {"order": str(n), "values": {"text": n}}),
    },
)


@pytest.fixture(autouse=True, scope="module")
def _without_waiting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "BACKOFF_FIRST_S", 0.0)
        patch.setattr(writer.log, "warning", lambda *_, **__: None)
        yield


@given(PARTS, PARTS, PARTS)
def test_two_deltas_as_one_are_both_in_turn(stored: Any, mine: Any, theirs: Any) -> None:
    document = join({}, stored)
    assert join(document, join_deltas(mine, theirs)) == join(join(document, mine), theirs)


def route(
    index: FakeIndex, held: Sequence[Message], chance: random.Random, continued: frozenset[str] = frozenset()
) -> set[str]:
    """What `history.History.run` does, in one process; returns the places of the letters."""
    shuffled = list(held)
    chance.shuffle(shuffled)
    cuts = sorted(chance.sample(range(len(shuffled) + 1), min(3, len(shuffled))))
    tasks = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]

    def fold(folding: Folding) -> list[Part]:
        return [part for task in tasks if task for parts in folding.parts([messages.batch_of(task)]) for part in parts]

    def write(parts: list[Part], kinds: Sequence[str]) -> list[writer.Rejection]:
        chosen = [part for part in parts if part.kind in kinds]
        chance.shuffle(chosen)
        chosen.sort(key=lambda part: (part.day, part.id))
        chosen.sort(key=lambda part: part.kind, reverse=True)
        chosen.sort(key=lambda part: part.home)
        pen = Writer(index, bulk_bytes=chance.choice((1, 1 << 20)), cached_slices=9)
        return [each for found in folds(chosen, chance.choice((1, 2, 99))) for each in pen.write(found, Event())]

    folding = Folding(settings=Settings(), continued=continued)
    parts = fold(folding)
    letters = [part for part in parts if part.kind == LETTER]
    rejections = write(parts, ("patterns", "occurrences", "series", "events", "alerts"))
    if rejections:
        stored = index.slices([each.target for each in rejections])
        refused = {r.target: Refusal(reason=r.reason, slices=stored.get(r.target, {})) for r in rejections}
        parts = fold(Folding(settings=Settings(), continued=continued, refused=refused))
        letters += [part for part in parts if part.kind == LETTER]
    write(parts, ("tallies",))
    found = [letter for part in letters for letter in letters_of(part.body)]
    assert len(places(found)) == len(found)
    return places(found)


@given(logs_of_partitions(), st.integers(0, 1 << 32))
@settings(max_examples=60, deadline=None)
def test_any_cut_ends_in_what_a_worker_writes(held: list[list[Message]], seed: int) -> None:
    chance, everything = random.Random(seed), [m for partition in held for m in partition]
    stream, spark = Unsteady(), Unsteady()
    expected = places(flush(Writer(stream, bulk_bytes=1 << 20, cached_slices=1_000), everything))
    assert route(spark, everything, chance) == expected
    assert spark.documents == stream.documents
    route(spark, everything, chance)
    assert spark.documents == stream.documents, "a second run changed something"


@given(logs_of_partitions(), st.integers(0, 1 << 32))
@settings(max_examples=30, deadline=None)
def test_over_what_is_indexed_in_part_it_mends_and_doubles_nothing(held: list[list[Message]], seed: int) -> None:
    """The worker has read some of each partition; a part of what it wrote is lost."""
    chance, everything = random.Random(seed), [m for partition in held for m in partition]
    stream, spark = Unsteady(), Unsteady()
    flush(Writer(stream, bulk_bytes=1 << 20, cached_slices=1_000), everything)
    read = [m for partition in held for m in partition[: chance.randint(0, len(partition))]]
    flush(Writer(spark, bulk_bytes=1 << 20, cached_slices=1_000), read)
    for target in chance.sample(list(spark.documents), len(spark.documents) // 2):
        del spark.documents[target]
    route(spark, everything, chance)
    assert spark.documents == stream.documents


def test_a_block_without_its_beginning_goes_on_from_what_is_stored() -> None:
    held = [message(b"one " + b"x" * n, offset=n) for n in range(9)]
    stream, spark = FakeIndex(), FakeIndex()
    flush(Writer(stream, bulk_bytes=1 << 20, cached_slices=99), held)
    flush(Writer(spark, bulk_bytes=1 << 20, cached_slices=99), held[:4])
    left = frozenset({slice_key("id-logs", 0, 0)})
    route(spark, held[2:], random.Random(1), left)  # retention has taken two, two more are indexed already
    assert spark.documents == stream.documents
    route(spark, held[5:], random.Random(1), left)
    assert spark.documents == stream.documents


def test_a_refused_document_is_known_to_each_fold_that_holds_some_of_it() -> None:
    """Its pattern is refused: all of its occurrences are letters, though they are written in several folds."""
    index = FakeIndex(fault=lambda write: ItemOutcome(400, "x: y") if write.create else None)
    held = [message(line_of(n), offset=n) for n in range(5)]
    assert len(route(index, held, random.Random(2))) == 5
    assert counted(index) == 0


def line_of(minute: int) -> bytes:
    return orjson.dumps(line("boom", time_ms=1_795_200_000_000 - minute * 60_000))


def test_messages_and_changes_survive_the_journey() -> None:
    sent = Message(
        topic="logs", topic_id="i", partition=1, offset=2, timestamp_ms=3, key=b"\xff", value=None,
        headers=(("a", b"\x00"), ("a", None)),
    )  # fmt: skip
    bare = message(b"plain")
    assert list(messages.messages_of(messages.batch_of([sent, bare]))) == [sent, bare]
    fold = Fold()
    PIPELINE.run(message(line_of(1), offset=7), fold)
    for change in fold:
        change.settle()
        assert change.whole == {slice_key("id-logs", 0, 7): Slice(7, 1)}
        back = change_of(part_of(change))
        assert part_of(back) == part_of(change)
        assert back.target == change.target
