"""Which answers are kept and found again, and what else a question gets: never another's, a stale one, or none."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest

from cag.memory.answer_cache import AnswerCache
from cag.memory.cached_answers import CachedAnswers
from cag.memory.remembered import Keys, worth_keeping
from schemas.answer import AnswerPart, Delta, Done, Query, Source, Usage
from schemas.context import Context, Evidence, Freshness, Grant, Plan, Scope, Span, Turn, Verification
from schemas.settings import Settings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GUIDE = Evidence(id="runbook-1", kind="runbook", text="Restart it.", title="TargetDown")
QUESTION = "How do I fix TargetDown?"
SETTINGS = Settings()
LIVE = Settings.model_validate({"answer_cache": {"live_ttl_s": 60}})


def query(*said: str, scope: Scope = Scope(), now: datetime = NOW, **more: Any) -> Query:  # noqa: B008 - frozen
    roles = ("user", "assistant")
    turns = tuple(Turn(role=roles[n % 2], content=text) for n, text in enumerate(said or (QUESTION,)))
    return Query(turns=turns, scope=scope, now=now, **more)


def plan(question: str = QUESTION, **more: Any) -> Plan:
    span = Span(start=NOW - timedelta(minutes=30), end=NOW)
    return Plan.model_validate({"question": question, "span": span, "about": "runbook", "intent": "fix", **more})


def done(mode: str = "model", unsupported: int = 0, **more: Any) -> Done:
    context = Context(plan=plan(), evidence=(GUIDE,), freshness=Freshness(asked_at=NOW))
    checked = Verification(sentences=1, unsupported=unsupported)
    fields = {"reason": "", "usage": Usage(9, 3), "finish_reason": "stop", "verification": checked, **more}
    return Done(mode=mode, context=context, **fields)  # type: ignore[arg-type]


def keys(settings: Settings = SETTINGS, generation: str = "g1", embedder: str = "e1") -> Keys:
    return Keys(settings, generation, embedder)


BASE = keys().of(query(), plan(), "v1")


@pytest.mark.parametrize(
    "other",
    [
        keys().of(query(scope=Scope(namespaces=("shop",))), plan(), "v1"),
        keys().of(query(scope=Scope(grants=(Grant(namespaces=("shop",)),))), plan(), "v1"),
        keys().of(query(), plan(), "v2"),
        keys().of(query(), plan(alerts=("TargetDown",)), "v1"),
        keys().of(query(), plan(intent="show"), "v1"),
        keys().of(query(), plan(identifiers=("E42",)), "v1"),
        keys().of(query(), plan(zone="Europe/Berlin"), "v1"),
        keys().of(query(limit=3), plan(), "v1"),
        keys().of(query(max_tokens=9), plan(), "v1"),
        keys(generation="g2").of(query(), plan(), "v1"),
        keys(embedder="e2").of(query(), plan(), "v1"),
        keys(Settings.model_validate({"model": {"name": "other"}})).of(query(), plan(), "v1"),
        keys(Settings.model_validate({"verify": {"unsupported": "remove"}})).of(query(), plan(), "v1"),
        keys(Settings.model_validate({"api": {"link_hosts": ["a.example"]}})).of(query(), plan(), "v1"),
    ],
)
def test_all_that_an_answer_depends_on_is_in_both_keys(other: Any) -> None:
    assert BASE is not None
    assert other.exact != BASE.exact
    assert other.bucket != BASE.bucket


def test_spaces_case_and_the_moment_are_in_no_key() -> None:
    later = query("  how do I FIX targetdown ", now=NOW + timedelta(hours=5))
    same = keys().of(later, plan(span=Span(start=NOW, end=NOW + timedelta(hours=5))), "v1")
    assert BASE is not None
    assert (same and (same.exact, same.bucket)) == (BASE.exact, BASE.bucket)


def test_a_conversation_is_found_by_all_that_was_said_in_it() -> None:
    first = keys().of(query("How do I fix TargetDown?", "Restart it.", "and if not?"), plan("and if not?"), "v1")
    other = keys().of(query("How do I fix NodeDown?", "Restart it.", "and if not?"), plan("and if not?"), "v1")
    assert first is not None
    assert other is not None
    assert first.exact != other.exact
    assert (first.bucket, other.bucket) == ("", "")


def test_what_runs_now_is_never_kept_unless_it_is_allowed_for_a_moment() -> None:
    assert keys().of(query(), plan(about="live"), "v1") is None
    assert keys().of(query(), plan(), "") is None  # no runbooks yet
    assert keys().of(query("x" * 3_000), plan("x" * 3_000), "v1") is None
    first = keys(LIVE).of(query(), plan(about="live"), "v1")
    moved = Span(start=NOW - timedelta(minutes=28), end=NOW + timedelta(minutes=2))
    later = keys(LIVE).of(query(), plan(about="live", span=moved), "v1")
    assert first is not None
    assert later is not None
    assert (first.ttl_s, first.bucket, first.exact == later.exact) == (60, "", False)


@pytest.mark.parametrize(
    ("end", "model", "trouble", "kept"),
    [
        (done(), True, (), True),
        (done(unsupported=1), True, (), False),
        (done(verification=None), True, (), False),
        (done(finish_reason="length"), True, (), False),
        (done("extractive", reason="the model refused"), True, (), False),  # an outage
        (done("extractive", reason="no model is configured", verification=None), False, (), True),
        (done(), True, ("the embedding model is still loading",), False),
    ],
)
def test_what_is_worth_keeping(end: Done, model: bool, trouble: Sequence[str], kept: bool) -> None:
    assert worth_keeping(end, model=model, trouble=trouble) is kept


class Site:
    """A cache, and a model that counts its calls."""

    def __init__(self, server: fakeredis.FakeServer | None = None, **fields: Any) -> None:
        client = fakeredis.FakeAsyncRedis(server=server) if server else fakeredis.FakeAsyncRedis()
        self.cached = CachedAnswers(AnswerCache(SETTINGS, client=client), keys(), model=True, wait_s=0.5)
        self.calls, self.fields, self.pause_s = 0, fields, 0.0

    async def made(self) -> AsyncGenerator[AnswerPart, None]:
        self.calls += 1
        yield Source(1, GUIDE)
        await asyncio.sleep(self.pause_s)
        yield Delta("Restart it ")
        yield Delta("[1].")
        yield done(**self.fields)

    async def ask(self, question: Query | None = None, made: Plan | None = None, **more: Any) -> tuple[str, Done]:
        asked = question or query()
        end, texts = None, []
        async for part in self.cached.parts(
            asked, made or plan(asked.turns[-1].content), more.get("corpus", "v1"), more.get("trouble", ()),
            make=self.made, vector=self._vector, freshness=self._fresh,
        ):  # fmt: skip
            texts += [part.text] if isinstance(part, Delta) else []
            end = part if isinstance(part, Done) else end
        assert end is not None
        return "".join(texts), end

    async def _vector(self) -> list[float]:
        return [1.0, 0.0]

    async def _fresh(self) -> Freshness:
        return Freshness(asked_at=NOW + timedelta(minutes=12), statement="anew")


async def test_asked_again_it_is_replayed_with_its_age_and_what_can_be_seen_now() -> None:
    site = Site()
    assert (await site.ask())[0] == "Restart it [1]."
    text, end = await site.ask(query("how do I fix TargetDown", now=NOW + timedelta(minutes=12)))
    assert text == "Restart it [1].\n\n*Answer of 12 min ago, from runbooks version v1, unchanged since.*"
    assert (end.cached, end.mode, end.usage, end.context.evidence) == ("exact", "model", Usage(), (GUIDE,))
    assert end.context.freshness.statement == "anew"
    assert (await site.ask(query("how can we resolve TargetDown?")))[1].cached == "paraphrase"
    assert site.calls == 1


@pytest.mark.parametrize(
    "again",
    [
        {"question": query(scope=Scope(namespaces=("other",)))},
        {"corpus": "v2"},
        {"made": plan(about="live")},
        {"trouble": ("runbooks may be out of date",)},
        {"question": query("How do I fix NodeDown?")},
    ],
)
async def test_anything_else_is_made_anew(again: dict[str, Any]) -> None:
    site = Site()
    await site.ask()
    assert (await site.ask(**again))[1].cached == ""
    assert site.calls == 2


@pytest.mark.parametrize("fields", [{"unsupported": 1}, {"mode": "extractive", "reason": "refused"}])
async def test_answers_that_are_not_clean_are_not_kept(fields: dict[str, Any]) -> None:
    site = Site(**fields)
    assert [(await site.ask())[1].cached for _ in range(2)] == ["", ""]


async def test_a_stampede_over_two_processes_is_one_call() -> None:
    server = fakeredis.FakeServer()
    sites = [Site(server), Site(server)]
    for site in sites:
        site.pause_s = 0.05
    said = await asyncio.gather(*(sites[n % 2].ask() for n in range(40)))
    assert {text.split("\n")[0] for text, _ in said} == {"Restart it [1]."}
    assert sites[0].calls + sites[1].calls == 1


async def test_nobody_waits_for_ever_for_another_process() -> None:
    server = fakeredis.FakeServer()
    slow, quick = Site(server), Site(server)
    slow.pause_s = 30
    leading = asyncio.create_task(slow.ask())
    await asyncio.sleep(0.05)
    assert (await quick.ask())[0] == "Restart it [1]."  # after its half second
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert (slow.calls, quick.calls) == (1, 1)
