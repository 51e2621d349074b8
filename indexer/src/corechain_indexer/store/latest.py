"""Newest value per device and metric in Redis, and the announcement of verified batches.

A cache: everything in it follows from Postgres, and `rebuild` makes it anew.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from corechain.protocol.reading import Reading
from corechain.service.database import asked
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.files import to_unsigned

if TYPE_CHECKING:
    from corechain.service.database import Database

CHANNEL = "corechain:batches"
PIPELINE = 1_000

# The hash holds "observed_at json"; an older value never replaces a newer one.
_NEWER = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and tonumber(string.match(held, '^%d+')) > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
return 1
"""


class Newest(msgspec.Struct, frozen=True):
    """A cached value; `value` scaled."""

    metric: int
    observed_at: int
    value: int
    flag: int
    cell: str
    batch_id: int
    position: int


def _key(device: bytes) -> str:
    return f"corechain:latest:{device.hex()}"


def newest_of(batch_id: int, leaves: Sequence[bytes]) -> dict[tuple[bytes, int], Newest]:
    """The newest reading of each device and metric in a batch."""
    found: dict[tuple[bytes, int], Newest] = {}
    for position, leaf in enumerate(leaves):
        r = Reading.unpack(leaf)
        held = found.get((r.device, r.metric))
        if held is None or held.observed_at <= r.observed_at:
            found[r.device, r.metric] = Newest(
                r.metric,
                r.observed_at,
                r.value,
                r.flag,
                f"{r.cell:015x}",
                batch_id,
                position,
            )
    return found


async def _told(answer: Awaitable[Any] | Any) -> Any:
    try:
        return await answer
    except (RedisError, OSError) as error:
        raise CacheUnavailable(f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Latest:
    """The cache, with the database it follows from."""

    redis: "Redis"
    pool: "Database"

    async def ping(self) -> None:
        """Raises CacheUnavailable."""
        await _told(self.redis.ping())

    async def put(self, newest: dict[tuple[bytes, int], Newest]) -> None:
        items = list(newest.items())
        for start in range(0, len(items), PIPELINE):
            pipe = self.redis.pipeline(transaction=False)
            for (device, metric), value in items[start : start + PIPELINE]:
                encoded = msgspec.json.encode(value)
                pipe.eval(_NEWER, 1, _key(device), str(metric), str(value.observed_at), encoded)
            await _told(pipe.execute())

    async def announce(self, message: Mapping[str, object]) -> None:
        """Tells the subscribers of a newly verified batch."""
        await _told(self.redis.publish(CHANNEL, msgspec.json.encode(message)))

    async def of(self, device: bytes) -> list[Newest]:
        held = await _told(self.redis.hgetall(_key(device)))
        values = (cast(bytes, value).partition(b" ")[2] for value in held.values())
        found = [msgspec.json.decode(value, type=Newest) for value in values]
        return sorted(found, key=lambda item: item.metric)

    async def refresh(self, stale: Iterable[tuple[bytes, int]]) -> None:
        """Sets pairs to what Postgres holds now: after a reorg the newest may be an older one."""
        for device, metric in stale:
            row = await asked(self.pool.fetchrow(SQL["newest_reading"], device, metric))
            await _told(self.redis.hdel(_key(device), str(metric)))
            if row is not None:
                newest = Newest(
                    metric,
                    row["observed_at"],
                    row["value"],
                    row["flag"],
                    f"{to_unsigned(row['cell']):015x}",
                    row["batch_id"],
                    row["position"],
                )
                await self.put({(device, metric): newest})
