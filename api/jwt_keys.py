"""The identity provider's keys: fetched in the background, kept while it is away, never fetched for each request."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ssl import SSLContext, create_default_context
from typing import Any, Final

import httpx
import jwt
import structlog
from pydantic import BaseModel, ValidationError

from schemas.answer_settings import Access
from schemas.errors import SinkUnavailable

REFRESH_S: Final = 300.0  # a key that was withdrawn is refused after so long
REFETCH_S: Final = 10.0  # least time between two fetches, however many unknown key ids are sent
TIMEOUT_S: Final = 5.0
MAX_BYTES: Final = 1_048_576
_FAMILIES: Final = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("EdDSA",)}  # shared secrets (oct) are none of these

_log = structlog.get_logger("api")


@dataclass(frozen=True, slots=True)
class PublicKey:
    key: Any  # of `cryptography`
    algorithms: tuple[str, ...]  # that a token signed with it may name


class _Document(BaseModel):
    keys: list[dict[str, Any]]


class KeySet:
    """One per process, in its event loop. `clock`: monotonic seconds."""

    def __init__(
        self,
        settings: Access,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = str(settings.jwt_jwks_url)
        self._pinned = settings.jwt_algorithms
        verify: SSLContext | bool = create_default_context(cafile=str(settings.ca_file)) if settings.ca_file else True
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, verify=verify, trust_env=False, transport=transport)
        self._clock = clock
        self._keys: dict[str, PublicKey] = {}
        self._tried = self._fetched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self.trouble = ""  # why the newest fetch failed

    async def key(self, kid: str) -> PublicKey | None:
        """The key of this id; an empty one means the only key. None: there is no such key.

        Waits for a fetch only while the id is unknown. Raises SinkUnavailable while no keys were ever had.
        """
        found = self._find(kid)
        now = self._clock()
        if found is not None:
            if now - self._fetched > REFRESH_S and now - self._tried > REFETCH_S:
                self.refresh()
            return found
        if self._fetching or now - self._tried > REFETCH_S:
            await asyncio.shield(self.refresh())
            found = self._find(kid)
        if not self._keys:
            raise SinkUnavailable(self.trouble or f"the keys at {self.url} are still being fetched")
        return found

    def refresh(self) -> "asyncio.Task[None]":
        """Fetch now, once for all who wait."""
        if self._fetching is None:
            self._tried = self._clock()
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._ended)
        return self._fetching

    async def close(self) -> None:
        if self._fetching:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._client.aclose()

    def _find(self, kid: str) -> PublicKey | None:
        if kid:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._fetching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.trouble = f"the keys at {self.url} could not be used ({type(error).__name__})"
            _log.error("fetching keys broke", url=self.url, exc_info=error)

    async def _fetch(self) -> None:
        """Keys that were had stay when this fails."""
        try:
            keys = _usable(await self._read(), self._pinned)
        except (httpx.HTTPError, ValidationError, ValueError) as error:
            self.trouble = f"the keys at {self.url} cannot be read ({_why(error)})"
            _log.warning("the identity provider's keys cannot be read", url=self.url, reason=_why(error))
            return
        self.trouble = "" if keys else f"there is no key for {', '.join(self._pinned)} at {self.url}"
        if keys:
            self._keys, self._fetched = keys, self._clock()

    async def _read(self) -> list[dict[str, Any]]:
        body = bytearray()
        async with self._client.stream("GET", self.url) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"HTTP {response.status_code}")
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
        return _Document.model_validate_json(bytes(body)).keys


def _usable(documents: Sequence[dict[str, Any]], pinned: Sequence[str]) -> dict[str, PublicKey]:
    """By key id. What is for encryption, of an unknown kind or broken is left out: others may still be good."""
    keys: dict[str, PublicKey] = {}
    for document in documents:
        families = _FAMILIES.get(str(document.get("kty")), ())
        named = document.get("alg")
        algorithms = tuple(a for a in pinned if a.startswith(families) and named in (None, a)) if families else ()
        if not algorithms or document.get("use", "sig") != "sig":
            continue
        try:
            keys[str(document.get("kid", ""))] = PublicKey(jwt.PyJWK(document, algorithms[0]).key, algorithms)
        except jwt.PyJWTError as error:
            _log.warning("a key of the identity provider is left out", reason=type(error).__name__)
    return keys


def _why(error: Exception) -> str:
    """Without the body: an address that was mistaken may answer with anything."""
    if isinstance(error, ValidationError):
        return "this is no key set"
    return str(error) if type(error) is ValueError else type(error).__name__
