"""The matrix finds what comparing one by one finds, and joining and taking away leave the rest as it was."""

import math
from collections.abc import Mapping
from random import Random

import pytest

from cag.meanings import Meanings

Block = list[list[float]]


def drawn(rng: Random) -> Block:
    """A runbook of some sections, in eighths: their products and sums are exact in any precision and order."""
    return [[rng.randint(-4, 4) / 8 for _ in range(24)] for _ in range(rng.randint(1, 5))]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def agree(made: Meanings, told: Mapping[int, Block], asked: list[float]) -> None:
    near = made.near(asked)
    assert sorted(made.owners.tolist()) == sorted(told)
    for block, owner in enumerate(made.owners.tolist()):
        each = [dot(vector, asked) for vector in told[owner]]
        total = [sum(column) for column in zip(*told[owner], strict=True)]
        assert near.of(owner).tolist() == pytest.approx(each)
        assert near.closest[block] == pytest.approx(max(each))
        assert near.whole[block] == pytest.approx(dot(total, asked) / math.hypot(*total), abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_matrix_finds_what_comparing_one_by_one_finds(seed: int) -> None:
    rng = Random(seed)
    told = {n: drawn(rng) for n in range(80)}
    made = Meanings()
    for start in range(0, 80, 16):
        made = made.joined({n: told[n] for n in range(start, start + 16)})
    again = {n: drawn(rng) for n in rng.sample(range(80), 9)}  # told once more: replaced
    gone = set(rng.sample(range(80), 12)) - set(again)
    after = made.joined(again).without(gone)
    for _ in range(5):
        asked = drawn(rng)[0]
        agree(made, told, asked)
        agree(after, {n: block for n, block in (told | again).items() if n not in gone}, asked)


def test_nothing_is_a_start_and_an_end() -> None:
    one = Meanings().joined({7: [[1.0, 0.0]]})
    assert (7 in one, 7 in one.without({7}), len(one.without({7}).rows)) == (True, False, 0)
    assert one.joined({}) is one.without({8}) is one
