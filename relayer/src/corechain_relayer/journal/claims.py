"""Which aggregators share the lanes of a relayer, and who has which: locks of their connections.

A member that dies, or stands still, leaves with its connection, so there is nothing to clean up and
no heartbeat to set. The lane's writer lock still decides who may write: a claim only says who
should.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked, session
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from corechain.service.database import Conn


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's place in the order of all, from 0, and how many there are."""

    rank: int
    members: int


@dataclass(frozen=True, slots=True)
class LaneClaims:
    """One member's view. `first_lane` tells several relayers in one database apart."""

    connection: "Conn"
    first_lane: int

    @property
    def _members(self) -> str:
        return f"sharing aggregators of lane {self.first_lane}"

    def _lane(self, place: int) -> str:
        return f"claim of lane {self.first_lane + place}"

    async def join(self) -> None:
        await asked(self.connection.execute(query("join_sharing"), self._members))

    async def standing(self) -> Standing:
        """Raises StoreUnavailable; a member that lost its connection has no standing any more."""
        rows = await asked(self.connection.fetch(query("sharing_members"), self._members))
        mine = next(rank for rank, row in enumerate(rows) if row["mine"])
        return Standing(mine, len(rows))

    async def claim(self, place: int) -> bool:
        """Whether the lane at that place is ours now."""
        return bool(await asked(self.connection.fetchval(query("claim_lane"), self._lane(place))))

    async def release(self, place: int) -> None:
        await asked(self.connection.execute(query("release_lane"), self._lane(place)))


@asynccontextmanager
async def lane_claims(url: str, first_lane: int) -> AsyncIterator[LaneClaims]:
    """Membership for as long as the context lasts. Raises StoreUnavailable."""
    async with session(url) as connection:
        claims = LaneClaims(connection, first_lane)
        await claims.join()
        yield claims
