"""Records what is to be sent; and says of what is not sent any more, though it is wanted."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from corechain_relayer.challenger.alerts import GIVEN_UP, ChallengerAlerts
from corechain_relayer.challenger.store import NOTHING_SENT, ChallengerStore, Sent

log = structlog.get_logger(__name__)

WANTED_S = 600.0
"""What nobody has wanted for so long is over: a demand is asked about every few seconds, and after
a fault of its batch later and later, up to half of this."""


@dataclass(slots=True)
class Wanting:
    """Of one queue. `work` wakes its submitter. Raises StoreUnavailable."""

    store: ChallengerStore
    alerts: ChallengerAlerts
    work: asyncio.Event
    _wanted: dict[str, float] = field(default_factory=dict)
    """When that was wanted last for which there are no more tries."""

    async def want(
        self, purpose: str, sent: Mapping[str, Sent], target: bytes, call: bytes
    ) -> None:
        before = sent.get(purpose, NOTHING_SENT)
        if await self.store.record(purpose, before, target, call):
            log.warning("recorded", purpose=purpose)
        elif before.used_up:
            await self._give_up(purpose, before)
        self.work.set()

    async def _give_up(self, purpose: str, before: Sent) -> None:
        if purpose not in self._wanted:
            await self.store.give_up(purpose, before)
        self._wanted[purpose] = time.monotonic()
        self.alerts.say(GIVEN_UP, purpose, f"{purpose}: {before.used_up}")

    def look(self) -> None:
        """Once a round: ends the alerts of what is wanted no more."""
        oldest = time.monotonic() - WANTED_S
        self._wanted = {one: at for one, at in self._wanted.items() if at >= oldest}
        self.alerts.keep(GIVEN_UP, set(self._wanted))
