"""What a reader of the chain asks a node, and how it takes the answers. Pure."""

from typing import Any

from corechain.service.errors import NodeBehind, NodeRefused, NodeUnavailable
from corechain.service.reconcile import Ref
from corechain.service.rpc import Call
from corechain.service.words import Block, Log, parse_block

MARKS = [Call("eth_getBlockByNumber", (tag, False)) for tag in ("finalized", "safe")]


def ref_of(block: Block) -> Ref:
    return Ref(block.number, block.hash)


def safe_in(raw: Any, head: Block) -> Block | None:
    """What a node calls safe; None where it does not say, which leaves safe what was so."""
    if raw is None or isinstance(raw, NodeRefused):
        return None
    block = parse_block(raw)
    # A node may be ahead of the one with our head.
    return block if block.number <= head.number else None


def place_of(entry: Log) -> tuple[int, int]:
    return entry.block_number, entry.index


def by_number(number: int) -> Call:
    return Call("eth_getBlockByNumber", (hex(number), False))


def header_in(raw: Any, number: int) -> Block:
    """Raises NodeBehind for null or a refusal, NodeUnavailable for another block."""
    if raw is None or isinstance(raw, NodeRefused):
        raise NodeBehind(f"the node has not seen block {number}")
    block = parse_block(raw)
    if block.number != number:
        raise NodeUnavailable(f"the node sent block {block.number} for block {number}")
    return block
