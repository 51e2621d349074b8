"""Small parts that several roles build from the settings in the same way."""

from corechain.service.errors import WrongNode
from corechain.service.rpc import Rpc
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Policy

LOST_AFTER_S = 30.0
"""A nonce in a block and no receipt of ours for so long: somebody else used it."""


def node_of(rpc: Rpc, settings: Settings) -> Node:
    return Node(rpc, settings.confirmations, settings.max_fee_per_gas, settings.min_priority_fee)


def policy_of(settings: Settings) -> Policy:
    return Policy(
        settings.resend_after_s,
        settings.bump_after_s,
        LOST_AFTER_S,
        settings.max_fee_per_gas,
        settings.refused_pause_s,
    )


async def check_chain(rpc: Rpc, chain_id: int) -> None:
    """Raises WrongNode."""
    found = await rpc.chain_id()
    if found != chain_id:
        raise WrongNode(chain_id, found)
