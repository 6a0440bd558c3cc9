"""How questions are understood: the time they name, the things they name, and what a follow-up leaves unsaid."""

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from cag.moments import LONGEST, span_of
from cag.plan import SEARCHED_CHARS, Catalog, plan
from schemas.context import Plan, Turn

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)  # a Friday
CATALOG = Catalog(
    clusters=frozenset({"prod"}),
    namespaces=frozenset({"shop", "kube-system", "openshift-dns"}),
    workloads=frozenset({"checkout", "payments", "payments-db", "kube-proxy", "postgres", "CRON", "backup"}),
    nodes=frozenset({"node-3", "ip-10-0-1-2.ec2.internal"}),
    alerts=frozenset({"KubePodCrashLooping", "High_Latency"}),
)


def asked(*questions: str) -> Plan:
    turns = [turn for q in questions for turn in (Turn(role="user", content=q), Turn(role="assistant", content="x"))]
    return plan(turns[:-1], now=NOW, catalog=CATALOG, default_window=timedelta(minutes=30), zone=ZoneInfo("UTC"))


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
        ("2 hours ago", "17:45", "18:30"),
        ("an hour ago", "19:00", "19:22:30"),
        ("half an hour ago", "19:35", "19:50"),
        ("15 min ago", "19:50", "20:05"),
        ("two days ago", "2026-11-18 08:15", "2026-11-19 02:15"),
        ("since 2 hours ago", "18:15", ""),
        ("at 14:05", "13:55", "14:10"),
        ("at 14:05:30 payments failed", "13:55:30", "14:10:30"),
        ("around 2pm", "13:50", "14:05"),
        ("at 2:30 pm", "14:20", "14:35"),
        ("at 12am", "2026-11-19 23:50", "00:05"),
        ("about 12:10 p.m. it broke", "12:00", "12:15"),
        ("at noon", "11:50", "12:05"),
        ("at around 9:00", "08:50", "09:05"),
        ("at 23:00", "2026-11-19 22:50", "2026-11-19 23:05"),  # has not been today
        ("at 14:05 UTC", "13:55", "14:10"),
        ("yesterday at 14:05", "2026-11-19 13:55", "2026-11-19 14:10"),
        ("at 14:05 on monday", "2026-11-16 13:55", "2026-11-16 14:10"),
        ("on 2026-11-18 at 14:05", "2026-11-18 13:55", "2026-11-18 14:10"),
        ("what happened 14:05?", "13:55", "14:10"),
        ("at 2026-11-20T14:05:00Z", "13:55", "14:10"),
        ("at 2026-11-20T15:05:00+01:00", "13:55", "14:10"),
        ("at 2026-11-20 14:05 UTC", "13:55", "14:10"),
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
    found = span_of(f"why is checkout slow {question}", now=NOW, zone=ZoneInfo("UTC"))
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
        "", "why is checkout failing right now?", "at 25:99", "at 13pm", "on 2026-13-45", "10.0.0.1:8080 refuses",
        "http://payments:8080/charge", "the last deploy", "at last", "version 1.2.3", "port 9092",
        "pending for minutes",        "node-3 lost 14:9", "since the deploy", "ratio 16:9",
    ],
)  # fmt: skip
def test_no_time_is_named(question: str) -> None:
    assert span_of(question, now=NOW, zone=ZoneInfo("UTC")) is None


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "question", "start", "end"),  # all but the question in UTC
    [
        ("2026-11-20T20:15", "at 14:05", "2026-11-20T12:55", "2026-11-20T13:10"),
        ("2026-11-20T20:15", "at 14:05 UTC", "2026-11-20T13:55", "2026-11-20T14:10"),
        ("2026-11-20T20:15", "today", "2026-11-19T23:00", "2026-11-20T20:15"),
        # Clocks go forward on 29 March 2026 at 01:00 UTC, from 02:00 to 03:00.
        ("2026-03-29T08:00", "at 03:05", "2026-03-29T00:55", "2026-03-29T01:10"),
        ("2026-03-29T08:00", "yesterday", "2026-03-27T23:00", "2026-03-28T23:00"),
        ("2026-03-29T08:00", "since midnight", "2026-03-28T23:00", "2026-03-29T08:00"),
        ("2026-03-30T08:00", "yesterday", "2026-03-28T23:00", "2026-03-29T22:00"),  # a day of 23 hours
        ("2026-03-29T01:30", "last hour", "2026-03-29T00:30", "2026-03-29T01:30"),
        # Clocks go back on 25 October 2026 at 01:00 UTC, from 03:00 to 02:00: 02:30 comes twice.
        ("2026-10-25T00:40", "at 02:30", "2026-10-25T00:20", "2026-10-25T00:35"),
        ("2026-10-25T08:00", "at 02:30", "2026-10-25T01:20", "2026-10-25T01:35"),
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
    ("question", "expected"),
    [
        ("why is checkout failing?", {"workloads": ("checkout",)}),
        ("Is CHECKOUT's latency up?", {"workloads": ("checkout",)}),
        ("is cron running", {"workloads": ("CRON",)}),
        ("payments and payments-db", {"workloads": ("payments", "payments-db")}),
        ("pods in kube-system", {"namespaces": ("kube-system",)}),
        ("shop/checkout?", {"namespaces": ("shop",), "workloads": ("checkout",)}),
        ("checkout.shop.svc.cluster.local times out", {"namespaces": ("shop",), "workloads": ("checkout",)}),
        ("http://payments:8080/charge", {"workloads": ("payments",)}),
        ("checkout-7d9f8b6c5-x2k4z restarts", {"workloads": ("checkout",), "pods": ("checkout-7d9f8b6c5-x2k4z",)}),
        ("kube-proxy-kzvxb restarts", {"workloads": ("kube-proxy",), "pods": ("kube-proxy-kzvxb",)}),
        ("postgres-0 is gone", {"workloads": ("postgres",), "pods": ("postgres-0",)}),
        ("backup-28391045-x2k4z failed", {"workloads": ("backup",), "pods": ("backup-28391045-x2k4z",)}),
        ("payments-db-0", {"workloads": ("payments-db",), "pods": ("payments-db-0",)}),
        ("payments-team is asleep", {}),
        ("node-3 is full", {"nodes": ("node-3",)}),
        ("ip-10-0-1-2.ec2.internal", {"nodes": ("ip-10-0-1-2.ec2.internal",)}),
        ("ip-10-0-1-2 is slow", {"nodes": ("ip-10-0-1-2.ec2.internal",)}),
        ("what does KubePodCrashLooping mean", {"alerts": ("KubePodCrashLooping",)}),
        ("kubepodcrashlooping and High_Latency.", {"alerts": ("KubePodCrashLooping", "High_Latency")}),
        ("find ORA-00942 and 4bf92f3577b34da6", {"identifiers": ("ORA-00942", "4bf92f3577b34da6")}),
        ("nothing that exists", {}),
    ],
)  # fmt: skip
def test_things(question: str, expected: dict[str, tuple[str, ...]]) -> None:
    made = asked(question)
    kinds = ("namespaces", "workloads", "pods", "nodes", "alerts", "identifiers")
    assert {kind: found for kind in kinds if (found := getattr(made, kind))} == expected


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("how do I fix checkout", "fix"), ("what changed", "change"), ("is checkout healthy", "health"),
        ("show errors of checkout", "show"), ("why is checkout failing", "diagnose"), ("", "diagnose"),
    ],
)  # fmt: skip
def test_intents(question: str, intent: str) -> None:
    assert asked(question).intent == intent


def test_a_follow_up_inherits_what_it_leaves_out() -> None:
    first = "why did checkout in shop fail between 14:00 and 14:30?"
    follow = asked(first, "and before that?", "what about its pods?")
    assert (follow.workloads, follow.namespaces, follow.span) == (("checkout",), ("shop",), asked(first).span)
    assert "checkout" in follow.search_text
    assert follow.question == "what about its pods?"
    other = asked(first, "and payments in the last hour?")
    assert (other.workloads, other.namespaces) == (("payments",), ())
    assert other.span == asked("last hour").span
    assert asked("what is E1234?", "why?").identifiers == ("E1234",)
    assert asked("what is E1234?", "why is checkout slow?").identifiers == ()


def test_what_names_no_time_looks_at_the_default_window() -> None:
    made = asked("why is checkout failing?")
    assert (made.span.start, made.span.end, made.span.said) == (NOW - timedelta(minutes=30), NOW, "")
    assert plan([], now=NOW, catalog=CATALOG, default_window=timedelta(1), zone=ZoneInfo("UTC")).question == ""


@pytest.mark.parametrize(
    "piece",
    [
        " ", "last ", "last      ", "between 10:00      ", "10:00 ", "1", "a", "a-", "a.", "-", "E1", "f0", "http://",
        "2026-11-20T", "from 10:00 to ", "last 5", "yesterday ", "since ", "at at ", "9" * 40 + ":", "\ud800", "\n",
        "checkout-x2k4z ",
    ],
)  # fmt: skip
def test_a_megabyte_of_anything_is_planned_in_time(piece: str) -> None:
    question = piece * (1_000_000 // len(piece))
    began = time.process_time()
    made = asked(question)
    assert time.process_time() - began < 0.5  # some 50 ms; quadratic would be many seconds
    assert len(made.search_text) <= SEARCHED_CHARS
    assert made.span.end - made.span.start <= LONGEST
