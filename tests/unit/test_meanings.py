"""The matrix finds what comparing one by one finds, and joining and taking away leave the rest as it was."""

from collections.abc import Mapping, Sequence
from random import Random

import pytest

from cag.meanings import Meanings


def drawn(rng: Random) -> list[float]:
    """Eighths: their products and sums are exact in any precision and order, and many are equal."""
    return [rng.randint(-4, 4) / 8 for _ in range(24)]


def plainly(told: Mapping[str, Sequence[float]], asked: Sequence[float], hidden: set[str], count: int) -> list[str]:
    near = {i: sum(a * b for a, b in zip(v, asked, strict=True)) for i, v in told.items()}
    return sorted((i for i in near if i not in hidden), key=lambda i: (-near[i], i))[:count]


@pytest.mark.parametrize("count", [1, 7, 50, 400])
@pytest.mark.parametrize("seed", range(5))
def test_the_matrix_finds_what_comparing_one_by_one_finds(seed: int, count: int) -> None:
    rng = Random(seed)
    told = {f"s{n}": drawn(rng) for n in range(300)}
    told |= {f"t{n}": told[f"s{n}"] for n in range(40)}  # the same text in another runbook: by id
    hidden = {f"s{n}" for n in rng.sample(range(300), 60)} | {"unknown"}
    made = Meanings()
    for start in range(0, 340, 64):
        made = made.joined(dict(list(told.items())[start : start + 64]))
    for _ in range(20):
        asked = drawn(rng)
        assert made.closest(asked, hidden, count) == plainly(told, asked, hidden, count)
        assert made.closest(asked, (), count) == plainly(told, asked, set(), count)


def test_one_that_is_told_again_is_replaced_and_what_is_gone_is_not_found() -> None:
    first = Meanings().joined({"a": [1.0, 0.0], "b": [0.0, 1.0]})
    second = first.joined({"a": [0.0, 1.0], "c": [0.6, 0.8]})
    assert second.closest([1.0, 0.0], (), 9) == ["c", "a", "b"]
    assert second.without({"c", "b"}).closest([1.0, 0.0], (), 9) == ["a"]
    assert first.closest([1.0, 0.0], (), 9) == ["a", "b"]
    assert Meanings().closest([1.0, 0.0], (), 9) == second.closest([1.0, 0.0], {"a", "b", "c"}, 9) == []
