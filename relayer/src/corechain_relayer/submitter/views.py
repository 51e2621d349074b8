"""Views of a contract, many at a time, as they are in the newest block."""

from collections.abc import Sequence
from typing import Any

from corechain.service.errors import NodeBehind, NodeRefused, NodeUnavailable
from corechain.service.rpc import Block, Call, Questions, to_hex
from corechain.service.words import parse_block


async def views_at_head(
    rpc: Questions, contract: bytes, calls: Sequence[bytes]
) -> tuple[Block, list[Any]]:
    """The newest block, and the results as the node sent them, a hundred in a request. Raises
    NodeUnavailable, NodeBehind where it has a block but not its state yet, NodeRefused."""
    to = to_hex(contract)
    asked = [Call("eth_call", ({"to": to, "data": to_hex(call)}, "latest")) for call in calls]
    head = Call("eth_getBlockByNumber", ("latest", False))
    raw_head, *found = await rpc.call_all([head, *asked])
    for raw in (raw_head, *found):
        if isinstance(raw, NodeRefused):
            raise raw
    if raw_head is None:
        raise NodeUnavailable("the node has no latest block")
    # Whoever asks knows that the contract is there: a view of ours never returns nothing.
    if "0x" in found:
        raise NodeBehind(f"the node does not have the state of {to} in its newest block yet")
    return parse_block(raw_head), found
