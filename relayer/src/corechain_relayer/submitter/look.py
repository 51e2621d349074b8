"""One look at the chain for a submitter: bounded questions, answers that belong together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from corechain.service.errors import NodeBehind
from corechain.service.rpc import Block
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node, NodeLook, id_of
from corechain_relayer.submitter.plan import BlockId, ChainView, Intent, Receipt

log = structlog.get_logger(__name__)

BLOCKS_A_ROUND = 64
"""Blocks with confirmed intents that one round asks about. One is enough while the chain grows."""
LOWER_LIMIT_S = 5.0
"""Nodes behind one address differ for moments; a head that stays lower is of a chain set back."""


def _without_cancels(
    intents: Sequence[Intent], receipts: Mapping[bytes, Receipt]
) -> dict[bytes, Receipt]:
    """A transaction that cancels has spent the nonce and has not done what the intent is for,
    however well it went."""
    cancels = {a.hash for intent in intents for a in intent.attempts if a.cancels}
    return {
        tx: replace(receipt, succeeded=False) if tx in cancels else receipt
        for tx, receipt in receipts.items()
    }


@dataclass(frozen=True, slots=True)
class Reviewed:
    """Whether a reorg took anything back, whether it may have taken more, and whether anything
    became final."""

    taken: bool = False
    doubtful: bool = False
    final: bool = False


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
    _lower_since: float | None = None
    _doubtful: bool = True
    """Whether a reorg may have taken confirmed blocks that were not asked for yet."""

    async def look(self) -> NodeLook | None:
        """What the node says now; None from one that is behind that which answered before."""
        look = await self.node.look(self.sender)
        head, before = look.head, self._head
        if before is not None and head.number < before.number:
            now = time.monotonic()
            self._lower_since = self._lower_since or now
            if now - self._lower_since < LOWER_LIMIT_S:
                return None
        self._lower_since = None
        if before is None or (head.hash != before.hash and head.parent != before.hash):
            self._doubtful = True
        self._head = head
        return look

    async def review(self, look: NodeLook) -> Reviewed:
        """Takes back what a reorg took, and makes final what is."""
        taken = self._doubtful and await self._take_back(look.head)
        final, gone = await self._finalize(look.head, look.final)
        return Reviewed(taken or gone, self._doubtful, final)

    async def _take_back(self, head: Block) -> bool:
        blocks = await self.journal.newest_confirmed_blocks(BLOCKS_A_ROUND)
        standing: dict[BlockId, bool] = {}
        # The newest alone first: it is the whole answer whenever there was no reorg.
        for part in (blocks[:1], blocks[1:]):
            found = await self.node.standing([*part, id_of(head)], head) if part else {}
            if not found:
                break  # of a node on another fork, or behind
            standing |= found
            if any(standing.get(block) for block in part):
                break
        newest = next((n for n, block in enumerate(blocks) if standing.get(block)), len(blocks))
        above = blocks[:newest]
        gone = [block for block in above if standing.get(block) is False]
        # Asked again: what the node could not speak of, and what lies below if nothing here stands.
        self._doubtful = len(gone) < len(above) or newest == BLOCKS_A_ROUND
        await self._unconfirm(gone)
        return bool(gone)

    async def _finalize(self, head: Block, final_block: int) -> tuple[bool, bool]:
        """Whether anything became final, and whether the block of anything is gone."""
        blocks = await self.journal.confirmed_blocks_through(final_block, BLOCKS_A_ROUND)
        if not blocks:
            return False, False
        standing = await self.node.standing(blocks, head)
        final = [block for block in blocks if standing.get(block)]
        gone = [block for block in blocks if standing.get(block) is False]
        await self.journal.finalize(final)
        await self._unconfirm(gone)
        return bool(final), bool(gone)

    async def _unconfirm(self, blocks: Sequence[BlockId]) -> None:
        if not blocks:
            return
        for key in await self.journal.unconfirm(blocks):
            self.metrics.transactions_unconfirmed.inc()
            log.warning("confirmation undone by a reorg", intent=key)

    async def require(self, receipts: Sequence[Receipt]) -> None:
        """That these are on the chain of this round's look. What is confirmed vouches for what is
        below it, so nothing may be confirmed by the word of a node on another fork.

        Raises NodeBehind.
        """
        head = self._head
        if head is None or not receipts:
            return
        blocks = {id_of(head), *(receipt.block for receipt in receipts)}
        standing = await self.node.standing(blocks, head)
        if not all(standing.get(block) for block in blocks):
            raise NodeBehind("a transaction was found in a block that is not on this node's chain")

    async def view(self, intents: Sequence[Intent], look: NodeLook) -> ChainView | None:
        """What the plan needs; None when the chain changed while it was being looked at."""
        head, count = look.head, look.count
        # Only a nonce that the chain counts is in a block, ours or not.
        spent = [i for i in intents if i.nonce is not None and i.nonce < count]
        found = await self.node.receipts(tx for intent in spent for tx in intent.hashes)
        receipts = _without_cancels(spent, found)
        # What was read belongs to this head only if both still stand, where this head is.
        blocks = {id_of(head), *(receipt.block for receipt in receipts.values())}
        if receipts:
            standing = await self.node.standing(blocks, head)
            if not standing or False in standing.values():
                return None
        lost = [i for i in spent if not any(tx in receipts for tx in i.hashes)]
        marks = [intent.spent for intent in lost if intent.spent is not None]
        return ChainView(
            id_of(head),
            look.final,
            count,
            receipts,
            look.suggested,
            await self.node.count_at(self.sender, look.final) if lost else None,
            await self.node.standing(marks, head),
        )
