"""What the node says of a key's transactions, for operators: few questions, no failure."""

from dataclasses import dataclass

from corechain.protocol.errors import TransportError
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.nodes import which_is_which
from corechain.service.rpc import Call, Questions, to_hex
from corechain.service.several import ask_all, known_to_any
from corechain.service.words import quantity
from corechain_relayer.submitter.node import COUNT_BITS, found_call


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """As of the head. Amounts in wei; `count`: the sender's nonce in the newest block."""

    head: int
    base_fee: int
    count: int | None = None
    balance: int | None = None
    knows: bool | None = None
    """Whether a node has the transaction that was asked about; None where nobody can say."""


@dataclass(frozen=True, slots=True)
class NodeAway:
    """It did not answer, or refused. `why`: in a sentence."""

    why: str


async def ask_node(
    rpc: Questions, sender: bytes | None, transaction: bytes | None = None
) -> NodeFacts | NodeAway:
    """Never raises for what a node does: that is an answer here."""
    try:
        head = await rpc.head()
        if sender is None:
            return NodeFacts(head.number, head.base_fee)
        address = to_hex(sender)
        calls = [
            Call("eth_getTransactionCount", (address, "latest")),
            Call("eth_getBalance", (address, "latest")),
        ]
        count, balance = await rpc.call_all(calls)
        for raw in (count, balance):
            if isinstance(raw, NodeRefused):
                raise raw
        found = quantity(count, "a transaction count", COUNT_BITS)
        coin = quantity(balance, "a balance", 256)
        known = None if transaction is None else await _knows(rpc, transaction)
        return NodeFacts(head.number, head.base_fee, found, coin, known)
    except (TransportError, NodeRefused) as error:
        legend = which_is_which(rpc)
        return NodeAway(f"{error} ({legend})" if legend else str(error))


async def _knows(rpc: Questions, transaction: bytes) -> bool | None:
    """None where none has it, and not all say so. Raises NodeUnavailable."""
    said, complete = await ask_all(rpc, [found_call(transaction)])
    try:
        return known_to_any(said, 0, complete)
    except NodeUnavailable:
        return None
