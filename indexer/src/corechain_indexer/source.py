"""The node, or the nodes, as the indexer needs them: of the right chain, and in agreement."""

from collections.abc import Callable

from corechain.service.errors import WrongNode
from corechain.service.nodes import node_at
from corechain.service.rpc import Questions
from corechain_indexer.settings import Settings


async def check_chain(rpc: Questions, expected: int) -> None:
    """Raises WrongNode."""
    found = await rpc.chain_id()
    if found != expected:
        raise WrongNode(expected, found)


def node_of(
    settings: Settings,
    left_out: Callable[[int, str], None] = lambda number, reason: None,
    chain_id: int | None = None,
) -> Questions:
    """The node of the settings, or several of which a quorum must agree."""
    return node_at(
        settings.node_urls,
        settings.quorum,
        settings.rpc_timeout_s,
        settings.rpc_max_lag_blocks,
        left_out,
        chain_id,
        settings.finality == "depth",
    )
