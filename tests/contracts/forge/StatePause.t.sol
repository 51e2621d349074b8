// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { StateFixture } from "./StateFixture.sol";
import { StateChannels } from "../../../contracts/StateChannels.sol";
import { IDepositPause } from "../../../contracts/interfaces/IDepositPause.sol";
import { IStateChannels } from "../../../contracts/interfaces/IStateChannels.sol";

/// given two parties
///   ├── a guardian, if there is one, stops deposits; payouts never
///   └── the guardian's role goes over in two steps
contract StatePauseTest is StateFixture {
    address internal guardian = makeAddr("guardian");

    function setUp() public {
        _start();
    }

    function _guarded() internal {
        channels = new StateChannels(guardian);
        vm.prank(a);
        token.approve(address(channels), type(uint256).max);
    }

    function test_a_guardian_stops_deposits_and_nothing_else() public {
        _guarded();
        IStateChannels.Terms memory one = _open(1, 5, 5);
        vm.prank(guardian);
        channels.pauseDeposits(true);
        assertTrue(channels.depositsPaused());
        vm.startPrank(a);
        vm.expectRevert(IDepositPause.DepositsPaused.selector);
        channels.open(_terms(2), 5, 5);
        vm.expectRevert(IDepositPause.DepositsPaused.selector);
        channels.topUp(one, 5);
        IStateChannels.SignedState memory nothing = _unsigned(1, 1);
        vm.expectRevert(IDepositPause.DepositsPaused.selector);
        channels.topUpWithState(one, 15, nothing);
        IStateChannels.Funding memory none;
        vm.expectRevert(IDepositPause.DepositsPaused.selector);
        channels.openAuthorised(_terms(2), none, none);
        IStateChannels.Share memory nobody;
        vm.expectRevert(IDepositPause.DepositsPaused.selector);
        channels.openTogether(_terms(2), nobody, nobody);
        channels.challenge(one, _unsigned(0, 5));
        vm.stopPrank();
        vm.warp(1_700_000_000 + PERIOD);
        channels.finalise(one);
        assertEq(token.balanceOf(b), 5);
        vm.prank(guardian);
        channels.pauseDeposits(false);
        _open(3, 1, 1);
    }

    function test_without_a_guardian_nobody_can_ever_stop_deposits(address anyone) public {
        vm.assume(anyone != address(0));
        assertFalse(channels.pausable());
        vm.prank(anyone);
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, address(0), anyone));
        channels.pauseDeposits(true);
        vm.prank(anyone);
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, address(0), anyone));
        channels.acceptGuardian();
    }

    function test_the_guardians_role_goes_over_in_two_steps(address next, address stranger) public {
        _guarded();
        vm.assume(next != guardian && stranger != next && stranger != guardian && next != address(0));
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, guardian, stranger));
        channels.offerGuardian(stranger);
        vm.prank(guardian);
        channels.offerGuardian(next);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, next, stranger));
        channels.acceptGuardian();
        vm.prank(next);
        channels.acceptGuardian();
        assertEq(channels.guardian(), next);
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IDepositPause.NotGuardian.selector, next, guardian));
        channels.pauseDeposits(true);
    }
}
