"""The answer without a model reads well, cites every sentence, and nothing that machines said is alive in it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cag.extract import extractive_answer, read_steps
from schemas.context import Context, Evidence, Freshness, Plan, Span
from tests.unit.test_verify import ATTACKS, links

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")


def piece(kind: str, text: str, **more: Any) -> Evidence:
    given: dict[str, Any] = {
        "entity": "pod/cart-0", "namespace": "shop", "first": NOW - timedelta(minutes=5), "last": NOW, "score": 0.9
    }  # fmt: skip
    return Evidence(id="x", kind=kind, text=text, **(given | more))


def answer(*cited: Evidence, zone: ZoneInfo = UTC_ZONE, start: datetime = NOW - timedelta(minutes=30)) -> str:
    context = Context(
        plan=Plan(question="?", span=Span(start=start, end=NOW)), evidence=cited, freshness=Freshness(asked_at=NOW)
    )
    return extractive_answer(context, cited, zone)


STEPS = """Do this:

1. Run `kubectl logs <pod>` **now**
2. Read [the page](https://wiki/x) ![](//e.example/p)
- restart"""
RUNBOOK = piece("runbook", STEPS, title="Cart: Fix")


def test_a_whole_answer() -> None:
    assert answer(
        piece("log", "db timeout\nafter 5 s", count=7, last=NOW - timedelta(minutes=5)),
        piece("event", "BackOff Pod/cart-0: Back-off restarting", count=3, last=NOW - timedelta(minutes=5)),
        piece("alert", "Alert CartDown is firing: no cart"),
        RUNBOOK,
    ).splitlines() == [
        "**Most likely:** pod cart-0 in shop logged `db timeout after 5 s` 7 times at 20:10:00 UTC [1].",
        "",
        "**Also seen:**",
        "- Kubernetes reports BackOff Pod/cart-0: Back-off restarting, 3 times at 20:10:00 UTC [2].",
        "- Alert CartDown is firing: no cart between 20:10:00 UTC and 20:15:00 UTC [3].",
        "",
        "**What the runbook says** (Cart: Fix):",
        "1. Run `kubectl logs <pod>` now [4]",
        "2. Read the page [4]",
        "3. restart [4]",
    ]


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (piece("log", "x", score=0.2), "Nothing stands out. The closest is: pod cart-0 in shop logged `x` once"),
        (piece("log", "x", entity="unknown/", namespace=""), "an unnamed source logged `x` once"),
        (piece("log", "x", entity=""), "an unnamed source in shop logged"),
        (piece("log", ""), "logged ` ` once"),
        (piece("log", "x" * 500), "x" * 237 + "...`"),
        (piece("log", "a `code` b"), "`a 'code' b`"),
        (piece("metric", "up{} of pod/x: now 1", first=None), "up{} of pod/x: now 1 [1]."),
        (piece("event", "a_b <c> [d] *e* $f ~g |h"), r"a_b \<c\> `[d]` \*e\* \$f \~g \|h"),
        (piece("event", "GET http://payments:8080/x failed"), "GET `http://payments:8080/x` failed"),
        (RUNBOOK, "I found nothing about this between 2026-11-20 19:45 and 20:15 UTC."),
    ],
)
def test_sentences(evidence: Evidence, said: str) -> None:
    assert said in answer(evidence)


def test_times_are_the_readers_with_utc_beside_them() -> None:
    assert "between 21:10:00 (20:10:00 UTC) and 21:15:00 (20:15:00 UTC)" in answer(
        piece("log", "x"), zone=ZoneInfo("Europe/Berlin")
    )
    assert "between 2026-11-19 20:15 and 2026-11-20 20:15 UTC" in answer(start=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    "attack", [*ATTACKS, "a\\](//e.example)", "\\[x\\](//e.example)", "mail a@b.example", "`x` [y](//e.example)"]
)
@pytest.mark.parametrize("field", ["text", "entity", "namespace", "title"])
@pytest.mark.parametrize("kind", ["log", "event", "alert", "metric", "runbook"])
def test_nothing_is_alive(kind: str, field: str, attack: str) -> None:
    hostile = piece(kind, "1. x").model_copy(update={field: f"1. {attack}" if field == "text" else f"pod/{attack}"})
    shown = answer(piece("log", "x"), hostile)
    assert [found for found in links(shown) if not _in_code(found, shown)] == [], shown
    assert not any(c in shown for c in "\x1b\u200b\u202e")


def _in_code(found: str, shown: str) -> bool:
    """Addresses inside code spans are text."""
    return found not in "".join(shown.split("`")[::2])


def test_an_answer_is_at_most_a_screen() -> None:
    assert len(answer(*[piece("log", "x" * 5_000, entity="pod/" + "y" * 500)] * 50, RUNBOOK)) < 4_500


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (
            "1. Look:\n\n   ```sh\n   get pods\n   top pods\n   ```\n2. Act\n   at once",
            ["Look: `get pods`", "Act at once"],
        ),
        ("Restart it.\nThen wait.\nThird line.", ["Restart it.", "Then wait."]),
        ("```sh\nls\n```", []),
        ("1. Compare:\n   | a | b |\n   ```\n   psql \\\n     -c x\n   ```", ["Compare: `psql ...`"]),
    ],
)
def test_steps_carry_their_first_command(text: str, steps: list[str]) -> None:
    assert read_steps(text) == steps
