// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { BatchFixture } from "./BatchFixture.sol";
import { DataBatches } from "../../../contracts/DataBatches.sol";
import { IBatchChallenges } from "../../../contracts/interfaces/IBatchChallenges.sol";
import { IDataBatches } from "../../../contracts/interfaces/IDataBatches.sol";
import { ILaneBonds } from "../../../contracts/interfaces/ILaneBonds.sol";
import { TransferFailed } from "../../../contracts/libraries/SafeErc20.sol";
import { FeeToken } from "../../../contracts/mocks/Tokens.sol";

/// given a lane that the admin has assigned
///   ├── it commits only once it is bonded, by its submitter or the admin
///   ├── closing it ends committing at once; the bond stays for the window of the last batch
///   ├── the bond goes back to who paid it, whoever asks
///   ├── the admin can neither take a bond nor change a bonded lane's submitter
///   └── the admin's role goes over in two steps
contract LaneBondsTest is BatchFixture {
    address internal submitter = makeAddr("submitter");
    address internal funder = makeAddr("funder");

    function setUp() public {
        _deploy();
        token.mint(funder, 10 * uint256(BOND));
        vm.prank(funder);
        token.approve(address(batches), type(uint256).max);
        token.mint(submitter, BOND);
        vm.prank(submitter);
        token.approve(address(batches), BOND);
    }

    /// Paid by an admin that is none any more when the test begins.
    function _bond(uint16 lane) internal {
        batches.offerAdmin(funder);
        vm.prank(funder);
        batches.acceptAdmin();
        vm.startPrank(funder);
        batches.assignLane(lane, submitter);
        batches.bondLane(lane);
        batches.offerAdmin(address(this));
        vm.stopPrank();
        batches.acceptAdmin();
    }

    function test_a_lane_commits_only_once_it_is_bonded(uint16 lane) public {
        batches.assignLane(lane, submitter);
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, lane, submitter));
        batches.commit(_in(lane, 1), bytes26(uint208(1)));
        vm.expectEmit(address(batches));
        emit ILaneBonds.LaneBonded(lane, submitter, BOND);
        vm.prank(submitter);
        batches.bondLane(lane);
        assertEq(batches.bondOf(lane).funder, submitter);
        assertEq(batches.submitterOf(lane), submitter);
        vm.expectEmit(address(batches));
        emit IDataBatches.BatchCommitted(_in(lane, 1), bytes26(uint208(1)));
        vm.prank(submitter);
        batches.commit(_in(lane, 1), bytes26(uint208(1)));
    }

    /// It could close the lane at once, and keep it shut for a window, again and again.
    function test_a_stranger_cannot_bond_a_lane(uint16 lane, address stranger) public {
        vm.assume(stranger != submitter && stranger != address(this));
        batches.assignLane(lane, submitter);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotConcerned.selector, lane, stranger));
        batches.bondLane(lane);
        vm.prank(submitter);
        batches.bondLane(lane);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotConcerned.selector, lane, stranger));
        batches.closeLane(lane);
        assertEq(batches.submitterOf(lane), submitter);
    }

    function test_a_submitter_pays_no_bond_for_its_successor(uint16 lane) public {
        batches.assignLane(lane, submitter);
        batches.assignLane(lane, address(this));
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotConcerned.selector, lane, submitter));
        batches.bondLane(lane);
    }

    function test_a_lane_without_a_submitter_takes_no_bond(uint16 lane) public {
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.Unassigned.selector, lane));
        batches.bondLane(lane);
    }

    function test_a_lane_is_bonded_once(uint16 lane) public {
        _bond(lane);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.AlreadyBonded.selector, lane));
        batches.bondLane(lane);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.AlreadyBonded.selector, lane));
        batches.assignLane(lane, address(this));
    }

    function test_the_bond_stays_for_the_window_of_the_last_batch(uint16 lane, uint40 early) public {
        _bond(lane);
        vm.prank(submitter);
        batches.commit(_in(lane, 1), bytes26(uint208(1)));
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotBonded.selector, lane));
        batches.withdrawBond(lane);
        vm.prank(submitter);
        batches.closeLane(lane);
        uint40 exitAt = uint40(START) + WINDOW + 1;
        vm.prank(submitter);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotSubmitter.selector, lane, submitter));
        batches.commit(_in(lane, 2), bytes26(uint208(1)));
        vm.warp(START + bound(early, 0, WINDOW));
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.BondLocked.selector, exitAt, uint32(0)));
        batches.withdrawBond(lane);
        vm.warp(exitAt);
        uint256 before = token.balanceOf(funder);
        vm.prank(makeAddr("anyone"));
        batches.withdrawBond(lane);
        assertEq(token.balanceOf(funder), before + BOND);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotBonded.selector, lane));
        batches.withdrawBond(lane);
    }

    function test_who_is_concerned_closes_a_lane_and_nobody_else(uint16 lane, address stranger) public {
        vm.assume(stranger != submitter && stranger != funder && stranger != address(this));
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotBonded.selector, lane));
        batches.closeLane(lane);
        _bond(lane);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotConcerned.selector, lane, stranger));
        batches.closeLane(lane);
        vm.prank(funder);
        batches.closeLane(lane);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotBonded.selector, lane));
        batches.closeLane(lane);
    }

    function test_a_lane_can_be_bonded_again_but_not_in_the_second_it_was_vacated(uint16 lane) public {
        _bond(lane);
        batches.closeLane(lane);
        vm.warp(START + WINDOW + 1);
        batches.withdrawBond(lane);
        assertEq(batches.assigneeOf(lane), address(0));
        batches.assignLane(lane, submitter);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.JustVacated.selector, lane));
        batches.bondLane(lane);
        vm.warp(START + WINDOW + 2);
        batches.bondLane(lane);
        assertEq(batches.bondOf(lane).since, START + WINDOW + 2);
    }

    function test_a_bond_that_does_not_arrive_whole_is_refused() public {
        FeeToken fee = new FeeToken();
        IBatchChallenges judge = batches.judge();
        DataBatches other = new DataBatches(address(this), address(fee), BOND, FEE, WINDOW, ANSWER, judge);
        fee.mint(address(this), type(uint128).max);
        fee.approve(address(other), type(uint256).max);
        other.assignLane(0, submitter);
        vm.expectRevert(abi.encodeWithSelector(TransferFailed.selector, address(fee)));
        other.bondLane(0);
    }

    function test_a_bond_is_more_than_nothing() public {
        IBatchChallenges judge = batches.judge();
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.InvalidBond.selector, uint256(0)));
        new DataBatches(address(this), address(token), 0, FEE, WINDOW, ANSWER, judge);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.InvalidBond.selector, uint256(BOND)));
        new DataBatches(address(this), address(0), BOND, FEE, WINDOW, ANSWER, judge);
    }

    function _withWindows(uint40 challenge, uint40 answer) private returns (DataBatches) {
        return new DataBatches(
            address(this), address(token), BOND, FEE, challenge, answer, IBatchChallenges(address(7))
        );
    }

    /// A year of milliseconds would keep every bond in for a thousand years.
    function test_disputes_have_a_second_at_least_and_a_year_at_most(uint40 given) public {
        uint40[3] memory windows = [0, uint40(bound(given, 365 days + 1, type(uint40).max)), 365 days * 1000];
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory refusal = abi.encodeWithSelector(ILaneBonds.WindowOutOfRange.selector, windows[i]);
            vm.expectRevert(refusal);
            _withWindows(windows[i], ANSWER);
            vm.expectRevert(refusal);
            _withWindows(WINDOW, windows[i]);
        }
        assertEq(_withWindows(1, 365 days).challengeWindow(), 1);
        assertEq(_withWindows(365 days, 1).challengeWindow(), 365 days);
    }

    function test_only_the_admin_assigns_lanes(address stranger, uint16 lane) public {
        vm.assume(stranger != address(this));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotAdmin.selector, address(this), stranger));
        batches.assignLane(lane, stranger);
    }

    function test_the_admin_role_goes_over_in_two_steps(address next, address stranger) public {
        vm.assume(next != address(this) && stranger != next && stranger != address(this));
        batches.offerAdmin(next);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotAdmin.selector, next, stranger));
        batches.acceptAdmin();
        vm.prank(next);
        batches.acceptAdmin();
        assertEq(batches.admin(), next);
        vm.expectRevert(abi.encodeWithSelector(ILaneBonds.NotAdmin.selector, next, address(this)));
        batches.assignLane(1, submitter);
    }
}
