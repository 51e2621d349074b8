"""What an operator does by hand."""

import structlog

from corechain.service.database import migrate, writer
from corechain_indexer.settings import Settings
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.chain import ChainStore
from corechain_indexer.store.mirrored import forget_mirrored

log = structlog.get_logger(__name__)

WRITER = "corechain indexer"
BEFORE_EVERYTHING = -1


async def forget_everything(settings: Settings) -> None:
    """Rolls back to before the first block. Vouchers are kept. Cache, series and subscribers learn
    of it as of any rollback, by the outbox, when the indexer runs again.

    Raises WriterLockHeld while an indexer runs, WrongDatabase for another service's.
    """
    async with writer(settings.session_url, WRITER) as connection:
        await migrate(settings.session_url, MIGRATIONS)  # an older version lacks tables
        gone = await ChainStore(connection).roll_back(BEFORE_EVERYTHING)
        await forget_mirrored(connection)
    log.info("forgotten", batches=len(gone.batches))
