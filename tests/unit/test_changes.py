"""What was changed, told from events: one piece for a rollout, and the range around the latest one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cag.changes import AFTER, BEFORE, around, grouped, latest
from cag.evidence import Candidate
from schemas.context import Evidence, Plan, Span

END = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)


def step(reason: str, minutes: float, message: str = "m", **more: Any) -> Candidate:
    """An event so many minutes before the end."""
    said = {"workload": "cart", "severity": "info", "first": END - timedelta(minutes=minutes), "count": 1} | more
    said |= {"title": reason, "text": f"{reason} x: {message}", "last": END - timedelta(minutes=minutes)}
    identity = f"event-{reason}-{minutes}-{said['workload']}"
    evidence = Evidence(id=identity, kind="event", coordinates=(identity,), **said)
    return Candidate(evidence=evidence, severity=0.4, novel=0.3, reason=reason)


ROLLOUT = [
    step("Pulled", 4, 'Container image "shop/cart:2.1" already present'),
    step("Killing", 3, "Stopping container cart"),
    step("ScalingReplicaSet", 5, "Scaled up replica set cart-2 from 0 to 1"),
    step("Created", 4.1),
    step("Created", 3.9),
]


def texts(*candidates: Candidate) -> list[str]:
    return sorted(c.evidence.text for c in grouped(candidates))


def test_a_rollout_is_one_piece_which_names_the_image_and_counts_the_rest() -> None:
    (told,) = grouped(ROLLOUT)
    assert told.evidence.text == (
        'ScalingReplicaSet x: Scaled up replica set cart-2 from 0 to 1; image "shop/cart:2.1"; '
        "with it 2 Created, 1 Killing, 1 Pulled"
    )
    assert (told.evidence.first, told.evidence.last) == (END - timedelta(minutes=5), END - timedelta(minutes=3))
    assert told.evidence.coordinates[0] == told.evidence.id == "event-ScalingReplicaSet-5-cart"
    assert grouped(ROLLOUT[::-1]) == [told]


@pytest.mark.parametrize(
    "other",
    [
        step("ScalingReplicaSet", 60),  # an hour before
        step("ScalingReplicaSet", 5, workload="front"),
        step("Created", 4, workload=""),  # of nobody
        step("BackOff", 4),
        step("Killing", 4, "Container cart failed liveness probe, will be restarted"),  # a symptom, not a step
        step("ScalingReplicaSet", 4, severity="warn"),
    ],
)
def test_what_is_another_change_or_none_stands_by_itself(other: Candidate) -> None:
    assert texts(*ROLLOUT, other) == sorted([*texts(*ROLLOUT), other.evidence.text])


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([*ROLLOUT, step("ScalingReplicaSet", 300)], "ScalingReplicaSet-5"),
        (
            [step("Pulled", 30, 'image "a:1"'), step("Created", 1), step("ScalingReplicaSet", 90)],
            "ScalingReplicaSet-90",
        ),
        ([step("Pulled", 30, 'image "a:1"'), step("Created", 1)], "Pulled-30"),
        ([step("Created", 1), step("Killing", 1, "Stopping container")], None),  # a restart
        ([], None),
    ],
)
def test_the_latest_change(steps: list[Candidate], found: str | None) -> None:
    change = latest(steps)
    assert (change and change.evidence.id) == (found and f"event-{found}-cart")


@pytest.mark.parametrize("minutes", [60, 5])
def test_the_range_is_around_the_change_and_ends_with_what_was_asked(minutes: float) -> None:
    asked = Plan(question="?", span=Span(start=END - timedelta(minutes=30), end=END), anchor="change")
    change = latest([step("ScalingReplicaSet", minutes, count=7, first=END - timedelta(days=3))])
    assert change is not None
    span = around(asked, change).span
    at = END - timedelta(minutes=minutes)
    assert (span.start, span.end) == (at - BEFORE, min(at + AFTER, END))
    assert f"{at:%H:%M} UTC" in span.said
