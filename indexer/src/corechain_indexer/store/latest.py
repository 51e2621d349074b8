"""Newest value per device and metric: kept in Redis, and known for sure by Postgres.

Everything in the cache follows from Postgres. A device's values are one hash with the *generation*
under which they were written; the exporter, the only writer, takes a new generation at each start.
So what is left of another life (a flushed cache, another database, a writer that lost its place) is
never mistaken for the truth: whoever doubts asks Postgres instead.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec.structs import replace
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from corechain.protocol.reading import Reading
from corechain.protocol.vocabulary import BY_CODE
from corechain.service.database import asked
from corechain.service.gathering import Gathering
from corechain.service.reasons import reason_of
from corechain_indexer.errors import CacheUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.breaker import Breaker
from corechain_indexer.store.cluster import CLUSTER_SCHEMES, cluster_of
from corechain_indexer.store.files import to_unsigned

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store import Asked

GENERATION = b"generation"
PIPELINE = 1_000
CONNECTIONS = 32
"""Who finds all of them taken waits for one: under load a query is slower, not refused."""
CONNECT_LIMIT_S, ANSWER_LIMIT_S = 1.0, 5.0
READ_LIMIT_S = 1.0
"""A cache that is slower than this is slower than what it saves."""

MOST = 128
"""Devices of a group: an answer waits for the whole of its group."""
PAUSE_S = 0.010
"""Between the beginnings of two groups: at 600 questions a second six share one, each for 130 µs of
CPU (Postgres and Redis included) in place of 520, and wait 5 ms. Who asks alone waits for nothing.
"""

# A value is "observed_at batch_id position json"; one that is older by these replaces no other.
# Hashes of another generation are left alone: they may lack what this one would not add.
_ADD = """
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
local function older(held, new)
  local a, b, c = string.match(held, '^(%d+) (%d+) (%d+) ')
  local x, y, z = string.match(new, '^(%d+) (%d+) (%d+) ')
  a, b, c, x, y, z = tonumber(a), tonumber(b), tonumber(c), tonumber(x), tonumber(y), tonumber(z)
  if a ~= x then return a < x end
  if b ~= y then return b < y end
  return c < z
end
for i = 2, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held or older(held, ARGV[i + 1]) then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
return 1
"""
_REPLACE = """
redis.call('DEL', KEYS[1])
if #ARGV > 1 then redis.call('HSET', KEYS[1], 'generation', unpack(ARGV)) end
return 1
"""


class Newest(msgspec.Struct, frozen=True):
    """A cached value; `value` scaled. `finality` moves on while a value stays: it is of the moment
    of the question, whatever is cached."""

    metric: int
    observed_at: int
    value: int
    flag: int
    cell: str
    batch_id: int
    position: int
    finality: str = "pending"

    def packed(self) -> bytes:
        order = f"{self.observed_at} {self.batch_id} {self.position} "
        return order.encode() + msgspec.json.encode(self)


ByDevice = Mapping[bytes, Sequence[Newest]]
Held = Mapping[bytes, bytes]
"""What Redis has of a device: a value for each metric, and the generation."""
Found = Sequence[Newest] | str
"""A device's values, or why those of the cache are not served."""
_values = msgspec.json.Decoder(list[Newest])


def key_of(device: bytes, chain_id: int = 0) -> str:
    """By chain: the same device may be on two whose indexes share a Redis."""
    return f"corechain:latest:{chain_id}:{device.hex()}"


def newest_of(batch_id: int, leaves: Sequence[bytes]) -> dict[bytes, list[Newest]]:
    """The newest reading of each device and metric in a batch. Pure."""
    found: dict[bytes, dict[int, Newest]] = defaultdict(dict)
    for position, leaf in enumerate(leaves):
        r = Reading.unpack(leaf)
        held = found[r.device].get(r.metric)
        if held is None or held.observed_at <= r.observed_at:
            cell = f"{r.cell:015x}"
            found[r.device][r.metric] = Newest(
                r.metric, r.observed_at, r.value, r.flag, cell, batch_id, position
            )
    return {device: list(by_metric.values()) for device, by_metric in found.items()}


async def newest_in(
    database: "Asked", devices: Sequence[bytes], newest_block: int | None = None
) -> ByDevice:
    """What Postgres holds now, for every one of the devices, of batches up to a block.

    Raises StoreUnavailable.
    """
    arguments = (list(devices), list(BY_CODE), newest_block)
    rows = await asked(database.fetch(SQL["newest_readings"], *arguments))
    found: dict[bytes, list[Newest]] = {device: [] for device in devices}
    for row in rows:
        found[row["device"]].append(
            Newest(
                row["metric"],
                row["observed_at"],
                row["value"],
                row["flag"],
                f"{to_unsigned(row['cell']):015x}",
                row["batch_id"],
                row["position"],
                row["finality"],
            )
        )
    return found


def connect_cache(url: str) -> "Redis":
    """A client with a bounded pool whose every wait has a limit."""
    if url.startswith(CLUSTER_SCHEMES):
        # It has the commands of the other one, each of one key.
        return cast("Redis", cluster_of(url))
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=ANSWER_LIMIT_S,
        socket_connect_timeout=CONNECT_LIMIT_S,
        socket_timeout=ANSWER_LIMIT_S,
    )
    return Redis.from_pool(pool)


async def told(answer: Awaitable[Any] | Any) -> Any:
    """What Redis answers. Raises CacheUnavailable."""
    try:
        return await answer
    # redis-py's RedisClusterException is no RedisError: no node is there, or none has the slot.
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise CacheUnavailable(_why(error)) from error


def _why(error: Exception) -> str:
    """Without the address, which is in the driver's words."""
    if isinstance(error, TimeoutError | RedisTimeout):
        return "Redis does not answer"
    if isinstance(error, OSError | RedisAway | RedisClusterException):
        return "Redis is not there"
    return f"Redis: {reason_of(error)}"


@dataclass(frozen=True, slots=True)
class LatestWriter:
    """The cache as the exporter of one generation writes it. Every step may be repeated."""

    redis: "Redis"
    generation: str
    chain_id: int = 0

    async def add(self, newest: ByDevice) -> list[bytes]:
        """Newer values, for devices that are cached in this generation; returns the other ones."""
        devices, missing = list(newest), []
        for start in range(0, len(devices), PIPELINE):
            part = devices[start : start + PIPELINE]
            known = await self._run(_ADD, {device: newest[device] for device in part})
            missing += [
                device for device, is_known in zip(part, known, strict=True) if not is_known
            ]
        return missing

    async def replace(self, newest: ByDevice) -> None:
        """All values of some devices; a device without any is forgotten."""
        await self._run(_REPLACE, newest)

    async def _run(self, script: str, newest: ByDevice) -> list[int]:
        pipe = self.redis.pipeline(transaction=False)
        for device, values in newest.items():
            fields = [word for value in values for word in (str(value.metric), value.packed())]
            pipe.eval(script, 1, key_of(device, self.chain_id), self.generation, *fields)
        return cast(list[int], await told(pipe.execute()))


@dataclass(frozen=True, slots=True)
class Check:
    """What Postgres says of what is cached for a group."""

    generation: bytes
    behind: bool
    stale: frozenset[bytes]
    finality: Mapping[str, str]
    """Of the batches that stand, by their ids."""

    def of(self, device: bytes, held: Held) -> Found:
        """By metric."""
        if GENERATION not in held:
            return "missing"
        if held[GENERATION] != self.generation:
            return "another life"
        values = [value.split(b" ", 3)[1::2] for name, value in held.items() if name != GENERATION]
        if device in self.stale or any(batch.decode() not in self.finality for batch, _ in values):
            return "stale"
        if self.behind:
            return "behind"
        found = _values.decode(b"[" + b",".join(value for _, value in values) + b"]")
        now = (replace(item, finality=self.finality[str(item.batch_id)]) for item in found)
        return sorted(now, key=lambda item: item.metric)


@dataclass(slots=True)
class Latest:
    """Newest values for queries: from the cache where it can be trusted, else from Postgres.

    Who asks at about the same time is answered together, by one pipeline to Redis and one question
    to Postgres: of a hundred at once each costs a tenth of one alone.

    `bypassed` is called with the reason whenever Postgres had to answer.
    """

    redis: "Redis"
    pool: "Database"
    bypassed: Callable[[str], None] = lambda reason: None
    breaker: Breaker = field(default_factory=Breaker)
    pause_s: float = PAUSE_S
    chain_id: int = 0
    _together: Gathering[bytes, Found] = field(init=False)
    _stored: Gathering[bytes, Sequence[Newest]] = field(init=False)

    def __post_init__(self) -> None:
        self._together = Gathering(self._found, MOST, self.pause_s)
        self._stored = Gathering(self._newest, MOST, self.pause_s)

    async def ping(self) -> None:
        """Raises CacheUnavailable."""
        await told(self.redis.ping())

    async def of(self, device: bytes) -> list[Newest]:
        """By metric. Raises StoreUnavailable; an outage of the cache is none of the caller's."""
        if not self.breaker.lets_ask():
            return await self._from_database(device, "away")
        found = await self._together.get(device)
        if isinstance(found, str):
            return await self._from_database(device, found)
        return list(found)

    async def up_to(self, device: bytes, newest_block: int) -> list[Newest]:
        """By metric, of batches up to a block. Raises StoreUnavailable."""
        return list((await newest_in(self.pool, [device], newest_block))[device])

    async def _found(self, devices: Sequence[bytes]) -> Mapping[bytes, Found]:
        """Raises StoreUnavailable."""
        try:
            held = await self._held(devices)
        except CacheUnavailable:
            return dict.fromkeys(devices, "away")
        check = await self._check(devices, held.values())
        if check is None:
            return dict.fromkeys(devices, "another life")
        return {device: check.of(device, values) for device, values in held.items()}

    async def _held(self, devices: Sequence[bytes]) -> Mapping[bytes, Held]:
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                found = await self._read(devices)
        except (CacheUnavailable, TimeoutError) as error:
            self.breaker.failed()
            raise CacheUnavailable(str(error)) from error
        self.breaker.answered()
        return dict(zip(devices, found, strict=True))

    async def _read(self, devices: Sequence[bytes]) -> list[Held]:
        if len(devices) == 1:  # a pipeline costs twice a command, and a third for each of sixteen
            return [cast(Held, await told(self.redis.hgetall(self._key(devices[0]))))]
        pipe = self.redis.pipeline(transaction=False)
        for device in devices:
            pipe.hgetall(self._key(device))
        return cast(list[Held], await told(pipe.execute()))

    def _key(self, device: bytes) -> str:
        return key_of(device, self.chain_id)

    async def _check(self, devices: Sequence[bytes], held: Iterable[Held]) -> Check | None:
        batches = {
            int(value.split(b" ", 2)[1])
            for values in held
            for name, value in values.items()
            if name != GENERATION
        }
        row = await asked(self.pool.fetchrow(SQL["cache_checks"], devices, list(batches)))
        if row is None:
            return None
        finality = msgspec.json.decode(row["finality"] or "{}", type=dict[str, str])
        generation = str(row["generation"]).encode()
        return Check(generation, row["behind"], frozenset(row["stale"]), finality)

    async def _newest(self, devices: Sequence[bytes]) -> ByDevice:
        return await newest_in(self.pool, devices)

    async def _from_database(self, device: bytes, reason: str) -> list[Newest]:
        # Together, too: while Redis is away all who ask come here.
        self.bypassed(reason)
        return list(await self._stored.get(device))


async def refreshed(writer: LatestWriter, database: "Asked", devices: Iterable[bytes]) -> None:
    """Sets devices to what Postgres holds now."""
    wanted = list(dict.fromkeys(devices))
    for start in range(0, len(wanted), PIPELINE):
        await writer.replace(await newest_in(database, wanted[start : start + PIPELINE]))
