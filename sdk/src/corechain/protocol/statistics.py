"""Statistics tree: count, sum, min and max of any contiguous range, proven in O(log n).

Each child's own statistics go into the parent's hash. Hashing only the total would be forgeable:
value could be moved between siblings.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from corechain.protocol.errors import InvalidProof, RangeIncomplete
from corechain.protocol.hashing import ZERO26, Digest26, hash26
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import KEY_BYTES, READING_BYTES, leaf_value

NODE_BYTES = 42
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of the values of a range, in the metric's scaled units. With count 0 the others are 0."""

    count: int
    sum: int
    min: int
    max: int

    def __add__(self, other: "Statistics") -> "Statistics":
        if not self.count or not other.count:
            return other if not self.count else self
        return Statistics(
            self.count + other.count,
            self.sum + other.sum,
            min(self.min, other.min),
            max(self.max, other.max),
        )


NOTHING = Statistics(0, 0, 0, 0)


class Node(NamedTuple):
    """Hash and statistics of a subtree; the count follows from its position."""

    hash: Digest26
    sum: int
    min: int
    max: int

    def pack(self) -> bytes:
        """42 bytes. Raises InvalidProof for a sum that only a forged node can have."""
        if not -(2**63) <= self.sum < 2**63:
            raise InvalidProof("a sum does not fit 64 bits")
        return (
            self.hash
            + self.sum.to_bytes(8, "big", signed=True)
            + self.min.to_bytes(4, "big", signed=True)
            + self.max.to_bytes(4, "big", signed=True)
        )

    @classmethod
    def unpack(cls, packed: bytes) -> "Node":
        return cls(
            Digest26(packed[:26]),
            int.from_bytes(packed[26:34], "big", signed=True),
            int.from_bytes(packed[34:38], "big", signed=True),
            int.from_bytes(packed[38:42], "big", signed=True),
        )


ZERO_NODE = Node(ZERO26, 0, 0, 0)


def leaf_node(leaf: bytes) -> Node:
    value = leaf_value(leaf)
    return Node(hash26(leaf), value, value, value)


def _merge(left: Node, right: Node) -> Node:
    if left.hash == ZERO26 and right.hash == ZERO26:
        return ZERO_NODE
    digest = hash26(left.pack() + right.pack())
    if right.hash == ZERO26:
        return Node(digest, left.sum, left.min, left.max)
    if left.hash == ZERO26:
        return Node(digest, right.sum, right.min, right.max)
    return Node(digest, left.sum + right.sum, min(left.min, right.min), max(left.max, right.max))


def _level_above(level: Sequence[Node]) -> list[Node]:
    even = level if len(level) % 2 == 0 else [*level, ZERO_NODE]
    return [_merge(even[i], even[i + 1]) for i in range(0, len(even), 2)]


class RangeProof(NamedTuple):
    """Revealed boundary leaves (40 bytes each) and subtree nodes, both left to right."""

    leaves: tuple[bytes, ...]
    nodes: tuple[Node, ...]


def revealed_positions(start: int, end: int, count: int) -> list[int]:
    """The leaves a proof of [start, end) shows: both edges and their outer neighbours."""
    edges = {start - 1, end} if start == end else {start - 1, start, end - 1, end}
    return sorted(edge for edge in edges if 0 <= edge < count)


@dataclass(frozen=True, slots=True)
class StatisticsTree:
    """The tree over packed readings, at least one. Its levels are made from them, or given: real
    nodes alone, as far as anybody will look."""

    leaves: Sequence[bytes]
    levels: Sequence[Sequence[Node]] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        assert self.leaves, "a tree has at least one leaf"
        if not self.levels:
            object.__setattr__(self, "levels", self._all_levels())

    def _all_levels(self) -> list[Sequence[Node]]:
        levels: list[Sequence[Node]] = [[leaf_node(leaf) for leaf in self.leaves]]
        while len(levels[-1]) > 1:
            levels.append(_level_above(levels[-1]))
        return levels

    @property
    def root(self) -> Digest26:
        return hash26(self.levels[-1][0].pack())

    @property
    def top(self) -> Node:
        return self.levels[-1][0]

    def path(self, level: int, index: int) -> Iterator[tuple[Node, Node]]:
        """Pairs of children from the top down, the last one of the node at `level` ≥ 1; for a leaf
        (level 0) the last one holds it."""
        lowest = max(level - 1, 0)
        for above in range(len(self.levels) - 2, lowest - 1, -1):
            # The bits of the index below the node in question do not exist for its children.
            left = 2 * (index >> (above + 1 - level))
            row = self.levels[above]
            yield row[left], row[left + 1] if left + 1 < len(row) else ZERO_NODE

    def range_proof(self, start: int, end: int) -> RangeProof:
        """Proof of the positions [start, end). Raises IndexError beyond the leaves."""
        count = len(self.leaves)
        if not 0 <= start <= end <= count:
            raise IndexError(f"range [{start}, {end}) of {count} leaves")
        shown = revealed_positions(start, end, count)
        nodes = tuple(self._cover(len(self.levels) - 1, 0, shown))
        return RangeProof(tuple(self.leaves[position] for position in shown), nodes)

    def _cover(self, level: int, index: int, shown: list[int]) -> Iterator[Node]:
        first, width = index << level, 1 << level
        if first >= len(self.leaves):
            return
        if not any(first <= position < first + width for position in shown):
            yield self.levels[level][index]
        elif level:
            yield from self._cover(level - 1, 2 * index, shown)
            yield from self._cover(level - 1, 2 * index + 1, shown)


@dataclass(slots=True)
class _Walk:
    """Rebuilds the root from a proof, top down, adding up what lies inside the range."""

    count: int
    start: int
    end: int
    shown: list[int]
    leaves: Iterator[bytes]
    nodes: Iterator[Node]
    total: Statistics = NOTHING

    def rebuild(self, level: int, index: int) -> Node:
        first, width = index << level, 1 << level
        if first >= self.count:
            return ZERO_NODE
        if not any(first <= position < first + width for position in self.shown):
            return self._counted(_next(self.nodes), first, width)
        if level == 0:
            return self._counted(leaf_node(_next(self.leaves)), first, 1)
        left = self.rebuild(level - 1, 2 * index)
        return _merge(left, self.rebuild(level - 1, 2 * index + 1))

    def _counted(self, node: Node, first: int, width: int) -> Node:
        if node.hash == ZERO26:
            raise InvalidProof("a real subtree cannot be the zero node")
        if self.start <= first < self.end:
            real = min(first + width, self.count) - first
            self.total += Statistics(real, node.sum, node.min, node.max)
        return node


def _next(items: Iterator[T]) -> T:
    try:
        return next(items)
    except StopIteration:
        raise InvalidProof("the range proof is too short") from None


def check_boundaries(
    shown: Iterable[tuple[int, bytes]], start: int, end: int, low: bytes, high: bytes
) -> None:
    """Leaves in [start, end) have keys from `low` to `high`, those before and after have not.

    Raises RangeIncomplete.
    """
    for position, leaf in shown:
        key = leaf[:KEY_BYTES]
        if position < start:
            enclosed = key < low
        elif position >= end:
            enclosed = key > high
        else:
            enclosed = low <= key <= high
        if not enclosed:
            raise RangeIncomplete(f"the leaf at position {position} is on the wrong side")


def verify_range(
    root: bytes, count: int, start: int, end: int, low: bytes, high: bytes, proof: RangeProof
) -> Statistics:
    """Statistics of all readings with `low` ≤ key ≤ `high` (35 bytes each) in a batch of `count`.

    Raises InvalidProof when the proof does not lead to the statistics root, RangeIncomplete when
    [start, end) is not exactly the range between the keys. Relies on the leaves being sorted, which
    is checked by everyone who opens the data file and is a one-step challenge.
    """
    if not 0 <= start <= end <= count or low > high:
        raise InvalidProof(f"[{start}, {end}) is not a range of {count} leaves")
    shown = revealed_positions(start, end, count)
    if len(shown) != len(proof.leaves) or any(len(x) != READING_BYTES for x in proof.leaves):
        raise InvalidProof("the range proof does not show its boundary leaves")
    nodes = iter(proof.nodes)
    walk = _Walk(count, start, end, shown, iter(proof.leaves), nodes)
    top = walk.rebuild(depth_of(count), 0)
    if next(nodes, None) is not None or hash26(top.pack()) != root:
        raise InvalidProof("the range proof does not lead to the statistics root")
    check_boundaries(zip(shown, proof.leaves, strict=True), start, end, low, high)
    if not -(2**63) <= walk.total.sum < 2**63:
        raise InvalidProof("the sum of the range does not fit 64 bits")
    return walk.total


def _key(leaf: bytes) -> bytes:
    return leaf[:KEY_BYTES]


def locate(leaves: Sequence[bytes], low: bytes, high: bytes) -> tuple[int, int]:
    """Positions [start, end) of the sorted leaves with `low` ≤ key ≤ `high`."""
    return bisect_left(leaves, low, key=_key), bisect_right(leaves, high, key=_key)
