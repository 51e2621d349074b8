"""The lock of who works by other connections than the one that has it."""

import asyncio
from typing import TYPE_CHECKING

from corechain.service.database import asked

if TYPE_CHECKING:
    from corechain.service.database import Conn

ASK_S = 5.0
SILENT_S = 60.0
"""Who has asked nothing for so long stands still (SIGSTOP, a frozen container). Its kernel answers
for it, so no keepalive of Postgres's ends its session."""
END_WHEN_SILENT = """
select set_config('idle_session_timeout', $1, false)
where current_setting('idle_session_timeout', true) is not null
"""


async def keep_lock(connection: "Conn") -> None:
    """Until a `writer`'s connection is lost, and its lock with it; the server ends it where the
    process stands still. Raises StoreUnavailable."""
    await asked(connection.execute(END_WHEN_SILENT, str(int(SILENT_S * 1000))))
    while True:
        await asked(connection.fetchval("select 1"))
        await asyncio.sleep(ASK_S)
