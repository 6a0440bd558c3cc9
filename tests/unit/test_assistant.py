"""A whole answer over empty stores: made once, replayed the second time, and never what another scope was told."""

from datetime import UTC, datetime, timedelta
from unittest import mock

import fakeredis
import pytest

from cag.assistant import Assistant
from cag.lag import LagReader
from cag.library import Library
from cag.memory.answer_cache import AnswerCache
from cag.runbooks import compile_runbook
from cag.store import RunbookReader
from processors.embed import HashingEmbedder
from schemas.answer import Delta, Done, Query, Source, Status
from schemas.context import Scope, Turn
from schemas.runbooks import Corpus
from schemas.settings import Settings
from tests.answers.hollow import EmptyIndex

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SETTINGS = Settings()
BOOK = compile_runbook("TargetDown.md", "# TargetDown\n\n## Diagnosis\n\n- Look at the pods.\n- Restart the target.\n")


@pytest.fixture
def assistant() -> Assistant:
    made = Assistant(
        SETTINGS,
        reader=EmptyIndex(SETTINGS.opensearch),
        runbooks=RunbookReader(SETTINGS.redis),
        model=None,
        embedder=HashingEmbedder(8),
        answers=AnswerCache(SETTINGS, client=fakeredis.FakeAsyncRedis()),
    )
    publish(made, "1")
    return made


def publish(assistant: Assistant, version: str) -> None:
    assistant._runbooks.library = Library.of(Corpus(version=version, runbooks=(BOOK,)), assistant._runbooks.library)
    assistant._runbooks.trouble = ""


async def ask(assistant: Assistant, question: str, minutes: int = 0, scope: Scope = Scope()) -> tuple[str, Done, int]:  # noqa: B008 - frozen
    query = Query(turns=(Turn(role="user", content=question),), scope=scope, now=NOW + timedelta(minutes=minutes))
    with mock.patch.object(LagReader, "_offsets", return_value={}):
        parts = [part async for part in assistant.answer(query)]
    assert isinstance(parts[0], Status)
    assert isinstance(parts[-1], Done)
    sources = [part.number for part in parts if isinstance(part, Source)]
    assert sources == list(range(1, len(sources) + 1))
    return "".join(part.text for part in parts if isinstance(part, Delta)), parts[-1], len(sources)


async def test_a_runbook_question_is_answered_once_until_a_runbook_changes(assistant: Assistant) -> None:
    first, made, sources = await ask(assistant, "How do I fix TargetDown?")
    assert ("Restart the target" in first, made.cached, made.mode, sources) == (True, "", "extractive", 1)
    again, kept, same_sources = await ask(assistant, "how do i fix TargetDown", minutes=30)
    assert (kept.cached, kept.context.evidence, same_sources) == ("exact", made.context.evidence, sources)
    answer = first.split("\n\n*")[0]
    assert again.startswith(answer + "\n\n*Answer of 30 min ago, from runbooks version 1, unchanged since.*")
    assert kept.context.freshness.asked_at == NOW + timedelta(minutes=30)
    assert again.count("no model is configured") == 1
    publish(assistant, "2")
    assert (await ask(assistant, "How do I fix TargetDown?"))[1].cached == ""


async def test_another_scope_and_what_runs_now_are_never_replayed(assistant: Assistant) -> None:
    await ask(assistant, "How do I fix TargetDown?")
    assert (await ask(assistant, "How do I fix TargetDown?", scope=Scope(namespaces=("shop",))))[1].cached == ""
    live = [(await ask(assistant, "Why is TargetDown firing right now?"))[1].cached for _ in range(2)]
    assert live == ["", ""]


async def test_answers_out_of_an_outage_are_not_kept(assistant: Assistant) -> None:
    assistant._runbooks.trouble = "runbooks may be out of date"
    assert "runbooks may be out of date" in (await ask(assistant, "How do I fix TargetDown?"))[0]
    assistant._runbooks.trouble = ""
    assert (await ask(assistant, "How do I fix TargetDown?"))[1].cached == ""
