"""No answer from rows that are not all there: a contract, or an event, that is being taken up.

Once everything is there it stays so for as long as this process runs: contracts and versions come
with a restart, and an index that is built anew takes all of them at once. So a complete index is
asked once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from corechain.deployment import DeployedContract
from corechain.protocol.errors import CatchingUp, TransportError
from corechain_indexer.kinds import decoders
from corechain_indexer.store.coverage import Coverage, Gap
from corechain_indexer.store.replica import PRIMARY, one_source

if TYPE_CHECKING:
    from corechain.service.database import Database

LOOK_S = 0.1
"""Between two looks at an index that is not complete, whoever asks."""
LIMIT_S = 1.0
"""For `/ready`, which must not hang with Postgres."""


@dataclass(slots=True)
class Completeness:
    """`database` answers the request that runs now, and `source` says which one that is: a replica
    may lack what the primary has."""

    database: "Database"
    contracts: Mapping[str, DeployedContract]
    source: Callable[[], str] = one_source
    _complete: set[str] = field(default_factory=set)
    _gaps: dict[str, Sequence[Gap]] = field(default_factory=dict)
    _looked_at: dict[str, float] = field(default_factory=dict)
    _looking: "dict[str, asyncio.Task[Sequence[Gap]]]" = field(default_factory=dict)

    async def require(self, tables: Iterable[str]) -> None:
        """Raises CatchingUp where rows of one of these tables are missing, StoreUnavailable."""
        if self._complete and self.source() in self._complete:
            return
        needed = set(tables)
        if not needed:
            return
        for gap in await self.gaps():
            if gap.tables & needed:
                raise CatchingUp(gap.sentence)

    async def gaps(self) -> Sequence[Gap]:
        """Raises StoreUnavailable."""
        source = self.source()
        if source in self._complete:
            return ()
        if time.monotonic() - self._looked_at.get(source, float("-inf")) < LOOK_S:
            return self._gaps[source]
        looking = self._looking.get(source)
        if looking is None:
            # One look for all who ask meanwhile: under load one takes longer than LOOK_S, and then
            # every query would begin another one.
            looking = self._looking[source] = asyncio.create_task(self._look(source))
            looking.add_done_callback(lambda task: self._looked(source, task))
        # Shielded: who leaves must not take the answer from the others.
        return await asyncio.shield(looking)

    async def _look(self, source: str) -> Sequence[Gap]:
        asked_at = time.monotonic()
        gaps = await Coverage(self.database, self.contracts, decoders()).gaps()
        # By the source that it was asked of; the look may have gone on to the other one.
        if self.source() == source:
            self._note(source, gaps, asked_at)
        return gaps or ()

    def _looked(self, source: str, task: "asyncio.Task[Sequence[Gap]]") -> None:
        del self._looking[source]
        if not task.cancelled():
            task.exception()  # seen: all who waited may have left

    def _note(self, source: str, gaps: Sequence[Gap] | None, asked_at: float) -> None:
        self._gaps[source], self._looked_at[source] = gaps or (), asked_at
        if gaps is not None and not gaps:
            # The primary is never behind a replica.
            self._complete |= {source, PRIMARY}

    async def facts(self) -> Mapping[str, Any]:
        """For `/ready`. Empty where Postgres does not say: it is named there by itself."""
        try:
            async with asyncio.timeout(LIMIT_S):
                gaps = await self.gaps()
        except (TransportError, TimeoutError):
            return {}
        return {"catching_up": [shown(gap) for gap in gaps]} if gaps else {}


def shown(gap: Gap) -> dict[str, Any]:
    """Of one, either `contract` or `event`; blocks."""
    what = {"contract": gap.contract} if gap.event is None else {"event": gap.event}
    return {**what, "from": gap.first, "to": gap.last, "at": gap.at}
