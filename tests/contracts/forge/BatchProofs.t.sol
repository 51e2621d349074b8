// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReadingsFixture } from "./ReadingsFixture.sol";
import { Reading } from "../../../contracts/interfaces/BatchTypes.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a batch of readings
///   ├── every reading is proven at its position, and only there
///   ├── a changed reading, node, header or batch is not proven
///   └── an inner node cannot pass as a reading
contract BatchProofsTest is ReadingsFixture {
    function test_every_reading_is_proven_at_its_position_only(uint8 size, uint256 seed, uint8 where) public {
        uint256 count = bound(size, 1, 33);
        _seal(count, seed);
        uint256 position = bound(where, 0, count - 1);
        Reading memory reading = _reading(position, _value(position));
        bytes26[] memory proof = _plainProof(position);
        batches.verifyReading(1, reading, uint32(position), _rest(), proof);
        for (uint256 other = 0; other < 2 ** proof.length; ++other) {
            if (other == position) continue;
            vm.expectRevert(InvalidProof.selector);
            batches.verifyReading(1, reading, uint32(other), _rest(), proof);
        }
    }

    function test_a_changed_reading_is_not_proven(uint8 size, uint256 seed, int32 value) public {
        uint256 count = bound(size, 1, 33);
        _seal(count, seed);
        vm.assume(value != _value(0));
        bytes26[] memory proof = _plainProof(0);
        bytes32 rest = _rest();
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, _reading(0, value), 0, rest, proof);
    }

    function test_a_changed_node_or_header_is_not_proven(uint256 seed, uint8 level, bytes26 node) public {
        _seal(17, seed);
        bytes26[] memory proof = _plainProof(5);
        Reading memory reading = _reading(5, _value(5));
        bytes32 rest = _rest();
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, 5, keccak256(abi.encode(rest)), proof);
        uint256 chosen = bound(level, 0, proof.length - 1);
        vm.assume(node != proof[chosen]);
        proof[chosen] = node;
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, 5, rest, proof);
    }

    function test_a_position_outside_the_tree_is_refused(uint256 seed, uint32 position) public {
        _seal(8, seed);
        position = uint32(bound(position, 8, type(uint32).max));
        bytes26[] memory proof = _plainProof(0);
        bytes32 rest = _rest();
        Reading memory reading = _reading(0, _value(0));
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, reading, position, rest, proof);
    }

    /// A node's preimage has 52 bytes, a reading's 40: no choice of fields makes one the other.
    function test_an_inner_node_cannot_pass_as_a_reading(uint256 seed) public {
        _seal(4, seed);
        bytes memory preimage = abi.encodePacked(_plain(0, 0), _plain(0, 1));
        assertEq(preimage.length, 52);
        assertEq(leaves[0].length, 40);
        bytes26[] memory shorter = new bytes26[](1);
        shorter[0] = _plain(1, 1);
        Reading memory forged = Reading(uint16(bytes2(preimage)), 0, address(0), 0, 0, 0);
        bytes32 rest = _rest();
        vm.expectRevert(InvalidProof.selector);
        batches.verifyReading(1, forged, 0, rest, shorter);
    }
}
