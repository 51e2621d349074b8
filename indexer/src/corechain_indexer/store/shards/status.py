"""What an operator wants to know of the shards."""

from typing import TYPE_CHECKING, Any

from corechain.service.database import asked, connect, hang_up
from corechain_indexer.errors import ShardUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.shards.databases import Shard, Shards
from corechain_indexer.store.shards.moving import progress

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Conn


async def status_of(session_url: str, shards: Shards) -> list[dict[str, Any]]:
    """A document for each shard, in the order of their numbers; `away` says why one does not
    answer. Raises StoreUnavailable for the chain-wide database, WrongDatabase."""
    connection = await connect(session_url)
    try:
        await shards.prepare(connection, new=False)
        layout = shards.follow(await asked(connection.fetchrow(SQL["shard_layout"])))
        return [await _one(connection, shards, shard, layout) for shard in shards.used]
    finally:
        await hang_up(connection)
        await shards.close()


async def _one(main: "Conn", shards: Shards, shard: Shard, layout: "Record") -> dict[str, Any]:
    try:
        (row,) = await (await shards.ready(shard)).fetch("shard_status")
        found = {"shard": shard.number, **dict(row)}
        # The lower half are the old ones.
        if layout["step"] is not None and shard.number < shards.written // 2:
            found |= {"step": layout["step"], **await progress(main, shard)}
    except ShardUnavailable as error:
        return {"shard": shard.number, "away": str(error)}
    return found
