"""Whether the chain that we know is still the node's. Pure: what was heard in, what to do out."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from corechain.service.errors import Halt


class Ref(NamedTuple):
    """A block by number and hash."""

    number: int
    hash: bytes


class Heard(Enum):
    """What a node says about a block that we know."""

    SAME = "same"
    OTHER = "other"
    """It serves another block at that height: the only proof that ours is gone."""
    UNSEEN = "unseen"
    """It serves none at that height. It may not have seen it yet: no proof of anything."""


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
    """The newest known block is canonical."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """Blocks after `to` are not canonical."""

    to: Ref


@dataclass(frozen=True, slots=True)
class Unclear:
    """The node has not seen `block`, which it must have if its other answers hold: ask again."""

    block: Ref


Verdict = Extends | RollBack | Unclear


def reconcile(known: Sequence[Ref]) -> Generator[Ref, Heard, Verdict]:
    """`known`: blocks newest first, down to one that is final. Raises ChainReplaced.

    Yields the block to ask about and is sent what was heard of it. A chain that did not fork costs
    one question, a fork of depth d about 2·log2(d): the distance doubles until a block stands
    (forks are mostly shallow), then the gap is halved. That may be done because no block stands
    whose ancestors do not.
    """
    if not known:
        return Extends()
    gone, place = -1, 0  # known[gone] is not canonical
    while (heard := (yield known[place])) is Heard.OTHER:
        if place == len(known) - 1:
            raise ChainReplaced(known[-1].number, known[0].number)
        gone, place = place, min(2 * place + 1, len(known) - 1)
    if heard is Heard.UNSEEN:
        return Unclear(known[place])
    while place - gone > 1:  # known[place] stands
        middle = (gone + place) // 2
        heard = yield known[middle]
        if heard is Heard.UNSEEN:
            return Unclear(known[middle])
        gone, place = (middle, place) if heard is Heard.OTHER else (gone, middle)
    return RollBack(known[place]) if place else Extends()
