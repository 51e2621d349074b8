// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Key, Statistics } from "../interfaces/BatchTypes.sol";
import { IDataBatches } from "../interfaces/IDataBatches.sol";
import { InvalidProof } from "./PositionalTree.sol";

/// @notice A subtree: its hash and the statistics of the readings below it.
struct StatisticsNode {
    bytes26 hash;
    int256 sum;
    int32 min;
    int32 max;
}

/// @title Statistics of a contiguous range of a batch, proven in O(log n)
/// @notice Each child's own statistics go into the parent's hash: hashing only the total would let value be moved between
/// siblings. Source: docs/protocol.md, "Trees"; the Python twin is `corechain.protocol.statistics`.
library StatisticsTree {
    uint256 private constant LEAF_BYTES = 40;
    uint256 private constant NODE_BYTES = 42;

    /// @dev State of one walk from the root down. Cursors are byte offsets into the proof.
    struct Walk {
        uint256 count;
        uint256 from;
        uint256 to;
        uint256 leafCursor;
        uint256 nodeCursor;
        Key low;
        Key high;
        uint256 inside;
        int256 sum;
        int32 min;
        int32 max;
        uint256 misplaced; // 1 + position of the first boundary leaf on the wrong side; 0 for none
    }

    /// @notice Statistics of the range. Reverts InvalidProof or RangeIncomplete.
    /// @param root `statisticsRoot` of the header
    /// @param count `readingCount` of the header
    function verify(
        bytes26 root,
        uint256 count,
        Key calldata low,
        Key calldata high,
        uint256 from,
        uint256 to,
        bytes calldata leaves,
        bytes calldata nodes
    ) internal pure returns (Statistics memory) {
        if (count == 0 || from > to || to > count || _less(high, low)) {
            revert InvalidProof();
        }
        // slither-disable-next-line uninitialized-local (memory structs begin as zero)
        Walk memory walk;
        (walk.count, walk.from, walk.to, walk.low, walk.high) = (count, from, to, low, high);
        StatisticsNode memory top = _rebuild(walk, leaves, nodes, _depth(count), 0);
        if (walk.leafCursor != leaves.length || walk.nodeCursor != nodes.length) revert InvalidProof();
        if (bytes26(keccak256(_pack(top))) != root) revert InvalidProof();
        if (walk.misplaced != 0) revert IDataBatches.RangeIncomplete(uint32(walk.misplaced - 1));
        _requireSum(walk.sum);
        return Statistics(uint32(walk.inside), int64(walk.sum), walk.min, walk.max);
    }

    /// @dev Depth is at most 32, so the recursion is bounded.
    function _rebuild(
        Walk memory walk,
        bytes calldata leaves,
        bytes calldata nodes,
        uint256 level,
        uint256 index
    ) private pure returns (StatisticsNode memory node) {
        uint256 first = index << level;
        uint256 behind = first + (1 << level);
        if (first >= walk.count) return node;
        if (!_shows(walk, first, behind)) {
            node = _nextNode(walk, nodes);
            _count(walk, node, first, behind);
        } else if (level == 0) {
            node = _nextLeaf(walk, leaves, first);
            _count(walk, node, first, behind);
        } else {
            node = _rebuild(walk, leaves, nodes, level - 1, 2 * index);
            node = _merge(node, _rebuild(walk, leaves, nodes, level - 1, 2 * index + 1));
        }
    }

    /// @dev Whether a boundary leaf lies in [first, behind): one of from - 1, to, from, to - 1 (the last two of an empty range are the
    /// first two).
    function _shows(Walk memory walk, uint256 first, uint256 behind) private pure returns (bool) {
        (uint256 from, uint256 to) = (walk.from, walk.to);
        if (from > first && from <= behind) return true;
        if (to < walk.count && to >= first && to < behind) return true;
        return (from >= first && from < behind) || (to > first && to <= behind);
    }

    function _count(Walk memory walk, StatisticsNode memory node, uint256 first, uint256 behind)
        private
        pure
    {
        if (first < walk.from || first >= walk.to) return;
        bool none = walk.inside == 0;
        walk.min = none || node.min < walk.min ? node.min : walk.min;
        walk.max = none || node.max > walk.max ? node.max : walk.max;
        walk.inside += behind - first; // the last leaf is shown by itself, so nothing here goes beyond it
        walk.sum += node.sum;
    }

    function _nextNode(Walk memory walk, bytes calldata nodes) private pure returns (StatisticsNode memory) {
        uint256 start = walk.nodeCursor;
        if (start + NODE_BYTES > nodes.length) revert InvalidProof();
        walk.nodeCursor = start + NODE_BYTES;
        bytes26 hash = bytes26(nodes[start:start + 26]);
        if (hash == 0) revert InvalidProof();
        return StatisticsNode(
            hash,
            int64(uint64(bytes8(nodes[start + 26:start + 34]))),
            int32(uint32(bytes4(nodes[start + 34:start + 38]))),
            int32(uint32(bytes4(nodes[start + 38:start + 42])))
        );
    }

    function _nextLeaf(Walk memory walk, bytes calldata leaves, uint256 position)
        private
        pure
        returns (StatisticsNode memory)
    {
        uint256 start = walk.leafCursor;
        if (start + LEAF_BYTES > leaves.length) revert InvalidProof();
        walk.leafCursor = start + LEAF_BYTES;
        bytes calldata leaf = leaves[start:start + LEAF_BYTES];
        _requireSide(walk, leaf, position);
        int32 value = int32(uint32(bytes4(leaf[35:39])));
        return StatisticsNode(bytes26(keccak256(leaf)), value, value, value);
    }

    function _requireSide(Walk memory walk, bytes calldata leaf, uint256 position) private pure {
        Key memory key = Key(
            uint16(bytes2(leaf[:2])),
            uint64(bytes8(leaf[2:10])),
            address(bytes20(leaf[10:30])),
            uint40(bytes5(leaf[30:35]))
        );
        bool enclosed = position < walk.from
            ? _less(key, walk.low)
            : position >= walk.to ? _less(walk.high, key) : !_less(key, walk.low) && !_less(walk.high, key);
        // Told only when the proof leads to the root: a forged leaf is an InvalidProof first, as it is in Python.
        if (!enclosed && walk.misplaced == 0) walk.misplaced = position + 1;
    }

    function _merge(StatisticsNode memory left, StatisticsNode memory right)
        private
        pure
        returns (StatisticsNode memory)
    {
        // Only a right subtree can be all padding: the left one always starts before it.
        bytes26 hash = bytes26(keccak256(bytes.concat(_pack(left), _pack(right))));
        if (right.hash == 0) return StatisticsNode(hash, left.sum, left.min, left.max);
        return StatisticsNode(
            hash,
            left.sum + right.sum,
            left.min < right.min ? left.min : right.min,
            left.max > right.max ? left.max : right.max
        );
    }

    function _pack(StatisticsNode memory node) private pure returns (bytes memory) {
        _requireSum(node.sum);
        return abi.encodePacked(node.hash, int64(node.sum), node.min, node.max);
    }

    /// @dev A forged sum could leave the type; an honest one cannot (2^32 values of 32 bits).
    function _requireSum(int256 sum) private pure {
        if (sum > type(int64).max || sum < type(int64).min) revert InvalidProof();
    }

    function _less(Key memory a, Key memory b) private pure returns (bool) {
        uint256 left = _place(a);
        uint256 right = _place(b);
        return left < right || (left == right && a.observedAt < b.observedAt);
    }

    function _place(Key memory key) private pure returns (uint256) {
        return uint256(key.metric) << 224 | uint256(key.cell) << 160 | uint160(key.device);
    }

    function _depth(uint256 count) private pure returns (uint256 depth) {
        while ((1 << depth) < count) ++depth;
    }
}
