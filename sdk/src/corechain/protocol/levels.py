"""Both trees of a batch, opened where somebody looks: the upper levels are kept, the lowest six are
hashed anew from the 64 leaves below a node.

For services (extra `service`). The oracle: MerkleTree and StatisticsTree over all leaves.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import rows_of
from corechain.protocol.hashing import DIGEST_BYTES, Digest26
from corechain.protocol.merkle import MerkleTree, depth_of
from corechain.protocol.reading import KEY_BYTES, READING_BYTES
from corechain.protocol.roots import NODE, VALUE, hash_rows
from corechain.protocol.statistics import NODE_BYTES, Node, StatisticsTree

BLOCK_LEVEL = 6
"""A page of proofs hashes 127 nodes a block and tree; kept are 2.7 bytes a leaf. A level less would
halve the one and double the other."""
BLOCK = 1 << BLOCK_LEVEL
BLOCK_BYTES = BLOCK * READING_BYTES
T = TypeVar("T")
Numbers = npt.NDArray[np.int64]
_NO_MIN, _NO_MAX = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def _widths(count: int) -> list[int]:
    """Real nodes of each level over `count` leaves; what lies beyond them is the zero node."""
    return [-(-count >> level) for level in range(depth_of(count) + 1)]


@dataclass(slots=True)
class _Level:
    """A level of several trees side by side, a row each: real nodes are those below `widths`."""

    hashes: npt.NDArray[np.uint8]
    """(trees, nodes, 26)"""
    nodes: npt.NDArray[np.uint8]
    """(trees, nodes, 42), of the statistics tree."""
    sums: Numbers
    mins: Numbers
    maxs: Numbers
    widths: Numbers

    @classmethod
    def of_leaves(cls, leaves: npt.NDArray[np.uint8], counts: Numbers) -> "_Level":
        """`leaves`: (trees, nodes, 40), zeros from each tree's count on."""
        trees, width, _ = leaves.shape
        hashes = hash_rows(leaves.reshape(-1, READING_BYTES)).reshape(trees, width, -1)
        values = np.ascontiguousarray(leaves[:, :, VALUE]).view(">i4")[:, :, 0].astype(np.int64)
        return cls._with(hashes, hashes, values, values, values, counts)

    @classmethod
    def _with(
        cls,
        hashes: npt.NDArray[np.uint8],
        statistics: npt.NDArray[np.uint8],
        sums: Numbers,
        mins: Numbers,
        maxs: Numbers,
        widths: Numbers,
    ) -> "_Level":
        """With zero nodes where no real ones are, which count neither as least nor as greatest."""
        real = np.arange(hashes.shape[1]) < widths[:, None]
        nodes = np.zeros(real.shape, NODE)
        nodes["hash"], nodes["sum"], nodes["min"], nodes["max"] = statistics, sums, mins, maxs
        nodes[~real] = 0
        return cls(
            np.where(real[:, :, None], hashes, np.uint8(0)),
            nodes.view(np.uint8).reshape(*real.shape, NODE_BYTES),
            np.where(real, sums, 0),
            np.where(real, mins, _NO_MIN),
            np.where(real, maxs, _NO_MAX),
            widths,
        )

    def above(self) -> "_Level":
        """The next level; an odd number of nodes is met by zeros."""
        level = self._even()
        trees, width = level.sums.shape
        pairs = (trees, width // 2, 2)
        return self._with(
            _paired_hashes(level.hashes),
            _paired_hashes(level.nodes),
            level.sums.reshape(pairs).sum(2),
            level.mins.reshape(pairs).min(2),
            level.maxs.reshape(pairs).max(2),
            (self.widths + 1) // 2,
        )

    def _even(self) -> "_Level":
        missing = self.sums.shape[1] % 2
        if not missing:
            return self

        def padded(column: npt.NDArray[Any], value: int) -> npt.NDArray[Any]:
            pads = [(0, 0), (0, missing)] + [(0, 0)] * (column.ndim - 2)
            return np.pad(column, pads, constant_values=value)

        return _Level(
            padded(self.hashes, 0),
            padded(self.nodes, 0),
            padded(self.sums, 0),
            padded(self.mins, _NO_MIN),
            padded(self.maxs, _NO_MAX),
            self.widths,
        )

    def packed(self, tree: int) -> tuple[bytes, bytes]:
        """(hashes, nodes) of the real nodes of one tree."""
        width = int(self.widths[tree])
        return self.hashes[tree, :width].tobytes(), self.nodes[tree, :width].tobytes()


def _paired_hashes(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    trees, width, size = rows.shape
    pairs = np.ascontiguousarray(rows).reshape(-1, 2 * size)
    return hash_rows(pairs).reshape(trees, width // 2, DIGEST_BYTES)


@dataclass(frozen=True)
class UpperLevels:
    """What is kept of the trees over `count` leaves: `packed` is the key of each block's first leaf
    (35 bytes), then the levels from BLOCK_LEVEL up, of 26 bytes a node and of 42."""

    count: int
    packed: bytes

    def __post_init__(self) -> None:
        """Raises ValueError when `packed` is not of the length that the count asks for."""
        if len(self.packed) != self._starts[-1]:
            raise ValueError(f"{len(self.packed)} bytes are not the upper levels of {self.count}")

    @classmethod
    def of(cls, leaves: bytes) -> "UpperLevels":
        """Of sorted leaves, 40 bytes each, at least one."""
        rows = rows_of(leaves, READING_BYTES)
        level = _Level.of_leaves(rows[None], np.array([len(rows)]))
        readings, statistics = [], []
        for number in range(depth_of(len(rows)) + 1):
            level = level.above() if number else level
            if number >= BLOCK_LEVEL:
                hashes, nodes = level.packed(0)
                readings.append(hashes)
                statistics.append(nodes)
        fences = rows[::BLOCK, :KEY_BYTES].tobytes()
        return cls(len(rows), b"".join((fences, *readings, *statistics)))

    @cached_property
    def blocks(self) -> int:
        return -(-self.count // BLOCK)

    @cached_property
    def _starts(self) -> list[int]:
        """Where each kept level begins, of the readings tree, then of the other; and the end."""
        starts = [KEY_BYTES * self.blocks]
        for size in (DIGEST_BYTES, NODE_BYTES):
            for width in _widths(self.count)[BLOCK_LEVEL:]:
                starts.append(starts[-1] + size * width)
        return starts

    def level(self, number: int, size: int) -> memoryview:
        """The nodes of a kept level, one after the other: of 26 bytes or of 42."""
        kept = (len(self._starts) - 1) // 2
        at = number - BLOCK_LEVEL + (kept if size == NODE_BYTES else 0)
        return memoryview(self.packed)[self._starts[at] : self._starts[at + 1]]

    @cached_property
    def kept_statistics(self) -> bytes:
        """All kept levels of the statistics tree, 42 bytes a node, from BLOCK_LEVEL up."""
        return self.packed[self._starts[(len(self._starts) - 1) // 2] :]

    def _fence(self, block: int) -> bytes:
        return self.packed[KEY_BYTES * block : KEY_BYTES * (block + 1)]

    def edges(self, low: bytes, high: bytes) -> tuple[int, int]:
        """The blocks in which a range of keys begins and ends, or right after which it does."""
        every = range(self.blocks)
        first = bisect_left(every, low, key=self._fence)
        last = bisect_right(every, high, key=self._fence)
        return max(0, first - 1), max(0, last - 1)


@dataclass(frozen=True, slots=True)
class Block:
    """Up to 64 neighbouring leaves, and the levels below BLOCK_LEVEL over them."""

    leaves: bytes
    readings: tuple[bytes, ...]
    statistics: tuple[bytes, ...]

    def key(self, place: int) -> bytes:
        start = READING_BYTES * place
        return self.leaves[start : start + KEY_BYTES]

    def __len__(self) -> int:
        return len(self.leaves) // READING_BYTES


def hash_blocks(packed: Sequence[bytes]) -> list[Block]:
    """Blocks of leaves, 40 bytes each, 1 to 64 a block, with what is above them: all at once."""
    if not packed:
        return []
    counts = np.array([len(leaves) // READING_BYTES for leaves in packed])
    padded = b"".join(leaves.ljust(BLOCK_BYTES, b"\0") for leaves in packed)
    rows = rows_of(padded, READING_BYTES).reshape(-1, BLOCK, READING_BYTES)
    levels = [_Level.of_leaves(rows, counts)]
    while len(levels) < BLOCK_LEVEL:
        levels.append(levels[-1].above())
    return [
        Block(leaves, *zip(*(level.packed(tree) for level in levels), strict=True))
        for tree, leaves in enumerate(packed)
    ]


class NotOpened(LookupError):
    """A block of the tree that nobody has opened was asked for."""


@dataclass(frozen=True, slots=True)
class _Opened(Sequence[T]):
    """A level of an opened tree, an item at a time: rows of `size` bytes, `low` of them a block."""

    width: int
    size: int
    low: int
    rows_of_block: Callable[[int], bytes | memoryview]
    read: Callable[[bytes], T]

    def __len__(self) -> int:
        return self.width

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(self.width))]
        if not 0 <= at < self.width:
            raise IndexError(at)
        block, place = divmod(at, self.low)
        rows = self.rows_of_block(block)
        return self.read(bytes(rows[self.size * place : self.size * (place + 1)]))


@dataclass(frozen=True)
class OpenedTrees:
    """Both trees of a batch. What lies in no opened block raises NotOpened."""

    upper: UpperLevels
    blocks: Mapping[int, Block]

    def with_blocks(self, more: Mapping[int, Block]) -> "OpenedTrees":
        return OpenedTrees(self.upper, {**self.blocks, **more}) if more else self

    def _block(self, number: int) -> Block:
        try:
            return self.blocks[number]
        except KeyError:
            raise NotOpened(f"block {number} of {self.upper.blocks}") from None

    @cached_property
    def leaves(self) -> Sequence[bytes]:
        return _Opened(
            self.upper.count, READING_BYTES, BLOCK, lambda at: self._block(at).leaves, bytes
        )

    def _levels(
        self, size: int, of: Callable[[Block], tuple[bytes, ...]], read: Callable[[bytes], T]
    ) -> list[Sequence[T]]:
        def below(level: int) -> Callable[[int], bytes]:
            return lambda block: of(self._block(block))[level]

        def kept(level: int) -> Callable[[int], memoryview]:
            return lambda _: self.upper.level(level, size)

        return [
            _Opened(width, size, BLOCK >> level, below(level), read)
            if level < BLOCK_LEVEL
            else _Opened(width, size, width, kept(level), read)
            for level, width in enumerate(_widths(self.upper.count))
        ]

    @cached_property
    def readings(self) -> MerkleTree:
        levels = self._levels(DIGEST_BYTES, lambda block: block.readings, Digest26)
        return MerkleTree(levels[0], levels)

    @cached_property
    def statistics(self) -> StatisticsTree:
        levels = self._levels(NODE_BYTES, lambda block: block.statistics, Node.unpack)
        return StatisticsTree(self.leaves, levels)

    def locate(self, low: bytes, high: bytes) -> tuple[int, int]:
        """Positions [start, end) of the leaves with `low` ≤ key ≤ `high`; both `edges` are open."""
        first, last = self.upper.edges(low, high)
        one, other = self._block(first), self._block(last)
        start = bisect_left(range(len(one)), low, key=one.key)
        end = bisect_right(range(len(other)), high, key=other.key)
        return first * BLOCK + start, last * BLOCK + end
