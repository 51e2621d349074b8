"""Many hashes of Redis, read together: one write, and as few reads as their bytes come in.

redis-py makes objects and waits for each command by itself: 200 µs of CPU for one hash, 124 each
for four together, 48 for sixteen. On a connection of our own, with the same parser (hiredis), they
take 32, 8 and 7. It is redis-py that connects: address, TLS, user, database and limits are its own.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import hiredis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from corechain_indexer.errors import CacheUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

Hash = Mapping[bytes, bytes]
_RUN = re.compile(rb"^run_id:(\w+)", re.MULTILINE)
ANEW_S = 5.0
"""How often a connection that leads to another run than it should is left for a new one."""
TRIES = 2
"""That the server has ended a connection while nobody asked may be found out by asking."""


def hash_commands(keys: Sequence[bytes]) -> bytes:
    """HGETALL of each, as Redis takes commands (RESP: arrays of strings, each behind its length).
    Pure."""
    return b"".join([b"*2\r\n$7\r\nHGETALL\r\n$%d\r\n%b\r\n" % (len(key), key) for key in keys])


class Replies(asyncio.Protocol):
    """The replies to what was sent last."""

    def __init__(self) -> None:
        self.is_lost = False
        self._reader = hiredis.Reader()
        self._found: list[Any] = []
        self._count = 0
        self._all: asyncio.Future[list[Any]] | None = None

    def expect(self, count: int) -> "asyncio.Future[list[Any]]":
        """The next replies. It raises ConnectionError where they end before."""
        self._found, self._count = [], count
        self._all = asyncio.get_running_loop().create_future()
        return self._all

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            # False stands for a reply that is not whole yet: none of ours is a truth value.
            while (reply := self._reader.gets()) is not False:
                if not isinstance(reply, hiredis.PushNotification):
                    self._found.append(reply)
        except hiredis.ProtocolError as error:
            self.connection_lost(error)
            return
        if self._all is not None and len(self._found) >= self._count and not self._all.done():
            self._all.set_result(self._found)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if self._all is not None and not self._all.done():
            self._all.set_exception(ConnectionError(str(error or "closed")))


@dataclass(slots=True)
class HashReads:
    """One question at a time: others wait for it."""

    redis: "Redis"
    run: str = ""
    """Of the server that answered last, since when it is up; empty where it does not say, and of a
    cluster."""
    _connection: "AbstractConnection | None" = None
    _transport: Any = None
    _replies: Replies = field(default_factory=Replies)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _since: float = 0.0

    async def of(self, keys: Sequence[bytes]) -> list[Hash]:
        """The fields of each key; of one that is not there, none. Raises CacheUnavailable, and what
        redis-py raises while it connects."""
        if isinstance(cast(object, self.redis), RedisCluster):
            return await self._by_node(keys)
        async with self._turn:
            found = await self._asked(hash_commands(keys), len(keys))
        return [_hash_of(reply) for reply in found]

    async def leave(self) -> None:
        """By the next question the address may lead elsewhere: a server that was replaced may go on
        as a replica, and end no connection."""
        if time.monotonic() - self._since >= ANEW_S:
            async with self._turn:
                await self.close()

    async def close(self) -> None:
        """It may be asked again afterwards."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _by_node(self, keys: Sequence[bytes]) -> list[Hash]:
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(cast(str, key))
        return cast(list[Hash], await pipe.execute())

    async def _asked(self, commands: bytes, count: int) -> list[Any]:
        for _ in range(TRIES):
            if self._connection is None or self._replies.is_lost:
                await self._connect()
            try:
                replies = self._replies.expect(count)
                self._transport.write(commands)
                return await replies
            except ConnectionError:
                await self.close()
            except BaseException:
                # Who left has not read its replies: the next one would take them for its own.
                await self.close()
                raise
        raise CacheUnavailable("Redis is not there")

    async def _connect(self) -> None:
        await self.close()
        self._since = time.monotonic()
        pool: Any = self.redis.connection_pool
        connection = pool.make_connection()
        await connection.connect()
        self.run = await run_on(connection)
        self._connection, self._replies = connection, Replies()
        self._transport = connection._writer.transport
        # From here on its stream gets nothing: what comes is read as it comes, without a task that
        # is woken for each reply.
        self._transport.set_protocol(self._replies)


async def run_on(connection: "AbstractConnection") -> str:
    """Which run of a server it leads to; empty where that is not told, or not to us."""
    await connection.send_command("INFO", "server")
    try:
        found = _RUN.search(await connection.read_response())
    except (ResponseError, TypeError):
        return ""
    return found[1].decode() if found else ""


def _hash_of(reply: Any) -> Hash:
    if isinstance(reply, Exception):
        raise CacheUnavailable(f"Redis: {reply}")
    if isinstance(reply, list):  # RESP2: fields and values in turn
        return dict(zip(reply[::2], reply[1::2], strict=True))
    return cast(Hash, reply)
