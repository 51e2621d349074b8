"""Whether the shards are those of this index, before anything is served or written.

URLs that differ may lead to one database (a name and its address, a socket and its port). So each
is asked itself: a lock that one connection holds is seen by others to the same database alone.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from corechain.service.database import START_S, asked, check_at_start, connect, hang_up
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain_indexer.store.shards import MIGRATIONS, SHARD_SQL
from corechain_indexer.store.shards.databases import another_one, check_layout, refuse_pooler

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn

CHAIN_WIDE = "DATABASE_URL"


async def check_shards_at_start(main_url: str, urls: Sequence[str]) -> None:
    """Changes nothing. Who does not answer now, or has no tables yet, is asked by `Shards.prepare`.

    Raises WrongDatabase for a database that is named twice, is another service's, another shard or
    of another index, for a pooler, and for an index that is divided otherwise.
    """
    with suppress(StoreUnavailable, TimeoutError):
        async with asyncio.timeout(START_S), AsyncExitStack() as stack:
            opened = await asyncio.gather(*(_opened(stack, url) for url in (main_url, *urls)))
            main, *shards = opened
            for number, shard in enumerate(shards):
                if shard is not None:
                    await refuse_pooler(shard, number)
            await _check_twice(opened)
            await asyncio.gather(*map(_check_owner, range(len(urls)), urls))
            layout = None if main is None else await _layout(main, len(urls))
            for number, shard in enumerate(shards):
                if shard is not None and layout is not None:
                    await _check_claim(shard, number, layout)


async def _opened(stack: AsyncExitStack, url: str) -> "Conn | None":
    """None where it is away."""
    try:
        connection = await connect(url)
    except StoreUnavailable:
        return None
    stack.push_async_callback(hang_up, connection)
    return connection


async def _check_twice(connections: "Sequence[Conn | None]") -> None:
    # By chance: of two processes that start together each sees its own locks alone.
    start = secrets.randbits(31)
    for place, connection in enumerate(connections):
        if connection is None:
            continue
        held = await asked(connection.fetchrow(SHARD_SQL["named_before"], start))
        if held is not None:
            raise WrongDatabase(
                f"SHARD_URLS: {_name(place)} and {_name(held['place'])} are the same database: "
                "each needs one of its own"
            )
        await asked(connection.fetch(SHARD_SQL["name_database"], start, place))


def _name(place: int) -> str:
    return f"shard {place - 1}" if place else CHAIN_WIDE


async def _check_owner(number: int, url: str) -> None:
    try:
        await check_at_start(url, MIGRATIONS)
    except WrongDatabase as error:
        why = str(error).removeprefix(f"{CHAIN_WIDE}: ")
        raise WrongDatabase(f"SHARD_URLS, shard {number}: {why}") from error


async def _layout(main: "Conn", count: int) -> "Record | None":
    """None where there is none that can be read yet. Raises WrongDatabase."""
    with suppress(StoreUnavailable):  # no tables yet, or a first run that is to make it
        return await check_layout(main, count)
    return None


async def _check_claim(shard: "Conn", number: int, layout: "Record") -> None:
    with suppress(StoreUnavailable):  # it has no tables yet
        row = await asked(shard.fetchrow(SHARD_SQL["claimed_shard"]))
        if row is not None and (row["number"], row["layout"]) != (number, layout["id"]):
            raise another_one(number, row, layout["id"])
