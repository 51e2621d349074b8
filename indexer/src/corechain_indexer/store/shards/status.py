"""What an operator wants to know of the shards."""

from typing import Any

from corechain.service.database import connect, hang_up
from corechain.service.errors import StoreUnavailable
from corechain_indexer.store.shards.databases import Shard, Shards


async def status_of(session_url: str, shards: Shards) -> list[dict[str, Any]]:
    """A document for each shard, in the order of their numbers; `away` says why one does not
    answer. Raises StoreUnavailable for the chain-wide database, WrongDatabase."""
    connection = await connect(session_url)
    try:
        await shards.prepare(connection, new=False)
        return [await _one(shards, shard) for shard in shards.all]
    finally:
        await hang_up(connection)
        await shards.close()


async def _one(shards: Shards, shard: Shard) -> dict[str, Any]:
    try:
        (row,) = await (await shards.ready(shard)).fetch("shard_status")
    except StoreUnavailable as error:
        return {"shard": shard.number, "away": str(error)}
    return {"shard": shard.number, **dict(row)}
