"""What the node says of a key's transactions, for operators: few questions, no failure."""

from dataclasses import dataclass

from corechain.protocol.errors import TransportError
from corechain.service.errors import NodeRefused
from corechain.service.nodes import which_is_which
from corechain.service.rpc import Call, Questions, to_hex
from corechain.service.words import quantity
from corechain_relayer.submitter.node import COUNT_BITS


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """As of the head. Amounts in wei; `count`: the sender's nonce in the newest block."""

    head: int
    base_fee: int
    count: int | None = None
    balance: int | None = None


@dataclass(frozen=True, slots=True)
class NodeAway:
    """It did not answer, or refused. `why`: in a sentence."""

    why: str


async def ask_node(rpc: Questions, sender: bytes | None) -> NodeFacts | NodeAway:
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
        return NodeFacts(head.number, head.base_fee, found, quantity(balance, "a balance", 256))
    except (TransportError, NodeRefused) as error:
        legend = which_is_which(rpc)
        return NodeAway(f"{error} ({legend})" if legend else str(error))
