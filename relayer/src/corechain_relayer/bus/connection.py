"""A client of the bus's server that asks each server it meets, and one type for its outages."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as NoAnswer

from corechain.service.reasons import reason_of
from corechain.service.redis_credentials import renew_tls, with_credentials
from corechain_relayer.bus.base import DeadLetter, Delivery
from corechain_relayer.bus.guard import Guard, RefusedServer
from corechain_relayer.bus.keys import FIELD
from corechain_relayer.errors import BusAccessRefused, BusUnavailable

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 5.0, 30.0
SILENCE = TimeoutError, NoAnswer
REFUSALS = AuthenticationError, NoPermissionError
PAGE = 50
"""Frames a page: one may have as many bytes as a request body."""

Entries = Sequence[tuple[bytes, dict[bytes, bytes] | None]]


def connect(url: str, guard: Guard) -> "Redis":
    """A client that never repeats a command by itself: an append must not be sent twice unseen."""
    place, credentials = with_credentials(url)
    client: Redis = Redis.from_url(
        place,
        **credentials,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        redis_connect_func=guard.on_connect,
    )
    renew_tls(client.connection_pool)
    return client


async def asked(answer: Awaitable[Any]) -> Any:
    """The answer. Raises BusUnavailable, BusNotDurable."""
    try:
        return await answer
    except RefusedServer as error:
        raise error.cause from None
    except (RedisError, OSError) as error:
        raise away(error) from error


def away(error: Exception) -> BusUnavailable:
    """What an error of redis-py, or of the connection, says, and that it is the bus's: a command
    has nothing else to show."""
    why = reason_of(error)
    if isinstance(error, REFUSALS):
        return BusAccessRefused(why)
    is_silent = isinstance(error, SILENCE)
    return BusUnavailable(f"the bus: no answer in time ({why})" if is_silent else f"the bus: {why}")


@asynccontextmanager
async def line(redis: "Redis") -> "AsyncIterator[AbstractConnection]":
    """A connection for one exchange. It is open already, so all of it reaches the same server."""
    pool = redis.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        yield connection
    finally:
        await pool.release(connection)


async def exchange(
    connection: "AbstractConnection", commands: Sequence[Sequence[Any]]
) -> list[object]:
    """One answer a command, in order; what the server refuses stands as its error."""
    await connection.send_packed_command(connection.pack_commands(commands))
    return [await _answer(connection) for _ in commands]


async def _answer(connection: "AbstractConnection") -> object:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def deliveries(entries: Entries) -> list[Delivery]:
    # An entry without fields was deleted after it was delivered: acknowledged by a twin.
    return [Delivery(id.decode(), fields[FIELD]) for id, fields in entries if fields]


async def pages(redis: "Redis", stream: str, after: str = "0") -> AsyncIterator[list[Delivery]]:
    """The frames on a stream after an id, in pages. Raises BusUnavailable."""
    async for entries in _entries(redis, stream, after):
        yield deliveries(entries)


async def letter_pages(redis: "Redis", stream: str) -> AsyncIterator[list[DeadLetter]]:
    """The dead letters on a stream, in pages. Raises BusUnavailable."""
    async for entries in _entries(redis, stream, "0"):
        yield [
            DeadLetter(id.decode(), fields[FIELD], fields.get(b"reason", b"").decode())
            for id, fields in entries
            if fields
        ]


async def _entries(redis: "Redis", stream: str, after: str) -> AsyncIterator[Entries]:
    while True:
        entries = await asked(redis.xrange(stream, f"({after}", "+", count=PAGE))
        yield entries
        if len(entries) < PAGE:
            return
        after = entries[-1][0].decode()
