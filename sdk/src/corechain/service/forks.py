"""Where the node's chain leaves the one that we know, and whether it does at all."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from corechain.service.errors import NodeBehind, NodeRefused
from corechain.service.known_chain import Known, MemoryChain, RolledBack
from corechain.service.reconcile import (
    ChainReplaced,
    Heard,
    Ref,
    RollBack,
    Unclear,
    Verdict,
    reconcile,
)
from corechain.service.rpc import Questions
from corechain.service.words import Block, to_hex

SET_BACK_AFTER_S = 30.0
"""A head that stays lower for so long, while our newest block is unknown, is a chain set back (a
development chain reverted to a snapshot); nodes behind one address differ for moments."""


@dataclass(slots=True)
class ForkFinder:
    """Looks for a fork once the newest known block is not the parent of what the node serves."""

    rpc: Questions
    set_back_after_s: float = SET_BACK_AFTER_S
    _lower: tuple[bytes, float] | None = None

    def caught_up(self) -> None:
        """The node has all that we know: if it falls behind, that begins anew."""
        self._lower = None

    async def find(self, known: Known, tip: Ref, head: Block) -> RolledBack:
        """Where the node's chain leaves ours. Raises ChainReplaced, NodeBehind."""
        refs = await known.unfinal()
        reachable = [ref for ref in refs if ref.number <= head.number]
        if not reachable:
            return await self._far_behind(known, tip, head)
        verdict = await self._reconciled(reachable, head)
        if isinstance(verdict, RollBack):
            return RolledBack(tip, verdict.to)
        if isinstance(verdict, Unclear):
            raise NodeBehind(f"the node has not seen block {verdict.block.number}")
        if reachable[0] == tip:
            raise NodeBehind("the node's answers are of two branches")
        return await self._set_back(tip, reachable[0], head)

    async def _reconciled(self, known: Sequence[Ref], head: Block) -> Verdict:
        questions = reconcile(known)
        try:
            ref = next(questions)
            while True:
                ref = questions.send(await self._heard(ref, head))
        except StopIteration as done:
            verdict: Verdict = done.value
            return verdict

    async def _heard(self, ref: Ref, head: Block) -> Heard:
        try:
            block = head if head.number == ref.number else await self.rpc.block(ref.number)
        except NodeRefused:  # what some nodes say of a block they have not seen
            return Heard.UNSEEN
        if block is None:
            return Heard.UNSEEN
        return Heard.SAME if block.hash == ref.hash else Heard.OTHER

    async def _set_back(self, tip: Ref, to: Ref, head: Block) -> RolledBack:
        """A lower head on our own chain: a node behind, until it has been so for long."""
        now = time.monotonic()
        if self._lower is None or self._lower[0] != head.hash:
            self._lower = (head.hash, now)  # a head that moves is a node that catches up
        if now - self._lower[1] < self.set_back_after_s or await self._is_known(tip):
            raise NodeBehind(_behind(tip, head))
        return RolledBack(tip, to)

    async def _is_known(self, ref: Ref) -> bool:
        try:
            return await self.rpc.call("eth_getBlockByHash", to_hex(ref.hash), False) is not None
        except NodeRefused:
            return False

    async def _far_behind(self, known: Known, tip: Ref, head: Block) -> RolledBack:
        """The head is below all that could fork: a node that syncs, unless it syncs another chain.
        There is no rolling back so far: it waits, or halts."""
        oldest = await known.oldest()
        below = oldest is not None and oldest.number <= head.number
        if oldest is not None and below and await self._heard(oldest, head) is Heard.OTHER:
            raise ChainReplaced(oldest.number, tip.number)
        raise NodeBehind(_behind(tip, head))


def _behind(tip: Ref, head: Block) -> str:
    return f"the node's head is block {head.number}, ours is {tip.number}"


async def newest_of(rpc: Questions, refs: Sequence[Ref]) -> Ref | None:
    """The newest of some blocks (oldest first) that the node's chain has; None where it has none of
    them. Raises NodeUnavailable, NodeRefused."""
    known = MemoryChain()
    known.extend(refs)
    try:
        gone = await ForkFinder(rpc).find(known, refs[-1], await rpc.head())
    except ChainReplaced:
        return None
    return gone.to
