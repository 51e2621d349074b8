"""Carries the challenger's intents to the chain, privately where a private RPC is given."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.service.errors import NodeRefused
from corechain.service.rpc import Rpc
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Moot


@dataclass(slots=True)
class PrivateNode(Node):
    """Asks the public node, and gives transactions to another one alone: evidence that is seen in
    the mempool can be copied, and the bounty goes to whoever comes first (docs/contracts.md)."""

    private: Rpc | None = None

    async def send(self, transactions: Sequence[bytes]) -> list[NodeRefused | None]:
        if self.private is None:
            return await Node.send(self, transactions)
        return await Node(self.private, 1, self.max_fee, 0).send(transactions)


@dataclass(frozen=True, slots=True)
class StillTaken:
    """Whether the contract would take an intent's call now; if not, it is void with the reason:
    somebody else was first, a window is over. What was signed and came to nothing is void too: the
    challenger records a new one while it is wanted."""

    calls: DisputesCalls

    async def __call__(self, intent: Intent) -> Moot | None:
        said = await self.calls.said_to(intent.calldata, intent.target)
        if said:
            return Moot(f"the contract says {said}", at_once=True)
        if intent.attempts:
            return Moot("its transaction came to nothing: it is sent anew", at_once=True)
        return None
