"""The law of slices: whatever is delivered again, in whatever pieces, the count is right."""

from hypothesis import given
from hypothesis import strategies as st

from processors.fold import Slice, advance, prune

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
