"""What the index has not mirrored yet of what this version and its deployment know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from corechain.deployment import DeployedContract
from corechain.service.database import asked
from corechain_indexer.kinds import CONTRACT_OF_TABLE, Decoder
from corechain_indexer.store import SQL

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain_indexer.store import Asked


class Gap(NamedTuple):
    """A contract, or a kind of event, that is known `at` a block while the index is at `last`."""

    contract: str | None
    event: str | None
    first: int
    last: int
    at: int
    tables: frozenset[str]
    """Whose rows are not all there."""

    @property
    def sentence(self) -> str:
        what = self.event or self.contract
        return f"{what} is taken up: block {self.at} of {self.last} is reached"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Compares an index with what it is to have. Raises StoreUnavailable."""

    database: "Asked"
    contracts: Mapping[str, DeployedContract]
    decoders: Mapping[bytes, Decoder]

    async def gaps(self) -> list[Gap] | None:
        """None while the index cannot say: it has no block yet, or no mirror of a version that
        keeps account of contracts has run."""
        row = await asked(self.database.fetchrow(SQL["coverage"]))
        assert row is not None, "an aggregate always has a row"
        if row["indexed"] < 0 or not row["addresses"]:
            return None
        return [*self._contracts(row), *self._events(row)]

    def _contracts(self, row: "Record") -> list[Gap]:
        states = zip(row["addresses"], row["joined"], row["reached"], strict=True)
        known = {address: (joined, reached) for address, joined, reached in states}
        found = []
        for name, contract in self.contracts.items():
            joined, reached = known.get(contract.address, (False, None))
            if not joined:
                tables = frozenset(t for t, owner in CONTRACT_OF_TABLE.items() if owner == name)
                at = contract.block - 1 if reached is None else reached
                found.append(Gap(name, None, contract.block, row["indexed"], at, tables))
        return found

    def _events(self, row: "Record") -> list[Gap]:
        states = zip(row["topics"], row["revisions"], row["throughs"], strict=True)
        known = {topic: (revision, through) for topic, revision, through in states}
        first = min((contract.block for contract in self.contracts.values()), default=0)
        found = []
        for topic, decoder in self.decoders.items():
            revision, through = known.get(topic, (None, -1))
            if revision != decoder.revision or through is not None:
                at = max(first - 1, -1 if through is None else through)
                tables = frozenset({decoder.table})
                found.append(Gap(None, decoder.name, first, row["indexed"], at, tables))
        return found
