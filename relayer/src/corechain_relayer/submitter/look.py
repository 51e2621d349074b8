"""One look at the chain for a submitter: bounded questions, answers that belong together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from corechain.service.rpc import Block
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node, id_of
from corechain_relayer.submitter.plan import BlockId, ChainView, Intent, State

log = structlog.get_logger(__name__)

BLOCKS_A_ROUND = 64
"""Blocks with confirmed intents that one round asks about. One is enough while the chain grows."""
BEHIND_LIMIT_S = 5.0
"""Nodes behind one address differ for moments; a head that stays lower is of a chain set back."""


@dataclass(slots=True)
class Watch:
    """Keeps what is confirmed true to the chain, and sees what a plan needs to see.

    The newest block with a confirmed intent vouches for all below it, so that a round costs the
    same with five confirmed intents and with five thousand. Nothing becomes final without its own
    block having been asked for by number.
    """

    journal: IntentJournal
    node: Node
    sender: bytes
    metrics: Metrics
    _head: Block | None = None
    _behind_since: float | None = None
    _doubtful: bool = True
    """Whether a reorg may have taken confirmed blocks that were not asked for yet."""

    async def head(self) -> Block | None:
        """The newest block; None from a node that is behind the one which answered before."""
        head = await self.node.rpc.head()
        before = self._head
        if before is not None and head.number < before.number:
            now = time.monotonic()
            self._behind_since = self._behind_since or now
            if now - self._behind_since < BEHIND_LIMIT_S:
                return None
        self._behind_since = None
        if before is None or (head.hash != before.hash and head.parent != before.hash):
            self._doubtful = True
        self._head = head
        return head

    async def review(self, head: Block, final_block: int) -> bool:
        """Takes back what a reorg took, and makes final what is. True when anything changed."""
        taken = self._doubtful and await self._take_back(head)
        return await self._finalize(head, final_block) or taken

    async def _take_back(self, head: Block) -> bool:
        blocks = await self.journal.newest_confirmed_blocks(BLOCKS_A_ROUND)
        standing: dict[BlockId, bool] = {}
        # The newest alone first: it is the whole answer whenever there was no reorg.
        for part in (blocks[:1], blocks[1:]):
            standing |= await self.node.standing(part, head)
            if any(standing.values()):
                break
        newest = next((n for n, block in enumerate(blocks) if standing.get(block)), len(blocks))
        above = blocks[:newest]
        gone = [block for block in above if standing.get(block) is False]
        # Asked again: what the node could not speak of, and what lies below if nothing here stands.
        self._doubtful = len(gone) < len(above) or newest == BLOCKS_A_ROUND
        await self._unconfirm(gone)
        return bool(gone)

    async def _finalize(self, head: Block, final_block: int) -> bool:
        blocks = await self.journal.confirmed_blocks_through(final_block, BLOCKS_A_ROUND)
        if not blocks:
            return False
        standing = await self.node.standing(blocks, head)
        await self.journal.finalize([block for block in blocks if standing.get(block)])
        await self._unconfirm([block for block in blocks if standing.get(block) is False])
        return bool(standing)

    async def _unconfirm(self, blocks: Sequence[BlockId]) -> None:
        if not blocks:
            return
        for key in await self.journal.unconfirm(blocks):
            self.metrics.transactions_unconfirmed.inc()
            log.warning("confirmation undone by a reorg", intent=key)

    async def view(self, intents: Sequence[Intent], head: Block, final: int) -> ChainView | None:
        """What the plan needs; None when the chain changed while it was being looked at."""
        count = await self.node.count(self.sender)
        receipts = await self.node.receipts(tx for intent in intents for tx in intent.hashes)
        # What was read belongs to this head only if the head still stands.
        if receipts and (await self.node.standing([id_of(head)], head)).get(id_of(head)) is False:
            return None
        lost = [
            intent
            for intent in intents
            if intent.state is State.PENDING
            and intent.nonce is not None
            and intent.nonce < count
            and not any(tx in receipts for tx in intent.hashes)
        ]
        marks = [intent.spent for intent in lost if intent.spent is not None]
        return ChainView(
            id_of(head),
            final,
            count,
            receipts,
            await self.node.suggested(head),
            await self.node.count_at(self.sender, final) if lost else None,
            await self.node.standing(marks, head),
        )
