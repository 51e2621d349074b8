"""What a guard is made of, for the role and for the command that lists demands."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.service.rpc import Questions
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.guard.buried import BuriedBatches
from corechain_relayer.guard.chain import DisputesContract, first_block_since
from corechain_relayer.guard.demands import DemandsView
from corechain_relayer.guard.finding import ReportFinder
from corechain_relayer.guard.library import Library
from corechain_relayer.guard.receipts import ReceiptAnswers
from corechain_relayer.guard.resending import Resender
from corechain_relayer.guard.service import DemandsFollower, Guard
from corechain_relayer.guard.store import AnswerStore
from corechain_relayer.guard.trials import Trials
from corechain_relayer.journal_settings import DemandsSettings
from corechain_relayer.kept_views import kept_window
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower

if TYPE_CHECKING:
    from corechain.service.database import Database

REFUSED_PAUSE_S = 5.0
REORG_MARGIN_S = 600
"""How much earlier than the answer window the first block looked at is."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process has for its guard. `work` is set when there is an answer to send."""

    settings: DemandsSettings
    deployment: Deployment
    rpc: Questions
    pool: "Database"
    registry: RegistryFollower
    metrics: Metrics
    alerts: Alerts
    resender: Resender | None = None
    """None: nothing is put on the bus; who only lists demands does nothing about them."""
    work: asyncio.Event = field(default_factory=asyncio.Event)


async def new_guard(
    parts: Parts, contract: DisputesContract, refused_pause_s: float = REFUSED_PAUSE_S
) -> Guard:
    """A guard that has not looked yet. Raises NodeUnavailable, NodeRefused."""
    window_s = await contract.answer_window()
    folder = parts.settings.data_dir
    library = Library(folder)
    finder, buried = ReportFinder(parts.pool, folder), BuriedBatches(parts.pool, parts.rpc)
    receipts = ReceiptAnswers(finder, library, buried, parts.resender)
    return Guard(
        await _follower(parts, window_s),
        Trials(contract, parts.registry, library, receipts),
        AnswerStore(parts.pool),
        contract,
        parts.alerts,
        parts.metrics,
        parts.work,
        receipts,
        window_s,
        refused_pause_s,
    )


async def _follower(parts: Parts, window_s: int) -> DemandsFollower:
    """From the first block in which a demand that is open now can have been made: a year of older
    ones need not be read at every start."""
    settings, contract = parts.settings, parts.deployment.contracts["DataBatches"]
    head = await parts.rpc.head()
    since = head.timestamp - window_s - REORG_MARGIN_S
    first = await first_block_since(parts.rpc, since, head, contract.block)
    contract, chain_id = replace(contract, block=first), parts.deployment.chain_id
    kept = kept_window(parts.pool, chain_id, contract, "demands", head.number, parts.rpc)
    return DemandsFollower(
        parts.rpc,
        contract,
        lambda: DemandsView(settings.lane),
        settings.poll_s,
        settings.log_range_blocks,
        parts.metrics,
        settings.confirmations,
        kept,
    )
