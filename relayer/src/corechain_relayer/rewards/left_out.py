"""Batches that are on chain, and of which a node's logs do not tell."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from corechain.protocol.batch import batch_id, lane_of, number_of
from corechain.protocol.eip712 import uint_word
from corechain.service.errors import NodeRefused
from corechain.service.rpc import Questions
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.calldata import selector
from corechain_relayer.rewards.epochs import RewardsNotReproducible

COMMITMENT_OF = selector("commitmentOf(uint48)")
GROUPED = "0x" + selector("Grouped(uint48)").hex()
MOST_ASKED = 100
"""A lane that skips numbers cheats nobody of rewards: there is nothing to find."""


class BatchLeftOut(RewardsNotReproducible):
    """Without it the root would be wrong, and vetoed."""

    def __init__(self, batch: int) -> None:
        super().__init__(
            f"batch {number_of(batch)} of lane {lane_of(batch)} is on chain, and the node's logs do"
            " not tell of it: nothing is proposed. Run it again, with another node in"
            " RELAYER_RPC_URL if it stays so"
        )
        self.batch = batch


def gaps(batches: Mapping[int, Committed], after: int, through: int) -> Iterator[int]:
    """Numbers that each lane has passed over in the blocks behind `after` up to `through`."""
    newest, before = dict[int, int](), dict[int, int]()
    for batch, entry in batches.items():
        lane, number = lane_of(batch), number_of(batch)
        if entry.block <= after:
            before[lane] = max(number, before.get(lane, 0))
        elif entry.block <= through:
            newest[lane] = max(number, newest.get(lane, 0))
    for lane, last in newest.items():
        numbers = (batch_id(lane, number) for number in range(before.get(lane, 0) + 1, last))
        yield from (batch for batch in numbers if batch not in batches)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the contract knows of such numbers."""

    rpc: Questions
    contract: bytes

    async def check(self, batches: Mapping[int, Committed], after: int, through: int) -> None:
        """Raises BatchLeftOut, NodeUnavailable."""
        for _, batch in zip(range(MOST_ASKED), gaps(batches, after, through), strict=False):
            if await self._is_there(batch):
                raise BatchLeftOut(batch)

    async def _is_there(self, batch: int) -> bool:
        try:
            await self.rpc.eth_call(self.contract, COMMITMENT_OF + uint_word(batch))
        except NodeRefused as error:
            return (error.data or "").startswith(GROUPED)
        return True
