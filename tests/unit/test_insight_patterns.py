"""Log patterns against their own history: what is told, what is not, and that order and repetition change nothing."""

from collections.abc import Iterable, Sequence
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as laws
from hypothesis import strategies as st

from processors.insights.patterns import Patterns
from processors.insights.usual import Usual
from processors.insights.wording import complaint, mentions, message, short
from schemas.documents import Target, digest
from schemas.insight_settings import Detection
from schemas.insights import Symptom
from schemas.records import ERROR, FATAL, INFO, UNKNOWN, WARN, Resource
from schemas.summaries import Said

START_MS = 1_763_700_000_000
MINUTE_MS = 60_000
NEIGHBOURS = ("cart", "search", "orders")


def said(
    minute: float, count: int, text: str = "served a page", *, workload: str = "pay", severity: int = INFO,
    pod: str = "pay-1", part: int = 0,
) -> Said:  # fmt: skip
    """So many lines, evenly spread, from this minute's moment to its end."""
    at = START_MS + int(minute * MINUTE_MS)
    begin = at - at % MINUTE_MS
    pattern = digest(workload, text)
    document = Target("occurrences", "", digest(pattern, pod, str(begin)))
    slices = {f"logs/{part}/0": (count * 10, count)}
    return Said(
        Resource("c", "shop", workload, f"{workload}-{pod}"), document, pattern, text, severity, begin, slices, at,
        begin + MINUTE_MS - 1, text, ("logs/t/0/1/0",),
    )  # fmt: skip


def quiet(minutes: Iterable[int], workloads: Sequence[str] = ("pay", *NEIGHBOURS)) -> list[Said]:
    return [said(minute, 60, workload=workload) for minute in minutes for workload in workloads]


def tell(told: Iterable[Said], detector: Patterns | None = None) -> list[Symptom]:
    detector, now_ms, signs = detector or Patterns(Detection()), 0, []
    for each in told:
        now_ms = max(now_ms, each.last_ms)
        signs += [*detector.see(each, now_ms), *detector.advance(now_ms)]
    return [sign for sign in signs if isinstance(sign, Symptom)]


def kinds(symptoms: Iterable[Symptom]) -> set[tuple[str, bool]]:
    return {(each.kind, each.opens) for each in symptoms if not each.ended}


@pytest.mark.parametrize(
    ("text", "severity", "count", "minute", "expected"),
    [
        ("cannot write to disk", ERROR, 20, 20, {("pattern-new", True)}),
        ("cannot write to disk", ERROR, 1, 20, {("pattern-new", False)}),  # one line alone pages nobody
        ("cannot write to disk", WARN, 20, 20, {("pattern-new", False)}),
        ("kernel: Memory cgroup out of memory: Killed", ERROR, 20, 20, {("pattern-new", False)}),
        ("panic: nil map", FATAL, 1, 20, {("pattern-new", False)}),  # a restart
        ("panic: nil map", FATAL, 2, 20, {("pattern-new", True)}),
        ("connection refused by peer", UNKNOWN, 20, 20, {("pattern-new", False)}),
        ("OOM killed the worker", UNKNOWN, 20, 20, {("pattern-new", True)}),
        ("version 2 is ready", INFO, 20, 20, set()),  # a roll-out says new things
        ("cannot write to disk", ERROR, 20, 1, set()),  # everything is new to who begins to listen
    ],
)
def test_what_is_new(text: str, severity: int, count: int, minute: int, expected: set[tuple[str, bool]]) -> None:
    told = [*quiet(range(minute)), said(minute, count, text, severity=severity), *quiet([minute])]
    assert kinds(tell(told)) == expected


def test_a_new_error_is_told_as_it_goes_on_and_once_when_it_is_over() -> None:
    told = quiet(range(40))
    told += [said(minute, 20, "disk is full", severity=ERROR) for minute in range(20, 25)]
    symptoms = tell(sorted(told, key=lambda each: each.minute_ms))
    assert len({each.id for each in symptoms}) == 1
    assert [each.ended for each in symptoms] == [False] * (len(symptoms) - 1) + [True]
    assert symptoms[0].text.startswith("pay in shop logged `disk is full` 20 times since ")
    assert symptoms[0].evidence == f"log-{symptoms[0].evidence.split('-')[1]}-{START_MS // MINUTE_MS + 20}-" + (
        f"{START_MS // MINUTE_MS + 20}"
    )
    assert 4 <= len(symptoms) <= 12


@pytest.mark.parametrize(
    ("severity", "usual", "burst", "expected"),
    [
        (ERROR, 5, 60, {("pattern-burst", True)}),
        (WARN, 5, 60, {("pattern-burst", False)}),
        (INFO, 60, 180, set()),
        (INFO, 60, 3_000, {("pattern-burst", False)}),
        (ERROR, 60, 80, set()),
        (ERROR, 0, 5, set()),
    ],
)
def test_a_burst_is_far_more_than_usual(severity: int, usual: int, burst: int, expected: set[tuple[str, bool]]) -> None:
    counts = [usual + minute % 2 for minute in range(30)] + [burst, burst]
    told = quiet(range(32))
    told += [said(m, c, "call failed", severity=severity) for m, c in enumerate(counts) if c]
    assert kinds(tell(sorted(told, key=lambda each: each.minute_ms))) == expected


def test_what_varies_much_bursts_later() -> None:
    steady, wild = Usual(), Usual()
    for minute in range(60):
        steady.learn(10)
        wild.learn(40 if minute % 4 == 0 else 0)
    assert steady.surprise(50) > 7 > wild.surprise(50)


def test_the_same_hour_of_earlier_days_is_usual() -> None:
    days, hour = 3, range(0, 60 * 24, 10)  # every ten minutes; a job at ten hours after the start
    told = [
        said(day * 1440 + minute, 300 if minute == 600 else 20, "job failed", severity=ERROR)
        for day in range(days) for minute in hour
    ]  # fmt: skip
    nights = [each.start_ms for each in tell(told) if each.kind == "pattern-burst" and not each.ended]
    assert nights
    assert max(nights) < START_MS + 1440 * MINUTE_MS


def test_silence_is_judged_by_the_neighbours() -> None:
    before = quiet(range(30))
    symptoms = tell([*before, *quiet(range(30, 40), NEIGHBOURS)])
    assert kinds(symptoms) == {("pattern-silence", False)}
    assert symptoms[0].text.startswith("pay in shop has said nothing since")
    assert tell([*before, *quiet(range(60, 65))]) == []  # a gap of all is nobody's silence
    ahead = said(90, 60, workload="cart")
    assert tell([*before, ahead, *quiet(range(30, 33))]) == []  # nor is one clock that is ahead
    back = [each for each in tell([*before, *quiet(range(30, 40), NEIGHBOURS), *quiet(range(40, 43))]) if each.ended]
    assert len(back) == 1


def test_a_pattern_that_stops_while_its_workload_goes_on_is_weak() -> None:
    both = quiet(range(30)) + [said(m, 60, "heartbeat sent") for m in range(30)]
    told = [*sorted(both, key=lambda each: each.minute_ms), *quiet(range(30, 36))]
    assert kinds(tell(told)) == {("pattern-silence", False)}
    assert "goes on without 1 of its usual messages" in tell(told)[0].text


def test_patterns_without_number_are_one_symptom_and_bounded() -> None:
    settings = Detection(most_patterns=400)
    detector = Patterns(settings)
    told = quiet(range(20))
    told += [said(20 + n / 1000, 1, f"weird{n} thing{n} failed{n} again{n}", severity=ERROR) for n in range(900)]
    symptoms = tell([*told, *quiet([20])], detector)
    assert 0 < len({each.id for each in symptoms}) <= 6
    assert sum("new complaints a minute" in each.text for each in symptoms) >= 1
    assert detector.dropped["patterns"] >= 800
    assert len(orjson.dumps(detector.dump())) < 400 * 2_000


def test_a_word_that_differs_makes_nothing_new() -> None:
    text = "carrier refused the label for parcel of {} again"
    told = quiet(range(20)) + [said(m, 2, text.format("SE"), severity=ERROR) for m in range(2, 20)]
    told = [*sorted(told, key=lambda each: each.minute_ms), said(20, 5, text.format("DE"), severity=ERROR)]
    assert tell(told) == []


@given(st.randoms(use_true_random=False), st.integers(1, 3))
@laws(max_examples=15, deadline=None)
def test_repeated_split_and_reordered_summaries_tell_the_same(random: Random, copies: int) -> None:
    counts = {16: 30, 17: 200, 18: 1}
    plain = quiet(range(20)) + [said(m, c, "disk is full", severity=ERROR) for m, c in counts.items()]
    plain.sort(key=lambda each: each.minute_ms)
    torn: list[Said] = []
    for minute in range(20):
        some = [each for each in plain if each.minute_ms == START_MS - START_MS % MINUTE_MS + minute * MINUTE_MS]
        parts = [_part(each, part) for each in some for part in (0.3, 1.0)] * copies
        random.shuffle(parts)
        torn += parts
    expected, found = tell(plain), tell(torn)
    assert {(each.id, each.kind) for each in found} == {(each.id, each.kind) for each in expected}
    assert {each.id: each.opens for each in found} == {each.id: each.opens for each in expected}


def _part(whole: Said, share: float) -> Said:
    (key, (_, count)), *_ = whole.slices.items()
    some = max(int(count * share), 1)
    return whole._replace(slices={key: (some * 10, some)})


@pytest.mark.parametrize("cut", [3, 40, 83, 84, 100])
def test_a_snapshot_goes_on_exactly(cut: int) -> None:
    told = quiet(range(30)) + [said(m, 20 * m, f"m{m // 24} is full", severity=ERROR) for m in range(20, 26)]
    told.sort(key=lambda each: each.minute_ms)
    told += quiet(range(30, 36), NEIGHBOURS)
    whole, first = Patterns(Detection()), Patterns(Detection())
    expected = tell(told, whole)
    before = tell(told[:cut], first)
    second = Patterns.load(orjson.loads(orjson.dumps(first.dump())), Detection())
    assert before + tell(told[cut:], second) == expected
    assert second.dump() == whole.dump()


def test_late_summaries_are_counted_as_such() -> None:
    detector = Patterns(Detection())
    tell([*quiet(range(10)), said(2, 500, "served a page", pod="pay-9")], detector)
    assert detector.dropped == {"late": 1}


@pytest.mark.parametrize(
    ("severity", "text", "expected"),
    [
        (ERROR, "fine", ERROR), (INFO, "it failed", 0), (UNKNOWN, "it failed", WARN), (UNKNOWN, "all is well", 0),
        (UNKNOWN, "panic: x", ERROR), (UNKNOWN, "java.lang.NullPointerException: x", WARN), (UNKNOWN, "room", 0),
    ],
)  # fmt: skip
def test_who_complains(severity: int, text: str, expected: int) -> None:
    assert complaint(severity, text) == expected


def test_mentions_name_peers_and_not_the_speaker() -> None:
    text = "call to inventory failed: lookup db-0.orders.svc:5432, request 4ab2d9e20c17945c of pay"
    named = mentions(text, {"server_address": "cards.example:443"}, own="pay")
    assert {"inventory", "db-0.orders"} <= set(named) - {"pay"}
    assert "pay" not in named
    assert len(named) <= 8
    assert not any("4ab2d9" in each for each in named)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("* --- [*] shop.inventory.InventoryService : pool is empty after *", "pool is empty after …"),
        ("[*] ERROR: duplicate key of *", "duplicate key of …"),
        ("[search.app] collecting garbage took * ms", "collecting garbage took … ms"),
        ("*: Failed to watch *: failed to list", "Failed to watch …: failed to list"),
        ("* changes in * seconds", "… changes in … seconds"),
        ("error retrieving resource lock", "error retrieving resource lock"),
        ("[*] panic", "[…] panic"),
    ],
)
def test_a_pattern_is_called_by_its_message(template: str, named: str) -> None:
    assert message(template) == named


def test_what_is_cut_is_cut_between_words() -> None:
    assert short("no more than these words", 18) == "no more than..."
    assert short("x" * 30, 10) == "xxxxxxx..."
