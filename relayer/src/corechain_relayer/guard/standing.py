"""Whether demands still need the answers that the journal has."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.service.rpc import Block
from corechain_relayer.guard.chain import DisputesContract, OnChain
from corechain_relayer.guard.store import demand_of
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Found, Moot


@dataclass(frozen=True, slots=True)
class OpenDemands:
    """Whether answers are still to be sent. What was signed and came to nothing (it reverted, its
    nonce was used by hand) is void: the guard records a new one if the demand is still open."""

    contract: DisputesContract

    async def __call__(self, intents: Sequence[Intent]) -> list[Found]:
        """In one request for a hundred. Raises NodeUnavailable, NodeRefused."""
        ids = [demand_of(intent.key) for intent in intents]
        head, found = await self.contract.demands(ids)
        pairs = zip(intents, found, strict=True)
        return [moot(intent, demand, head) for intent, demand in pairs]


def moot(intent: Intent, demand: OnChain, head: Block) -> Moot | None:
    """As of the block in which the demand stands so. Pure."""
    if not demand.is_open:
        return Moot("the demand is closed", at_once=True)
    if demand.deadline < head.timestamp:
        return Moot("the deadline has passed", at_once=True)
    if intent.attempts:
        why = "its transaction came to nothing: the demand is answered anew"
        return Moot(why, at_once=True)
    return None
