"""Whether the mirrored chain is still the canonical one. Pure: hashes in, what to do out."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from corechain.service.errors import Halt


class Ref(NamedTuple):
    """A block by number and hash."""

    number: int
    hash: bytes


class ChainReplaced(Halt):
    """No block we know is on the node's chain: a reset devnet, or a reorg past finality."""

    def __init__(self, oldest: int, newest: int) -> None:
        super().__init__(
            f"no mirrored block from {oldest} to {newest} is on the node's chain any more; if the "
            "chain was reset on purpose, run `corechain indexer rebuild`"
        )
        self.oldest, self.newest = oldest, newest


@dataclass(frozen=True, slots=True)
class Extends:
    """The cursor is canonical; go on behind it."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """Blocks after `to` are not canonical."""

    to: Ref


Verdict = Extends | RollBack


def reconcile(known: Sequence[Ref]) -> Generator[Ref, bool, Verdict]:
    """`known`: mirrored blocks, newest first, down to one that is final. Raises ChainReplaced.

    Yields the block to ask about and is sent whether it is canonical; stops at the first that is: a
    fork is as shallow as it can be, and a chain that did not fork costs one question.
    """
    for depth, ref in enumerate(known):
        if (yield ref):
            return RollBack(ref) if depth else Extends()
    if not known:
        return Extends()
    raise ChainReplaced(known[-1].number, known[0].number)
