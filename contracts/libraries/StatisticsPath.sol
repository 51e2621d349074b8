// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { InvalidProof, PositionalTree } from "./PositionalTree.sol";

/// @title One node of a statistics tree against its children
/// @notice A path is `index 4 ‖ top 42 ‖ pairs of children 84 each`, from the top down: each pair hashes to the node above it, and the bits
/// of the index (the last pair's parent is at that index of its level) say on which side to go on. Source: docs/protocol.md, "Trees".
library StatisticsPath {
    uint256 private constant NODE = 42;
    uint256 private constant HEAD = 46;
    uint256 private constant PAIR = 84;

    /// @dev A node as it stands in its parent's preimage.
    struct Node {
        bytes26 hash;
        int64 sum;
        int32 min;
        int32 max;
    }

    /// @notice Whether the last pair's parent has other statistics than its children, or a child where no reading is, or none where one
    /// is. Reverts InvalidProof when the path does not lead there.
    function hasWrongParent(bytes26 root, uint256 count, bytes calldata path) internal pure returns (bool) {
        uint256 depth = PositionalTree.depthOf(count);
        uint256 pairs = _pairs(path);
        if (pairs == 0 || pairs > depth) revert InvalidProof();
        uint256 index = uint32(bytes4(path[:4]));
        Node memory parent = _walk(root, path, pairs - 1, index);
        bytes calldata pair = _pair(path, pairs - 1);
        if (bytes26(keccak256(pair)) != parent.hash) revert InvalidProof();
        uint256 level = depth - pairs;
        bool rightIsReal = ((2 * index + 1) << level) < count;
        // Of a parent that holds a reading the left child does, too. Of an index beyond its level none does.
        if ((2 * index) << level >= count) revert InvalidProof();
        return !_merges(parent, pair, rightIsReal);
    }

    /// @notice Whether the leaf at `position` of the statistics tree is not this reading's. Reverts InvalidProof when the path does
    /// not lead there.
    function hasOtherLeaf(
        bytes26 root,
        uint256 count,
        bytes calldata path,
        uint256 position,
        bytes calldata reading
    ) internal pure returns (bool) {
        uint256 pairs = _pairs(path);
        if (pairs != PositionalTree.depthOf(count) || uint32(bytes4(path[:4])) != position) {
            revert InvalidProof();
        }
        Node memory leaf = _walk(root, path, pairs, position);
        return !_isOf(leaf, reading);
    }

    /// @notice Whether every node on the way to `position` has the statistics of its children, and the leaf those of this reading. If that
    /// holds for each position, the tree is right. Reverts InvalidProof when the path does not lead there.
    function holds(bytes26 root, uint256 count, bytes calldata path, uint256 position, bytes calldata reading)
        internal
        pure
        returns (bool)
    {
        uint256 depth = PositionalTree.depthOf(count);
        if (_pairs(path) != depth || uint32(bytes4(path[:4])) != position) revert InvalidProof();
        return _isOf(_walk(root, path, depth, position), reading) && _mergesAll(path, depth, position, count);
    }

    /// @dev The node below `steps` pairs: on the side of the index's bits, the highest first.
    function _walk(bytes26 root, bytes calldata path, uint256 steps, uint256 index)
        private
        pure
        returns (Node memory node)
    {
        bytes calldata top = path[4:HEAD];
        if (bytes26(keccak256(top)) != root) revert InvalidProof();
        node = _node(top);
        for (uint256 step = 0; step < steps; ++step) {
            bytes calldata pair = _pair(path, step);
            if (bytes26(keccak256(pair)) != node.hash) revert InvalidProof();
            node = _child(pair, index >> (steps - 1 - step));
        }
    }

    /// @dev Of a path that hashes up to its root: whether each pair makes the statistics of the node above it.
    function _mergesAll(bytes calldata path, uint256 depth, uint256 position, uint256 count)
        private
        pure
        returns (bool)
    {
        Node memory node = _node(path[4:HEAD]);
        for (uint256 level = depth; level > 0; --level) {
            bytes calldata pair = _pair(path, depth - level);
            uint256 index = position >> (level - 1);
            if (!_merges(node, pair, (index | 1) << (level - 1) < count)) return false;
            node = _child(pair, index);
        }
        return true;
    }

    function _merges(Node memory parent, bytes calldata pair, bool rightIsReal) private pure returns (bool) {
        (Node memory left, Node memory right) = (_node(pair[:NODE]), _node(pair[NODE:]));
        if (left.hash == 0) return false;
        if (!rightIsReal) {
            bool empty = right.hash == 0 && right.sum == 0 && right.min == 0 && right.max == 0;
            return empty && parent.sum == left.sum && parent.min == left.min && parent.max == left.max;
        }
        return right.hash != 0 && int256(parent.sum) == int256(left.sum) + right.sum
            && parent.min == (left.min < right.min ? left.min : right.min)
            && parent.max == (left.max > right.max ? left.max : right.max);
    }

    function _isOf(Node memory leaf, bytes calldata reading) private pure returns (bool) {
        int32 value = int32(uint32(bytes4(reading[35:39])));
        return leaf.hash == bytes26(keccak256(reading)) && leaf.sum == value && leaf.min == value
            && leaf.max == value;
    }

    /// @dev The child at an index of its level: right if that is odd.
    function _child(bytes calldata pair, uint256 index) private pure returns (Node memory) {
        return _node(index & 1 == 1 ? pair[NODE:] : pair[:NODE]);
    }

    function _pairs(bytes calldata path) private pure returns (uint256) {
        if (path.length < HEAD || (path.length - HEAD) % PAIR != 0) revert InvalidProof();
        return (path.length - HEAD) / PAIR;
    }

    function _pair(bytes calldata path, uint256 step) private pure returns (bytes calldata) {
        return path[HEAD + PAIR * step:HEAD + PAIR * (step + 1)];
    }

    function _node(bytes calldata packed) private pure returns (Node memory) {
        return Node(
            bytes26(packed[:26]),
            int64(uint64(bytes8(packed[26:34]))),
            int32(uint32(bytes4(packed[34:38]))),
            int32(uint32(bytes4(packed[38:NODE])))
        );
    }
}
