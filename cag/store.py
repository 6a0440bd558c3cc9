"""The runbooks that are served, in Redis. Laws and words: `cag.served`.

All keys share a hash tag, so that they live in one slot of a cluster:

    {NAMESPACE}:runbooks:meta       hash   generation, incarnation, version, next, build-live, build-next
    {NAMESPACE}:runbooks:retired    set    topic ids that were replaced: they never come back
    {NAMESPACE}:runbooks:live:...   three hashes, and the same under next:
        entries   `partition:path` -> compiled runbook
        offsets   `partition:path` -> offset of the newest record applied, deletions included
        marks     partition -> offset below which every record is applied

Memory: one field in entries and offsets for each path; the offset of a deleted one stays, about a hundred bytes.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis import exceptions
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from cag.served import Outcome, Place, corpus_of, entry_name, generation, split_entry
from schemas.errors import SinkMisconfigured, SinkUnavailable, StartupError
from schemas.runbooks import Corpus, Runbook
from schemas.settings import Redis as RedisSettings

Client = TypeVar("Client", redis.Redis, redis.asyncio.Redis)


# -- scripts: every change is one of these, so that it is seen whole or not at all ------------------------------------

# Which set of hashes a generation lives in. KEYS: meta, retired, then entries, offsets, marks of live and of next.
_SLOT: Final = """
local function slot(generation)
  if redis.call('HGET', KEYS[1], 'generation') == generation then return 3, 'build-live' end
  if redis.call('HGET', KEYS[1], 'next') == generation then return 6, 'build-next' end
end
"""
# ARGV: generation, topic id, entry, offset, partition, offset + 1, set|delete|pass, compiled runbook
_APPLY: Final = (
    _SLOT
    + """
local at = slot(ARGV[1])
if not at then
  return redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 and 'retired' or 'unbuilt'
end
local outcome, changed = 'applied', 0
local known = redis.call('HGET', KEYS[at + 1], ARGV[3])
if known and tonumber(known) >= tonumber(ARGV[4]) then
  outcome = 'older'
elseif ARGV[7] ~= 'pass' then
  redis.call('HSET', KEYS[at + 1], ARGV[3], ARGV[4])
  if ARGV[7] == 'set' then
    redis.call('HSET', KEYS[at], ARGV[3], ARGV[8])
    changed = 1
  else
    changed = redis.call('HDEL', KEYS[at], ARGV[3])
  end
end
if changed == 1 and at == 3 then redis.call('HINCRBY', KEYS[1], 'version', 1) end
if redis.call('HGET', KEYS[at + 2], ARGV[5]) == ARGV[4] then
  redis.call('HSET', KEYS[at + 2], ARGV[5], ARGV[6])
end
return outcome
"""
)
# ARGV: generation, topic id, token
_BEGIN: Final = (
    _SLOT
    + """
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 then return false end
local at, build = slot(ARGV[1])
if not at then
  redis.call('UNLINK', KEYS[6], KEYS[7], KEYS[8])
  redis.call('HDEL', KEYS[1], 'build-next')
  redis.call('HSET', KEYS[1], 'next', ARGV[1])
  build = 'build-next'
end
redis.call('HSETNX', KEYS[1], build, ARGV[3])
return redis.call('HGET', KEYS[1], build)
"""
)
# ARGV: generation, token, how many ends, then (partition, end)..., then (entry, offset)... to remove
_FINISH: Final = (
    _SLOT
    + """
local at, build = slot(ARGV[1])
if not at or redis.call('HGET', KEYS[1], build) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], build)
local ends = 3 + 2 * tonumber(ARGV[3])
local removed = 0
for i = ends + 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[at + 1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[at], ARGV[i])
  end
end
for i = 4, ends, 2 do
  local mark = redis.call('HGET', KEYS[at + 2], ARGV[i])
  if not mark or tonumber(mark) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[at + 2], ARGV[i], ARGV[i + 1])
  end
end
if at == 6 then
  local old = redis.call('HGET', KEYS[1], 'generation')
  if old then
    local old_topic, topic = string.match(old, '^(.*)/'), string.match(ARGV[1], '^(.*)/')
    if old_topic ~= topic then redis.call('SADD', KEYS[2], old_topic) end
  end
  for i = 3, 5 do
    redis.call('UNLINK', KEYS[i])
    if redis.call('EXISTS', KEYS[i + 3]) == 1 then redis.call('RENAME', KEYS[i + 3], KEYS[i]) end
  end
  redis.call('HDEL', KEYS[1], 'next', 'build-live')
  redis.call('HSET', KEYS[1], 'generation', ARGV[1])
  redis.call('HSETNX', KEYS[1], 'incarnation', ARGV[2])
end
if at == 6 or removed > 0 then redis.call('HINCRBY', KEYS[1], 'version', 1) end
return 1
"""
)


# -- Redis -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Keys:
    namespace: str

    def key(self, name: str) -> str:
        return f"{{{self.namespace}}}:runbooks:{name}"

    def all(self) -> list[str]:
        hashes = [f"{place}:{kind}" for place in ("live", "next") for kind in ("entries", "offsets", "marks")]
        return [self.key(name) for name in ("meta", "retired", *hashes)]


class RunbookStore:
    """The worker's side: blocking calls. `close` it at the end."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = _opened(redis.Redis.from_url, settings)
        self._address = redis_address(settings)
        self._keys = _Keys(settings.namespace)
        self._apply = self._redis.register_script(_APPLY)
        self._begin = self._redis.register_script(_BEGIN)
        self._finish = self._redis.register_script(_FINISH)

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
        with _translated(self._address), self._redis.pipeline(transaction=False) as pipe:
            for place, verb, compiled in changes:
                entry = entry_name(place.partition, place.path)
                numbers = (place.offset, place.partition, place.offset + 1)
                arguments: list[Any] = [generation(place.topic_id), place.topic_id, entry, *numbers, verb, compiled]
                self._apply(keys=self._keys.all(), args=arguments, client=pipe)
            outcomes = cast(list[bytes], pipe.execute())
        return [Outcome(outcome.decode()) for outcome in outcomes]

    def behind(self, topic_id: str, positions: Mapping[int, int]) -> frozenset[int]:
        if not positions:
            return frozenset()
        with _translated(self._address), self._redis.pipeline(transaction=True) as pipe:
            pipe.hget(self._keys.key("meta"), "generation")
            pipe.hmget(self._keys.key("live:marks"), [str(p) for p in positions])
            live, marks = pipe.execute()
        if live != generation(topic_id).encode():
            return frozenset(positions)
        known = dict(zip(positions, marks, strict=True))
        return frozenset(p for p, at in positions.items() if known[p] is None or int(known[p]) < at)

    def begin(self, topic_id: str, token: str) -> str | None:
        with _translated(self._address):
            joined = self._begin(keys=self._keys.all(), args=[generation(topic_id), topic_id, token])
        return None if joined is None else cast(bytes, joined).decode()

    def finish(self, topic_id: str, token: str, ends: Mapping[int, int], seen: Collection[Place]) -> bool:
        found = {entry_name(p.partition, p.path) for p in seen}
        with _translated(self._address):
            gone = [
                (name, offset)
                for name, offset in self._offsets(topic_id).items()
                if name.decode() not in found and int(offset) < ends.get(split_entry(name.decode())[0], 0)
            ]
            flat: list[Any] = [*(n for pair in ends.items() for n in pair), *(n for pair in gone for n in pair)]
            done = self._finish(keys=self._keys.all(), args=[generation(topic_id), token, len(ends), *flat])
        return bool(done)

    def _offsets(self, topic_id: str) -> dict[bytes, bytes]:
        live = self._redis.hget(self._keys.key("meta"), "generation") == generation(topic_id).encode()
        key = self._keys.key("live:offsets" if live else "next:offsets")
        return cast(dict[bytes, bytes], self._redis.hgetall(key))

    def corpus_version(self) -> str | None:
        with _translated(self._address):
            return _version(self._redis.hmget(self._keys.key("meta"), _VERSION_FIELDS))

    def snapshot(self) -> Corpus | None:
        with _translated(self._address), self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(self._keys.key("meta"), _VERSION_FIELDS)
            pipe.hgetall(self._keys.key("live:entries"))
            fields, entries = pipe.execute()
        version = _version(fields)
        return None if version is None else corpus_of(version, entries)

    def get(self, path: str) -> Runbook | None:
        with _translated(self._address):
            partitions = cast(list[bytes], self._redis.hkeys(self._keys.key("live:marks")))
            names = [entry_name(int(p), path) for p in partitions]
            values = cast(list[bytes | None], self._redis.hmget(self._keys.key("live:entries"), names)) if names else []
        return _newest(names, values)

    def delete_everything(self) -> None:
        """Remove every key of this namespace's runbooks: for tests and for taking a namespace out of use."""
        with _translated(self._address):
            self._redis.delete(*self._keys.all())

    def close(self) -> None:
        self._redis.close()


class RunbookReader:
    """The API's side: reads only, asynchronous. `aclose` it at the end."""

    def __init__(self, settings: RedisSettings) -> None:
        self._redis = _opened(redis.asyncio.Redis.from_url, settings)
        self._address = redis_address(settings)
        self._keys = _Keys(settings.namespace)

    async def corpus_version(self) -> str | None:
        """See `cag.served.WritableStore`; cheap enough to ask every second."""
        with _translated(self._address):
            return _version(await cast(Any, self._redis.hmget(self._keys.key("meta"), _VERSION_FIELDS)))

    async def snapshot(self) -> Corpus | None:
        with _translated(self._address):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hmget(self._keys.key("meta"), _VERSION_FIELDS)
                pipe.hgetall(self._keys.key("live:entries"))
                fields, entries = await pipe.execute()
        version = _version(fields)
        # Thousands of runbooks take seconds to decode; other requests go on meanwhile.
        return None if version is None else await asyncio.to_thread(corpus_of, version, entries)

    async def ping(self) -> None:
        with _translated(self._address):
            await cast(Any, self._redis.ping())

    async def aclose(self) -> None:
        await self._redis.aclose()


_VERSION_FIELDS: Final = ["generation", "incarnation", "version"]


def _version(fields: Any) -> str | None:
    live, incarnation, counter = cast(list[bytes | None], fields)
    if live is None or incarnation is None or counter is None:
        return None
    # The incarnation keeps versions apart when Redis was flushed and counts from one again.
    return f"{incarnation.decode()}-{counter.decode()}"


def _newest(names: list[str], values: list[bytes | None]) -> Runbook | None:
    entries = {n.encode(): v for n, v in zip(names, values, strict=True) if v is not None}
    runbooks = corpus_of("", entries).runbooks
    return runbooks[0] if runbooks else None


def redis_address(settings: RedisSettings) -> str:
    """host:port of the server, without credentials."""
    url = urlsplit(settings.url)
    return f"{url.hostname}:{url.port or 6379}" if url.scheme != "unix" else url.path


def _opened(from_url: Callable[..., Client], settings: RedisSettings) -> Client:
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
def _translated(address: str) -> Iterator[None]:
    """Turn Redis' errors into ours. Anything that is neither an outage nor a refusal is a defect and passes."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
        raise SinkMisconfigured(f"Redis at {address} refuses us: check user name, password and rights") from error
    except exceptions.OutOfMemoryError as error:
        raise SinkMisconfigured(f"Redis at {address} is full: raise maxmemory") from error
    except (exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ReadOnlyError) as error:
        raise SinkUnavailable(f"Redis at {address} does not answer: {type(error).__name__}") from error
