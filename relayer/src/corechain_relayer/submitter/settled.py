"""Whether a batch is committed already: asked of the events, which name batch and commitment."""

from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.protocol.eip712 import uint_word
from corechain.protocol.events import BatchCommitted, decode_log, topic_of
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import logs_in_ranges, to_hex
from corechain_relayer.calldata import commit_call, committed_id
from corechain_relayer.errors import LaneHalted
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Intent, Receipt


@dataclass(frozen=True, slots=True)
class CommittedBatches:
    """Finds the transaction that committed the batch of an intent."""

    node: Node
    deployment: Deployment
    range_blocks: int

    async def __call__(self, intent: Intent) -> Receipt | None:
        """Raises LaneHalted when another commitment stands under the batch's id."""
        batch_id = committed_id(intent.calldata)
        contract = self.deployment.contracts["DataBatches"]
        head = await self.node.rpc.head()
        topics = [to_hex(topic_of(BatchCommitted)), to_hex(uint_word(batch_id))]
        logs = await logs_in_ranges(
            self.node.rpc,
            [contract.address],
            topics,
            contract.block,
            head.number,
            self.range_blocks,
        )
        if not logs:
            return None
        event = decode_log(list(logs[-1].topics), logs[-1].data)
        assert isinstance(event, BatchCommitted)
        if commit_call(batch_id, event.commitment) != intent.calldata:
            raise LaneHalted(intent.key, f"0x{event.commitment.hex()} is committed in its place")
        receipts = await self.node.receipts([logs[-1].transaction])
        if not receipts:
            raise NodeUnavailable("the receipt of a transaction in the logs is missing")
        return receipts[logs[-1].transaction]
