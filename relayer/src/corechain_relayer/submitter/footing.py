"""Whether the devices of a batch are registered on the chain that its commit will be built on.

By the contract's rule (DeviceEvidence.sol) a report is good when its device has a slot, or a fleet
that lists it, at the second of the commit: a registration that comes back later than it was first
is as good, as long as it is there before the commit. What was final at sealing is not asked for.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain_relayer.calldata import committed_id
from corechain_relayer.journal.rests import Rests, RestsStore
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.submitter.grounds import NOTHING, REGISTRATION_GONE, REGISTRY_UNREAD, Weak
from corechain_relayer.submitter.plan import Intent

log = structlog.get_logger(__name__)

SHOWN = 3
"""Devices that a sentence names."""


@dataclass(slots=True)
class BatchFooting:
    """The grounds of commits. Costs nothing while all devices of the batches are of old."""

    store: RestsStore
    registry: RegistryFollower
    _known: dict[int, Rests] = field(default_factory=dict)
    """By batch; empty: it rests on nothing. A batch's are written with its intent, once."""
    _said: frozenset[int] = frozenset()

    async def __call__(self, intents: Sequence[Intent]) -> Mapping[int, Weak]:
        """Raises StoreUnavailable."""
        rests = await self._rests(intents)
        if not any(rests.values()):
            return {}
        try:
            await self.registry.refresh_since(time.monotonic())
        except (NodeUnavailable, NodeRefused) as error:
            why = f"whether its devices are registered cannot be asked now: {error}"
            return self._told({i: Weak(REGISTRY_UNREAD, why, False) for i, r in rests.items() if r})
        await self._settle(intents)
        gone = {i: self.registry.missing(r) for i, r in rests.items()}
        return self._told({i: Weak(REGISTRATION_GONE, _sentence(d)) for i, d in gone.items() if d})

    async def _rests(self, intents: Sequence[Intent]) -> dict[int, Rests]:
        """By id of the intent."""
        commits = (intent for intent in intents if not intent.key.startswith(NOTHING))
        batches = {intent.id: committed_id(intent.calldata) for intent in commits}
        fresh = [batch for batch in batches.values() if batch not in self._known]
        found = await self.store.of(fresh) if fresh else {}
        known = {batch: self._known.get(batch, found.get(batch, {})) for batch in batches.values()}
        self._known = known
        return {number: known[batch] for number, batch in batches.items()}

    async def _settle(self, intents: Sequence[Intent]) -> None:
        """Forgets what no reorg can take any more."""
        asked = {batch: rests for batch, rests in self._known.items() if rests}
        done = [b for b, rests in asked.items() if not self.registry.unsettled(rests)]
        if done:
            await self.store.drop(done)
            self._known |= {batch: {} for batch in done}

    def _told(self, weak: dict[int, Weak]) -> dict[int, Weak]:
        """Logs what is new, and what is over."""
        for number in weak.keys() - self._said:
            log.error(
                "commit held", intent=number, reason=weak[number].reason, why=weak[number].why
            )
        for number in self._said - weak.keys():
            log.warning("commit is not held any more", intent=number)
        self._said = frozenset(weak)
        return weak


def _sentence(devices: Sequence[bytes]) -> str:
    names = ", ".join(f"0x{device.hex()}" for device in devices[:SHOWN])
    more = len(devices) - SHOWN
    also = f" and {more} more" if more > 0 else ""
    return (
        f"a reorg has taken back the registration of {names}{also}, and a commit without it could "
        "cost the bond: it goes on when the registration is in a block again. If it does not come "
        "back by itself, its owner has to send it again (DeviceRegistry: register, enrolFleet)"
    )
