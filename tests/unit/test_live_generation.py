"""A question's vector meets only vectors of its own model, also while a promotion happens."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from cag.gather import Gathering
from cag.reads import LIVE_REMEMBERED_S, LiveGeneration, Partial
from processors.embed import HashingEmbedder
from schemas.documents import Names
from schemas.settings import Settings

NAMES = Names("shop", "gours")


class Reader:
    """Only the claim of the live label."""

    def __init__(self, *claims: tuple[str, str]) -> None:
        self.claims, self.asked = list(claims), 0

    async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert index == "shop-meta"
        self.asked += 1
        hits = [{"_source": {"generation": label, "parts": {"embedder": model}}} for label, model in self.claims]
        return {"hits": {"hits": hits}}


async def test_the_live_label_is_remembered_for_a_moment_only() -> None:
    reader, now = Reader(("g1", "model-a")), [0.0]
    live = LiveGeneration(reader, NAMES, clock=lambda: now[0])  # type: ignore[arg-type]
    first = await live.read()
    reader.claims = [("g2_blue", "model-b")]
    assert await live.read() == first
    assert (first and first.names) == Names("shop", "g1")
    now[0] += LIVE_REMEMBERED_S + 0.1
    second = await live.read()
    assert second is not None
    assert (second.names.generation, second.embedder, reader.asked) == ("g2_blue", "model-b", 2)


@pytest.mark.parametrize(
    ("claims", "expected", "said"),
    [
        ([("g1", "hashing:1:4")], [0.5], ""),
        ([("g1", "another:7")], None, "another embedding model (another:7)"),
        ([], None, ""),  # nothing is indexed yet
    ],
)
async def test_vectors_of_another_model_are_never_asked(
    claims: list[tuple[str, str]], expected: list[float] | None, said: str
) -> None:
    class Meta(Reader):
        async def search(self, index: str, body: Mapping[str, Any]) -> dict[str, Any]:
            return await super().search("shop-meta", body)

    gather = Gathering(Settings(), Meta(*claims), HashingEmbedder(4), None, None)  # type: ignore[arg-type]
    trouble: list[str] = []
    embedding = asyncio.create_task(asyncio.sleep(0, [0.5]))
    assert await gather._nearest(embedding, await gather._live.read(), trouble) == expected
    assert said in "".join(trouble)
    assert bool(trouble) == bool(said)


def test_shards_that_did_not_answer_are_named_once_by_the_worst_of_all_answers() -> None:
    partial = Partial()
    for failed, total, late in ((0, 6, False), (1, 6, True), (2, 4, False), (1, 4, False)):
        partial.note({"_shards": {"failed": failed, "total": total}, "timed_out": late})
    partial.note({"hits": {"hits": []}})  # of an index that is not there
    assert [said.split(",")[0] for said in partial.sentences] == [
        "2 of 4 shards did not answer", "a search ran out of time"
    ]  # fmt: skip
    assert Partial().sentences == []
