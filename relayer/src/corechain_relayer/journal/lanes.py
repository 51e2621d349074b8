"""How many lanes there are, and that nobody divides by another number at the same time.

Two aggregators that divide devices differently would both count a device's reports. So each holds a
shared lock for as long as its connection lives, and who brings another number needs it alone.
"""

from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_relayer.errors import LanesInUse
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from corechain.service.database import Conn

LOCK = "hashtextextended('corechain lanes', 0)"


async def hold_lanes(connection: "Conn", lanes: int) -> int:
    """Binds this connection's life to a number of lanes; the most lanes that there ever were.

    Raises LanesInUse while a writer that divides by another number is there, StoreUnavailable.
    """
    await asked(connection.execute(query("first_lane_count"), lanes))
    if await _asked(connection, "lanes") != lanes:
        await _change(connection, lanes)
    shared = await asked(connection.fetchval(f"select pg_try_advisory_lock_shared({LOCK})"))
    # Asked again under the lock: somebody may have changed it before we had it.
    if not shared or await _asked(connection, "lanes") != lanes:
        raise LanesInUse(lanes)
    return await _asked(connection, "most")


async def _asked(connection: "Conn", column: str) -> int:
    row = await asked(connection.fetchrow(query("lane_count")))
    assert row is not None, "first_lane_count inserts it"
    return int(row[column])


async def _change(connection: "Conn", lanes: int) -> None:
    alone = await asked(connection.fetchval(f"select pg_try_advisory_lock({LOCK})"))
    if not alone:
        raise LanesInUse(lanes)
    try:
        await asked(connection.execute(query("change_lane_count"), lanes))
        # The shared lock before the other one goes: nobody gets in between.
        await asked(connection.fetchval(f"select pg_try_advisory_lock_shared({LOCK})"))
    finally:
        await asked(connection.fetchval(f"select pg_advisory_unlock({LOCK})"))
