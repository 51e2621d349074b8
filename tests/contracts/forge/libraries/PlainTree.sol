// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// The tree as docs/protocol.md tells it, one node at a time: what the libraries are compared with.
library PlainTree {
    function node(bytes26[] memory leaves, uint256 level, uint256 index) internal pure returns (bytes26) {
        if (index << level >= leaves.length) return 0;
        if (level == 0) return leaves[index];
        bytes26 left = node(leaves, level - 1, 2 * index);
        return bytes26(keccak256(bytes.concat(left, node(leaves, level - 1, 2 * index + 1))));
    }

    function depth(uint256 count) internal pure returns (uint256 levels) {
        for (uint256 width = 1; width < count; width += width) {
            levels += 1;
        }
    }

    function root(bytes26[] memory leaves) internal pure returns (bytes26) {
        return node(leaves, depth(leaves.length), 0);
    }

    function proof(bytes26[] memory leaves, uint256 position) internal pure returns (bytes26[] memory found) {
        found = new bytes26[](depth(leaves.length));
        for (uint256 level = 0; level < found.length; ++level) {
            uint256 own = position / 2 ** level;
            found[level] = node(leaves, level, own % 2 == 0 ? own + 1 : own - 1);
        }
    }

    function packed(bytes26[] memory nodes) internal pure returns (bytes memory bytes_) {
        for (uint256 i = 0; i < nodes.length; ++i) {
            bytes_ = bytes.concat(bytes_, nodes[i]);
        }
    }

    /// Leaves that nobody has chosen.
    function some(bytes32 seed, uint256 count) internal pure returns (bytes26[] memory leaves) {
        leaves = new bytes26[](count);
        for (uint256 i = 0; i < count; ++i) {
            leaves[i] = bytes26(keccak256(abi.encode(seed, i)));
        }
    }
}
