"""What an operator does by hand."""

import structlog
from redis.asyncio import Redis

from corechain.service.database import writer
from corechain_indexer.settings import Settings
from corechain_indexer.store.chain import ChainStore

log = structlog.get_logger(__name__)

WRITER = "corechain indexer"
BEFORE_EVERYTHING = -1
PATTERN = "corechain:latest:*"


async def forget_everything(settings: Settings) -> None:
    """Rolls back to before the first block, and empties the cache. Vouchers are kept.

    Raises WriterLockHeld while an indexer runs.
    """
    async with writer(settings.database_url.get_secret_value(), WRITER) as connection:
        gone = await ChainStore(connection).roll_back(BEFORE_EVERYTHING)
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    try:
        async for key in redis.scan_iter(PATTERN):
            await redis.delete(key)
    finally:
        await redis.aclose()
    log.info("forgotten", batches=len(gone.batches))
