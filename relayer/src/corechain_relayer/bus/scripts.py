"""What the server does in one step. Effects, not scripts, go to its append-only file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, sent by its hash: a frame must not carry a kilobyte of program."""

    text: str

    @property
    def sha(self) -> str:
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: "Redis", keys: Sequence[str], *arguments: Any) -> Any:
        """Its answer. Raises what redis raises."""
        try:
            return await redis.evalsha(self.sha, len(keys), *keys, *arguments)
        except NoScriptError:  # a new server, or somebody's SCRIPT FLUSH
            await redis.script_load(self.text)
            return await redis.evalsha(self.sha, len(keys), *keys, *arguments)


# Keys: stream, position, newest. Arguments: run, limits of frames and bytes (0: none), the bytes
# that the caller knows to be gone, what a frame costs beyond its content, '1' to look for sequences
# that may be in use, the frame, the width of a mark, the marks of its devices (marks.py): an
# id, the lowest sequence and, where that is another, the highest one.
# A frame carries how many bytes were appended before it ('b'), so that the oldest one says how many
# are gone. It is read only where the caller's knowledge would refuse: it may be as large as a body.
# By a thousand devices at a time: Lua passes no more than some 8,000 values to one call.
# All of it is one step: no number of gateways passes the limit, no frame is there without its mark,
# and none is added to a server that is not the one whose state the caller knows.
APPEND = Script("""
local known = redis.call('HMGET', KEYS[2], 'run', 'bytes')
if known[1] ~= ARGV[1] then return {'run'} end
local frames, bytes = tonumber(ARGV[2]), tonumber(ARGV[3])
if frames > 0 and redis.call('XLEN', KEYS[1]) >= frames then return {'full'} end
local before = tonumber(known[2] or '0')
local after = before + #ARGV[7] + tonumber(ARGV[5])
if bytes > 0 and before - tonumber(ARGV[4]) >= bytes then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if oldest and before - tonumber(oldest[2][4] or before) >= bytes then return {'full'} end
end
local grown = {}
local width, marks, sub = tonumber(ARGV[8]), ARGV[9], string.sub
for base = 1, #marks, 1000 * width do
  local devices, ends = {}, math.min(base + 1000 * width - 1, #marks)
  for at = base, ends, width do devices[#devices + 1] = sub(marks, at, at + 19) end
  local newest = redis.call('HMGET', KEYS[3], unpack(devices))
  for n, device in ipairs(devices) do
    local at, known = base + (n - 1) * width, newest[n]
    local low, high = sub(marks, at + 20, at + 39), sub(marks, at + width - 20, at + width - 1)
    if ARGV[6] == '1' and known and low <= known then return {'used'} end
    if not known or high > known then
      grown[#grown + 1], grown[#grown + 2] = device, high
    end
  end
end
for base = 1, #grown, 2000 do
  redis.call('HSET', KEYS[3], unpack(grown, base, math.min(base + 1999, #grown)))
end
redis.call('XADD', KEYS[1], '*', 'f', ARGV[7], 'b', before)
redis.call('HSET', KEYS[2], 'bytes', after)
return {'ok', redis.call('HINCRBY', KEYS[2], 'appended', 1), after}
""")

# Keys: stream, position. Argument: group. Frames on the stream, bytes ever appended, bytes before
# the oldest frame, bytes before the oldest one that nobody has read. Frames from before bytes were
# counted have no 'b': what is unknown counts as gone, and the limit of frames has to do.
LOOK = Script("""
local bytes = redis.call('HGET', KEYS[2], 'bytes') or '0'
local function before(from)
  local oldest = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
  return oldest and oldest[2][4] or bytes
end
local gone = before('-')
local read = gone
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if not groups.err then
  for _, row in ipairs(groups) do
    local group = {}
    for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
    if group['name'] == ARGV[1] then read = before('(' .. group['last-delivered-id']) end
  end
end
return {redis.call('XLEN', KEYS[1]), bytes, gone, read}
""")

# Key: position. Argument: the server's run. Whoever meets a new run first notes what the server
# had when it began, before anything is appended in it: `from` is what the restart has left.
ENTER = Script("""
local appended = redis.call('HGET', KEYS[1], 'appended') or '0'
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'from', appended)
end
return {redis.call('HGET', KEYS[1], 'from'), appended}
""")

# Keys: stream, dead. Arguments: id, frame, reason, group.
SET_ASIDE = Script("""
redis.call('XADD', KEYS[2], '*', 'f', ARGV[2], 'reason', ARGV[3], 'id', ARGV[1])
redis.call('XACK', KEYS[1], ARGV[4], ARGV[1])
return redis.call('XDEL', KEYS[1], ARGV[1])
""")

# Key: dead. Arguments: frame, reason, how many there may be.
DEAD_LETTER = Script("""
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('XADD', KEYS[1], '*', 'f', ARGV[1], 'reason', ARGV[2])
return 1
""")

# Key: stream. Arguments: group, the consumer that stays. One step, because a consumer that still
# reads would take its unacknowledged frames with it when it is deleted.
FORGET_CONSUMERS = Script("""
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  if row[2] ~= ARGV[2] and row[4] == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], row[2])
  end
end
return 1
""")
