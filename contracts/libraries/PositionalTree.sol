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

    /// @notice The root that a proof leads to. Reverts InvalidProof for a position outside the tree.
    /// @param leaf hash of the leaf
    /// @param position of the leaf, counted from 0
    /// @param proof sibling hashes from the leaf up
    function rootOf(bytes26 leaf, uint256 position, bytes26[] calldata proof)
        internal
        pure
        returns (bytes26 node)
    {
        if (leaf == 0 || proof.length > MAX_DEPTH || position >> proof.length != 0) {
            revert InvalidProof();
        }
        node = leaf;
        for (uint256 level = 0; level < proof.length; ++level) {
            bytes26 sibling = proof[level];
            // The leaf is not zero, so no node on its way is: the rule "two zeros make a zero" cannot apply.
            node = (position >> level) & 1 == 0
                ? bytes26(keccak256(abi.encodePacked(node, sibling)))
                : bytes26(keccak256(abi.encodePacked(sibling, node)));
        }
    }

    /// @notice Reverts InvalidProof unless the leaf is at that position under the root.
    function verify(bytes26 root, bytes26 leaf, uint256 position, bytes26[] calldata proof) internal pure {
        if (rootOf(leaf, position, proof) != root) revert InvalidProof();
    }
}
