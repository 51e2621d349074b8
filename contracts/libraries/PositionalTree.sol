// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The proof does not lead to the root.
error InvalidProof();

/// @title Positional Merkle tree with 208-bit nodes, padded with the zero node
/// @notice Source: docs/protocol.md, "Trees". Leaf (40 bytes), node (52) and header (58) preimages differ in length,
/// so a node can never pass as a leaf.
library PositionalTree {
    uint256 private constant MAX_DEPTH = 32;
    // slither-disable-next-line too-many-digits
    uint256 private constant MASK = 0xffffffffffffffffffffffffffffffffffffffffffffffffffff000000000000;

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
        returns (bytes26)
    {
        uint256 start;
        assembly ("memory-safe") {
            start := proof.offset
        }
        return _climb(leaf, position, start, proof.length, 32);
    }

    /// @notice The same with the siblings packed, 26 bytes each.
    function rootOfPacked(bytes26 leaf, uint256 position, bytes calldata proof)
        internal
        pure
        returns (bytes26)
    {
        uint256 start;
        assembly ("memory-safe") {
            start := proof.offset
        }
        return _climb(leaf, position, start, proof.length / 26, 26);
    }

    /// @notice Reverts InvalidProof unless the leaf is at that position under the root.
    function verify(bytes26 root, bytes26 leaf, uint256 position, bytes26[] calldata proof) internal pure {
        if (rootOf(leaf, position, proof) != root) revert InvalidProof();
    }

    /// @notice Whether the leaf is at that position under the root; never reverts.
    function leadsTo(bytes26 root, bytes26 leaf, uint256 position, bytes26[] calldata proof)
        internal
        pure
        returns (bool)
    {
        if (proof.length > MAX_DEPTH || position >> proof.length != 0 || leaf == 0) return false;
        return rootOf(leaf, position, proof) == root;
    }

    /// @notice The root over leaf hashes, none of them zero. Writes over `nodes`: no more memory than the leaves take.
    function rootOver(bytes26[] memory nodes) internal pure returns (bytes26) {
        for (uint256 count = nodes.length; count > 1; count = (count + 1) / 2) {
            assembly ("memory-safe") {
                let first := add(nodes, 32)
                let end := add(first, mul(count, 32))
                // The node behind the last one is padding, unless it is memory of somebody else's.
                let target := first
                for { let source := first } lt(source, end) { source := add(source, 64) } {
                    mstore(0, mload(source))
                    mstore(26, mload(add(source, 32)))
                    if eq(add(source, 32), end) { mstore(26, 0) }
                    mstore(target, and(keccak256(0, 52), MASK))
                    target := add(target, 32)
                }
            }
        }
        return nodes[0];
    }

    /// @dev In assembly: 14 levels cost 2,100 gas instead of 8,000. Hash of left and right, 26 bytes each, in scratch memory; what
    /// stands behind a sibling's 26 bytes is written over or not hashed. The leaf is not zero, so no node on its way is: the rule
    /// "two zeros make a zero" cannot apply.
    function _climb(bytes26 leaf, uint256 position, uint256 start, uint256 depth, uint256 stride)
        private
        pure
        returns (bytes26 node)
    {
        if (leaf == 0 || depth > MAX_DEPTH || position >> depth != 0) revert InvalidProof();
        node = leaf;
        assembly ("memory-safe") {
            for { let end := add(start, mul(depth, stride)) } lt(start, end) { start := add(start, stride) } {
                switch and(position, 1)
                case 0 {
                    mstore(0, node)
                    mstore(26, calldataload(start))
                }
                default {
                    mstore(0, calldataload(start))
                    mstore(26, node)
                }
                node := and(keccak256(0, 52), MASK)
                position := shr(1, position)
            }
        }
    }
}
