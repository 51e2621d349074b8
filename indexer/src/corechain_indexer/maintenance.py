"""What an operator does by hand."""

from collections.abc import Callable

import structlog

from corechain.service.database import migrate, writer
from corechain.service.errors import WrongDatabase
from corechain_indexer.settings import Settings
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.mirrored import forget_mirrored
from corechain_indexer.store.opened import shards_of
from corechain_indexer.store.shards.databases import MOVER, check_divided, forget_shards

log = structlog.get_logger(__name__)

WRITER = "corechain indexer"
BEFORE_EVERYTHING = -1


async def forget_everything(settings: Settings) -> None:
    """Rolls back to before the first block. Vouchers are kept. Cache, series and subscribers learn
    of it as of any rollback, by the outbox, when the indexer runs again.

    Raises WriterLockHeld while an indexer runs, WrongDatabase for another service's, or where
    SHARD_URLS does not name the shards that the index is divided over.
    """
    async with (
        writer(settings.session_url, WRITER) as connection,
        # Nobody adds shards meanwhile.
        writer(settings.session_url, MOVER),
    ):
        await migrate(settings.session_url, MIGRATIONS)  # an older version lacks tables
        shards = shards_of(settings)
        await check_divided(connection, shards)
        gone = await ChainStore(connection).roll_back(BEFORE_EVERYTHING)
        await forget_mirrored(connection)
        # Last: until then a repetition knows that there are shards to be emptied.
        if shards is not None:
            await forget_shards(connection, shards)
    log.info("forgotten", batches=len(gone.batches))


async def more_shards(
    settings: Settings, told: Callable[[str], None], *, abort: bool = False
) -> bool:
    """Divides the index over all shards that SHARD_URLS names, twice as many as it has; goes on
    where a run before was ended; with `abort` takes back what was begun. False where there was
    nothing to do. Raises WriterLockHeld while another does so, WrongDatabase, StoreUnavailable."""
    # On first use: it takes numpy, which the mirror starts without.
    from corechain_indexer.store.shards.moving import add_shards

    async with writer(settings.session_url, MOVER) as connection:
        await migrate(settings.session_url, MIGRATIONS)
        shards = shards_of(settings)
        if shards is None:
            raise WrongDatabase("INDEXER_SHARD_URLS is not set: nothing is divided")
        return await add_shards(connection, shards, told, abort=abort)
