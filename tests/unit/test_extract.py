"""The answer without a model reads well, cites every sentence, and nothing that machines said is alive in it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cag.extract import MOST_CHARS, MOST_LINES, extractive_answer
from cag.steps import read_steps
from cag.tell import gist
from schemas.context import Context, Evidence, Freshness, Plan, SourceFreshness, Span
from tests.unit.test_verify import ATTACKS, links

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
SOURCES = tuple(SourceFreshness(topic="logs", namespace="shop", workload=w, newest=NOW) for w in ("cart", "db"))


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def piece(kind: str, text: str, **more: Any) -> Evidence:
    given: dict[str, Any] = {
        "entity": "pod/cart-0", "namespace": "shop", "workload": "cart", "severity": "error", "score": 0.9,
        "first": ago(5), "last": NOW,
    }  # fmt: skip
    return Evidence(id="x", kind=kind, text=text, **(given | more))


def answer(*cited: Evidence, missing: tuple[str, ...] = (), sources: Any = SOURCES, **plan: Any) -> str:
    asked = Plan(**({"question": "?", "span": Span(start=ago(30), end=NOW), "workloads": ("cart",)} | plan))
    seen = Freshness(asked_at=NOW, newest=NOW if sources else None, sources=sources, missing=missing)
    return extractive_answer(Context(plan=asked, evidence=cited, freshness=seen), cited)


STEPS = """Do this:

1. Run `kubectl logs <pod>` **now**
2. Read [the page](https://wiki/x) ![](//e.example/p)
- restart"""
RUNBOOK = piece("runbook", STEPS, title="Cart: Fix")
POOL = piece(
    "log",
    "1 --- [nio-8080-exec-7] example.shop.Db : Connection is not available, timed out after 30000ms (active=20) "
    "at com.zaxxer.hikari.pool.HikariPool.create(HikariPool.java:696)",
    workload="db", entity="workload/db", count=336, first=ago(9),
)  # fmt: skip
CALL = piece("log", "2026-11-20 20:11:12.1 ERROR call to db failed: deadline exceeded", count=680)
RETRY = piece("log", "retry 3 of 5", entity="pod/cart-1", first=ago(7), severity="warn")
BACKOFF = piece(
    "event", "BackOff Pod/cart-0: Back-off restarting", title="BackOff Pod/cart-0", severity="warn", count=3
)
BACKOFF_1 = piece("event", "BackOff Pod/cart-1: Back-off restarting", title="BackOff Pod/cart-1", severity="warn")
SCALED = piece(
    "event", "ScalingReplicaSet Deployment/cart: Scaled up cart-7d9f from 1 to 3",
    title="ScalingReplicaSet Deployment/cart", severity="info", first=ago(12), last=ago(12), score=0.4,
)  # fmt: skip
ALERT = piece("alert", "Alert CartDown is firing: no cart", title="CartDown", entity="workload/cart", first=ago(4))
WAITING = piece("metric", "waiting{pool=a} of pod/db-0: now 14, at first 0, range 0 to 16 over 28 minutes",
                entity="pod/db-0", workload="db", severity="", score=0.6)  # fmt: skip
ALL = (POOL, CALL, ALERT, BACKOFF, BACKOFF_1, SCALED, WAITING, RETRY, RUNBOOK)

NEXT = """
**What to do next** (runbook Cart: Fix):
1. Run `kubectl logs <pod>` now [9]
2. Read the page [9]
3. restart [9]"""
LEAD = (
    "**Most likely** the cause is db in shop, which logged `Connection is not available, timed out after 30000ms "
    "(active=20)` 336 times between 20:06:00 and 20:15:00 UTC [1]."
)
SAID_POOL = "- " + LEAD.removeprefix("**Most likely** the cause is ").replace(", which", "")
SAID_CALL = (
    "- cart in shop logged `call to db failed: deadline exceeded` 680 times and `retry 3 of 5` once "
    "between 20:08:00 and 20:15:00 UTC [2, 8]."
)
SAID_ALERT = "- Alert CartDown for cart in shop has been firing since 20:11:00 UTC: no cart [3]."
SAID_BACKOFF = (
    "- Kubernetes reported BackOff for pod cart-0 and pod cart-1 in shop between 20:10:00 and 20:15:00 UTC: "
    "Back-off restarting [4, 5]."
)
SAID_SCALED = "Kubernetes reported ScalingReplicaSet for deployment cart in shop"
SAID_WAITING = (
    "- waiting{pool=a} of pod db-0 in shop rose from 0 to 14 over 28 minutes between 20:10:00 and 20:15:00 UTC [7]."
)


@pytest.mark.parametrize(
    ("intent", "said"),
    [
        (
            "diagnose",
            f"{LEAD}\n\n**Also seen:**\n{SAID_CALL}\n{SAID_ALERT}\n{SAID_BACKOFF}\n- {SAID_SCALED} at 20:03:00 UTC: "
            f"Scaled up cart-7d9f from 1 to 3 [6].\n{SAID_WAITING}\n{NEXT}",
        ),
        (
            "why",  # in order of time
            f"{LEAD}\n\n**How it unfolded:**\n- {SAID_SCALED} at 20:03:00 UTC: Scaled up cart-7d9f from 1 to 3 [6].\n"
            f"{SAID_CALL}\n{SAID_BACKOFF}\n{SAID_WAITING}\n{SAID_ALERT}\n{NEXT}",
        ),
        (
            "fix",
            f"{NEXT.strip()}\n\n**Why:**\n{SAID_POOL}\n{SAID_CALL}\n{SAID_ALERT}\n{SAID_BACKOFF}\n{SAID_WAITING}",
        ),
        (
            "change",
            f"**What changed in cart** between 19:45:00 and 20:15:00 UTC:\n- 20:03:00 UTC: {SAID_SCALED}: "
            "Scaled up cart-7d9f from 1 to 3 [6].\n\n**What else was seen:**\n"
            f"{SAID_POOL}\n{SAID_CALL}\n{SAID_ALERT}",
        ),
    ],
)
def test_whole_answers(intent: str, said: str) -> None:
    assert answer(*ALL, intent=intent) == said


def test_health() -> None:
    sick = answer(*ALL, intent="health").splitlines()
    assert sick[0] == "**Not healthy:** something is wrong with cart between 19:45:00 and 20:15:00 UTC."
    assert sick[1].startswith("- db in shop logged")
    calm = RETRY.model_copy(update={"score": 0.2})
    assert answer(calm, intent="health", missing=("x",)) == (
        "**Nothing wrong seen** with cart between 19:45:00 and 20:15:00 UTC: 1 source, newest data 20:15:00 UTC. Not "
        "everything could be seen: what was missing is said below.\n\nThe closest is this: pod cart-1 in shop logged "
        "`retry 3 of 5` once between 20:08:00 and 20:15:00 UTC [1]."
    )
    assert answer(intent="health", workloads=()).startswith(
        "**Nothing wrong seen** between 19:45:00 and 20:15:00 UTC: 2"
    )
    assert "I cannot tell whether web is well" in answer(calm, intent="health", workloads=("web",))


def test_two_periods_and_a_list() -> None:
    now = piece("log", "db timeout (336 times, 2 in the compared period)", count=336)
    rate = piece(
        "metric", "errors of pod/db-0: now 14/s, 2/s in the compared period, range 1/s to 16/s over 28 minutes"
    )
    assert answer(now, rate, intent="compare", compared=Span(start=ago(90), end=ago(60))).splitlines() == [
        "**What differs** between 19:45:00 and 20:15:00 UTC (now) "
        "from what was between 18:45:00 and 19:15:00 UTC (then):",
        "- pod cart-0 in shop logged `db timeout` 336 times now, twice then [1].",
        "- errors of pod cart-0 in shop was 14/s now, 2/s then between 20:10:00 and 20:15:00 UTC [2].",
    ]  # fmt: skip
    assert answer(RETRY, ALERT, intent="show").splitlines() == [
        "**Found about cart** between 19:45:00 and 20:15:00 UTC, the most relevant first:",
        "- pod cart-1 in shop logged `retry 3 of 5` once between 20:08:00 and 20:15:00 UTC [1].",
        "- Alert CartDown for cart in shop has been firing since 20:11:00 UTC: no cart [2].",
    ]


@pytest.mark.parametrize("intent", ["diagnose", "why", "show", "change", "compare"])
def test_nothing_found_is_no_proof(intent: str) -> None:
    said = answer(RUNBOOK, intent=intent)
    assert said.startswith("I found nothing about cart between 19:45:00 and 20:15:00 UTC. That is not proof")
    assert "1. Run `kubectl logs <pod>` now [1]" in said


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (piece("log", "x", score=0.2), "**Nothing stands out** with cart between"),
        (piece("log", "x", severity="info"), "The closest is this: pod cart-0 in shop logged `x` once"),
        (piece("log", "x"), "the cause is pod cart-0 in shop itself, which logged `x` once"),
        (piece("log", "x", entity="unknown/", namespace=""), "an unnamed source itself, which logged `x` once"),
        (piece("log", ""), "logged ` ` once"),
        (piece("log", "x" * 500), "x" * 140 + "...`"),
        (piece("log", "a `code` b"), "`a 'code' b`"),
        (piece("event", "a_b <c> [d] *e* $f ~g |h"), r"a_b \<c\> `[d]` \*e\* \$f \~g \|h"),
        (piece("event", "GET http://payments:8080/x failed"), "GET `http://payments:8080/x` failed"),
        (piece("alert", "Alert A is firing: no cart", title="A"), "**Most likely connected:** Alert A for pod cart-0"),
        (piece("alert", "Alert A is resolved: x", title="A"), "Alert A for pod cart-0 in shop was firing between"),
        (piece("metric", "up of pod/x: now 1, at first 1, range 1 to 9 over 5 minutes"), "stood at 1, between 1 and 9"),
        (piece("metric", "m of pod/x: now 1Gi, at first 900Mi, range 1 to 9 over 5 minutes"), "rose from 900Mi to 1Gi"),
        (piece("metric", "something else"), "something else between 20:10:00"),
    ],
)
def test_sentences(evidence: Evidence, said: str) -> None:
    assert said in answer(evidence)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-11-20T20:11:12.123Z  WARN [main] c.e.shop.Cart(42) - db: gone", "db: gone"),
        ("E1120 20:10:01.1234       1 reflector.go:138] Failed to watch *v1.Pod", "Failed to watch *v1.Pod"),
        ("[2026-11-20 20:11:12,123] ERROR: on /pay [POST]\nTraceback (most recent call last):\n  x", "on /pay [POST]"),
        ('{"level":"error","msg":"pool is empty","n":1}', "pool is empty"),
        ('ts=1 level=error msg="pool is empty" n=1', "pool is empty"),
        ('{"level":"error","msg":"cut off', '{"level":"error","msg":"cut off'),
        ("12345", "12345"),
        ("", ""),
    ],
)
def test_a_quote_begins_where_the_message_begins(line: str, said: str) -> None:
    assert gist(line) == said


def test_times_are_the_readers_with_utc_beside_them() -> None:
    berlin = answer(POOL, ALERT, zone="Europe/Berlin")
    assert "between 21:06:00 and 21:15:00 (20:06:00 to 20:15:00 UTC) [1]" in berlin
    assert "since 21:11:00 (20:11:00 UTC)" in berlin
    assert "between 2026-11-19 20:15:00 and 2026-11-20 20:15:00 UTC" in answer(span=Span(start=ago(1440), end=NOW))


@pytest.mark.parametrize(
    "attack", [*ATTACKS, "a\\](//e.example)", "\\[x\\](//e.example)", "mail a@b.example", "`x` [y](//e.example)"]
)
@pytest.mark.parametrize("field", ["text", "entity", "namespace", "title", "workload"])
@pytest.mark.parametrize("kind", ["log", "event", "alert", "metric", "runbook"])
def test_nothing_is_alive(kind: str, field: str, attack: str) -> None:
    hostile = piece(kind, "1. x").model_copy(update={field: f"1. {attack}" if field == "text" else f"pod/{attack}"})
    intent = {"event": "change", "log": "compare"}.get(kind, "diagnose")
    period = Span(start=ago(90), end=ago(60))
    shown = answer(hostile, piece("log", "x"), hostile, intent=intent, compared=period, workloads=(attack,))
    assert [found for found in links(shown) if not _in_code(found, shown)] == [], shown
    assert not any(c in shown for c in "\x1b\u200b\u202e")


def _in_code(found: str, shown: str) -> bool:
    """Addresses inside code spans are text."""
    return found not in "".join(shown.split("`")[::2])


@pytest.mark.parametrize("intent", ["diagnose", "why", "fix", "health", "change", "compare", "show"])
def test_an_answer_is_at_most_a_screen(intent: str) -> None:
    long = [piece("log", "word " * 500, entity=f"pod/{n}" + "y" * 500, workload=f"w{n}") for n in range(50)]
    long += [piece("event", "Pulled " + "*" * 900, title="Pulled Pod/" + "[" * 500)] * 9
    guide = piece("runbook", "\n".join(f"{n}. {'do ' * 500}" for n in range(50)), title="T" * 500)
    said = answer(*long, guide, intent=intent, workloads=("*" * 900,) * 9, compared=Span(start=ago(90), end=ago(60)))
    assert len(said) <= MOST_CHARS
    assert len(said.splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            "1. Look:\n\n   ```sh\n   get pods\n   top pods\n   ```\n2. Act\n   at once",
            ["Look: `get pods`", "Act at once"],
        ),
        ("Restart it.\nThen wait.\n\nSecond.\n\nThird.", ["Restart it. Then wait.", "Second."]),
        ("```sh\nls\n```", []),
        ("1. Compare:\n   | a | b |\n   ```\n   psql \\\n     -c x\n   ```", ["Compare: `psql ...`"]),
        ("1. " + "word " * 60 + "`half a command`", ["word " * 47 + "word ..."]),
    ],
)
def test_steps_carry_their_first_command(text: str, steps: list[str]) -> None:
    assert read_steps(text) == steps


CHRONIC = {"severity": 0.9, "novelty": 0.0, "entity": 0.95}


def rated(kind: str, weight: float, news: float, near: float = 0.95, **more: Any) -> Evidence:
    """By the parts of its score; more parts by name, each 1."""
    parts = {"severity": weight, "novelty": news, "entity": near} | dict.fromkeys(more.pop("applying", ()), 1.0)
    return piece(kind, more.pop("text", "boom"), parts=parts, **more)


ONE: dict[str, Any] = {"workloads": ("cart",)}
SHOP: dict[str, Any] = {"workloads": (), "namespaces": ("shop",)}
ALL_OF_IT: dict[str, Any] = {"workloads": ()}


@pytest.mark.parametrize(
    ("fact", "asked", "wrong"),
    [
        # Severity and novelty agree ...
        (rated("log", 0.9, 1.0), ONE, True),
        (rated("log", 0.9, 0.3), ONE, False),  # an error said at its usual rate
        (rated("log", 0.6, 1.0, severity="warn"), ONE, True),
        (rated("log", 0.6, 0.9, severity="warn"), ONE, False),
        (rated("log", 1.0, 0.1, severity="fatal"), ONE, True),  # is never ordinary
        (rated("log", 0.2, 1.0, severity="info"), ONE, False),  # news, and no complaint
        (rated("log", 0.9, 1.0, score=0.5), ONE, False),
        # ... but of what the question itself tells.
        (rated("log", 0.9, 0.0, applying=("asked",)), ONE, True),
        (rated("log", 0.9, 0.0, applying=("asked",), severity="info"), ONE, False),
        (rated("log", 0.9, 0.0).model_copy(update={"parts": {**CHRONIC, "relevance": 0.9}}), ONE, True),
        (rated("log", 0.9, 0.0).model_copy(update={"parts": {**CHRONIC, "relevance": 0.5}}), ONE, False),
        (rated("event", 1.0, 0.8, severity="info"), ONE, True),  # names a cause, whatever its type
        (rated("event", 0.7, 0.3, severity="warn", count=3), ONE, True),
        (rated("event", 0.7, 0.3, severity="warn", count=1), ONE, False),  # a probe that failed once at the start
        (rated("event", 0.45, 0.3, severity="info", count=9), ONE, False),
        (rated("alert", 0.6, 0.2, severity="warn"), ONE, True),
        (rated("alert", 0.2, 1.0, severity="info"), ONE, False),
        (rated("metric", 0.6, 0.5, severity=""), ONE, True),
        (rated("metric", 0.4, 0.4, severity=""), ONE, False),
        # It is of what was asked about.
        (rated("log", 0.9, 1.0, 0.15, workload="db"), ONE, False),
        (rated("log", 0.9, 1.0, 0.15, workload="db", text="call to cart:8080 failed"), ONE, True),
        (rated("log", 0.9, 1.0, 0.82, workload="db", applying=("upstream",)), ONE, False),
        (rated("alert", 0.9, 1.0, 0.15, workload="db", applying=("named",)), ONE, True),
        (rated("log", 0.9, 1.0, 0.5), SHOP, True),
        (rated("log", 0.9, 1.0, 0.5, namespace="bank"), SHOP, False),
        (rated("event", 1.0, 0.8, 0.3, entity="node/a", namespace=""), SHOP, False),
        (rated("event", 1.0, 0.8, 0.3, entity="node/a", namespace=""), ALL_OF_IT, True),
    ],
)
def test_what_is_called_wrong(fact: Evidence, asked: dict[str, Any], wrong: bool) -> None:
    assert ("Nothing stands out" not in answer(fact, **asked)) is wrong


def test_a_question_whether_all_is_well_describes_no_error() -> None:
    chronic = rated("log", 0.9, 0.0).model_copy(update={"parts": {**CHRONIC, "relevance": 1.0}})
    assert answer(chronic, intent="health").startswith("**Nothing wrong seen** with cart")


def test_trouble_of_others_is_told_beside_ones_own_where_that_leans_on_them() -> None:
    own, leaned = rated("log", 0.9, 1.0), rated("log", 0.9, 1.0, 0.82, workload="db", applying=("upstream",))
    other = rated("log", 0.9, 1.0, 0.15, workload="web", entity="pod/web-0")
    said = answer(own, leaned, other, intent="health")
    assert said.startswith("**Not healthy:**")
    assert "[1]" in said
    assert "[2]" in said
    assert "web" not in said


def test_changes_of_others_are_told_as_such() -> None:
    mine, theirs = (
        rated("event", 0.45, 0.3, near, title=f"SuccessfulRescale HorizontalPodAutoscaler/{who}", severity="info",
              text=f"SuccessfulRescale HorizontalPodAutoscaler/{who}: New size: 3", workload=who)
        for who, near in (("cart", 0.95), ("db", 0.15))
    )  # fmt: skip
    heads = [line for line in answer(theirs, POOL, mine, intent="change").splitlines() if not line.startswith("- ")]
    assert [head.split("**")[1] for head in heads if head] == [
        "What changed in cart", "What changed elsewhere:", "What else was seen:",
    ]  # fmt: skip
    alone = answer(theirs, intent="change")
    assert alone.startswith("No rollout, scaling or new image in cart was seen")
    assert "**What changed elsewhere:**\n- 20:10:00 UTC: Kubernetes reported SuccessfulRescale" in alone
