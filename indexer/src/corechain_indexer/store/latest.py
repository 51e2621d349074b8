"""Newest value per device and metric: kept in Redis, and known for sure by Postgres.

Everything in the cache follows from Postgres. A device's values are one hash with the *generation*
under which they were written; the exporter, the only writer, takes a new generation at each start.
So what is left of another life (a flushed cache, another database, a writer that lost its place) is
never mistaken for the truth: whoever doubts asks Postgres instead.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import TimeoutError as RedisTimeout

from corechain.protocol.reading import Reading
from corechain.protocol.vocabulary import BY_CODE
from corechain.service.database import asked
from corechain.service.gathering import Gathering
from corechain.service.reasons import chain_of, reason_of
from corechain.service.redis_credentials import renew_tls, with_credentials
from corechain_indexer.errors import CacheAccessRefused, CacheUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.breaker import Breaker
from corechain_indexer.store.cached_values import (
    FINALITY,
    Check,
    Found,
    Held,
    Known,
)
from corechain_indexer.store.cluster import CLUSTER_SCHEMES, cluster_of
from corechain_indexer.store.files import to_unsigned
from corechain_indexer.store.hashes import HashReads

if TYPE_CHECKING:
    from corechain.service.database import Database
    from corechain_indexer.store import Asked

PIPELINE = 1_000
CONNECTIONS = 32
"""Who finds all of them taken waits for one: under load a query is slower, not refused."""
CONNECT_LIMIT_S, ANSWER_LIMIT_S = 1.0, 5.0
READ_LIMIT_S = 1.0
"""A cache that is slower than this is slower than what it saves."""

REFUSALS = AuthenticationError, NoPermissionError
MOST = 128
"""Devices of a group: an answer waits for the whole of its group."""
PAUSE_S = 0.010
"""Between the beginnings of two groups: at 600 questions a second six share one, for a sixth of the
CPU of one question to Redis and one to Postgres, and wait 5 ms. Who asks alone waits for nothing.
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
_values = msgspec.json.Decoder(list[Newest])
_encoder = msgspec.json.Encoder()


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
    asking = list(devices), list(BY_CODE)
    if newest_block is None:
        rows = await asked(database.fetch(SQL["newest_readings"], *asking))
    else:
        rows = await asked(database.fetch(SQL["newest_readings_as_of"], *asking, newest_block))
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
    place, credentials = with_credentials(url)
    pool = BlockingConnectionPool.from_url(
        place,
        **credentials,
        max_connections=CONNECTIONS,
        timeout=ANSWER_LIMIT_S,
        socket_connect_timeout=CONNECT_LIMIT_S,
        socket_timeout=ANSWER_LIMIT_S,
    )
    return Redis.from_pool(renew_tls(pool))


async def told(answer: Awaitable[Any] | Any) -> Any:
    """What Redis answers. Raises CacheUnavailable."""
    try:
        return await answer
    # redis-py's RedisClusterException is no RedisError: no node is there, or none has the slot.
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        refusal = next((e for e in chain_of(error) if isinstance(e, REFUSALS)), None)
        if refusal is not None:
            raise CacheAccessRefused(reason_of(refusal)) from error
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


@dataclass(slots=True)
class Latest:
    """Newest values for queries: from the cache where it can be trusted, else from Postgres.

    Who asks at about the same time is answered together, by one write to Redis and one question to
    Postgres: of a hundred at once each costs a tenth of one alone. The question is only whether
    anything has changed, while nothing has.

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
    _hashes: HashReads = field(init=False)
    _known: Known = field(default_factory=Known)

    def __post_init__(self) -> None:
        self._together = Gathering(self._found, MOST, self.pause_s)
        self._stored = Gathering(self._newest, MOST, self.pause_s)
        self._hashes = HashReads(self.redis)

    async def ping(self) -> None:
        """Raises CacheUnavailable."""
        try:
            await told(self.redis.ping())
        except CacheUnavailable as error:
            if not isinstance(error.__cause__, RedisAway):
                raise
            # A connection that ended long ago, as a cache that was killed left it, says nothing of
            # the one that is there now.
            await told(self.redis.ping())

    async def prepare(self) -> None:
        """Asks Postgres both questions, about nobody: whoever answers has their plans then. Raises
        StoreUnavailable."""
        await asked(self.pool.fetchrow(SQL["cache_state"]))
        await self._whole_check([], frozenset(), "")

    async def close(self) -> None:
        """Its connection to Redis."""
        await self._hashes.close()

    async def of(self, device: bytes) -> list[Newest]:
        """By metric. Raises StoreUnavailable; an outage of the cache is none of the caller's."""
        return _values.decode(await self.json_of(device))

    async def json_of(self, device: bytes) -> bytes:
        """As `of`, as a JSON list."""
        if not self.breaker.lets_ask():
            return await self._from_database(device, "away")
        found = await self._together.get(device)
        if isinstance(found, str):
            return await self._from_database(device, found)
        return found

    async def json_up_to(self, device: bytes, newest_block: int) -> bytes:
        """By metric, of batches up to a block, as a JSON list. Raises StoreUnavailable."""
        return _encoder.encode((await newest_in(self.pool, [device], newest_block))[device])

    async def _found(self, devices: Sequence[bytes]) -> Mapping[bytes, Found]:
        """Raises StoreUnavailable."""
        try:
            held = await self._held(devices)
        except CacheUnavailable:
            return dict.fromkeys(devices, "away")
        run = self._hashes.run  # nothing was awaited since: of the connection that has answered
        batches = set().union(*(one.batches for one in held.values()))
        check = await self._check(devices, batches, run)
        if check is None:
            await self._hashes.leave()
            return dict.fromkeys(devices, "another life")
        return {device: check.of(device, values) for device, values in held.items()}

    async def _held(self, devices: Sequence[bytes]) -> Mapping[bytes, Held]:
        keys = [key_of(device, self.chain_id).encode() for device in devices]
        try:
            async with asyncio.timeout(READ_LIMIT_S):
                found = await told(self._hashes.of(keys))
        except (CacheUnavailable, TimeoutError) as error:
            self.breaker.failed()
            raise CacheUnavailable(str(error)) from error
        self.breaker.answered()
        return dict(zip(devices, map(Held, found), strict=True))

    async def _check(
        self, devices: Sequence[bytes], batches: AbstractSet[bytes], run: str
    ) -> Check | None:
        """None where Postgres knows of no cache, or of another run of it, which may have had more.
        After the cache was read: what was written into it before was true before."""
        known = self._known
        if batches <= known.finality.keys():
            row = await asked(self.pool.fetchrow(SQL["cache_state"]))
            if row is None or _is_another(run, row["runs"]):
                return None
            if row["change"] == known.change and not row["stale"]:
                generation = row["generation"].encode()
                return Check(generation, row["behind"], frozenset(), known.finality)
        return await self._whole_check(devices, batches, run)

    async def _whole_check(
        self, devices: Sequence[bytes], batches: AbstractSet[bytes], run: str
    ) -> Check | None:
        ids = [int(batch) for batch in batches]
        row = await asked(self.pool.fetchrow(SQL["cache_checks"], devices, ids))
        if row is None or _is_another(run, row["runs"]):
            return None
        words = msgspec.json.decode(row["finality"] or "{}", type=dict[str, str])
        finality = {
            batch.encode(): FINALITY + word.encode() + b'"}' for batch, word in words.items()
        }
        self._known = self._known.with_more(row["change"], finality)
        stale = frozenset(row["stale"])
        return Check(row["generation"].encode(), row["behind"], stale, finality)

    async def _newest(self, devices: Sequence[bytes]) -> ByDevice:
        return await newest_in(self.pool, devices)

    async def _from_database(self, device: bytes, reason: str) -> bytes:
        # Together, too: while Redis is away all who ask come here.
        self.bypassed(reason)
        return _encoder.encode(await self._stored.get(device))


def _is_another(run: str, known: str) -> bool:
    """Whether a server of the cache is none of those that it was written to, if both are known."""
    return bool(run and known) and run not in known.split()


async def refreshed(writer: LatestWriter, database: "Asked", devices: Iterable[bytes]) -> None:
    """Sets devices to what Postgres holds now."""
    wanted = list(dict.fromkeys(devices))
    for start in range(0, len(wanted), PIPELINE):
        await writer.replace(await newest_in(database, wanted[start : start + PIPELINE]))
