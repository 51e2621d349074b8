"""What is known of a chain, and what can have happened to it."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corechain.service.reconcile import Ref
from corechain.service.words import Block, Log


@dataclass(frozen=True, slots=True)
class Final:
    """The newest block that will not be undone; no hash where it is only deep enough.

    `safe`: the newest that will hardly be undone, as the node says; 0 where it does not say.
    """

    number: int
    hash: bytes | None = None
    safe: int = 0
    safe_hash: bytes | None = None
    tagged: bool = False
    """Whether the node knows the tag `finalized`, and so says itself what is final."""


@dataclass(frozen=True, slots=True)
class UpToDate:
    """Nothing has happened."""

    head: Block


@dataclass(frozen=True, slots=True)
class Behind:
    """The node has not seen all that it, or another node at its address, spoke of: ask again."""

    head: Block
    why: str


@dataclass(frozen=True, slots=True)
class Extended:
    """All logs in the blocks behind the newest known one, up to the last of `blocks`.

    `blocks`: near the head every block that was read, else only the last.
    """

    logs: Sequence[Log]
    blocks: Sequence[Ref]
    head: Block
    final: Final


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The known blocks after `to`, up to `tip`, are gone."""

    tip: Ref
    to: Ref


Change = UpToDate | Behind | Extended | RolledBack


class Known(Protocol):
    """The blocks that somebody knows."""

    async def tip(self) -> Ref | None:
        """The newest."""

    async def unfinal(self) -> Sequence[Ref]:
        """Newest first, down to and with the newest final one (or the oldest)."""

    async def oldest(self) -> Ref | None:
        """The first one ever kept."""


@dataclass(slots=True)
class MemoryChain:
    """Known blocks in memory: the oldest, the newest final one, and all after it."""

    _refs: list[Ref] = field(default_factory=list)
    """Oldest first."""
    _first: Ref | None = None

    async def tip(self) -> Ref | None:
        return self._refs[-1] if self._refs else None

    async def unfinal(self) -> Sequence[Ref]:
        return self._refs[::-1]

    async def oldest(self) -> Ref | None:
        return self._first

    def extend(self, blocks: Sequence[Ref]) -> None:
        """Adds blocks, oldest first."""
        self._refs += blocks
        self._first = self._first or self._refs[0]

    def roll_back(self, to: Ref) -> None:
        """Forgets the blocks after `to`."""
        del self._refs[self._up_to(to.number) :]

    def settle(self, final: Final) -> int | None:
        """Forgets the blocks below the newest that is final, and returns its number; None while
        none is, or while another block than ours is called final."""
        count = self._up_to(final.number)
        if not count:
            return None
        newest = self._refs[count - 1]
        if final.hash and newest.number == final.number and newest.hash != final.hash:
            return None
        del self._refs[: count - 1]
        return newest.number

    def _up_to(self, number: int) -> int:
        """How many of the blocks are not above a number."""
        return bisect_right(self._refs, number, key=lambda ref: ref.number)
