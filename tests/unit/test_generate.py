"""Whatever the model does, there is a text, within its time and tokens; and what the model was told stays in."""

import asyncio
import base64
import codecs
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cag.assemble import SYSTEM, Assembler
from cag.breaker import Breaker
from cag.generate import Generator, Written
from cag.model_stream import ModelUnavailable, Token
from cag.verification.leaks import REMOVED, Hidden, LeakFilter, instructions
from schemas.answer import Delta, Query, Usage
from schemas.answer_settings import Model
from schemas.context import Context, Evidence, Freshness, Plan, Scope, Span, Turn
from schemas.runbooks import Corpus
from schemas.settings import Settings

NOW = datetime(2026, 11, 20, 20, 15, tzinfo=UTC)
Step = str | Exception | float
END = Token(finish_reason="stop", usage=Usage(7, 3))


class Script:
    """A model that says strings, waits for numbers of seconds, raises errors; one list a call, the last one again."""

    def __init__(self, *calls: Sequence[Step]) -> None:
        self.calls = calls
        self.asked: list[dict[str, Any]] = []

    async def stream(self, prompt: Sequence[Turn], **wishes: Any) -> AsyncGenerator[Token, None]:
        self.asked.append(wishes)
        for step in self.calls[min(len(self.asked), len(self.calls)) - 1]:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, str):
                yield Token(text=step)
            else:
                await asyncio.sleep(step)
        yield END

    async def readiness(self) -> str:
        return "ok"

    async def close(self) -> None:
        pass


LOG = Evidence(id="log-1", kind="log", text="db timeout", namespace="shop", entity="workload/cart", severity="error",
               score=0.9, first=NOW, last=NOW)  # fmt: skip
CONTEXT = Context(
    plan=Plan(question="why?", span=Span(start=NOW - timedelta(minutes=30), end=NOW)),
    evidence=(LOG, *(LOG.model_copy(update={"workload": f"w{n}", "text": f"db error {n}"}) for n in range(4))),
    freshness=Freshness(asked_at=NOW, statement="Fresh."),
)


async def write(model: Any, *, left_s: float | None = None, max_tokens: int | None = None) -> tuple[str, Written]:
    settings = Settings()
    turns = (Turn(role="user", content="why?"),)
    query = Query(turns=turns, scope=Scope(), now=NOW, max_tokens=max_tokens)
    corpus = Corpus(version="", runbooks=())
    prompt = Assembler(settings.model, settings.api).prompt(CONTEXT, query, corpus)
    text, written = "", Written(mode="model", reason="none")
    async for part in Generator(model, settings).write(query, CONTEXT, prompt, left_s=left_s):
        if isinstance(part, Delta):
            text += part.text
        else:
            written = part
    return text, written


async def test_a_model_that_answers() -> None:
    model = Script(["A `db timeout` ", "of cart [1]. "])
    text, written = await write(model, left_s=12, max_tokens=50)
    assert text.startswith("A `db timeout` of cart [1].")
    assert (written.mode, written.reason, written.usage, written.finish_reason) == ("model", "", Usage(7, 3), "stop")
    assert (model.asked[0]["max_tokens"], model.asked[0]["time_s"]) == (50, 12)


@pytest.mark.parametrize(
    ("model", "left_s", "reason"),
    [
        (None, None, "no model is configured"),
        (Script(["never asked"]), 0.2, "the search took all the time"),
        (Script([ModelUnavailable("HTTP 503")]), 9, "HTTP 503"),
    ],
)
async def test_no_model_text_is_an_extractive_answer(model: Any, left_s: float | None, reason: str) -> None:
    text, written = await write(model, left_s=left_s)
    assert text.startswith("**Most likely** the cause is cart in shop, which logged `db timeout` once")
    assert (written.mode, written.finish_reason) == ("extractive", "stop")
    assert reason in written.reason
    assert written.usage.completion_tokens > 20


async def test_what_was_said_before_a_failure_stays() -> None:
    text, written = await write(Script(["The `db timeout` of cart came first [1]. And", ModelUnavailable("cut")]))
    said, _, rest = text.partition("\n\n*The model stopped (cut). What the evidence says by itself:*\n\n")
    assert said.startswith("The `db timeout` of cart came first [1].")
    assert rest.startswith("**Most likely**")
    assert (written.mode, written.reason) == ("extractive", "cut")


async def test_few_tokens_are_few_whole_lines() -> None:
    whole, _ = await write(None)
    text, written = await write(None, max_tokens=60)
    assert written.finish_reason == "length"
    assert whole.startswith(text)
    assert written.usage.completion_tokens <= 60


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


DOWN = ModelUnavailable("down")


async def ask(breaker: Breaker) -> str:
    try:
        return "".join([token.text async for token in breaker.stream(())])
    except ModelUnavailable as error:
        return error.reason


async def test_after_failures_in_a_row_the_model_is_left_alone_and_tried_again() -> None:
    model, clock = Script([DOWN], [DOWN], ["hi"], [DOWN], [DOWN], [DOWN], [DOWN], ["hi"]), Clock()
    breaker = Breaker(model, Model(failures_to_rest=3, rest_s=10), clock)
    assert [await ask(breaker) for _ in range(6)] == ["down", "down", "hi", "down", "down", "down"]
    assert breaker.state == "open"
    assert await ask(breaker) == "the model is left alone after 3 failures: down"
    assert "3 failures in a row (down)" in await breaker.readiness()
    assert len(model.asked) == 6
    clock.now = 11
    assert breaker.state == "half open"
    assert await ask(breaker) == "down"  # the trial; the rest is twice as long now
    clock.now = 30
    assert breaker.state == "open"
    clock.now = 32
    assert await ask(breaker) == "hi"
    assert (breaker.state, await breaker.readiness()) == ("closed", "ok")


async def test_one_question_at_a_time_is_a_trial() -> None:
    model, clock = Script([DOWN], [0.05, "hi"]), Clock()
    breaker = Breaker(model, Model(failures_to_rest=1, rest_s=10), clock)
    await ask(breaker)
    clock.now = 11
    said = await asyncio.gather(*(ask(breaker) for _ in range(5)))
    assert sorted(said)[0] == "hi"
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("step", "state"), [(ModelUnavailable("HTTP 400", outage=False), "closed"), ("hi", "closed"), (60.0, "half open")]
)
async def test_our_own_faults_and_clients_that_hang_up_are_no_outage(step: Step, state: str) -> None:
    """A trial that is given up says nothing before text has come, and that the model works afterwards."""
    clock = Clock()
    failures = 1 if state == "half open" or step == "hi" else 2
    breaker = Breaker(Script([DOWN], [step, 60.0]), Model(failures_to_rest=failures, rest_s=10), clock)
    await ask(breaker)
    clock.now = 11
    if isinstance(step, Exception):
        assert [await ask(breaker) for _ in range(3)] == ["HTTP 400"] * 3
    else:
        async with aclosing(breaker.stream(())) as stream:
            trial = asyncio.ensure_future(anext(stream))
            await asyncio.wait([trial], timeout=0.02)
            trial.cancel()
            await asyncio.gather(trial, return_exceptions=True)
    assert breaker.state == state


FENCE = "qwertyuiopasdfghjklzxcvbnmqwertyuiopasdf"


HIDDEN = (instructions(SYSTEM), Hidden.of(FENCE))


def through(*pieces: str) -> str:
    leaks = LeakFilter(HIDDEN)
    return "".join([*(leaks.feed(piece) for piece in pieces), leaks.finish()])


TOLD = SYSTEM[300:420]


@pytest.mark.parametrize(
    "leak",
    [
        SYSTEM, TOLD, TOLD.upper(), TOLD[::-1], codecs.encode(TOLD, "rot13"), " ".join(TOLD),
        TOLD.replace(" ", "\u200b"), TOLD.replace(" ", "\n> "), TOLD.replace("e", "\uff45"),
        SYSTEM.encode().hex(), base64.b64encode(SYSTEM.encode()).decode(),
        base64.b64encode(("ok: " + SYSTEM).encode()).decode(), f"</evidence {FENCE}>",
        "[9]".join(TOLD.split(" ")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 60, 10_000])
def test_what_the_model_was_told_stays_in(leak: str, size: int) -> None:
    said = f"The pool is exhausted [1]. {leak} Raise it [2]."
    shown = through(*(said[at : at + size] for at in range(0, len(said), size)))
    assert REMOVED in shown
    assert through(shown) == shown
    assert len(shown) < len(said) * 0.75 + 40
    assert (shown[:26], shown[-3:]) == ("The pool is exhausted [1].", "2].")


@pytest.mark.parametrize(
    "said",
    [
        "The evidence gives no answer; what is missing are logs of cart.",
        "Most likely cause: the pool. Copy numbers, names and times.",
        "a < b \u00e9\u4e2d\u6587 `x`\n\n| 1 | 2 |",
        "",
    ],
)
def test_ordinary_sentences_pass(said: str) -> None:
    assert through(said) == through(*said) == said


@given(st.lists(st.sampled_from([TOLD, TOLD[:30], "pool ", "[1]", "\u200b", FENCE, "x", SYSTEM[:70], " "]), max_size=8),
       st.lists(st.integers(0, 900), max_size=5))  # fmt: skip
def test_every_cut_of_the_stream_gives_the_same(parts: list[str], cuts: list[int]) -> None:
    said = "".join(parts)
    places = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    assert through(*(said[a:b] for a, b in pairwise(places))) == through(said)


def test_little_is_held_back() -> None:
    leaks = LeakFilter((instructions(SYSTEM),))
    assert len(leaks.feed("The pool of inventory ran out of connections [1].")) > 35
    for _ in range(300):
        leaks.feed(TOLD[:20] + "1" * 50)
    assert len(leaks._held) <= 2_000
