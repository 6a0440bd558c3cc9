"""The read edge to OpenSearch: searches in parallel, one error type. Every query body comes from `queries.py`."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

import orjson
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as SearchConnectionError
from opensearchpy.exceptions import NotFoundError, SerializationError, TransportError
from opensearchpy.serializer import JSONSerializer

from processors.index import client_options, kind_of
from schemas.documents import Names
from schemas.errors import SinkMisconfigured, SinkUnavailable
from schemas.settings import OpenSearch as OpenSearchSettings

Json = dict[str, Any]
LIVE_REMEMBERED_S: Final = 2.0


class _Json(JSONSerializer):
    """Answers hold hundreds of documents: read by orjson, in a tenth of the time."""

    def loads(self, s: str) -> Any:
        try:
            return orjson.loads(s)
        except ValueError as error:
            raise SerializationError(s, error) from None


@dataclass(slots=True)
class Partial:
    """Answers that were not whole, in one question: of the worst one, how many shards did not answer."""

    failed: int = 0
    shards: int = 0
    timed_out: bool = False

    def note(self, answer: Mapping[str, Any]) -> None:
        counted = answer.get("_shards") or {}
        failed, shards = counted.get("failed", 0), counted.get("total", 0)
        if failed * max(self.shards, 1) > self.failed * max(shards, 1):
            self.failed, self.shards = failed, shards
        self.timed_out = self.timed_out or bool(answer.get("timed_out"))

    @property
    def sentences(self) -> list[str]:
        """For people, in the same words as other trouble; none when all was whole."""
        said = []
        if self.failed:
            said.append(f"{self.failed} of {self.shards} shards did not answer, so evidence may be missing")
        if self.timed_out:
            said.append("a search ran out of time, so evidence may be missing")
        return said


class IndexReader:
    """Asynchronous searches over one installation. Nothing is sent before the first call."""

    def __init__(self, settings: OpenSearchSettings) -> None:
        self._address = settings.address
        self._client = AsyncOpenSearch(**client_options(settings), serializer=_Json())
        self._partial = Partial()

    def noting(self, partial: Partial) -> "IndexReader":
        """The same reader, for one question: what was not whole is noted there."""
        mine = copy(self)
        mine._partial = partial
        return mine

    async def close(self) -> None:
        await self._client.close()

    async def search(self, index: str, body: Mapping[str, Any]) -> Json:
        """One search. An index that does not exist yet is an empty one."""
        path = f"/{index}/_search?ignore_unavailable=true&allow_no_indices=true&search_pipeline=_none"
        answer = await self._call("POST", path, orjson.dumps(body))
        self._partial.note(answer)
        return answer

    async def together(self, searches: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Json]:
        """Several searches side by side, answers in order."""
        return await asyncio.gather(*(self.search(index, body) for index, body in searches))

    async def health(self) -> str:
        """`ok`, or one sentence what is wrong."""
        try:
            health = await self._call("GET", "/_cluster/health", None)
        except (SinkUnavailable, SinkMisconfigured) as error:
            return str(error)
        return "ok" if health.get("status") != "red" else f"OpenSearch at {self._address} has unassigned primary shards"

    async def _call(self, method: str, path: str, body: bytes | None) -> Json:
        headers = {"content-type": "application/json"}
        try:
            answer = await self._client.transport.perform_request(method, path, body=body, headers=headers)
        except SearchConnectionError as error:
            kind = type(error).__name__
            raise SinkUnavailable(f"OpenSearch at {self._address} does not answer ({kind})") from None
        except NotFoundError:
            return {"hits": {"hits": []}, "aggregations": {}}
        except TransportError as error:
            if error.status_code in (400, 401, 403):
                # The kind of error only: what stands behind it quotes the question, and the answer quotes us.
                kind = kind_of(error)
                raise SinkMisconfigured(f"OpenSearch at {self._address} refused: {error.status_code} {kind}") from None
            raise SinkUnavailable(f"OpenSearch at {self._address} answered {error.status_code}") from None
        except SerializationError:  # a proxy's page with status 200, or an answer that was cut off
            answer = None
        if not isinstance(answer, dict):
            raise SinkUnavailable(f"OpenSearch at {self._address} answered something that is not JSON")
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The generation behind the aliases."""

    names: Names  # of its own indices, for who must not see another generation a moment later
    embedder: str  # identity of the model that its vectors come from


class LiveGeneration:
    """Who is live, remembered for a moment: a promotion may change it under a running API."""

    def __init__(self, reader: IndexReader, names: Names, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader, self._names, self._clock = reader, names, clock
        self._known: tuple[float, Live | None] | None = None

    async def read(self) -> Live | None:
        """None: nothing has been indexed yet. Raises SinkUnavailable and SinkMisconfigured."""
        now = self._clock()
        if self._known is None or now - self._known[0] > LIVE_REMEMBERED_S:
            answer = await self._reader.search(self._names.alias("meta"), {"size": 2, "query": {"match_all": {}}})
            claims = [hit["_source"] for hit in answer["hits"]["hits"]]
            found = [
                Live(names=Names(self._names.prefix, claim["generation"]), embedder=claim["parts"]["embedder"])
                for claim in claims
            ]
            self._known = now, found[0] if len(found) == 1 else None
        return self._known[1]
