"""Computes cumulative rewards epoch by epoch, and compares with every root that stands on chain."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
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


class NothingToReward(CoreChainError):
    """No reading that passed was committed since the last epoch."""

    def __init__(self, since_block: int) -> None:
        super().__init__(f"no rewarded reading was committed after block {since_block}")
        self.since_block = since_block


class RewardsNotReproducible(CoreChainError):
    """What we compute differs from what stands on chain, or a data file is missing."""


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


@dataclass(frozen=True, slots=True)
class Ledger:
    """All committed batches with their data files: everything an epoch depends on.

    Cost: every data file since the first epoch is read and verified once for a proposal.
    """

    batches: Mapping[int, Committed]
    data_dir: Path
    owners_at: OwnersAt
    schedule: RewardSchedule

    async def _shares(
        self, after: int, through: int, pool: int, rules: RewardRules
    ) -> dict[Owner, int]:
        score = EpochScore()
        for commitment in self._between(after, through):
            score.add(_leaves(self.data_dir, commitment))
        points = points_by_owner(score.points(rules), await self.owners_at(through))
        return split_down(pool, points) if sum(points.values()) else {}

    def _between(self, after: int, through: int) -> Iterable[Digest26]:
        for _, entry in sorted(self.batches.items()):
            if after < entry.block <= through:
                yield entry.commitment

    async def cumulative(self, epochs: Iterable[RootProposed]) -> dict[Owner, int]:
        """Amounts after some epochs. Raises RewardsNotReproducible unless every root comes out."""
        amounts: dict[Owner, int] = {}
        after = 0
        for epoch in epochs:
            rules = self.schedule.of(epoch.epoch)
            shares = await self._shares(after, epoch.through_block, epoch.emission, rules)
            amounts = accumulate(amounts, shares)
            if not amounts or RewardTree(amounts).root != epoch.root:
                raise RewardsNotReproducible(
                    f"the root of epoch {epoch.epoch} on chain is not the one of the data files"
                )
            after = epoch.through_block
        return amounts

    async def root_of(self, before: Iterable[RootProposed], proposed: RootProposed) -> bytes | None:
        """The root that a proposed epoch should have, None where no root is right: it rewards
        nothing at all, or ends before the last one, and the next would reward data twice. Raises
        RewardsNotReproducible where that cannot be known: a file is missing, an earlier root that
        stands is another one."""
        epochs = list(before)
        amounts = await self.cumulative(epochs)
        after = epochs[-1].through_block if epochs else 0
        if proposed.through_block < after:
            return None
        rules = self.schedule.of(proposed.epoch)
        shares = await self._shares(after, proposed.through_block, proposed.emission, rules)
        amounts = accumulate(amounts, shares)
        return RewardTree(amounts).root if amounts else None

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
        return Proposal(number, RewardTree(amounts).root, through, pool, amounts, rules)
