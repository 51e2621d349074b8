// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "../Base.sol";
import { PlainTree } from "./PlainTree.sol";
import { BatchHeader, Revealed } from "../../../../contracts/interfaces/BatchTypes.sol";
import { BatchHeaders } from "../../../../contracts/libraries/BatchHeaders.sol";
import { InvalidProof } from "../../../../contracts/libraries/PositionalTree.sol";

contract BatchHeadersCaller {
    function restHash(BatchHeader calldata header) external pure returns (bytes32) {
        return BatchHeaders.restHash(header);
    }

    function commitment(bytes26 readingsRoot, bytes32 rest) external pure returns (bytes26) {
        return BatchHeaders.commitment(readingsRoot, rest);
    }

    function commitmentOf(Revealed calldata batch) external pure returns (bytes26) {
        return BatchHeaders.commitmentOf(batch);
    }

    function groupLeaf(uint48 batchId, bytes26 commitment_) external pure returns (bytes26) {
        return BatchHeaders.groupLeaf(batchId, commitment_);
    }

    /// A whole word, and what the caller's own memory holds afterwards.
    function groupRoot(uint48 first, bytes calldata commitments, uint256 count)
        external
        pure
        returns (bytes32 raw, bytes32 own)
    {
        bytes32[1] memory mine = [keccak256("mine")];
        bytes26 root = BatchHeaders.groupRoot(first, commitments, count);
        assembly ("memory-safe") {
            raw := root
        }
        own = mine[0];
    }

    function ancestorOf(uint48 batchId) external pure returns (uint48) {
        return BatchHeaders.ancestorOf(batchId);
    }

    function stepTowards(BatchHeader calldata header, uint48 target) external pure returns (uint48, bytes26) {
        return BatchHeaders.stepTowards(header, target);
    }
}

/// given a header
///   ├── its commitment covers all eleven words and the readings root
///   ├── a group's root is that of the plain tree over commitment and id of each batch
///   ├── its ancestor is the number without the smallest term of its skew-binary form
///   └── a step goes to the ancestor if that is not behind the target, else to the batch before; never out of the lane
contract BatchHeadersTest is Test {
    BatchHeadersCaller internal headers = new BatchHeadersCaller();

    function test_a_commitment_covers_the_whole_header(Revealed calldata batch) public view {
        BatchHeader calldata h = batch.header;
        bytes memory words = bytes.concat(
            abi.encode(h.batchId, h.previous, h.ancestor, h.statisticsRoot, h.reportsRoot, h.dataHash),
            abi.encode(h.rulesHash, h.readingCount, h.reportCount, h.windowStart, h.windowEnd)
        );
        bytes26 expected = bytes26(keccak256(bytes.concat(batch.readingsRoot, keccak256(words))));
        assertEq(headers.restHash(h), keccak256(words));
        assertEq(bytes32(headers.commitment(batch.readingsRoot, keccak256(words))), bytes32(expected));
        assertEq(bytes32(headers.commitmentOf(batch)), bytes32(expected));
    }

    function test_a_group_is_the_plain_tree_over_commitments_and_ids(bytes32 seed, uint48 first) public view {
        first = uint48(bound(first, 0, type(uint48).max - 31));
        for (uint256 count = 1; count < 31; count = count < 12 ? count + 1 : count + 9) {
            bytes26[] memory commitments = PlainTree.some(seed, count);
            bytes26[] memory leaves = new bytes26[](count);
            for (uint256 i = 0; i < count; ++i) {
                leaves[i] =
                    bytes26(keccak256(bytes.concat(commitments[i], bytes6(uint48(first + uint48(i))))));
                assertEq(bytes32(headers.groupLeaf(first + uint48(i), commitments[i])), bytes32(leaves[i]));
            }
            // What follows the last commitment belongs to no batch.
            bytes memory packed = bytes.concat(PlainTree.packed(commitments), ~bytes32(0));
            (bytes32 root, bytes32 own) = headers.groupRoot(first, packed, count);
            assertEq(root, bytes32(PlainTree.root(leaves)));
            assertEq(own, keccak256("mine"));
        }
    }

    function test_the_ancestors_of_the_first_batches_are_as_written_down() public view {
        uint8[32] memory known = [
            0,
            0,
            1,
            0,
            3,
            4,
            3,
            0,
            7,
            8,
            7,
            10,
            11,
            10,
            7,
            0,
            15,
            16,
            15,
            18,
            19,
            18,
            15,
            22,
            23,
            22,
            25,
            26,
            25,
            22,
            15,
            0
        ];
        for (uint48 i = 0; i < 32; ++i) {
            assertEq(uint256(headers.ancestorOf(i)), known[i]);
            if (i > 0) assertEq(uint256(headers.ancestorOf(7 << 32 | i)), 7 * 2 ** 32 + known[i]);
        }
    }

    function test_the_last_number_of_a_lane_goes_back_to_none(uint16 lane) public view {
        uint48 start = uint48(lane) << 32;
        assertEq(uint256(headers.ancestorOf(start | type(uint32).max)), start);
        assertEq(uint256(headers.ancestorOf(start | 2 ** 31)), start | (2 ** 31 - 1));
    }

    function _header(uint48 batchId) private pure returns (BatchHeader memory header) {
        header.batchId = batchId;
        (header.previous, header.ancestor) = (bytes26("previous"), bytes26("ancestor"));
    }

    function _expectStep(uint48 from, uint48 target, uint48 next, bytes26 commitment) private view {
        (uint48 found, bytes26 named) = headers.stepTowards(_header(from), target);
        assertEq(uint256(found), next);
        assertEq(bytes32(named), bytes32(commitment));
    }

    function test_a_step_goes_as_far_as_it_may(uint16 lane) public view {
        uint48 start = uint48(lane) << 32;
        _expectStep(start + 14, start + 3, start + 7, "ancestor");
        _expectStep(start + 14, start + 7, start + 7, "ancestor");
        _expectStep(start + 14, start + 8, start + 13, "previous");
        _expectStep(start + 15, start, start, "ancestor");
        _expectStep(start + 15, start + 1, start + 14, "previous");
    }

    function test_a_step_never_goes_forward_or_out_of_the_lane(uint48 from, uint48 target) public {
        vm.assume(from <= target || from >> 32 != target >> 32);
        vm.expectRevert(InvalidProof.selector);
        headers.stepTowards(_header(from), target);
    }

    function test_a_step_needs_a_newer_batch_of_the_same_lane(uint16 lane, uint32 number) public {
        uint48 id = uint48(bound(uint48(lane) << 32 | number, 2 ** 32, type(uint48).max));
        vm.expectRevert(InvalidProof.selector);
        headers.stepTowards(_header(id), id);
        vm.expectRevert(InvalidProof.selector);
        headers.stepTowards(_header(id), id - 2 ** 32);
    }
}
