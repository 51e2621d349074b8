"""Buckets of requests in Redis, for all processes that answer together: one round trip a request.

The arithmetic is `Bucket.take` (limits.py) in Lua: the test runs both side by side.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain_indexer.limits import Allowance, Taken
from corechain_indexer.store.latest import told

if TYPE_CHECKING:
    from redis.asyncio import Redis

# One key a script, so that it works on a cluster. Times in milliseconds of the caller's clock: a
# clock that is behind gives nothing, and takes nothing away.
_TAKE = """
local rate, most, day_limit = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
local now = tonumber(ARGV[4])
local held = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'day', 'used')
local tokens, at, used = most, now, 0
if held[1] then
  at = math.max(tonumber(held[2]), now)
  tokens = math.min(most, tonumber(held[1]) + (at - tonumber(held[2])) * rate)
end
local day = math.floor(at / 86400000)
if tonumber(held[3]) == day then used = tonumber(held[4]) end
local taken = 1
if day_limit > 0 and used >= day_limit then taken = 0 end
if rate > 0 and tokens < 1000 then taken = 0 end
if rate > 0 then tokens = tokens - 1000 * taken end
used = used + taken
redis.call('HSET', KEYS[1], 'tokens', string.format('%d', tokens), 'at', string.format('%d', at),
           'day', day, 'used', string.format('%d', used))
local ttl = 1000
if rate > 0 then ttl = ttl + math.ceil(most / rate) end
if day_limit > 0 then ttl = math.max(ttl, (day + 1) * 86400000 - at) end
redis.call('PEXPIRE', KEYS[1], ttl)
return {taken, tokens, used, at}
"""


@dataclass(frozen=True, slots=True)
class Quotas:
    """Every method raises CacheUnavailable."""

    redis: "Redis"
    chain_id: int = 0
    """Of the index that is asked: another one that shares the Redis has allowances of its own."""

    async def take(self, name: str, allowance: Allowance, now_ms: int) -> Taken:
        arguments = (allowance.per_second, allowance.burst, allowance.per_day, now_ms)
        script = self.redis.register_script(_TAKE)  # EVALSHA; the text only where it is not known
        key = f"corechain:quota:{self.chain_id}:{name}"
        answer = await told(script(keys=[key], args=arguments))
        taken, thousandths, used, at = answer
        return Taken(bool(taken), thousandths, used, at)
