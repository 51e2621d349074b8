"""What a submitter asks of a node, in the plan's own types."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corechain.protocol.eip712 import uint_word
from corechain.rpc_errors import RpcFailure, classify_rpc_failure
from corechain.service.errors import NodeRefused, NodeUnavailable, WrongNode
from corechain.service.finality import Finality
from corechain.service.quorum import Quorum
from corechain.service.rpc import Block, Call, Questions, to_hex
from corechain.service.several import ask_all, ask_each, known_to_any, middle, taken_by_any
from corechain.service.words import fields_of, octets, parse_block, quantity
from corechain_relayer.calldata import selector
from corechain_relayer.submitter.memory import WOULD_REVERT
from corechain_relayer.submitter.plan import BlockId, Fees, Intent, Receipt

GAS_BUFFER_PERCENT = 125
COUNT_BITS = 56
"""The journal keeps nonces, blocks and gas as bigint; nothing real comes near this limit."""
WEI_BITS = 128
"""Of a price or a fee in a receipt. The journal keeps costs as numeric(78): gas times a price of
256 bits would not fit, and one odd receipt would end every round."""

GAS_PRICE_ORACLE = bytes.fromhex("420000000000000000000000000000000000000f")
"""A predeploy of every OP stack (specs.optimism.io, "Predeploys")."""
L1_FEE_UPPER_BOUND = selector("getL1FeeUpperBound(uint256)")


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
        gas := quantity(fields.get("gasUsed"), "a receipt's gas", COUNT_BITS),
        gas * _wei(fields, "effectiveGasPrice") + _wei(fields, "l1Fee"),
    )


def _wei(fields: Mapping[str, Any], name: str) -> int:
    """Of a receipt; 0 where the node does not say. `l1Fee`: of an OP stack, in wei, beside gas."""
    raw = fields.get(name)
    return 0 if raw is None else quantity(raw, f"a receipt's {name}", WEI_BITS)


def _count(raw: object) -> int:
    return quantity(raw, "a transaction count", COUNT_BITS)


def _with_buffer(raw: object) -> int:
    return quantity(raw, "an amount of gas", COUNT_BITS) * GAS_BUFFER_PERCENT // 100


@dataclass(frozen=True, slots=True)
class NodeLook:
    """What every round asks first: `final` is the newest final block, `count` the sender's nonce in
    the newest block, `suggested` the fees of a new transaction."""

    head: Block
    final: int
    count: int
    suggested: Fees


TIP = Call("eth_maxPriorityFeePerGas")


@dataclass(slots=True)
class Node:
    """One, or several that must agree on what is on chain. Raises NodeUnavailable, NodeRefused."""

    rpc: Questions
    confirmations: int
    max_fee: int
    min_priority_fee: int
    chain_id: int | None = None
    """What every look makes sure of; None: nothing."""
    _finality: Finality = field(init=False)

    def __post_init__(self) -> None:
        self._finality = Finality(self.confirmations)

    async def look(self, sender: bytes) -> NodeLook:
        """One request where the node takes batches."""
        calls = [
            Call("eth_getBlockByNumber", ("latest", False)),
            Call("eth_getBlockByNumber", ("finalized", False)),
            _count_call(sender, "latest"),
            Call("eth_chainId"),
        ]
        # What a tip has to be is each node's own opinion: several would not agree on it.
        alone = not isinstance(self.rpc, Quorum)
        if not alone:
            await self.rpc.head()  # several answer as of the head that they agreed on last
        answers = await self.rpc.call_all([*calls, *[TIP] * alone])
        latest, finalized, count, chain = answers[:4]
        for raw in (latest, count, chain):
            if isinstance(raw, NodeRefused):
                raise raw
        self._check_chain(chain)
        if latest is None:
            raise NodeUnavailable("the node has no latest block")
        head = parse_block(latest)
        final = self._finality.judge(finalized, head).number
        tip = answers[4] if alone else await self._tip()
        return NodeLook(head, final, _count(count), self._fees(tip, head))

    def _check_chain(self, raw: Any) -> None:
        """A balancer or a provider may lead to another chain while we run: nothing that it says is
        about our transactions. Raises WrongNode."""
        found = quantity(raw, "a chain id", 256)
        if self.chain_id is not None and found != self.chain_id:
            raise WrongNode(self.chain_id, found)

    async def _tip(self) -> Any:
        return middle(await ask_each(self.rpc, [TIP]), 0)

    async def count(self, sender: bytes) -> int:
        """Transactions of the sender in blocks: pending ones are ours to know, not the node's."""
        call = _count_call(sender, "latest")
        return _count(await self.rpc.call(call.method, *call.params))

    async def pool_count(self, sender: bytes) -> int:
        """The same with what the node's pool has: of it only that much is known about transactions
        that a lost journal had. A node without a pool says what `count` says, or refuses: 0."""
        said = middle(await ask_each(self.rpc, [_count_call(sender, "pending")]), 0)
        return 0 if isinstance(said, NodeRefused) else _count(said)

    async def count_at(self, sender: bytes, block: int) -> int | None:
        """The same as of a block; None when the node has no state of it (few keep much of it)."""
        call = _count_call(sender, hex(block))
        try:
            return _count(await self.rpc.call(call.method, *call.params))
        except NodeRefused:
            return None

    async def receipts(self, hashes: Iterable[bytes]) -> dict[bytes, Receipt]:
        """Receipts by transaction; none for those that this node has in no block."""
        asked = list(hashes)
        if not asked:
            return {}
        calls = [Call("eth_getTransactionReceipt", (to_hex(tx),)) for tx in asked]
        found = {}
        for tx, raw in zip(asked, await self.rpc.call_all(calls), strict=True):
            if isinstance(raw, NodeRefused):
                raise raw
            receipt = parse_receipt(raw, tx)
            if receipt is not None:
                found[tx] = receipt
        return found

    async def final_block(self, head: Block) -> int:
        """Number of the newest final block: the node's own tag, or `confirmations` back where it
        says that it knows none. After a refusal it is what it was; 0 while none is known."""
        (raw,) = await self.rpc.call_all([Call("eth_getBlockByNumber", ("finalized", False))])
        return self._finality.judge(raw, head).number

    async def standing(self, blocks: Collection[BlockId], head: Block) -> dict[BlockId, bool]:
        """Whether each block is on the chain of `head`. Left out: what the node has not seen.

        That a block is gone needs evidence: another one at its height, on a chain as high. A node
        that answers null, or whose chain ends below, is behind. One that has not `head` itself is
        behind, or on another fork, and what stands there says nothing: nothing is found.
        """
        here = id_of(head)
        asked = [block for block in dict.fromkeys(blocks) if block.number <= head.number]
        if not asked:
            return {}
        found = await self._hashes_are(asked if here in asked else [*asked, here])
        return found if found.get(here) else {}

    async def _hashes_are(self, asked: Sequence[BlockId]) -> dict[BlockId, bool]:
        """Whether a node has these blocks at their heights, all by one node."""
        calls = [Call("eth_getBlockByNumber", (hex(block.number), False)) for block in asked]
        found = {}
        for block, raw in zip(asked, await self.rpc.call_all(calls), strict=True):
            if raw is None or isinstance(raw, NodeRefused):
                continue
            there = parse_block(raw)
            if there.number != block.number:
                raise NodeUnavailable(f"the node sent block {there.number} for {block.number}")
            found[block] = there.hash == block.hash
        return found

    async def suggested(self, head: Block) -> Fees:
        """Room for two full blocks of rising base fee, within the cap."""
        return self._fees(await self._tip(), head)

    def _fees(self, raw: Any, head: Block) -> Fees:
        tip = 0 if isinstance(raw, NodeRefused) else quantity(raw, "a priority fee", 256)
        priority = max(tip, self.min_priority_fee)
        max_fee = min(self.max_fee, 2 * head.base_fee + priority)
        return Fees(max_fee, min(priority, max_fee))

    async def estimate(self, sender: bytes, intent: Intent) -> int:
        """Gas limit with a buffer. Raises NodeRefused when the call would revert, or cannot be
        paid for: `refusal_of` tells which."""
        (gas,) = await self.estimates(sender, [intent])
        if isinstance(gas, NodeRefused):
            raise gas
        return gas

    async def estimates(self, sender: bytes, intents: Sequence[Intent]) -> list[int | NodeRefused]:
        """The same of several calls, each as if it alone came next, in order."""
        # Not on "pending", some nodes' default: there the attempt to be replaced has happened.
        calls = [Call("eth_estimateGas", (_call_of(sender, i), "latest")) for i in intents]
        said = await ask_each(self.rpc, calls) if calls else []
        found = [middle(said, place) for place in range(len(calls))]
        return [raw if isinstance(raw, NodeRefused) else _with_buffer(raw) for raw in found]

    async def l1_fee(self, size: int) -> int:
        """Wei that a transaction of so many bytes pays to L1 at most, on an OP stack (since Fjord).
        Raises NodeUnavailable, NodeRefused elsewhere."""
        answer = await self.rpc.eth_call(GAS_PRICE_ORACLE, L1_FEE_UPPER_BOUND + uint_word(size))
        if len(answer) != 32:
            raise NodeUnavailable(f"the gas price oracle sent {len(answer)} bytes")
        return int.from_bytes(answer, "big")

    async def rehearse(self, sender: bytes, intent: Intent) -> None:
        """Raises NodeRefused, with the revert data, when the call reverts now."""
        await self.rpc.call("eth_call", _call_of(sender, intent), "latest")

    async def seen(self, transactions: Sequence[bytes]) -> set[bytes]:
        """Those that any node has, in its pool or in a block. The nonce of what is nowhere is given
        to another. Raises NodeUnavailable, also where one node is silent or refuses to say, and no
        other has it."""
        said, complete = await ask_all(self.rpc, [found_call(tx) for tx in transactions])
        numbered = enumerate(transactions)
        return {tx for place, tx in numbered if known_to_any(said, place, complete)}

    async def send(self, transactions: Sequence[bytes]) -> list[NodeRefused | None]:
        """Signed bytes, in this order, to every node; for each None when one took it."""
        calls = [Call("eth_sendRawTransaction", (to_hex(raw),)) for raw in transactions]
        said = await ask_each(self.rpc, calls)
        return [taken_by_any(said, place) for place in range(len(calls))]


def found_call(transaction: bytes) -> Call:
    return Call("eth_getTransactionByHash", (to_hex(transaction),))


def _count_call(sender: bytes, block: str) -> Call:
    return Call("eth_getTransactionCount", (to_hex(sender), block))


def _call_of(sender: bytes, intent: Intent) -> dict[str, str]:
    return {"from": to_hex(sender), "to": to_hex(intent.target), "data": to_hex(intent.calldata)}


NO_FUNDS, NOT_ESTIMATED = "InsufficientFunds", "NotEstimated"


def refusal_of(error: NodeRefused) -> str:
    """Why a node estimated nothing: the contract refuses, the sender cannot pay, or its own cause.

    Revert data is proof of a revert, whatever the words beside it are.
    """
    if error.data is not None and len(error.data) > len("0x"):
        return WOULD_REVERT
    failure = classify_rpc_failure(error.message)
    named = {RpcFailure.REVERTED: WOULD_REVERT, RpcFailure.INSUFFICIENT_FUNDS: NO_FUNDS}
    return named.get(failure, NOT_ESTIMATED)
