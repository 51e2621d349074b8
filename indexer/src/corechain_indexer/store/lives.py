"""Which runs of which servers the cache is on: another run may have lost what it had told us.

Redis acknowledges before it is on a disk or a replica. A replica that takes over, or a server that
comes back from its last snapshot, has an older state of the same generation: hashes that are whole,
and not the newest.
"""

from typing import TYPE_CHECKING, Any

from redis.asyncio.cluster import RedisCluster

from corechain_indexer.store.latest import told

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def lives_of(redis: "Redis | RedisCluster") -> frozenset[str]:
    """The runs that take writes now. Raises CacheUnavailable."""
    if isinstance(redis, RedisCluster):
        found = await told(redis.execute_command("INFO", "server", target_nodes="primaries"))
        # redis-py gives what a single one says itself, not by the name of the node.
        return frozenset(map(_run_of, [found] if "run_id" in found else found.values()))
    return frozenset([_run_of(await told(redis.info("server")))])


def _run_of(info: Any) -> str:
    """A service that tells none is taken for one run, whatever happens to it."""
    return str(info.get("run_id", "")) if isinstance(info, dict) else ""
