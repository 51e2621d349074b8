// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { PlainTree } from "./PlainTree.sol";
import { InvalidProof, PositionalTree } from "../../../../contracts/libraries/PositionalTree.sol";

/// The library by itself. Answers are whole words: what stands behind the 26 bytes is seen, too.
contract PositionalTreeCaller {
    function hash26(bytes calldata preimage) external pure returns (bytes26) {
        return PositionalTree.hash26(preimage);
    }

    function depthOf(uint256 count) external pure returns (uint256) {
        return PositionalTree.depthOf(count);
    }

    function rootOf(bytes26 leaf, uint256 position, bytes26[] calldata proof)
        external
        pure
        returns (bytes32)
    {
        return _raw(PositionalTree.rootOf(leaf, position, proof));
    }

    function rootOfPacked(bytes26 leaf, uint256 position, bytes calldata proof)
        external
        pure
        returns (bytes32)
    {
        return _raw(PositionalTree.rootOfPacked(leaf, position, proof));
    }

    function verify(bytes26 root, bytes26 leaf, uint256 position, bytes26[] calldata proof) external pure {
        PositionalTree.verify(root, leaf, position, proof);
    }

    function leadsTo(bytes26 root, bytes26 leaf, uint256 position, bytes26[] calldata proof)
        external
        pure
        returns (bool)
    {
        return PositionalTree.leadsTo(root, leaf, position, proof);
    }

    /// With somebody else's memory behind the leaves, which must neither get into the root nor be written to.
    function rootOver(bytes26[] calldata leaves) external pure returns (bytes32 root, bool touched) {
        bytes26[] memory nodes = leaves;
        bytes32[4] memory neighbour = [~bytes32(0), ~bytes32(0), ~bytes32(0), ~bytes32(0)];
        root = _raw(PositionalTree.rootOver(nodes));
        for (uint256 i = 0; i < 4; ++i) {
            touched = touched || neighbour[i] != ~bytes32(0);
        }
        touched = touched || nodes.length != leaves.length;
    }

    function _raw(bytes26 found) private pure returns (bytes32 raw) {
        assembly ("memory-safe") {
            raw := found
        }
    }
}

/// given leaves
///   ├── the root is that of the plain tree, and memory of others is let alone
///   ├── every leaf leads to it from its position, by a proof in either form, and from no other position
///   ├── what is dirty behind a sibling's 26 bytes does not count
///   └── a zero leaf, a position outside the tree and more than 32 levels are refused
contract PositionalTreeTest is Test {
    PositionalTreeCaller internal tree = new PositionalTreeCaller();

    function test_the_root_is_that_of_the_plain_tree(bytes32 seed) public view {
        for (uint256 count = 1; count < 18; ++count) {
            bytes26[] memory leaves = PlainTree.some(seed, count);
            (bytes32 root, bool touched) = tree.rootOver(leaves);
            assertEq(root, bytes32(PlainTree.root(leaves)));
            assertFalse(touched, "memory of somebody else's was written to");
        }
    }

    function test_no_leaves_have_no_root() public {
        vm.expectRevert();
        tree.rootOver(new bytes26[](0));
    }

    function test_every_leaf_leads_to_the_root_from_its_position(bytes32 seed, uint8 size) public view {
        bytes26[] memory leaves = PlainTree.some(seed, bound(size, 1, 17));
        bytes26 root = PlainTree.root(leaves);
        for (uint256 position = 0; position < leaves.length; ++position) {
            bytes26[] memory proof = PlainTree.proof(leaves, position);
            assertEq(tree.rootOf(leaves[position], position, proof), bytes32(root));
            assertEq(tree.rootOfPacked(leaves[position], position, PlainTree.packed(proof)), bytes32(root));
            tree.verify(root, leaves[position], position, proof);
            assertTrue(tree.leadsTo(root, leaves[position], position, proof));
        }
    }

    function test_a_leaf_leads_to_the_root_from_no_other_position(bytes32 seed, uint8 size) public {
        bytes26[] memory leaves = PlainTree.some(seed, bound(size, 1, 9));
        bytes26 root = PlainTree.root(leaves);
        bytes26[] memory proof = PlainTree.proof(leaves, leaves.length - 1);
        for (uint256 position = 0; position < 2 ** proof.length + 2; ++position) {
            if (position == leaves.length - 1) continue;
            assertFalse(tree.leadsTo(root, leaves[leaves.length - 1], position, proof));
            vm.expectRevert(InvalidProof.selector);
            tree.verify(root, leaves[leaves.length - 1], position, proof);
        }
    }

    function test_a_position_outside_the_tree_is_refused(bytes32 seed, uint8 levels, uint256 where) public {
        bytes26[] memory proof = PlainTree.some(seed, bound(levels, 0, 32));
        uint256 position = bound(where, 2 ** proof.length, type(uint256).max);
        assertFalse(tree.leadsTo(0, bytes26(uint208(1)), position, proof));
        vm.expectRevert(InvalidProof.selector);
        tree.rootOf(bytes26(uint208(1)), position, proof);
        vm.expectRevert(InvalidProof.selector);
        tree.rootOfPacked(bytes26(uint208(1)), 2 ** proof.length, PlainTree.packed(proof));
    }

    function test_the_zero_leaf_is_refused(bytes32 seed) public {
        bytes26[] memory leaves = PlainTree.some(seed, 2);
        leaves[0] = 0;
        bytes26[] memory proof = PlainTree.proof(leaves, 0);
        assertFalse(tree.leadsTo(PlainTree.root(leaves), 0, 0, proof));
        vm.expectRevert(InvalidProof.selector);
        tree.rootOf(0, 0, proof);
        vm.expectRevert(InvalidProof.selector);
        tree.rootOfPacked(0, 0, PlainTree.packed(proof));
    }

    function test_32_levels_are_the_most(bytes32 seed, bytes26 leaf) public {
        vm.assume(leaf != 0);
        bytes26 root = bytes26(tree.rootOf(leaf, 0, PlainTree.some(seed, 32)));
        assertTrue(tree.leadsTo(root, leaf, 0, PlainTree.some(seed, 32)));
        bytes26[] memory longer = PlainTree.some(seed, 33);
        bytes26 above = bytes26(keccak256(bytes.concat(root, longer[32])));
        assertFalse(tree.leadsTo(above, leaf, 0, longer));
        vm.expectRevert(InvalidProof.selector);
        tree.rootOf(leaf, 0, longer);
    }

    function test_what_is_behind_a_sibling_does_not_count(bytes32 seed, uint8 where) public view {
        bytes26[] memory leaves = PlainTree.some(seed, 8);
        uint256 position = bound(where, 0, 7);
        bytes26[] memory proof = PlainTree.proof(leaves, position);
        for (uint256 i = 0; i < proof.length; ++i) {
            assembly ("memory-safe") {
                let place := add(add(proof, 32), mul(i, 32))
                mstore(place, or(mload(place), 0xffffffffffff))
            }
        }
        // Encoded by hand: the compiler would cut off what is behind.
        bytes memory call = abi.encodePacked(
            PositionalTreeCaller.rootOf.selector, bytes32(leaves[position]), position, uint256(96)
        );
        (bool success, bytes memory answer) = address(tree).staticcall(bytes.concat(call, _words(proof)));
        assertTrue(success);
        assertEq(abi.decode(answer, (bytes32)), bytes32(PlainTree.root(leaves)));
    }

    function _words(bytes26[] memory list) private pure returns (bytes memory words) {
        words = new bytes(32 + 32 * list.length);
        assembly ("memory-safe") {
            mcopy(add(words, 32), list, mload(words))
        }
    }

    function test_the_depth_is_the_least_that_holds_the_leaves() public view {
        assertEq(tree.depthOf(0), 0);
        for (uint256 count = 1; count < 70; ++count) {
            assertEq(tree.depthOf(count), PlainTree.depth(count));
        }
        assertEq(tree.depthOf(type(uint32).max), 32);
    }

    function test_a_hash_is_the_first_26_bytes(bytes calldata preimage) public view {
        assertEq(bytes32(tree.hash26(preimage)), bytes32(bytes26(keccak256(preimage))));
    }
}
