"""What a submitter asks of a node, in the plan's own types."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from corechain.service.errors import NodeRefused
from corechain.service.rpc import Block, Rpc, to_hex, unhex
from corechain_relayer.submitter.plan import Fees, Intent, Receipt

GAS_BUFFER_PERCENT = 125
PARENTS_MAX = 64
"""Blocks walked back to see whether the newest descends from the last one looked at."""


def _receipt(raw: dict[str, Any]) -> Receipt:
    return Receipt(
        unhex(raw["transactionHash"]),
        int(raw["blockNumber"], 16),
        unhex(raw["blockHash"]),
        int(raw["status"], 16) == 1,
        int(raw["gasUsed"], 16),
    )


@dataclass(slots=True)
class Node:
    """Raises NodeUnavailable, NodeRefused."""

    rpc: Rpc
    confirmations: int
    max_fee: int
    min_priority_fee: int

    async def count(self, sender: bytes) -> int:
        """Transactions of the sender in blocks: pending ones are ours to know, not the node's."""
        raw = await self.rpc.call("eth_getTransactionCount", to_hex(sender), "latest")
        return int(raw, 16)

    async def receipts(self, hashes: Iterable[bytes]) -> dict[bytes, Receipt]:
        found = {}
        for tx in hashes:
            raw = await self.rpc.call("eth_getTransactionReceipt", to_hex(tx))
            if raw is not None and raw.get("blockNumber") is not None:
                found[tx] = _receipt(raw)
        return found

    async def final_block(self, head: Block) -> int:
        """Number of the newest final block: the node's own tag, else `confirmations` back."""
        try:
            block = await self.rpc.block("finalized")
        except NodeRefused:
            block = None
        return max(0, head.number - self.confirmations) if block is None else block.number

    async def descends(self, head: Block, earlier: Block) -> bool:
        """Whether `earlier` is an ancestor of `head` (or is it)."""
        block: Block | None = head
        for _ in range(PARENTS_MAX):
            if block is None or block.number <= earlier.number:
                break
            if block.parent == earlier.hash:
                return True
            block = await self.rpc.block(block.number - 1)
        if block is not None and block.number > earlier.number:  # too far to walk: ask directly
            block = await self.rpc.block(earlier.number)
        return block is not None and block.hash == earlier.hash

    async def suggested(self, head: Block) -> Fees:
        """Room for two full blocks of rising base fee, within the cap."""
        try:
            tip = int(await self.rpc.call("eth_maxPriorityFeePerGas"), 16)
        except NodeRefused:
            tip = 0
        priority = max(tip, self.min_priority_fee)
        max_fee = min(self.max_fee, 2 * head.base_fee + priority)
        return Fees(max_fee, min(priority, max_fee))

    async def estimate(self, sender: bytes, intent: Intent) -> int:
        """Gas limit with a buffer. Raises NodeRefused when the call would revert."""
        call = {
            "from": to_hex(sender),
            "to": to_hex(intent.target),
            "data": to_hex(intent.calldata),
        }
        # Not on "pending", some nodes' default: there the attempt to be replaced has happened.
        gas = int(await self.rpc.call("eth_estimateGas", call, "latest"), 16)
        return gas * GAS_BUFFER_PERCENT // 100

    async def send(self, raw: bytes) -> None:
        await self.rpc.call("eth_sendRawTransaction", to_hex(raw))
