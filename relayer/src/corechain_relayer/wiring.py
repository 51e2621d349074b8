"""Small parts that several roles build from the settings in the same way."""

from dataclasses import replace
from typing import TYPE_CHECKING

from corechain.service.database import create_pool
from corechain.service.errors import WrongNode
from corechain.service.node_settings import NodeSettings
from corechain.service.nodes import measured, node_at
from corechain.service.rpc import Questions
from corechain_relayer.journal_settings import JournalSettings, ProposerSettings
from corechain_relayer.metrics import Metrics
from corechain_relayer.settings import Settings
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.urgency import Pace

if TYPE_CHECKING:
    from corechain.service.database import Database

LOST_AFTER_S = 5.0
"""A nonce in a block and no receipt of ours for so long: somebody else used it. Before, it may be
one of several nodes that lags; nothing is given up for good before that is final, anyway."""


def pool_of(settings: JournalSettings) -> "Database":
    """The journal's Postgres, directly or through its pooler."""
    pooled = settings.database_direct_url is not None
    return create_pool(settings.named_url("database_url"), pooled=pooled)


def rpc_of(
    settings: NodeSettings, chain_id: int | None, metrics: Metrics | None = None
) -> Questions:
    """The node of the settings, or several of which a quorum must agree."""

    def noticed(number: int, reason: str) -> None:
        if metrics is not None:
            metrics.rpc_quarantined.labels(str(number), reason).inc()

    lag, by_depth = settings.rpc_max_lag_blocks, settings.finality == "depth"
    how = settings.quorum, settings.rpc_timeout_s, lag, noticed, chain_id, by_depth
    rpc = node_at(settings.node_urls, *how)
    if metrics is not None:
        measured(rpc, metrics.rpc_in_use, metrics.rpc_heads, metrics.rpc_lost)
    return rpc


def node_of(rpc: Questions, settings: ProposerSettings) -> Node:
    return Node(rpc, settings.confirmations, settings.max_fee_per_gas, settings.min_priority_fee)


def policy_of(settings: ProposerSettings, budget: int | None = None) -> Policy:
    """Of a queue with a budget of so many wei in 24 hours."""
    rules = settings.rules
    return Policy(
        settings.resend_after_s,
        settings.bump_after_s,
        LOST_AFTER_S,
        settings.max_fee_per_gas,
        settings.refused_pause_s,
        in_flight=settings.nonces_in_flight,
        replaces=rules.replaces,
        nonce_at_send=rules.nonce_at_send,
        budget=budget,
        l1_fee=rules.l1_fee,
    )


def answers_policy(settings: Settings, pace: Pace, budget: int | None) -> Policy:
    """Of answers: they do not wait for each other; the nearest deadline sets the pace of all."""
    calm = policy_of(settings, budget)
    calm = replace(calm, ordered=False, rewanted=True, in_flight=settings.answers_in_flight)
    return pace.policy(calm, settings.urgent_max_fee_per_gas)


async def check_chain(rpc: Questions, chain_id: int) -> None:
    """Raises WrongNode."""
    found = await rpc.chain_id()
    if found != chain_id:
        raise WrongNode(chain_id, found)
