// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { Place } from "../../../contracts/interfaces/BatchTypes.sol";
import { IDataBatches } from "../../../contracts/interfaces/IDataBatches.sol";
import { ILaneBonds } from "../../../contracts/interfaces/ILaneBonds.sol";
import { InvalidProof, PositionalTree } from "../../../contracts/libraries/PositionalTree.sol";

/// given a bonded lane
///   when its submitter commits
///     ├── the batch is provable, in any order within a lap, with the second of its commit
///     ├── it is committed once
///     ├── it takes the place of an older one only when that one cannot be challenged any more
///     └── the brief call does what the other does
///   when it commits several together
///     ├── each of them is provable by its path, and none without
///     └── they cost one word
///   when somebody else commits, or on another lane
///     └── it is refused
contract DataBatchesTest is BatchFixture {
    address internal submitter = makeAddr("submitter");

    function setUp() public {
        _deploy();
        _activate(0, submitter);
    }

    function _commit(uint48 batchId, bytes26 commitment) internal {
        vm.prank(submitter);
        batches.commit(batchId, commitment);
    }

    // ------------------------------------------------------------------------------------------- one batch

    function test_a_committed_batch_is_provable(uint32 number, bytes26 commitment, uint40 after_) public {
        number = uint32(bound(number, 1, (1 << 27) - 1));
        uint256 moment = bound(after_, START, (1 << 33) - 1);
        vm.warp(moment);
        vm.assume(commitment != 0);
        _commit(number, commitment);
        assertEq(bytes32(batches.commitmentOf(number)), bytes32(commitment));
        assertEq(batches.requireCommitted(number, commitment, _place(number)), moment);
    }

    function test_the_brief_call_commits_the_same(uint32 number, bytes26 commitment) public {
        number = uint32(bound(number, 1, (1 << 27) - 1));
        vm.assume(commitment != 0);
        vm.prank(submitter);
        batches.commitBrief(bytes32(commitment) | bytes32(uint256(number)));
        assertEq(bytes32(batches.commitmentOf(number)), bytes32(commitment));
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.AlreadyCommitted.selector, uint48(number)));
        batches.commit(number, commitment);
    }

    function test_a_batch_is_committed_once(uint32 number, bytes26 one, bytes26 two) public {
        number = uint32(bound(number, 1, RING));
        vm.assume(one != 0 && two != 0);
        _commit(number, one);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.AlreadyCommitted.selector, uint48(number)));
        batches.commit(number, two);
    }

    function test_batches_may_overtake_each_other_within_a_lap() public {
        _commit(3, bytes26(uint208(3)));
        _commit(1, bytes26(uint208(1)));
        _commit(2, bytes26(uint208(2)));
        assertEq(bytes32(batches.commitmentOf(2)), bytes32(bytes26(uint208(2))));
    }

    function test_nothing_is_overwritten_while_it_can_be_challenged(uint32 number, uint40 early) public {
        number = uint32(bound(number, 1, RING));
        _commit(number, bytes26(uint208(1)));
        uint256 committedAt = START;
        uint48 next = uint48(number + RING);
        vm.warp(committedAt + bound(early, 0, WINDOW));
        vm.prank(submitter);
        vm.expectRevert(
            abi.encodeWithSelector(
                IDataBatches.RingFull.selector, uint48(number), uint40(committedAt + WINDOW + 1)
            )
        );
        batches.commit(next, bytes26(uint208(2)));
        vm.warp(committedAt + WINDOW + 1);
        _commit(next, bytes26(uint208(3)));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, uint48(number)));
        batches.commitmentOf(number);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.AlreadyCommitted.selector, uint48(number)));
        batches.commit(number, bytes26(uint208(4)));
    }

    function test_only_the_lanes_submitter_commits(address stranger, uint16 lane) public {
        vm.assume(stranger != submitter && stranger != address(0));
        uint48 batchId = _in(lane, 1);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, lane, stranger));
        batches.commit(batchId, bytes26(uint208(1)));
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, lane, stranger));
        batches.commitBrief(bytes32(uint256(1) << 48 | batchId));
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, lane, stranger));
        batches.commitMany(batchId, new bytes(52));
    }

    function test_lanes_do_not_share_slots(uint16 lane) public {
        vm.assume(lane != 0);
        _activate(lane, submitter);
        _commit(1, bytes26(uint208(1)));
        _commit(_in(lane, 1), bytes26(uint208(2)));
        assertEq(bytes32(batches.commitmentOf(1)), bytes32(bytes26(uint208(1))));
        assertEq(bytes32(batches.commitmentOf(_in(lane, 1))), bytes32(bytes26(uint208(2))));
    }

    function test_numbers_end_and_nothing_is_no_commitment(uint32 number) public {
        uint32 beyond = uint32(bound(number, 1 << 27, type(uint32).max));
        vm.startPrank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.InvalidNumber.selector, uint256(0)));
        batches.commit(0, bytes26(uint208(1)));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.InvalidNumber.selector, uint256(beyond)));
        batches.commit(beyond, bytes26(uint208(1)));
        vm.expectRevert(IDataBatches.ZeroCommitment.selector);
        batches.commit(1, 0);
        vm.expectRevert(IDataBatches.ZeroCommitment.selector);
        batches.commitBrief(bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, uint48(0)));
        batches.commitmentOf(0);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, uint48(beyond)));
        batches.commitmentOf(beyond);
    }

    // --------------------------------------------------------------------------------------------- a group

    function _group(uint256 count) internal pure returns (bytes26[] memory commitments, bytes memory packed) {
        commitments = new bytes26[](count);
        for (uint256 i = 0; i < count; ++i) {
            commitments[i] = bytes26(keccak256(abi.encode(i)));
            packed = bytes.concat(packed, commitments[i]);
        }
    }

    function _leaf(uint48 batchId, bytes26 commitment) internal pure returns (bytes26) {
        return bytes26(keccak256(abi.encodePacked(commitment, batchId)));
    }

    /// The plain definition of the tree: the oracle of the assembly.
    function _node(bytes26[] memory leaves, uint256 level, uint256 index) internal pure returns (bytes26) {
        if (index << level >= leaves.length) return 0;
        if (level == 0) return leaves[index];
        bytes26 left = _node(leaves, level - 1, 2 * index);
        return bytes26(keccak256(abi.encodePacked(left, _node(leaves, level - 1, 2 * index + 1))));
    }

    function _path(bytes26[] memory leaves, uint256 index) internal pure returns (bytes26[] memory path) {
        path = new bytes26[](PositionalTree.depthOf(leaves.length));
        for (uint256 level = 0; level < path.length; ++level) {
            path[level] = _node(leaves, level, (index >> level) ^ 1);
        }
    }

    function test_each_of_a_group_is_provable_by_its_path(uint8 size, uint32 start, uint8 which) public {
        (bytes26[] memory commitments, bytes memory packed) = _group(bound(size, 2, 256));
        uint48 first = uint48(bound(start, 1, (1 << 27) - 257));
        vm.prank(submitter);
        batches.commitMany(first, packed);
        bytes26[] memory leaves = new bytes26[](commitments.length);
        for (uint256 i = 0; i < leaves.length; ++i) {
            leaves[i] = _leaf(uint48(first + i), commitments[i]);
        }
        uint256 index = which % leaves.length;
        uint48 last = uint48(first + leaves.length - 1);
        Place memory place = Place(last, uint32(index), _path(leaves, index));
        assertEq(batches.requireCommitted(uint48(first + index), commitments[index], place), block.timestamp);
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(uint48(first + index + 1), commitments[index], place);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.Grouped.selector, last));
        batches.commitmentOf(last);
    }

    function test_a_groups_root_is_nobodys_commitment() public {
        (, bytes memory packed) = _group(4);
        vm.prank(submitter);
        batches.commitMany(1, packed);
        bytes26[] memory leaves = new bytes26[](4);
        for (uint256 i = 0; i < 4; ++i) {
            leaves[i] = _leaf(uint48(i + 1), bytes26(keccak256(abi.encode(i))));
        }
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(4, _node(leaves, 2, 0), _place(4));
        bytes26[] memory path = new bytes26[](1);
        path[0] = _node(leaves, 1, 0);
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(4, _node(leaves, 1, 1), Place(4, 1, path));
    }

    function test_a_single_batch_has_no_path() public {
        _commit(1, bytes26(uint208(7)));
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(2, bytes26(uint208(7)), _place(1));
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(1, bytes26(uint208(7)), Place(1, 1, new bytes26[](0)));
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(1, bytes26(uint208(8)), _place(1));
        vm.expectRevert(InvalidProof.selector);
        batches.requireCommitted(1, bytes26(uint208(7)), Place(1, 0, new bytes26[](1)));
    }

    function test_a_group_is_two_to_256_whole_commitments_of_one_lane(uint16 length) public {
        length = uint16(bound(length, 0, 300 * 26));
        bool fits = length % 26 == 0 && length >= 52 && length <= 256 * 26;
        vm.startPrank(submitter);
        if (!fits) {
            vm.expectRevert(abi.encodeWithSelector(IDataBatches.InvalidGroup.selector, uint256(length)));
        }
        batches.commitMany(1, new bytes(length));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.InvalidNumber.selector, uint256(0)));
        batches.commitMany(type(uint32).max, new bytes(52));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.InvalidNumber.selector, uint256(1)));
        batches.commitMany(0, new bytes(52));
    }
}
