"""Computes cumulative rewards epoch by epoch, and compares with every root that stands on chain."""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from corechain.protocol.batch import open_data_file
from corechain.protocol.errors import CoreChainError, ProtocolError
from corechain.protocol.events import RootProposed
from corechain.protocol.hashing import Digest26
from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import (
    DEFAULT_RULES,
    EpochScore,
    Owner,
    RewardRules,
    RewardSchedule,
    RewardTree,
    accumulate,
    points_by_owner,
    split_down,
)
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.rewards.proven import Proven


class NothingToReward(CoreChainError):
    """No reading that passed was committed since the last epoch."""

    def __init__(self, since_block: int) -> None:
        super().__init__(f"no rewarded reading was committed after block {since_block}")
        self.since_block = since_block


class RewardsNotReproducible(CoreChainError):
    """What we compute differs from what stands on chain, or a data file is missing."""


class RootDiffers(RewardsNotReproducible):
    """The root of an epoch that stands is not the one of data files and events: a file is of
    another batch, or the logs of its blocks (`first` to `last`) are not all known."""

    def __init__(self, epoch: int, first: int, last: int) -> None:
        super().__init__(f"the root of epoch {epoch} on chain is not the one of the data files")
        self.epoch, self.first, self.last = epoch, first, last


@dataclass(frozen=True, slots=True)
class Proposal:
    """A root to propose. `emission` is the pool: the shares are recomputed from it."""

    epoch: int
    root: Digest26
    through_block: int
    emission: int
    amounts: Mapping[Owner, int]
    rules: RewardRules = DEFAULT_RULES


OwnersAt = Callable[[int], Awaitable[Mapping[DeviceId, Owner]]]


def _leaves(data_dir: Path, commitment: Digest26) -> list[bytes]:
    path = data_path(data_dir, commitment)
    try:
        batch, _ = open_data_file(path.read_bytes())
    except OSError as error:
        raise RewardsNotReproducible(
            f"the data file {path.name} cannot be read: {error.strerror}"
        ) from None
    except ProtocolError as error:
        raise RewardsNotReproducible(f"the data file {path.name}: {error}") from error
    if batch.commitment != commitment:
        raise RewardsNotReproducible(f"the data file {path.name} has another commitment")
    return batch.leaves


@dataclass(slots=True)
class Ledger:
    """All committed batches with their data files: everything an epoch depends on.

    Cost: every data file since the newest proven epoch is read and verified once for a proposal,
    in threads.
    """

    batches: Mapping[int, Committed]
    data_dir: Path
    owners_at: OwnersAt
    schedule: RewardSchedule
    proven: Proven = field(default_factory=Proven)
    _in_order: Sequence[tuple[int, int, Digest26]] | None = None
    """By block: years have a million batches, and hundreds of epochs look for theirs."""

    async def _shares(
        self, after: int, through: int, pool: int, rules: RewardRules
    ) -> dict[Owner, int]:
        score = EpochScore()
        for commitment in await self._between(after, through):
            await asyncio.to_thread(self._count, score, commitment)
        found, owners = await asyncio.to_thread(score.points, rules), await self.owners_at(through)
        points = points_by_owner(found, owners)
        return split_down(pool, points) if sum(points.values()) else {}

    def _count(self, score: EpochScore, commitment: Digest26) -> None:
        score.add(_leaves(self.data_dir, commitment))

    async def _between(self, after: int, through: int) -> list[Digest26]:
        if self._in_order is None:
            self._in_order = await asyncio.to_thread(self._ordered)
        first, end = (
            bisect_right(self._in_order, at, key=itemgetter(0)) for at in (after, through)
        )
        return [
            commitment for *_, commitment in sorted(self._in_order[first:end], key=itemgetter(1))
        ]

    def _ordered(self) -> list[tuple[int, int, Digest26]]:
        found = ((one.block, batch, one.commitment) for batch, one in self.batches.items())
        return sorted(found, key=itemgetter(0))

    async def cumulative(self, epochs: Iterable[RootProposed]) -> Mapping[Owner, int]:
        """Amounts after some epochs. Raises RewardsNotReproducible unless every root comes out."""
        epochs = list(epochs)
        known = self.proven.within(epochs)
        amounts, after = known.amounts, known.through
        for epoch in (one for one in epochs if one.epoch > known.epoch):
            rules, through = self.schedule.of(epoch.epoch), epoch.through_block
            amounts = accumulate(amounts, await self._shares(after, through, epoch.emission, rules))
            if not amounts or await _root(amounts) != epoch.root:
                raise RootDiffers(epoch.epoch, after + 1, through)
            await self.proven.take(epoch, amounts)
            after = through
        return amounts

    async def root_of(self, before: Iterable[RootProposed], proposed: RootProposed) -> bytes | None:
        """The root that a proposed epoch should have, None where no root is right: it rewards
        nothing at all, or ends before the last one, and the next would reward data twice. Raises
        RewardsNotReproducible where that cannot be known: a file is missing, an earlier root that
        stands is another one."""
        epochs = list(before)
        cumulative = await self.cumulative(epochs)
        after = epochs[-1].through_block if epochs else 0
        if proposed.through_block < after:
            return None
        rules = self.schedule.of(proposed.epoch)
        shares = await self._shares(after, proposed.through_block, proposed.emission, rules)
        amounts = accumulate(cumulative, shares)
        return await _root(amounts) if amounts else None

    async def propose(self, epochs: list[RootProposed], through: int, pool: int) -> Proposal:
        """The next epoch. Raises NothingToReward, RewardsNotReproducible."""
        after = epochs[-1].through_block if epochs else 0
        before = await self.cumulative(epochs)
        number = epochs[-1].epoch + 1 if epochs else 1
        rules = self.schedule.of(number)
        shares = await self._shares(after, through, pool, rules)
        if not shares:
            raise NothingToReward(after)
        amounts = accumulate(before, shares)
        return Proposal(number, await _root(amounts), through, pool, amounts, rules)


async def _root(amounts: Mapping[Owner, int]) -> Digest26:
    """In a thread: a tree of all owners."""
    return (await asyncio.to_thread(RewardTree, amounts)).root
