"""The watchdog barks at a worker that stands still, and at nothing else; rounds survive an outage, not a defect."""

import threading

import pytest

from schemas.errors import SinkUnavailable
from streams import watchdog
from streams.watchdog import Progress, Pulse, Watchdog, rounds


@pytest.mark.parametrize(
    ("pending", "acked", "paused", "beats", "barks"),
    [
        (1, False, False, True, "chunks are pending"),
        (1, True, False, True, ""),  # slow, but it moves
        (1, False, True, True, ""),  # a store is away: waiting is right
        (0, False, False, True, ""),  # idle
        (0, False, False, False, "event loop"),
    ],
)
def test_barks(pending: int, acked: bool, paused: bool, beats: bool, barks: str) -> None:
    now = 0.0
    progress = Progress(taken=100 + pending, acknowledged=100)
    dog = Watchdog(progress, lambda: paused, lambda: now, limit_s=120)
    said = ""
    for _ in range(30):
        now += 5
        if acked:
            progress.taken, progress.acknowledged = progress.taken + 1, progress.acknowledged + 1
        progress.beats += beats
        said = said or dog.check()
    assert barks in said
    assert bool(barks) is bool(said)


def test_the_time_of_a_pause_does_not_count() -> None:
    now, paused = 0.0, True
    dog = Watchdog(progress := Progress(taken=1), lambda: paused, lambda: now, limit_s=120)
    for second in range(0, 400, 5):
        now, paused, progress.beats = float(second), second < 300, second
        assert dog.check() == ""


def test_a_stuck_flush_is_noticed_after_a_pause_that_came_and_went() -> None:
    now, paused = 0.0, False
    dog = Watchdog(progress := Progress(taken=1), lambda: paused, lambda: now, limit_s=120)
    barked = []
    for second in range(0, 600, 5):
        now, paused, progress.beats = float(second), 60 <= second < 200, second
        if dog.check():
            barked.append(second)
    assert barked[0] == 195 + 125  # counted from the last moment at which waiting was right


def test_a_blocked_event_loop_is_noticed_in_a_pause_too() -> None:
    now = 0.0
    dog = Watchdog(Progress(taken=1), lambda: True, lambda: now, limit_s=120)
    dog.check()
    now = 121.0
    assert "event loop" in dog.check()


def test_rounds_put_off_what_is_away_and_leave_on_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    left, put_off, ended = [], [], threading.Event()
    answers = iter([SinkUnavailable("away"), None, ValueError("defect")])

    def call() -> None:
        if error := next(answers):
            raise error

    def leave(code: int, *_: object, **__: object) -> None:
        left.append(code)
        stop.set()
        ended.set()

    monkeypatch.setattr(watchdog, "leave", leave)
    stop = rounds("test", 0.01, call, lambda: put_off.append(1))
    assert ended.wait(5)
    assert (left, put_off) == ([70], [1])


@pytest.mark.parametrize(("still_s", "leaves"), [(5.0, False), (11.0, True)])
@pytest.mark.parametrize("first", ["beat", "check"])
def test_who_was_frozen_publishes_nothing_more(
    monkeypatch: pytest.MonkeyPatch, still_s: float, leaves: bool, first: str
) -> None:
    left: list[object] = []
    monkeypatch.setattr(watchdog, "leave", lambda code, *_, **__: left.append(code))
    now = 100.0
    pulse = Pulse(10.0, lambda: now)
    pulse.check()  # nothing has begun yet
    pulse.beat()
    now += still_s
    getattr(pulse, first)()
    assert bool(left) is leaves
