"""What a submitter asks of a node, in the plan's own types."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block, Call, Rpc, to_hex
from corechain.service.words import fields_of, octets, parse_block, quantity
from corechain_relayer.submitter.plan import BlockId, Fees, Intent, Receipt

GAS_BUFFER_PERCENT = 125
COUNT_BITS = 56
"""The journal keeps nonces, blocks and gas as bigint; nothing real comes near this limit."""


def id_of(block: Block) -> BlockId:
    return BlockId(block.number, block.hash)


def parse_receipt(raw: object, tx: bytes) -> Receipt | None:
    """A receipt; None while the transaction is in no block. Raises NodeUnavailable.

    `status` must be there: without it (before EIP-658) nobody can tell success from failure.
    """
    if raw is None:
        return None
    fields = fields_of(raw, "a receipt")
    if fields.get("blockNumber") is None or fields.get("blockHash") is None:
        return None  # some nodes answer for a pending transaction
    if octets(fields.get("transactionHash"), "a receipt's transaction", 32) != tx:
        raise NodeUnavailable("the node sent the receipt of another transaction")
    status = quantity(fields.get("status"), "a receipt's status")
    if status > 1:
        raise NodeUnavailable(f"the node sent {status} as a receipt's status")
    return Receipt(
        tx,
        quantity(fields["blockNumber"], "a receipt's block number", COUNT_BITS),
        octets(fields["blockHash"], "a receipt's block hash", 32),
        status == 1,
        quantity(fields.get("gasUsed"), "a receipt's gas", COUNT_BITS),
    )


@dataclass(slots=True)
class Node:
    """Raises NodeUnavailable, NodeRefused."""

    rpc: Rpc
    confirmations: int
    max_fee: int
    min_priority_fee: int
    _has_final_tag: bool = False

    async def count(self, sender: bytes) -> int:
        """Transactions of the sender in blocks: pending ones are ours to know, not the node's."""
        raw = await self.rpc.call("eth_getTransactionCount", to_hex(sender), "latest")
        return quantity(raw, "a transaction count", COUNT_BITS)

    async def count_at(self, sender: bytes, block: int) -> int | None:
        """The same as of a block; None when the node has no state of it (few keep much of it)."""
        try:
            raw = await self.rpc.call("eth_getTransactionCount", to_hex(sender), hex(block))
        except NodeRefused:
            return None
        return quantity(raw, "a transaction count", COUNT_BITS)

    async def receipts(self, hashes: Iterable[bytes]) -> dict[bytes, Receipt]:
        """Receipts by transaction; none for those that this node has in no block."""
        found = {}
        for tx in hashes:
            raw = await self.rpc.call("eth_getTransactionReceipt", to_hex(tx))
            receipt = parse_receipt(raw, tx)
            if receipt is not None:
                found[tx] = receipt
        return found

    async def final_block(self, head: Block) -> int:
        """Number of the newest final block: the node's own tag, else `confirmations` back.

        A node that once knew the tag must not seem to be one without it: an error of a moment would
        make blocks final that are not.
        """
        try:
            block = await self.rpc.block("finalized")
        except NodeRefused as error:
            if self._has_final_tag:
                raise NodeUnavailable(f"the final block is not known: {error}") from error
            block = None
        if block is not None:
            self._has_final_tag = True
            return min(block.number, head.number)
        if self._has_final_tag:
            raise NodeUnavailable("the node has forgotten its final block")
        return max(0, head.number - self.confirmations)

    async def standing(self, blocks: Collection[BlockId], head: Block) -> dict[BlockId, bool]:
        """Whether each block is on the chain of `head`. Left out: what the node has not seen.

        That a block is gone needs evidence: another one at its height, on a chain as high. A node
        that answers null, or whose chain ends below, is behind.
        """
        asked = [block for block in blocks if block.number <= head.number]
        if not asked:
            return {}
        calls = [Call("eth_getBlockByNumber", (hex(block.number), False)) for block in asked]
        found = {}
        for block, raw in zip(asked, await self.rpc.call_all(calls), strict=True):
            if raw is None or isinstance(raw, NodeRefused):
                continue
            here = parse_block(raw)
            if here.number != block.number:
                raise NodeUnavailable(f"the node sent block {here.number} for {block.number}")
            found[block] = here.hash == block.hash
        return found

    async def suggested(self, head: Block) -> Fees:
        """Room for two full blocks of rising base fee, within the cap."""
        try:
            raw = await self.rpc.call("eth_maxPriorityFeePerGas")
            tip = quantity(raw, "a priority fee", 256)
        except NodeRefused:
            tip = 0
        priority = max(tip, self.min_priority_fee)
        max_fee = min(self.max_fee, 2 * head.base_fee + priority)
        return Fees(max_fee, min(priority, max_fee))

    async def estimate(self, sender: bytes, intent: Intent) -> int:
        """Gas limit with a buffer. Raises NodeRefused when the call would revert, or cannot be
        paid for: `refusal_of` tells which."""
        # Not on "pending", some nodes' default: there the attempt to be replaced has happened.
        raw = await self.rpc.call("eth_estimateGas", _call_of(sender, intent), "latest")
        gas = quantity(raw, "an amount of gas", COUNT_BITS)
        return gas * GAS_BUFFER_PERCENT // 100

    async def rehearse(self, sender: bytes, intent: Intent) -> None:
        """Raises NodeRefused, with the revert data, when the call reverts now."""
        await self.rpc.call("eth_call", _call_of(sender, intent), "latest")

    async def send(self, raw: bytes) -> None:
        await self.rpc.call("eth_sendRawTransaction", to_hex(raw))


def _call_of(sender: bytes, intent: Intent) -> dict[str, str]:
    return {"from": to_hex(sender), "to": to_hex(intent.target), "data": to_hex(intent.calldata)}


WOULD_REVERT, NO_FUNDS, NOT_ESTIMATED = "WouldRevert", "InsufficientFunds", "NotEstimated"


def refusal_of(error: NodeRefused) -> str:
    """Why a node estimated nothing: the contract refuses, the sender cannot pay, or its own cause.

    Revert data is proof of a revert, whatever the words beside it are.
    """
    if error.data is not None and len(error.data) > len("0x"):
        return WOULD_REVERT
    failure = classify_rpc_failure(error.message)
    named = {RpcFailure.REVERTED: WOULD_REVERT, RpcFailure.INSUFFICIENT_FUNDS: NO_FUNDS}
    return named.get(failure, NOT_ESTIMATED)
