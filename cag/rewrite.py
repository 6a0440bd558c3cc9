"""Changing served runbooks in place, for a text that has to go at once. A rebuild brings back what the topic holds."""

from collections.abc import Callable
from typing import Final, cast

import redis

from cag.served import split_entry
from cag.store import Keys, opened, redis_address, translated
from schemas.errors import InvalidRecord
from schemas.runbooks import Runbook
from schemas.settings import Redis as RedisSettings

# KEYS: meta, entries of live, entries of next, changes. ARGV: 2 for live or 3 for next, entry, as read, as it shall be.
_REWRITE: Final = """
local at = tonumber(ARGV[1])
if redis.call('HGET', KEYS[at], ARGV[2]) ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[at], ARGV[2], ARGV[4])
if at == 2 then redis.call('ZADD', KEYS[4], redis.call('HINCRBY', KEYS[1], 'version', 1), ARGV[2]) end
return 1
"""


def rewrite(settings: RedisSettings, change: Callable[[Runbook], Runbook]) -> list[str]:
    """Paths of the runbooks that `change` has changed. One that was published meanwhile is left as it came.

    Raises SinkUnavailable, SinkMisconfigured.
    """
    keys = Keys(settings.namespace)
    names = [keys.key(name) for name in ("meta", "live:entries", "next:entries", "changes")]
    client = opened(redis.Redis.from_url, settings)
    changed = set()
    try:
        with translated(redis_address(settings)):
            script = client.register_script(_REWRITE)
            for at in (2, 3):
                for entry, raw in cast(dict[bytes, bytes], client.hgetall(names[at - 1])).items():
                    new = _changed(raw, change)
                    if new != raw and script(keys=names, args=[at, entry, raw, new]):
                        changed.add(split_entry(entry.decode())[1])
    finally:
        client.close()
    return sorted(changed)


def _changed(raw: bytes, change: Callable[[Runbook], Runbook]) -> bytes:
    try:
        runbook = Runbook.from_json(raw)
    except InvalidRecord:  # the mark of a whole corpus, or another version's
        return raw
    changed = change(runbook)
    return raw if changed is runbook else changed.to_json()
