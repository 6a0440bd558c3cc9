"""The law of slices: whatever is delivered again, in whatever pieces, the count is right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.fold import Fold, Slice, advance, prune
from schemas.documents import Target

OFFSETS = st.lists(st.integers(0, 40), unique=True, min_size=1).map(sorted)


@given(OFFSETS, st.data())
def test_redelivery_from_any_committed_offset_counts_each_record_once(offsets: list[int], data: st.DataObject) -> None:
    """A worker reads from some point to some point, dies, and the next starts at or before where it was flushed."""
    stored: Slice | None = None
    position = 0
    while position < len(offsets):
        start = data.draw(st.integers(0, position))
        end = data.draw(st.integers(position + 1, len(offsets)))
        stored = advance(stored, {offset: [0] for offset in offsets[start:end]})
        position = end
    assert stored == Slice(offsets[-1], len(offsets))


@given(OFFSETS, st.integers(1, 4))
def test_a_message_counts_for_each_of_its_records(offsets: list[int], records: int) -> None:
    spots = {offset: list(range(records)) for offset in offsets}
    once = advance(None, spots)
    assert once == Slice(offsets[-1], len(offsets) * records)
    assert advance(once, spots) == once
    assert advance(None, {offset: numbers * 2 for offset, numbers in spots.items()}) == once


def test_nothing_new_leaves_the_slice_as_it_is() -> None:
    assert advance(None, {}) is None
    assert advance(Slice(9, 4), {9: [0], 3: [0]}) == Slice(9, 4)


@given(st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=100), st.integers(1, 99))
def test_pruning_early_loses_nothing_that_would_be_kept(times: list[int], cut: int) -> None:
    exemplars = {str(t): {"at": str(t), "h": str(t * 7919 % 10_007), "t": t} for t in times}
    first = dict(list(exemplars.items())[:cut])
    rest = dict(list(exemplars.items())[cut:])
    assert prune({**prune(first), **rest}) == prune(exemplars)


@pytest.mark.parametrize(
    ("kind", "severity", "patterns", "documents", "urgent"),
    [
        ("occurrences", 9, (), (), True),  # its pattern is new
        ("occurrences", 9, ("p",), (), False),
        ("occurrences", 17, ("p",), (), True),  # an error, for the first time in this minute
        ("occurrences", 17, ("p",), ("d",), False),
        ("events", 0, (), (), True),
        ("tallies", 0, (), (), False),
        ("series", 0, (), (), False),
    ],
)
def test_what_must_not_wait(
    kind: str, severity: int, patterns: tuple[str, ...], documents: tuple[str, ...], urgent: bool
) -> None:
    fold, target, pattern = Fold(), Target(kind, "day", "d"), Target("patterns", "day", "p")
    about = {"pattern_id": "p", "severity_number": severity} if kind == "occurrences" else {}
    fold.patterns[pattern] = {"template": "t"}

    def say(offset: int) -> Fold | None:
        fold.change(target, lambda: about, counted=True).count_all("id/0/0", offset, (0,))
        return fold.urgent([pattern._replace(id=p) for p in patterns], [target._replace(id=d) for d in documents])

    found = say(1)
    assert (found is not None) is urgent
    if found:
        shown = found.changes[target]
        assert (shown.spots, fold.changes[target].ahead) == ({"id/0/0": {1: [0]}}, True)
        assert found.patterns == ({pattern: {"template": "t"}} if kind == "occurrences" else {})
    again = say(2)
    assert (again is not None) is (kind == "events")  # each of its changes is news
    assert not fold.changes[target].ahead or kind == "events"
    if found:
        assert found.changes[target].spots == {"id/0/0": {1: [0]}}  # a copy
