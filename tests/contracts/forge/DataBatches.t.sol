// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Test } from "./Base.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import {
    BatchHeader,
    IDataBatches,
    Key,
    Reading,
    Statistics
} from "../../../contracts/interfaces/IDataBatches.sol";
import { InvalidProof } from "../../../contracts/libraries/PositionalTree.sol";

/// given a lane with a submitter
///   when the submitter commits
///     ├── it is provable, in any order within a lap
///     ├── it is committed once
///     ├── it takes the place of exactly the batch one lap earlier
///     └── many in one transaction are the same as one by one
///   when somebody else commits, or on another lane
///     └── it is refused
contract DataBatchesTest is Test {
    uint256 internal constant RING = 8192;
    DataBatches internal batches;
    address internal submitter = makeAddr("submitter");

    function setUp() public {
        batches = new DataBatches(address(this));
        batches.assignLane(0, submitter);
    }

    function _commit(uint48 batchId, bytes26 commitment) internal {
        vm.prank(submitter);
        batches.commit(batchId, commitment);
    }

    // ---------------------------------------------------------------- commitments

    function test_a_committed_batch_is_provable(uint32 number, bytes26 commitment) public {
        number = uint32(bound(number, 1, RING));
        vm.assume(commitment != 0);
        _commit(number, commitment);
        assertEq(bytes32(batches.commitmentOf(number)), bytes32(commitment));
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

    function test_a_slot_moves_on_by_exactly_one_lap(uint32 number) public {
        number = uint32(bound(number, 1, RING));
        _commit(number, bytes26(uint208(1)));
        uint48 next = uint48(number + RING);
        uint48 after2 = uint48(number + 2 * RING);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.OutOfOrder.selector, after2, uint48(number)));
        batches.commit(after2, bytes26(uint208(2)));
        _commit(next, bytes26(uint208(3)));
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.UnknownBatch.selector, uint48(number)));
        batches.commitmentOf(number);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.AlreadyCommitted.selector, uint48(number)));
        batches.commit(number, bytes26(uint208(4)));
    }

    function test_an_empty_slot_takes_only_its_first_lap(uint32 number) public {
        number = uint32(bound(number, RING + 1, type(uint32).max));
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.OutOfOrder.selector, uint48(number), uint48(0)));
        batches.commit(number, bytes26(uint208(1)));
    }

    function test_only_the_lanes_submitter_commits(address stranger, uint16 lane) public {
        vm.assume(stranger != submitter && stranger != address(0));
        uint48 batchId = uint48(uint256(lane) << 32 | 1);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.NotSubmitter.selector, lane, stranger));
        batches.commit(batchId, bytes26(uint208(1)));
    }

    function test_lanes_do_not_share_slots() public {
        batches.assignLane(7, submitter);
        uint48 other = uint48(uint256(7) << 32 | 1);
        _commit(1, bytes26(uint208(1)));
        _commit(other, bytes26(uint208(2)));
        assertEq(bytes32(batches.commitmentOf(1)), bytes32(bytes26(uint208(1))));
        assertEq(bytes32(batches.commitmentOf(other)), bytes32(bytes26(uint208(2))));
    }

    function test_number_zero_and_the_zero_commitment_are_refused() public {
        vm.startPrank(submitter);
        vm.expectRevert(IDataBatches.ZeroNumber.selector);
        batches.commit(0, bytes26(uint208(1)));
        vm.expectRevert(IDataBatches.ZeroCommitment.selector);
        batches.commit(1, 0);
    }

    function test_many_at_once_are_the_same_as_one_by_one(uint8 count) public {
        bytes26[] memory many = new bytes26[](bound(count, 1, 40));
        for (uint256 i = 0; i < many.length; ++i) {
            many[i] = bytes26(keccak256(abi.encode(i)));
        }
        vm.prank(submitter);
        batches.commitMany(1, many);
        for (uint256 i = 0; i < many.length; ++i) {
            assertEq(bytes32(batches.commitmentOf(uint48(i + 1))), bytes32(many[i]));
        }
    }

    function test_many_at_once_stay_in_their_lane() public {
        batches.assignLane(0, submitter);
        bytes26[] memory many = new bytes26[](2);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.OutOfOrder.selector, type(uint32).max, uint48(0)));
        batches.commitMany(type(uint32).max, many);
    }

    function test_the_admin_role_goes_over_in_two_steps(address next, address stranger) public {
        vm.assume(next != address(this) && stranger != next && stranger != address(this));
        batches.offerAdmin(next);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.NotAdmin.selector, next, stranger));
        batches.acceptAdmin();
        vm.prank(next);
        batches.acceptAdmin();
        assertEq(batches.admin(), next);
        vm.expectRevert(abi.encodeWithSelector(IDataBatches.NotAdmin.selector, next, address(this)));
        batches.assignLane(1, submitter);
    }
}
