"""How questions are understood: the time they name, the things they name, and what a follow-up leaves unsaid."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.question.clock_words import LONGEST, Clock, pieces
from cag.question.clock_words import PIECES as MOST_PIECES
from cag.question.moments import times_of
from cag.question.plan import EARLIER_CHARS, READ_CHARS, SEARCHED_CHARS, plan
from cag.question.quoted import IDENTIFIERS
from cag.question.spelling import Index, slips
from deploy.shop.topology import SHOP_SERVICES
from schemas.context import Plan, Span, Turn
from tests.unit.plan_cases import CASES, CATALOG, NOW

WINDOW = timedelta(minutes=30)
GREENWICH = ZoneInfo("UTC")
KINDS = ("clusters", "namespaces", "workloads", "pods", "nodes", "alerts", "metrics", "identifiers")


def asked(*turns: str, zone: str = "UTC", now: datetime = NOW) -> Plan:
    said = [Turn(role="assistant" if t.startswith("A:") else "user", content=t.removeprefix("A:")) for t in turns]
    return plan(said, now=now, catalog=CATALOG, default_window=WINDOW, zone=ZoneInfo(zone))


def span_of(question: str, *, now: datetime = NOW, zone: ZoneInfo = GREENWICH) -> Span | None:
    return times_of(question, now=now, zone=zone, default=WINDOW).span


def written(span: Span) -> str:
    return " to ".join(f"{m:%H:%M}" if m.date() == NOW.date() else f"{m:%m-%d %H:%M}" for m in (span.start, span.end))


def columns(made: Plan) -> tuple[str, str, str]:
    """A plan as the table writes it."""
    when = made.anchor or (written(made.span) if made.span.said else "")
    when = f"{when} vs {written(made.compared)}".strip() if made.compared else when
    things = " ".join(f"{kind[:-1]}:{name.replace(' ', '_')}" for kind in KINDS for name in getattr(made, kind))
    return when, things, made.intent + ("/runbook" if made.about == "runbook" else "")


@pytest.mark.parametrize(("question", "when", "things", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_questions(question: str, when: str, things: str, wanted: str) -> None:
    assert columns(asked(*question.split("|"))) == (when, things, wanted)


@pytest.mark.parametrize(
    ("question", "start", "end"),  # of today where there is no date, "" for now
    [
        ("errors in the last 15 min", "20:00", ""),
        ("errors in the past 2 hours", "18:15", ""),
        ("last hour", "19:15", ""),
        ("over the last few minutes", "20:10", ""),
        ("the previous half hour", "19:45", ""),
        ("in the last half an hour", "19:45", ""),
        ("last 90s", "20:13:30", ""),
        ("last 24h", "2026-11-19 20:15", ""),
        ("past 1.5 hours", "18:45", ""),
        ("last 1h30m", "18:45", ""),
        ("last three days", "2026-11-17 20:15", ""),
        ("last couple of hours", "18:15", ""),
        ("what broke in the last week", "2026-11-13 20:15", ""),
        ("last 99999 days", "2026-11-06 20:15", ""),  # no more than is kept
        ("LAST 5 MINUTES", "20:10", ""),
        ("2 hours ago", "17:45", "18:15"),
        ("an hour ago", "19:00", "19:15"),
        ("half an hour ago", "19:30", "19:45"),
        ("15 min ago", "19:45", "20:00"),
        ("two days ago", "2026-11-18 08:15", "2026-11-19 02:15"),
        ("since 2 hours ago", "18:15", ""),
        ("at 14:05", "13:50", "14:05"),
        ("at 14:05:30 payments failed", "13:50:30", "14:05:30"),
        ("near 14:05", "13:55", "14:10"),
        ("at ~14:05", "13:55", "14:10"),
        ("2pm or so", "13:50", "14:05"),
        ("yesterday around 14:05", "2026-11-19 13:55", "2026-11-19 14:10"),
        ("about 2 hours ago", "17:45", "18:30"),
        ("14:05:30\n[14:07:12] ERROR", "13:50:30", "14:12:12"),
        ("around 2pm", "13:50", "14:05"),
        ("at 2:30 pm", "14:15", "14:30"),
        ("at 12am", "2026-11-19 23:45", "00:00"),
        ("about 12:10 p.m. it broke", "12:00", "12:15"),
        ("at noon", "11:45", "12:00"),
        ("at around 9:00", "08:50", "09:05"),
        ("at 23:00", "2026-11-19 22:45", "2026-11-19 23:00"),  # has not been today
        ("at 14:05 UTC", "13:50", "14:05"),
        ("yesterday at 14:05", "2026-11-19 13:50", "2026-11-19 14:05"),
        ("at 14:05 on monday", "2026-11-16 13:50", "2026-11-16 14:05"),
        ("on 2026-11-18 at 14:05", "2026-11-18 13:50", "2026-11-18 14:05"),
        ("what happened 14:05?", "13:50", "14:05"),
        ("at 2026-11-20T14:05:00Z", "13:50", "14:05"),
        ("at 2026-11-20T15:05:00+01:00", "13:50", "14:05"),
        ("at 2026-11-20 14:05 UTC", "13:50", "14:05"),
        ("2026-11-20T14:05:07.123456789Z ERROR db timeout", "13:55:07.123456", "14:10:07.123456"),
        ("between 14:00 and 14:30", "14:00", "14:30"),
        ("from 2pm to 3pm", "14:00", "15:00"),
        ("between 2 and 3 pm", "14:00", "15:00"),
        ("14:00-14:30", "14:00", "14:30"),
        ("14:00 – 14:30 was bad", "14:00", "14:30"),
        ("between 23:50 and 00:10", "2026-11-19 23:50", "00:10"),
        ("between 20:00 and 21:00", "20:00", ""),  # not over yet
        ("between 14:00 and 14:30 yesterday", "2026-11-19 14:00", "2026-11-19 14:30"),
        ("between 2026-11-19T23:00Z and 2026-11-20T01:00Z", "2026-11-19 23:00", "01:00"),
        ("since 14:05", "14:05", ""),
        ("since 2pm", "14:00", ""),
        ("after about 14:05", "14:05", ""),
        ("since midnight", "00:00", ""),
        ("since yesterday", "2026-11-19 00:00", ""),
        ("since this morning", "05:00", ""),
        ("since monday", "2026-11-16 00:00", ""),
        ("since 2026-11-18", "2026-11-18 00:00", ""),
        ("before 14:05", "13:35", "14:05"),
        ("yesterday", "2026-11-19 00:00", "00:00"),
        ("today", "00:00", ""),
        ("this morning", "05:00", "12:00"),
        ("this afternoon", "12:00", "18:00"),
        ("this evening", "17:00", ""),
        ("last night", "2026-11-19 22:00", "07:00"),
        ("on 2026-11-18", "2026-11-18 00:00", "2026-11-19 00:00"),
        ("on wednesday", "2026-11-18 00:00", "2026-11-19 00:00"),
    ],
)
def test_times(question: str, start: str, end: str) -> None:
    found = span_of(f"why is checkout slow {question}")
    moments = [
        datetime.fromisoformat(t if "-" in t else f"2026-11-20 {t or '20:15'}").replace(tzinfo=UTC)
        for t in (start, end)
    ]
    assert found is not None
    assert [found.start, found.end] == moments
    assert found.said


@pytest.mark.parametrize(
    "question",
    [
        "", "why is checkout failing?", "at 25:99", "at 13pm", "on 2026-13-45", "10.0.0.1:8080 refuses",
        "http://payments:8080/charge", "the last deploy", "at last", "version 1.2.3", "port 9092",
        "pending for minutes", "node-3 lost 14:9", "ratio 16:9",
    ],
)  # fmt: skip
def test_no_time_is_named(question: str) -> None:
    assert span_of(question) is None


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "question", "start", "end"),  # all but the question in UTC
    [
        ("2026-11-20T20:15", "at 14:05", "2026-11-20T12:50", "2026-11-20T13:05"),
        ("2026-11-20T20:15", "at 14:05 UTC", "2026-11-20T13:50", "2026-11-20T14:05"),
        ("2026-11-20T20:15", "today", "2026-11-19T23:00", "2026-11-20T20:15"),
        # Clocks go forward on 29 March 2026 at 01:00 UTC, from 02:00 to 03:00.
        ("2026-03-29T08:00", "at 03:05", "2026-03-29T00:50", "2026-03-29T01:05"),
        ("2026-03-29T08:00", "yesterday", "2026-03-27T23:00", "2026-03-28T23:00"),
        ("2026-03-29T08:00", "since midnight", "2026-03-28T23:00", "2026-03-29T08:00"),
        ("2026-03-30T08:00", "yesterday", "2026-03-28T23:00", "2026-03-29T22:00"),  # a day of 23 hours
        ("2026-03-29T01:30", "last hour", "2026-03-29T00:30", "2026-03-29T01:30"),
        # Clocks go back on 25 October 2026 at 01:00 UTC, from 03:00 to 02:00: 02:30 comes twice.
        ("2026-10-25T00:40", "at 02:30", "2026-10-25T00:15", "2026-10-25T00:30"),
        ("2026-10-25T08:00", "at 02:30", "2026-10-25T01:15", "2026-10-25T01:30"),
        ("2026-10-25T08:00", "between 02:30 and 03:30", "2026-10-25T01:30", "2026-10-25T02:30"),
        ("2026-10-26T08:00", "yesterday", "2026-10-24T22:00", "2026-10-25T23:00"),  # a day of 25 hours
    ],
)
def test_times_of_day_are_the_askers_and_clock_changes_bend_nothing(
    now: str, question: str, start: str, end: str
) -> None:
    found = span_of(question, now=datetime.fromisoformat(now).replace(tzinfo=UTC), zone=BERLIN)
    assert found is not None
    assert [f"{moment:%Y-%m-%dT%H:%M}" for moment in (found.start, found.end)] == [start, end]
    assert found.start.tzinfo is found.end.tzinfo is UTC


@pytest.mark.parametrize(
    ("zone", "question", "when"),  # in UTC
    [
        ("America/New_York", "on 11/10/2026", "11-10 05:00 to 11-11 05:00"),  # months come first there
        ("Europe/Berlin", "on 11/10/2026", "10-10 22:00 to 10-11 22:00"),
        ("Asia/Shanghai", "at 14:00 CST", "05:45 to 06:00"),  # China's, where the asker is
        ("UTC", "at 14:00 CST", "19:45 to 20:00"),  # Chicago's
        ("Europe/Dublin", "at 14:00 IST", "13:45 to 14:00"),  # Irish
        ("UTC", "at 14:00 IST", "08:15 to 08:30"),  # Indian
        ("America/New_York", "at 14:00 UTC", "13:45 to 14:00"),
        ("America/New_York", "today vs yesterday", "05:00 to 20:15"),
        ("Asia/Tokyo", "this morning", "20:00 to 20:15"),  # it is 05:15 on Saturday there
    ],
)
def test_zones(zone: str, question: str, when: str) -> None:
    made = asked(question, zone=zone)
    assert (written(made.span), made.zone) == (when, zone)


def test_what_is_compared_is_as_long_also_over_a_clock_change() -> None:
    now = datetime(2026, 10, 25, 12, 0, tzinfo=UTC)  # clocks went back in Berlin that night
    times = times_of("today vs yesterday", now=now, zone=BERLIN, default=WINDOW)
    assert times.span is not None
    other = times.compared(times.span, now)
    assert other is not None
    assert [f"{m:%d %H:%M}" for m in (times.span.start, times.span.end)] == ["24 22:00", "25 12:00"]
    assert [f"{m:%d %H:%M}" for m in (other.start, other.end)] == [
        "23 22:00",
        "24 11:00",
    ]  # 00:00 to 13:00 by the clock


def test_a_follow_up_searches_for_what_it_goes_on_with() -> None:
    follow = asked("why does checkout time out between 14:00 and 14:30?", "A: x", "what about its pods?")
    assert "time out" in follow.search_text
    assert follow.question == "what about its pods?"
    assert written(follow.span) == "14:00 to 14:30"
    assert "503" in asked("checkout 503s").search_text.split()


@pytest.mark.parametrize(
    ("first", "follow", "workload", "lead"),
    [
        ("why is inventory failing?", "and its database?", "inventory-db", "database inventory-db"),
        ("why is checkout failing?", "and its database?", "checkout", "database checkout"),  # has none of its own
        ("is cart slow?", "and the cache?", "cart-redis", "cache cart-redis"),
        ("is search slow?", "what about its index?", "search-index", "index search-index"),
    ],
)
def test_a_companion_takes_the_place_of_what_was_asked_about(first: str, follow: str, workload: str, lead: str) -> None:
    shop = type(CATALOG)(workloads=frozenset(service.name for service in SHOP_SERVICES))
    turns = [Turn(role="user", content=first), Turn(role="user", content=follow)]
    made = plan(turns, now=NOW, catalog=shop, default_window=WINDOW, zone=GREENWICH)
    assert made.workloads == (workload,)
    assert made.search_text == f"{lead} {follow} {first}"


def test_what_names_no_time_looks_at_the_default_window() -> None:
    made = asked("why is checkout failing?")
    assert (made.span.start, made.span.end, made.span.said) == (NOW - WINDOW, NOW, "")
    assert plan([], now=NOW, catalog=CATALOG, default_window=timedelta(1), zone=ZoneInfo("UTC")).question == ""


@pytest.mark.parametrize(
    ("one", "two", "distance"),
    [
        ("checkout", "checkout", 0), ("chekout", "checkout", 1), ("hceckout", "checkout", 1),
        ("chexkout", "checkout", 1), ("checkouts", "checkout", 1), ("chekoutt", "checkout", 2), ("payments", "x", 3),
    ],
)  # fmt: skip
def test_slips_of_the_pen(one: str, two: str, distance: int) -> None:
    assert min(slips(one, two, 2), 3) == min(slips(two, one, 2), 3) == distance


def test_a_slip_between_two_names_is_neither() -> None:
    index = Index(CATALOG)
    assert index.meant("paymants") == "payments"
    assert index.meant("prometheus9") is None  # digits are never slips
    near = plan(
        [Turn(role="user", content="reporter and reportes")],
        now=NOW,
        catalog=type(CATALOG)(workloads=frozenset({"exporter", "reported"})),
        default_window=WINDOW,
        zone=ZoneInfo("UTC"),
    )
    assert near.workloads == ()


NAMES = sorted({*CATALOG.workloads, *CATALOG.nodes, *CATALOG.alerts, *CATALOG.metrics, *CATALOG.namespaces})


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_quotation_marks_is_found_in_any_case(name: str) -> None:
    for spelled in (name, name.upper()):
        made = asked(f"what about `{spelled}`?")
        assert name in {n for kind in KINDS[:-1] for n in getattr(made, kind)}


PIECES = st.sampled_from([
    "why", " ", "is ", "checkout", "chekout", "payments-db-0", "yesterday", "today", "vs", "compared with", "since ",
    "between ", "and ", "to", "-", "14:05", "9", "25:99", "2pm", "CET", "+02:00", "last ", "5 min", "ago", "2026-11-20",
    "Nov 20", "T14:05:07Z", "the deploy", "before and after ", "in shop", "its database", "the other one", "that pod",
    "how do I ", "E1234", "1795183500", "now", "last night", "in the morning", "31/12/1999", "Feb 29", "\n", "\ud800",
])  # fmt: skip


NOWS = st.sampled_from([
    NOW, datetime(2026, 3, 29, 1, 30, tzinfo=UTC), datetime(2026, 10, 25, 0, 59, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC),
])  # fmt: skip
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe"])


@given(
    texts=st.lists(
        st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map(" ".join)), min_size=1, max_size=3
    ),
    now=NOWS,
    zone=ZONES,
)
def test_anything_is_planned_and_always_the_same(texts: list[str], now: datetime, zone: str) -> None:
    made = asked(*texts, now=now, zone=zone)
    assert made == asked(*texts, now=now, zone=zone)
    for span in (made.span, made.compared or made.span):
        assert span.start <= span.end <= now
        assert span.end - span.start <= LONGEST + timedelta(hours=1)
    for kind in ("clusters", "namespaces", "workloads", "nodes", "alerts", "metrics"):
        assert getattr(CATALOG, kind).issuperset(getattr(made, kind))


@pytest.mark.parametrize(
    "piece",
    [
        " ", "last ", "last      ", "between 10:00      ", "10:00 ", "1", "a", "a-", "a.", "-", "E1", "f0", "http://",
        "2026-11-20T", "from 10:00 to ", "last 5", "yesterday ", "since ", "at at ", "9" * 40 + ":", "\ud800", "\n",
        "checkout-x2k4z ", "compare with ", "is a ", "Nov ", "the deploy ", "chekouut ", "a_", "aB", "a:", "a/",
    ],
)  # fmt: skip
def test_reading_is_bounded_whatever_is_sent(piece: str) -> None:
    question = piece * (100_000 // len(piece))
    made, read = asked(question, question), asked(question[:EARLIER_CHARS], question[:READ_CHARS])
    assert made.model_copy(update={"question": read.question}) == read  # the rest is not looked at
    assert len(made.search_text) <= SEARCHED_CHARS
    assert made.span.end - made.span.start <= LONGEST
    assert len(pieces(question[:READ_CHARS], Clock(NOW, GREENWICH))) <= MOST_PIECES
    assert len(made.identifiers) <= IDENTIFIERS


def test_what_lies_beyond_the_first_ten_thousand_letters_is_not_read() -> None:
    assert asked(f"{'why ' * (READ_CHARS // 4)} checkout at 14:05 E1234").identifiers == ()
