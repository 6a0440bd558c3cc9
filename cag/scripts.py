"""What runs inside Redis: every change and every reading is one script, so that it is seen whole or not at all.

KEYS of all of them: meta, retired, entries, offsets and marks of live, the same of next, changes.
"""

from typing import Final

_SLOT: Final = """
local meta, server = KEYS[1], string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
-- The first of the three hashes that a generation lives in; nothing when it is not here, or not all of it.
local function slot(generation)
  local known = redis.call('HMGET', meta, 'server', 'generation', 'next')
  local at = generation and (known[2] == generation and 3 or known[3] == generation and 6)
  if at and known[1] == server and redis.call('HEXISTS', KEYS[at], '') == 1 then return at end
end
"""
# ARGV: generation, topic id, then for each change: entry, offset, partition, offset + 1, set|delete|pass, compiled
# runbook. Returns an outcome for each.
APPLY: Final = (
    _SLOT
    + """
local at, outcomes = slot(ARGV[1]), {}
local absent = redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 and 'retired' or 'unbuilt'
for i = 3, #ARGV, 6 do
  local entry, offset, partition, after, verb, compiled = unpack(ARGV, i, i + 5)
  if not at then
    outcomes[#outcomes + 1] = absent
  else
    local outcome, changed = 'applied', 0
    local known = redis.call('HGET', KEYS[at + 1], entry)
    local mark = redis.call('HGET', KEYS[at + 2], partition)
    if known and tonumber(known) >= tonumber(offset) or mark and tonumber(mark) > tonumber(offset) then
      outcome = 'older'
    elseif verb ~= 'pass' then
      redis.call('HSET', KEYS[at + 1], entry, offset)
      if verb == 'set' then
        redis.call('HSET', KEYS[at], entry, compiled)
        changed = 1
      else
        changed = redis.call('HDEL', KEYS[at], entry)
      end
    end
    if changed == 1 and at == 3 then
      redis.call('ZADD', KEYS[9], redis.call('HINCRBY', meta, 'version', 1), entry)
    end
    if mark == offset then redis.call('HSET', KEYS[at + 2], partition, after) end
    outcomes[#outcomes + 1] = outcome
  end
end
return outcomes
"""
)
# ARGV: generation, topic id, token. Returns the build's token, or nothing when the topic id is retired.
BEGIN: Final = (
    _SLOT
    + """
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 1 then return false end
local at = slot(ARGV[1])
if not at then
  local known = redis.call('HMGET', meta, 'server', 'generation')
  if known[1] ~= server or known[2] == ARGV[1] then  -- what is served cannot be trusted, or is not whole
    redis.call('UNLINK', meta, KEYS[3], KEYS[4], KEYS[5])
  end
  redis.call('UNLINK', KEYS[6], KEYS[7], KEYS[8])
  redis.call('HDEL', meta, 'build-next')
  redis.call('HSET', meta, 'server', server, 'next', ARGV[1])
  redis.call('HSET', KEYS[6], '', '')
  at = 6
end
local build = at == 3 and 'build-live' or 'build-next'
redis.call('HSETNX', meta, build, ARGV[3])
return redis.call('HGET', meta, build)
"""
)
# ARGV: generation, token, how many ends, then (partition, end)..., then (entry, offset)... to remove. Returns 1 or 0.
FINISH: Final = (
    _SLOT
    + """
local at = slot(ARGV[1])
local build = at == 3 and 'build-live' or 'build-next'
if not at or redis.call('HGET', meta, build) ~= ARGV[2] then return 0 end
redis.call('HDEL', meta, build)
local ends, gone = 3 + 2 * tonumber(ARGV[3]), {}
for i = ends + 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[at + 1], ARGV[i]) == ARGV[i + 1] and redis.call('HDEL', KEYS[at], ARGV[i]) == 1 then
    gone[#gone + 1] = ARGV[i]
  end
end
for i = 4, ends, 2 do
  local mark = redis.call('HGET', KEYS[at + 2], ARGV[i])
  if not mark or tonumber(mark) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[at + 2], ARGV[i], ARGV[i + 1])
  end
end
if at == 6 then
  local old = redis.call('HGET', meta, 'generation')
  if old then
    local old_topic, topic = string.match(old, '^(.*)/'), string.match(ARGV[1], '^(.*)/')
    if old_topic ~= topic then redis.call('SADD', KEYS[2], old_topic) end
  end
  for i = 3, 5 do
    redis.call('UNLINK', KEYS[i])
    if redis.call('EXISTS', KEYS[i + 3]) == 1 then redis.call('RENAME', KEYS[i + 3], KEYS[i]) end
  end
  redis.call('UNLINK', KEYS[9])
  redis.call('HDEL', meta, 'next', 'build-live')
  redis.call('HSET', meta, 'generation', ARGV[1], 'incarnation', ARGV[2], 'version', 1)
elseif #gone > 0 then
  local version = redis.call('HINCRBY', meta, 'version', 1)
  for _, entry in ipairs(gone) do redis.call('ZADD', KEYS[9], version, entry) end
end
return 1
"""
)
# ARGV: generation, partitions... Returns their marks, or nothing when that generation is not served.
MARKS: Final = (
    _SLOT
    + """
if slot(ARGV[1]) ~= 3 then return false end
local marks = {}
for i = 2, #ARGV do marks[i - 1] = redis.call('HGET', KEYS[5], ARGV[i]) end
return marks
"""
)
# ARGV: incarnation and version that the caller holds, and whether it wants the entries. Returns nothing when nothing
# is served, else incarnation, version, 1 when all entries follow or 0 when only changed ones do, and name, value...;
# of an entry that is gone the value is nothing.
READ: Final = (
    _SLOT
    + """
local known = redis.call('HMGET', meta, 'generation', 'incarnation', 'version')
if slot(known[1]) ~= 3 then return false end
if ARGV[3] == '0' then return {known[2], known[3], 0, {}} end
if known[2] ~= ARGV[1] or tonumber(known[3]) < tonumber(ARGV[2]) then
  return {known[2], known[3], 1, redis.call('HGETALL', KEYS[3])}
end
local changed = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[9], '(' .. ARGV[2], '+inf')) do
  changed[#changed + 1] = name
  changed[#changed + 1] = redis.call('HGET', KEYS[3], name)
end
return {known[2], known[3], 0, changed}
"""
)
