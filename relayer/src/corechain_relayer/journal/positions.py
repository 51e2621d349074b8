"""How far the bus was, kept where a lost bus does not take it along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.service.database import asked
from corechain_relayer.bus.base import Position
from corechain_relayer.journal.sql import query

if TYPE_CHECKING:
    from corechain.service.database import Database


@dataclass(frozen=True, slots=True)
class PositionJournal:
    """Positions of a bus's lanes. Any number of processes write. Raises StoreUnavailable."""

    pool: "Database"

    async def positions(self, stream: str) -> Mapping[int, Position]:
        rows = await asked(self.pool.fetch(query("bus_positions"), stream))
        return {row["lane"]: Position(row["run"], 0, row["appended"]) for row in rows}

    async def keep_positions(self, stream: str, positions: Mapping[int, Position]) -> None:
        runs = [position.run for position in positions.values()]
        counts = [position.appended for position in positions.values()]
        fields = (stream, list(positions), runs, counts)
        await asked(self.pool.execute(query("keep_bus_positions"), *fields))
