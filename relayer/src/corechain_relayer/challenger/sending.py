"""Carries the challenger's intents to the chain, privately where a private RPC is given."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Rpc
from corechain.service.several import taken_by_any
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent
from corechain_relayer.submitter.settled import Moot
from corechain_relayer.submitter.urgency import Pace

PUBLIC_SHARE = 4
"""With less than a quarter of the window left a private RPC has had its time: half of that went by
at a calm fee, half of it at what is at stake (`CALM_SHARE`)."""
Sending = Callable[[Sequence[bytes]], Awaitable[list[NodeRefused | None]]]


def is_late(pace: Pace) -> bool:
    """Whether a bounty that is copied is better now than a fraud that goes free."""
    return pace.left_s * PUBLIC_SHARE < pace.window_s


async def send_privately(
    private: Sending, public: Sending, is_late: bool, transactions: Sequence[bytes]
) -> list[NodeRefused | None]:
    """To the private RPC alone, as long as there is time; then to everybody. It may be away, or
    take what it never gives to a block, and nobody could tell before the window is over."""
    if not is_late:
        return await private(transactions)
    said = [await public(transactions)]
    try:
        said.append(await private(transactions))
    except (NodeUnavailable, NodeRefused):
        return said[0]
    return [taken_by_any(said, place) for place in range(len(transactions))]


@dataclass(slots=True)
class PrivateNode(Node):
    """Asks the public node, and gives transactions to another one alone: evidence that is seen in
    the mempool can be copied, and the bounty goes to whoever comes first (docs/contracts.md).
    `pace`: of the queue now."""

    private: Rpc | None = None
    pace: Callable[[], Pace] = Pace

    async def send(self, transactions: Sequence[bytes]) -> list[NodeRefused | None]:
        public = partial(Node.send, self)
        if self.private is None:
            return await public(transactions)
        private = Node(self.private, 1, self.max_fee, 0).send
        return await send_privately(private, public, is_late(self.pace()), transactions)


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
