"""Whether a batch is committed already, and whether our key may commit on its lane at all."""

from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.protocol.eip712 import uint_word
from corechain.service.errors import NodeBehind, NodeUnavailable
from corechain_relayer.calldata import commit_call, committed_id, selector
from corechain_relayer.errors import LaneHalted, NotLaneSubmitter
from corechain_relayer.submitter.commits import CommitSearch
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent, Receipt

SUBMITTER_OF, ASSIGNEE_OF, BOND_OF = (
    selector(f"{name}(uint16)") for name in ("submitterOf", "assigneeOf", "bondOf")
)
NOBODY = bytes(20)


@dataclass(frozen=True, slots=True)
class CommittedBatches:
    """Finds the transaction that committed the batch of an intent, alone or in a group."""

    search: CommitSearch

    async def __call__(self, intent: Intent) -> Receipt | None:
        """Raises LaneHalted when another commitment stands under the batch's id."""
        batch = committed_id(intent.calldata)
        await self.search.refresh()
        found = await self.search.find(batch)
        if found is None:
            return None
        if commit_call(batch, found.commitment) != intent.calldata:
            raise LaneHalted(intent.key, f"0x{found.commitment.hex()} is committed in its place")
        receipts = await self.search.node.receipts([found.transaction])
        if not receipts:
            raise NodeBehind("the receipt of a transaction in the logs is missing")
        return receipts[found.transaction]


def _address(word: bytes) -> bytes:
    return word[12:32]


@dataclass(frozen=True, slots=True)
class LaneKey:
    """Asks the contract whether our key is the lane's."""

    node: Node
    deployment: Deployment
    lane: int
    ours: bytes

    async def __call__(self) -> None:
        """Raises NotLaneSubmitter, with what is in the way: not named, no bond, closed."""
        theirs = _address(await self._view(SUBMITTER_OF, 1))
        if theirs == self.ours:
            return
        if theirs != NOBODY:
            raise self._error(theirs, "another key is its submitter")
        assignee = _address(await self._view(ASSIGNEE_OF, 1))
        bond = await self._view(BOND_OF, 6)
        exit_at = int.from_bytes(bond[96:128], "big")
        if exit_at:
            raise self._error(theirs, f"the lane is closed, its bond free from {exit_at} on")
        if assignee == self.ours:
            raise self._error(theirs, "the lane's bond is not paid")
        named = "nobody" if assignee == NOBODY else f"0x{assignee.hex()}"
        raise self._error(theirs, f"the admin has named {named} for it")

    async def _view(self, call: bytes, words: int) -> bytes:
        contract = self.deployment.address("DataBatches")
        answer = await self.node.rpc.eth_call(contract, call + uint_word(self.lane))
        if len(answer) < 32 * words:
            raise NodeUnavailable(
                f"the node sent {len(answer)} bytes for {words} words of DataBatches"
            )
        return answer

    def _error(self, theirs: bytes, why: str) -> NotLaneSubmitter:
        return NotLaneSubmitter(self.lane, self.ours, theirs, why)
