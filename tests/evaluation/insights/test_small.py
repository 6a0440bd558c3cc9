"""The shop in small: two incidents are told soon and blamed on the right workload, a good hour passes in silence."""

import pytest

from tests.evaluation.insights import shop
from tests.evaluation.insights.report import WITHIN_S, figures


@pytest.fixture(scope="module")
def told() -> list[shop.Told]:
    return [shop.tell(play) for play in shop.small()]


def test_incidents_are_told_soon_and_blamed_on_the_right_workload(told: list[shop.Told]) -> None:
    found = figures([told[0].judged])
    assert (found["incidents"], found["found"], found["top1"]) == (2, 2, 1.0)
    assert found["delay_max_s"] <= WITHIN_S


def test_a_good_hour_passes_in_silence(told: list[shop.Told]) -> None:
    assert [episode.last.title for each in told for episode in each.judged.false] == []


def test_peers_are_asked_the_same(told: list[shop.Told]) -> None:
    assert {name: figures([peer])["incidents"] for name, peer in told[0].peers.items()} == dict.fromkeys(
        ("windowed Gaussian", "three-sigma", "most-Warnings", "random"), 2
    )
