// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The proof does not lead to the root.
error InvalidProof();

/// @title Positional Merkle tree with 208-bit nodes, padded with the zero node
/// @notice Source: docs/protocol.md, "Trees". Leaf (40 bytes), node (52) and header (58) preimages differ in length,
/// so a node can never pass as a leaf.
library PositionalTree {
    uint256 private constant MAX_DEPTH = 32;

    /// @notice First 26 bytes of keccak-256.
    function hash26(bytes memory preimage) internal pure returns (bytes26) {
        return bytes26(keccak256(preimage));
    }

    /// @notice Levels above the leaves of a tree of `count` leaves.
    function depthOf(uint256 count) internal pure returns (uint256 depth) {
        while ((1 << depth) < count) ++depth;
    }

    /// @notice The root that a proof leads to. Reverts InvalidProof for a position outside the tree.
    /// @param leaf hash of the leaf
    /// @param position of the leaf, counted from 0
    /// @param proof sibling hashes from the leaf up
    function rootOf(bytes26 leaf, uint256 position, bytes26[] calldata proof)
        internal
        pure
        returns (bytes26 node)
    {
        _requireInside(leaf, position, proof.length);
        node = leaf;
        for (uint256 level = 0; level < proof.length; ++level) {
            node = _parent(node, proof[level], position >> level & 1);
        }
    }

    /// @notice The same with the siblings packed, 26 bytes each.
    function rootOfPacked(bytes26 leaf, uint256 position, bytes calldata proof)
        internal
        pure
        returns (bytes26 node)
    {
        _requireInside(leaf, position, proof.length / 26);
        node = leaf;
        for (uint256 level = 0; level < proof.length / 26; ++level) {
            node = _parent(node, bytes26(proof[26 * level:26 * level + 26]), position >> level & 1);
        }
    }

    /// @notice Reverts InvalidProof unless the leaf is at that position under the root.
    function verify(bytes26 root, bytes26 leaf, uint256 position, bytes26[] calldata proof) internal pure {
        if (rootOf(leaf, position, proof) != root) revert InvalidProof();
    }

    /// @notice The root over leaf hashes, none of them zero. Writes over `nodes`: no more memory than the leaves take.
    function rootOver(bytes26[] memory nodes) internal pure returns (bytes26) {
        for (uint256 count = nodes.length; count > 1; count = (count + 1) / 2) {
            for (uint256 i = 0; i < count; i += 2) {
                bytes26 right = i + 1 < count ? nodes[i + 1] : bytes26(0);
                nodes[i / 2] = _parent(nodes[i], right, 0);
            }
        }
        return nodes[0];
    }

    function _requireInside(bytes26 leaf, uint256 position, uint256 depth) private pure {
        if (leaf == 0 || depth > MAX_DEPTH || position >> depth != 0) revert InvalidProof();
    }

    /// @dev Neither is on its way from a zero leaf, so the rule "two zeros make a zero" cannot apply.
    function _parent(bytes26 node, bytes26 sibling, uint256 isRight) private pure returns (bytes26) {
        return isRight == 0
            ? bytes26(keccak256(abi.encodePacked(node, sibling)))
            : bytes26(keccak256(abi.encodePacked(sibling, node)));
    }
}
