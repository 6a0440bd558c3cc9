"""The runbooks that are served, in Redis. Laws and words: `cag.served`; every change is one script of `cag.scripts`.

All keys share a hash tag, so that they live in one slot of a cluster:

    {NAMESPACE}:runbooks:meta       hash   server, generation, incarnation, version, next, build-live, build-next
    {NAMESPACE}:runbooks:retired    set    topic ids that were replaced: they never come back
    {NAMESPACE}:runbooks:changes    zset   `partition:path` by the version that changed it: what a reader has to fetch
    {NAMESPACE}:runbooks:live:...   three hashes, and the same under next:
        entries   `partition:path` -> compiled runbook; an empty name -> "", to tell an empty corpus from a lost one
        offsets   `partition:path` -> offset of the newest record applied, deletions included
        marks     partition -> offset below which every record is applied

A Redis that was restarted, failed over or restored may hold an older copy and cannot know it. So what was built under
another `run_id` counts as lost: readers see nothing, and the worker builds it again.

Memory: one field in entries, offsets and changes for each path; of a deleted one some hundred bytes stay.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis import exceptions
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from cag import scripts
from cag.served import Outcome, Place, corpus_of, decode_entries, entry_name, generation, split_entry
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.runbooks import Corpus, Runbook
from schemas.settings import Redis as RedisSettings

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)

_PASSING: Final = ("BUSY", "NOREPLICAS", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN")  # words that its errors begin with
_STUCK: Final = ("MISCONF",)  # it cannot write its file: the disk is full, or not its own


# -- Redis -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Keys:
    namespace: str

    def key(self, name: str) -> str:
        return f"{{{self.namespace}}}:runbooks:{name}"

    def all(self) -> list[str]:
        """In the order that the scripts want."""
        hashes = [f"{place}:{kind}" for place in ("live", "next") for kind in ("entries", "offsets", "marks")]
        return [self.key(name) for name in ("meta", "retired", *hashes, "changes")]


_META, _LIVE_OFFSETS, _NEXT_OFFSETS = 0, 3, 6  # places in that list


class RunbookStore:
    """The worker's side: blocking calls. `close` it at the end."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = opened(redis.Redis.from_url, settings)
        self._address = redis_address(settings)
        self._keys = Keys(settings.namespace).all()
        self._apply, self._begin, self._finish, self._marks, self._read = (
            self._redis.register_script(text)
            for text in (scripts.APPLY, scripts.BEGIN, scripts.FINISH, scripts.MARKS, scripts.READ)
        )

    def apply(self, place: Place, runbook: Runbook | None) -> Outcome:
        return self.apply_all([(place, runbook)])[0]

    def apply_all(self, changes: Sequence[tuple[Place, Runbook | None]]) -> list[Outcome]:
        return self._change(
            (place, "delete", b"") if runbook is None else (place, "set", runbook.to_json())
            for place, runbook in changes
        )

    def pass_over(self, place: Place) -> Outcome:
        return self._change([(place, "pass", b"")])[0]

    def _change(self, changes: Iterable[tuple[Place, str, bytes]]) -> list[Outcome]:
        with translated(self._address), self._redis.pipeline(transaction=False) as pipe:
            for topic_id, of_topic in groupby(changes, key=lambda change: change[0].topic_id):
                arguments: list[Any] = [generation(topic_id), topic_id]
                for place, verb, compiled in of_topic:
                    numbers = (place.offset, place.partition, place.offset + 1)
                    arguments += [entry_name(place.partition, place.path), *numbers, verb, compiled]
                self._apply(keys=self._keys, args=arguments, client=pipe)
            outcomes = cast(list[list[bytes]], pipe.execute())
        return [Outcome(outcome.decode()) for of_topic in outcomes for outcome in of_topic]

    def behind(self, topic_id: str, positions: Mapping[int, int]) -> frozenset[int]:
        with translated(self._address):
            marks = cast(
                list[bytes | None] | None, self._marks(keys=self._keys, args=[generation(topic_id), *positions])
            )
        if marks is None:
            return frozenset(positions)
        known = zip(positions.items(), marks, strict=True)
        return frozenset(p for (p, at), mark in known if mark is None or int(mark) < at)

    def begin(self, topic_id: str, token: str) -> str | None:
        with translated(self._address):
            joined = self._begin(keys=self._keys, args=[generation(topic_id), topic_id, token])
        return None if joined is None else cast(bytes, joined).decode()

    def finish(self, topic_id: str, token: str, ends: Mapping[int, int], seen: Collection[Place]) -> bool:
        found = {entry_name(p.partition, p.path) for p in seen}
        with translated(self._address):
            gone = [
                (name, offset)
                for name, offset in self._offsets(topic_id).items()
                if name.decode() not in found and int(offset) < ends.get(split_entry(name.decode())[0], 0)
            ]
            flat: list[Any] = [*(n for pair in ends.items() for n in pair), *(n for pair in gone for n in pair)]
            done = self._finish(keys=self._keys, args=[generation(topic_id), token, len(ends), *flat])
        return bool(done)

    def _offsets(self, topic_id: str) -> dict[bytes, bytes]:
        live = self._redis.hget(self._keys[_META], "generation") == generation(topic_id).encode()
        return cast(dict[bytes, bytes], self._redis.hgetall(self._keys[_LIVE_OFFSETS if live else _NEXT_OFFSETS]))

    def corpus_version(self) -> str | None:
        with translated(self._address):
            answer = self._read(keys=self._keys, args=_ONLY_VERSION)
        return None if answer is None else _Answer.of(answer).version

    def snapshot(self) -> Corpus | None:
        with translated(self._address):
            answer = self._read(keys=self._keys, args=_EVERYTHING)
        return None if answer is None else _Holding().after(_Answer.of(answer)).corpus

    def delete_everything(self) -> None:
        """Remove every key of this namespace's runbooks: for tests and for taking a namespace out of use."""
        with translated(self._address):
            self._redis.delete(*self._keys)

    def close(self) -> None:
        self._redis.close()


class RunbookReader:
    """The API's side: reads only, asynchronous. `aclose` it at the end."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = opened(redis.asyncio.Redis.from_url, settings)
        self._address = redis_address(settings)
        self._keys = Keys(settings.namespace).all()
        self._read = self._redis.register_script(scripts.READ)
        self._holding = _Holding()

    async def corpus_version(self) -> str | None:
        """See `cag.served.WritableStore`; cheap enough to ask every second."""
        with translated(self._address):
            answer = await self._read(keys=self._keys, args=_ONLY_VERSION)
        return None if answer is None else _Answer.of(answer).version

    async def snapshot(self) -> Corpus | None:
        """Everything that is served. Fetches only what has changed since the last call; the rest is the same objects.

        None: nothing was published yet, or Redis lost it and the worker has not built it again.
        """
        held = self._holding
        with translated(self._address):
            answer = await self._read(keys=self._keys, args=[held.incarnation, held.number, 1])
        if answer is None:
            return None
        # Thousands of runbooks take seconds to decode; other requests go on meanwhile.
        self._holding = await asyncio.to_thread(held.after, _Answer.of(answer))
        return self._holding.corpus

    async def ping(self) -> None:
        with translated(self._address):
            await cast(Any, self._redis.ping())

    async def aclose(self) -> None:
        await self._redis.aclose()


# -- what the reading script says -------------------------------------------------------------------------------------

_ONLY_VERSION: Final = ("", 0, 0)
_EVERYTHING: Final = ("", 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    incarnation: str  # keeps versions apart when Redis was flushed and counts from one again
    number: int
    whole: bool
    entries: Mapping[bytes, bytes | None]

    @property
    def version(self) -> str:
        return f"{self.incarnation}-{self.number}"

    @classmethod
    def of(cls, answer: Any) -> Self:
        incarnation, number, whole, flat = answer
        entries = dict(zip(flat[::2], flat[1::2], strict=True))
        return cls(incarnation=incarnation.decode(), number=int(number), whole=bool(whole), entries=entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holding:
    """What a reader has decoded so far."""

    incarnation: str = ""
    number: int = 0
    runbooks: Mapping[str, Runbook] = field(default_factory=dict)  # by entry
    corpus: Corpus = field(default_factory=lambda: Corpus(version="", runbooks=()))

    def after(self, answer: _Answer) -> "_Holding":
        """Raises SinkMisconfigured when an entry is not ours."""
        if (answer.incarnation, answer.number) == (self.incarnation, self.number):
            return self
        runbooks = {} if answer.whole else dict(self.runbooks)
        for name in answer.entries:
            runbooks.pop(name.decode(), None)
        found = decode_entries({name: raw for name, raw in answer.entries.items() if name and raw is not None})
        for entry, runbook in found.items():
            old = self.runbooks.get(entry)
            runbooks[entry] = old if old == runbook else runbook  # a store that was rebuilt is no reason to work again
        return _Holding(
            incarnation=answer.incarnation,
            number=answer.number,
            runbooks=runbooks,
            corpus=corpus_of(answer.version, runbooks),
        )


# -- connections -------------------------------------------------------------------------------------------------------


def redis_address(settings: RedisSettings) -> str:
    """host:port of the server, without credentials."""
    url = urlsplit(settings.url)
    return f"{url.hostname}:{url.port or 6379}" if url.scheme != "unix" else url.path


def opened(from_url: Callable[..., Client], settings: RedisSettings) -> Client:
    try:
        return from_url(settings.url, **_connection(settings))
    except ValueError as error:  # its text may quote the URL, and with it a password
        raise StartupError("FRESHET_REDIS__URL is wrong: write redis://HOST:PORT/DB, or rediss:// for TLS") from error


def _connection(settings: RedisSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), 1),
        "health_check_interval": 15,
    }
    if settings.username:
        options["username"] = settings.username
    if settings.password.get_secret_value():
        options["password"] = settings.password.get_secret_value()
    if settings.ca_file and settings.url.startswith("rediss"):
        options["ssl_ca_certs"] = str(settings.ca_file)
    return options


@contextmanager
def translated(address: str) -> Iterator[None]:
    """Turn Redis' errors into ours. Anything that is neither an outage nor a refusal is a defect and passes."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
        raise SinkMisconfigured(f"Redis at {address} refuses us: check user name, password and rights") from error
    except exceptions.OutOfMemoryError as error:
        raise SinkMisconfigured(f"Redis at {address} is full: raise maxmemory") from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError) as error:
        raise SinkUnavailable(f"Redis at {address} does not answer: {type(error).__name__}") from error
    except exceptions.NoScriptError as error:  # restarted between our look for the script and its use
        raise SinkUnavailable(f"Redis at {address} was restarted meanwhile") from error
    except exceptions.ResponseError as error:
        word = str(error).split(" ", 1)[0]
        if word not in _PASSING and word not in _STUCK:
            raise
        kind = SinkMisconfigured if word in _STUCK else SinkUnavailable
        raise kind(f"Redis at {address} does not take it now ({word}): see its log") from error
