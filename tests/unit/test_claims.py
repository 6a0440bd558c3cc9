"""What a sentence says against what it cites, and which sentences say anything."""

from datetime import timedelta
from itertools import islice

import pytest

from cag.verification.sentences import Sentences
from cag.verification.statements import bare, kind_of
from cag.verification.verify import MARK, Verifier
from schemas.context import Evidence, Plan, Span
from tests.answers.corrupted import CAUGHT, TOUCHED, measure
from tests.answers.grounds import grounds
from tests.fake_assistant import NOW

LOG = Evidence(
    id="log-1",
    kind="log",
    text="2026-11-20 20:14:56.120 ERROR HikariPool-1 - Connection is not available, request timed out after 30004ms "
    "(total=20, active=20, idle=0, waiting=336) trace 5b6bd405e8def111",
    workload="checkout",
    namespace="shop",
    cluster="lab",
    entity="pod/checkout-7d9f-abcde",
    first=NOW - timedelta(minutes=9, seconds=51),  # 20:05:09
    last=NOW - timedelta(seconds=4),  # 20:14:56
    count=412,
    severity="error",
)
METRIC = Evidence(
    id="metric-1",
    kind="metric",
    text="container_memory_working_set_bytes{pod=orders-db-0} of pod/orders-db-0: now 336Mi, at first 112Mi, "
    "range 112Mi to 336Mi over 30 minutes",
    title="container_memory_working_set_bytes",
    workload="orders-db",
    namespace="shop",
    entity="pod/orders-db-0",
    first=NOW - timedelta(minutes=30),
    last=NOW,
    count=30,
)
EVENT = Evidence(
    id="event-1",
    kind="event",
    text="OOMKilling Node/worker-3: Memory cgroup out of memory: Killed process 4711 (java)",
    title="OOMKilling Node/worker-3",
    entity="node/worker-3",
    first=NOW - timedelta(minutes=2),
    last=NOW - timedelta(minutes=2),
)
GUIDE = Evidence(
    id="runbook-1",
    kind="runbook",
    title="Pool exhausted > Mitigation",
    text="1. Stop the borrower: suspend its cron job.\n2. Restart the pods with `kubectl -n $NS rollout restart`. "
    "Wait two minutes. See https://runbooks.example.org/pool#free.",
    url="https://runbooks.example.org/pool",
)
EVIDENCE = (LOG, METRIC, EVENT, GUIDE)
PLAN = Plan(
    question="Why does inventory wait since 19:30?",
    span=Span(start=NOW - timedelta(minutes=45), end=NOW),
    zone="Europe/Berlin",
)


def verified(text: str, **options: object) -> tuple[str, Verifier]:
    verifier = Verifier(EVIDENCE, plan=PLAN, **options)  # type: ignore[arg-type]
    return verifier.feed(text) + verifier.finish(), verifier


SUPPORTED = [
    "The pool of checkout had no connection available 412 times [1].",
    "checkout logged `Connection is not available, request timed out after 30004ms` [1].",
    'It says "connection is NOT  available ... after 30004ms" [1].',
    "Requests timed out after about 30 s [1].",
    "Requests timed out after 30 seconds, 336 of them were waiting [1].",
    "About 340 requests are waiting, more than 400 such lines were logged [1].",
    "It began at 20:05:09 UTC and went on until 21:14:56 (20:14:56 UTC) [1].",
    "From 20:05 to 20:14 every one of the 20 connections was active [1].",
    "It lasted for about 10 minutes, on 20 November 2026 [1].",
    "The pod checkout\u20117d9f\u2011abcde waited for 30\u202fs [1].",
    "`checkout-7d9f-abcde` in `shop` is affected [1].",
    "Memory of orders-db-0 rose from 112 MiB to 0.33 GiB [2].",
    "Memory of orders-db tripled to 336 MiB [2].",
    "Its memory rose by 200 % [2].",
    "A process on worker-3 was OOMKilled [3].",
    "The node worker-3 ran out of memory two minutes before 20:15 [3].",
    "As inventory waits since 19:30, look at checkout, which waits for a connection [1].",
    "The connection pool of checkout is exhausted. [1]",
    "Restart the pods with `kubectl -n shop rollout restart deployment/checkout` [4].",
    "The runbook says to wait two minutes [4].",
    "Both the pool and the memory are at their limits: 20 connections and 336Mi [1, 2].",
    "| checkout | 412 times | 20:05:09 | [1] |",
]
WRONG = [
    "The pool of checkout had no connection available 421 times [1].",
    "The pool of inventory-v2 had no connection available 412 times [1].",
    "orders-db logged that the connection is not available [1].",
    "checkout logged `Connection is now available, request timed out after 30004ms` [1].",
    "Requests timed out after about 40 s [1].",
    "Requests timed out after 30 minutes [1].",
    "It began at 20:07:09 UTC [1].",
    "It began at 21:05:09 UTC [1].",  # in the asker's zone, but UTC is said
    "It happened on 21 November [1].",
    "Memory of orders-db-0 rose from 112 MiB to 0.44 GiB [2].",
    "Memory of orders-db doubled [2].",
    "The node worker-4 ran out of memory [3].",
    "The pod checkout-7d9f-abcdf waited [1].",
    "The connection pool of the service is exhausted and requests time out [3].",
    "The memory of the node ran out, a process was killed [1].",
    "The pool is exhausted and requests wait.",
    "The database is slow because of a missing index.",
    "Wait five minutes before the pods are restarted [4].",
    "| checkout | 413 times | 20:05:09 | [1] |",
]
ASIDES = [
    "## Root cause",
    "**Next steps**",
    "Is the database healthy?",
    "I could not find anything about the database.",
    "The evidence does not show why this began.",
    "Check the pool size.",
    "- If it goes on, restart the pods one at a time.",
    "1. To free connections, stop the borrower.",
    "You should raise the limit.",
    "Close the incident afterwards.",
    "Here is what happened:",
    "Hope this helps!",
]


@pytest.mark.parametrize("text", SUPPORTED)
def test_what_the_evidence_says_is_left_alone(text: str) -> None:
    shown, verifier = verified(text)
    assert (shown, verifier.report.notes) == (text, ())
    assert verifier.report.sentences == 1


@pytest.mark.parametrize("text", WRONG)
def test_what_the_evidence_does_not_say_is_marked(text: str) -> None:
    shown, verifier = verified(text)
    assert MARK in shown
    assert (verifier.report.unsupported, len(verifier.report.notes)) == (1, 1)
    assert verified(text, action="off")[0] == text


@pytest.mark.parametrize("text", ASIDES)
def test_what_states_no_fact_needs_no_citation(text: str) -> None:
    shown, verifier = verified(text)
    assert (shown, verifier.report.sentences) == (text, 0)


@pytest.mark.parametrize(
    ("name", "marked"), [("billing", True), ("cart", True), ("production", False), ("checkout", False)]
)
def test_names_that_exist_are_known_for_names(name: str, marked: bool) -> None:
    text = f"Most of the requests that wait for a connection in {name} come from outside [1]."
    assert (MARK in verified(text, names=frozenset({"billing", "cart", "checkout"}))[0]) is marked


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("One [1]. Two [2].", ["One [1]. ", "Two [2]."]),
        ("One. [1] Two.[2] Three", ["One. [1] ", "Two.[2] ", "Three"]),
        ("One [1]. [2] says so.", ["One [1]. ", "[2] says so."]),
        ("- a\n- b\n", ["- a\n", "- b\n"]),
        ("1. Stop it. 2. Go", ["1. Stop it. ", "2. Go"]),
        ("It took 3.14 s, e.g. at 13:09:45 or approx. 3 at 10.0.0.1. Then", None),
        ('He said "it failed. Again." Then', ['He said "it failed. Again." ', "Then"]),
        ("See `a. B` here. Then", ["See `a. B` here. ", "Then"]),
        ("**Bold.** Then", ["**Bold.** ", "Then"]),
        ("| a. B | c |\n|---|\nx", ["| a. B | c |\n", "|---|\n", "x"]),
        ("```\na. B\n```\nx", ["```\n", "a. B\n", "```\n", "x"]),
    ],
)
def test_where_a_sentence_ends(text: str, units: list[str] | None) -> None:
    cutter = Sentences(500)
    cut = [unit.text for unit in (*cutter.feed(text), *cutter.finish())]
    assert cut == (units or [text.removesuffix("Then"), "Then"])


def test_a_number_quoted_or_a_name_makes_a_short_line_a_fact() -> None:
    assert kind_of(bare("- **Cause:** 3 pods"), "sentence") == "fact"
    assert kind_of(bare("**Cause**"), "sentence") == "aside"


def test_right_answers_stay_and_corrupted_ones_are_noticed() -> None:
    """The small form of `python -m tests.answers corrupted`; without its limit on time."""
    figures = measure(list(islice(grounds(recorded=False), 2)), answers=4).figures
    assert figures["changed"] > 50
    assert figures["caught_when_off"] == 0
    assert figures["caught"]["development"] >= CAUGHT - 0.05  # of some forty, three may escape
    assert figures["touched"]["development"] <= TOUCHED
