"""Rewards: points from accepted data, a pool split by points, cumulative amounts in a Merkle tree.

Same batches + same rules ⇒ same root, on any machine. Nothing here knows a clock or a float.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType

from corechain.protocol.errors import InvalidProof, ValueOutOfRange
from corechain.protocol.hashing import Digest26, hash26, keccak
from corechain.protocol.merkle import MerkleTree, verify_inclusion
from corechain.protocol.provenance import Provenance, provenance_of
from corechain.protocol.reading import PASS, DeviceId, Reading

Owner = NewType("Owner", bytes)
"""The 20-byte address that is paid for a device."""

HOUR_S = 3600
U128_MAX = 2**128 - 1


WHOLE_BPS = 10_000
"""The weight of a device's own readings: points are counted in hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class RewardRules:
    """What a slot of an epoch is worth. Whoever proposes or checks a root has to use the same.

    `bridge_weight_bps`: weight of a slot of a device with provenance `bridge`, in hundredths of a
    percent of a device's own. Half by default: the data is as useful, but nobody vouches for the
    way from the station to the key. Raises ValueOutOfRange outside 0 to 10,000.
    """

    bridge_weight_bps: int = 5_000

    def __post_init__(self) -> None:
        if not 0 <= self.bridge_weight_bps <= WHOLE_BPS:
            raise ValueOutOfRange("bridge_weight_bps", self.bridge_weight_bps)

    def weight(self, device: DeviceId) -> int:
        """Of one slot, in basis points: from the id alone, so the same for everybody."""
        is_bridged = provenance_of(device) is Provenance.BRIDGE
        return self.bridge_weight_bps if is_bridged else WHOLE_BPS

    @property
    def hash(self) -> bytes:
        """hash32 of the rules in words; docs/protocol.md has them."""
        return keccak(
            b"CoreChain reward rules 2: a slot a device, metric and clock hour with a reading "
            b"flagged pass; of a bridge's device it counts %d of 10000; the pool is split by "
            b"slots so weighed, rounded down" % self.bridge_weight_bps
        )


@dataclass(frozen=True, slots=True)
class RewardSchedule:
    """Rules by the first epoch that they hold for, ascending, the first from epoch 1 on: an epoch
    that stands keeps its rules. Raises ValueError for any other order."""

    steps: Sequence[tuple[int, RewardRules]] = ((1, RewardRules()),)

    def __post_init__(self) -> None:
        firsts = [first for first, _ in self.steps]
        if firsts[:1] != [1] or firsts != sorted(set(firsts)):
            raise ValueError("reward rules begin with epoch 1, and each later at a later epoch")

    def of(self, epoch: int) -> RewardRules:
        """The rules of an epoch, from 1 on."""
        return self.steps[bisect_right(self.steps, epoch, key=lambda step: step[0]) - 1][1]


DEFAULT_RULES, DEFAULT_SCHEDULE = RewardRules(), RewardSchedule()


@dataclass(slots=True)
class EpochScore:
    """Slots of an epoch: one per device, metric and clock hour with a reading flagged pass.

    So neither a faster sensor nor a repeated value earns more than a steady one.
    """

    _slots: dict[DeviceId, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))

    def add(self, leaves: Iterable[bytes]) -> None:
        """Counts the packed readings of one batch."""
        for leaf in leaves:
            reading = Reading.unpack(leaf)
            if reading.flag == PASS:
                slot = reading.metric, reading.observed_at // HOUR_S
                self._slots[reading.device].add(slot)

    def points(self, rules: RewardRules) -> dict[DeviceId, int]:
        """Slots times their weight in basis points."""
        slots = sorted(self._slots.items())
        return {device: len(found) * rules.weight(device) for device, found in slots}


def points_by_owner(
    points: Mapping[DeviceId, int], owners: Mapping[DeviceId, Owner]
) -> dict[Owner, int]:
    """Points of all devices of each owner; a device without an owner earns nothing."""
    totals: dict[Owner, int] = defaultdict(int)
    for device, count in points.items():
        owner = owners.get(device)
        if owner is not None:
            totals[owner] += count
    return dict(sorted(totals.items()))


def split_down(pool: int, points: Mapping[Owner, int]) -> dict[Owner, int]:
    """The pool (base units) by points, each share rounded down; the remainder is not emitted."""
    total = sum(points.values())
    return {owner: pool * count // total for owner, count in points.items() if count}


def accumulate(before: Mapping[Owner, int], shares: Mapping[Owner, int]) -> dict[Owner, int]:
    """Cumulative amounts after an epoch, ascending by owner. Raises ValueOutOfRange past u128."""
    after = {
        owner: before.get(owner, 0) + shares.get(owner, 0) for owner in sorted({*before, *shares})
    }
    for amount in after.values():
        if amount > U128_MAX:
            raise ValueOutOfRange("cumulative", amount)
    return after


def reward_leaf(owner: bytes, cumulative: int) -> Digest26:
    """Hashed twice: no 36 bytes of a claim can be an inner node."""
    return hash26(keccak(owner + cumulative.to_bytes(16, "big")))


@dataclass(frozen=True, slots=True)
class RewardClaim:
    """What an owner shows the token contract."""

    owner: Owner
    cumulative: int
    position: int
    proof: tuple[Digest26, ...]


@dataclass(frozen=True, slots=True)
class RewardTree:
    """Cumulative amounts of all owners, ascending by owner. At least one."""

    amounts: Mapping[Owner, int]
    _owners: list[Owner] = field(init=False, repr=False, compare=False)
    _tree: MerkleTree = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        owners = sorted(self.amounts)
        leaves = [reward_leaf(owner, self.amounts[owner]) for owner in owners]
        object.__setattr__(self, "_owners", owners)
        object.__setattr__(self, "_tree", MerkleTree(leaves))

    @property
    def root(self) -> Digest26:
        return self._tree.root

    @property
    def levels(self) -> Sequence[Sequence[Digest26]]:
        """Real nodes, from the leaves up."""
        return self._tree.levels

    def claim(self, owner: Owner) -> RewardClaim:
        """Raises KeyError for an owner without a leaf."""
        if owner not in self.amounts:
            raise KeyError(owner)
        position = bisect_left(self._owners, owner)
        proof = tuple(self._tree.proof(position))
        return RewardClaim(owner, self.amounts[owner], position, proof)


def verify_claim(root: bytes, claim: RewardClaim) -> None:
    """Raises InvalidProof unless the claim stands under the reward root."""
    if not 0 <= claim.cumulative <= U128_MAX or len(claim.owner) != 20:
        raise InvalidProof("owner or amount is out of range")
    leaf = reward_leaf(claim.owner, claim.cumulative)
    verify_inclusion(root, leaf, claim.position, claim.proof)
