"""A transaction that was signed: what is kept of it, and when it can never be mined."""

from dataclasses import dataclass, field

from corechain.node import Node, NodeRefusal, quantity

DEPTH = 64
"""Blocks under the newest one, where a node names none that is final, or has its state no more.
Full nodes keep the state of twice as many."""
COUNT, RECEIPT = "eth_getTransactionCount", "eth_getTransactionReceipt"


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was signed, and that a node may have."""

    hash: bytes
    raw: bytes = field(repr=False)
    sender: str
    nonce: int
    replaces: tuple[bytes, ...] = ()
    """Hashes of others under its nonce: one of them all is mined."""

    @property
    def hashes(self) -> tuple[bytes, ...]:
        return self.hash, *self.replaces


def is_void(node: Node, sent: Sent) -> bool:
    """Whether its nonce is spent in a block that is final, and by none of its transactions: each
    has to be null. A node that refuses to say, as while it indexes its receipts, or sends an odd
    one, leaves it open. Raises ChainUnavailable."""
    # In one request: of the nodes behind one address one may lag, and not know the receipt.
    receipts = [(RECEIPT, ["0x" + one.hex()]) for one in sent.hashes]
    count, *found = node.call_many([(COUNT, [sent.sender, "finalized"]), *receipts])
    if isinstance(count, NodeRefusal):  # no such tag, no such block yet, or its state is pruned
        deep = max(0, node.head() - DEPTH)
        count, *found = node.call_many([(COUNT, [sent.sender, hex(deep)]), *receipts])
    if isinstance(count, NodeRefusal):
        return False
    spent = quantity(count, "a number of transactions") > sent.nonce
    return spent and all(receipt is None for receipt in found)
